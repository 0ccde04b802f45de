package wire

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion/queryparams"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/bedplate/bedplate/apimachinery"
)

// Build makes the HTTP request for r against the API at base, whose path is a prefix. The body is r.Body, or
// r.Object encoded, or a delete's options. User and HTTP are not looked at. Names that could lead elsewhere
// ("..", "a/b") are refused with BadRequest.
func Build(ctx context.Context, base *url.URL, r *apimachinery.Request) (*http.Request, error) {
	method, err := methodOf(r)
	if err != nil {
		return nil, err
	}
	t := target{GroupVersionResource: r.Resource, namespace: r.Namespace, name: r.Name, sub: r.Sub}
	rest, options := takeProxyPath(r.Options)
	t.rest = rest
	path, err := t.path()
	if err != nil {
		return nil, err
	}
	body, err := bodyOf(r)
	if err != nil {
		return nil, err
	}
	u := *base
	u.Path, u.RawPath = strings.TrimSuffix(base.Path, "/")+path, ""
	accept, include := takeInclude(r.Accept)
	if u.RawQuery, err = query(r.Verb, options, include); err != nil {
		return nil, err
	}
	hr, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.Verb, r.Resource.Resource, err)
	}
	if len(body) == 0 {
		hr.Body, hr.GetBody = http.NoBody, nil
	}
	setHeaders(hr.Header, r, accept, len(body) > 0)
	return hr, nil
}

func setHeaders(h http.Header, r *apimachinery.Request, accept string, body bool) {
	h.Set("Accept", orJSON(accept))
	if body || r.ContentType != "" {
		h.Set("Content-Type", orJSON(r.ContentType))
	}
	if r.Fence != "" {
		h.Set(apimachinery.FenceHeader, r.Fence)
	}
	if r.Seen != "" {
		h.Set(apimachinery.SeenHeader, r.Seen)
	}
}

func orJSON(media string) string {
	if media == "" {
		return apimachinery.JSON
	}
	return media
}

func methodOf(r *apimachinery.Request) (string, error) {
	named := r.Name != ""
	switch r.Verb {
	case apimachinery.VerbList, apimachinery.VerbWatch, apimachinery.VerbDeleteCollection:
		if named {
			return "", apierrors.NewBadRequest(fmt.Sprintf("%s takes no name: use the field selector metadata.name", r.Verb))
		}
	case apimachinery.VerbGet, apimachinery.VerbUpdate, apimachinery.VerbPatch, apimachinery.VerbDelete:
		if !named {
			return "", apierrors.NewBadRequest("resource name may not be empty")
		}
	case apimachinery.VerbCreate:
		if named && r.Sub == "" {
			return "", apierrors.NewBadRequest("a create takes its name from the object")
		}
	}
	switch r.Verb {
	case apimachinery.VerbGet, apimachinery.VerbList, apimachinery.VerbWatch:
		return http.MethodGet, nil
	case apimachinery.VerbCreate:
		return http.MethodPost, nil
	case apimachinery.VerbUpdate:
		return http.MethodPut, nil
	case apimachinery.VerbPatch:
		return http.MethodPatch, nil
	case apimachinery.VerbDelete, apimachinery.VerbDeleteCollection:
		return http.MethodDelete, nil
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("unknown verb %q", r.Verb))
}

func bodyOf(r *apimachinery.Request) ([]byte, error) {
	if r.Body != nil {
		return r.Body, nil
	}
	if r.Object != nil {
		return apimachinery.Encode(r.Object)
	}
	o, ok := r.Options.(*metav1.DeleteOptions)
	if !ok || o == nil {
		return nil, nil
	}
	o = o.DeepCopy()
	o.Kind, o.APIVersion = "DeleteOptions", "v1"
	return apimachinery.Encode(o)
}

// query encodes options. Those of a delete go into the body.
func query(verb string, options runtime.Object, include string) (string, error) {
	q := url.Values{}
	if _, isDelete := options.(*metav1.DeleteOptions); options != nil && !isDelete {
		var err error
		if q, err = queryparams.Convert(options); err != nil {
			return "", fmt.Errorf("encode %T as a query: %w", options, err)
		}
	}
	q.Del("watch")
	if verb == apimachinery.VerbWatch {
		q.Set("watch", "true")
	}
	if include != "" {
		q.Set("includeObject", include)
	}
	return q.Encode(), nil
}
