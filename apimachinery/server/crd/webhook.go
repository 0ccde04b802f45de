package crd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/callout"
	"github.com/bedplate/bedplate/apimachinery/server"
)

const (
	// webhookTimeout is how long a conversion may take.
	webhookTimeout = 30 * time.Second
	// webhookAnswer is how large the answer of a webhook may be, in bytes: what 500 objects of the largest size that
	// a store takes have room in would be more, but such lists are not served at once either.
	webhookAnswer = 256 << 20
)

// webhook converts by asking a webhook.
type webhook struct {
	name     string // of the definition
	version  string // of ConversionReview
	url      *url.URL
	service  *apiext.ServiceReference
	services server.ServiceResolver
	client   func() (*http.Client, error)
}

func newWebhook(d *apiext.CustomResourceDefinition, services server.ServiceResolver, dial callout.Dial) *webhook {
	c := d.Spec.Conversion.Webhook
	w := &webhook{name: d.Name, services: services}
	for _, v := range c.ConversionReviewVersions {
		if v == "v1" || v == "v1beta1" {
			w.version = v
			break
		}
	}
	peer := callout.Peer{CABundle: c.ClientConfig.CABundle}
	if s := c.ClientConfig.Service; s != nil {
		w.service = s.DeepCopy()
		peer.ServerName = s.Name + "." + s.Namespace + ".svc"
	} else if u, err := url.Parse(*c.ClientConfig.URL); err == nil {
		w.url, dial = u, nil
	}
	w.client = sync.OnceValues(func() (*http.Client, error) { return peer.Client(dial) })
	return w
}

// convert implements [Convert]. It changes nothing in what it is given.
func (w *webhook) convert(ctx context.Context, all []*unstructured.Unstructured, to schema.GroupVersion) ([]*unstructured.Unstructured, error) {
	if w.version == "" {
		return nil, errors.New("no supported conversion review versions")
	}
	ctx, cancel := context.WithTimeout(ctx, webhookTimeout)
	defer cancel()
	review := &apiext.ConversionReview{
		TypeMeta: metav1.TypeMeta{Kind: "ConversionReview", APIVersion: apiext.GroupName + "/" + w.version},
		Request:  &apiext.ConversionRequest{UID: uuid.NewUUID(), DesiredAPIVersion: to.String()},
	}
	for _, u := range all {
		raw, err := apimachinery.Encode(u.Object)
		if err != nil {
			return nil, err
		}
		review.Request.Objects = append(review.Request.Objects, runtime.RawExtension{Raw: raw})
	}
	body, err := apimachinery.Encode(review)
	if err != nil {
		return nil, err
	}
	answer, err := w.post(ctx, body)
	if err != nil {
		return nil, err
	}
	return w.judged(answer, review)
}

func (w *webhook) post(ctx context.Context, body []byte) ([]byte, error) {
	client, err := w.client()
	if err != nil {
		return nil, err
	}
	at, err := w.address(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := callout.Post(ctx, client, at.String(), body, webhookAnswer)
	var refused *callout.CodeError
	if errors.As(err, &refused) {
		return nil, fmt.Errorf("the webhook answered %s", refused.Status)
	}
	return answer, err
}

// address is where the webhook is asked.
func (w *webhook) address(ctx context.Context) (*url.URL, error) {
	if w.service == nil {
		return w.url, nil
	}
	if w.services == nil {
		return nil, fmt.Errorf("this server resolves no services: %s/%s", w.service.Namespace, w.service.Name)
	}
	port := int32(443)
	if w.service.Port != nil {
		port = *w.service.Port
	}
	at, err := w.services.Resolve(ctx, w.service.Namespace, w.service.Name, port)
	if err != nil {
		return nil, err
	}
	out := *at
	if w.service.Path != nil {
		out.Path = "/" + strings.TrimPrefix(*w.service.Path, "/")
	}
	return &out, nil
}

// judged reads the objects out of an answer, if it is one to this question.
func (w *webhook) judged(answer []byte, asked *apiext.ConversionReview) ([]*unstructured.Unstructured, error) {
	var got apiext.ConversionReview
	if err := apimachinery.DecodeLoose(answer, &got); err != nil {
		return nil, fmt.Errorf("decode the answer: %w", err)
	}
	if w.version == "v1" {
		if got.GroupVersionKind() != asked.GroupVersionKind() {
			return nil, fmt.Errorf("expected webhook response of %v, got %v", asked.GroupVersionKind(), got.GroupVersionKind())
		}
		if got.Response != nil && got.Response.UID != asked.Request.UID {
			return nil, fmt.Errorf("expected response.uid=%q, got %q", asked.Request.UID, got.Response.UID)
		}
	}
	switch {
	case got.Response == nil:
		return nil, errors.New("no response provided")
	case got.Response.Result.Status != metav1.StatusSuccess && got.Response.Result.Message != "":
		return nil, errors.New(got.Response.Result.Message)
	case got.Response.Result.Status != metav1.StatusSuccess:
		return nil, fmt.Errorf("response.result.status was '%s', not 'Success'", got.Response.Result.Status)
	}
	out := make([]*unstructured.Unstructured, len(got.Response.ConvertedObjects))
	for i, raw := range got.Response.ConvertedObjects {
		u := &unstructured.Unstructured{}
		if err := apimachinery.DecodeLoose(raw.Raw, &u.Object); err != nil {
			return nil, fmt.Errorf("decode converted object at index %d: %w", i, err)
		}
		out[i] = u
	}
	return out, nil
}
