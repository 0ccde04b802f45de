package webhook

import (
	"context"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/bedplate/bedplate/admission/internal/hook"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/callout"
)

// maxAnswer is how large an AdmissionReview may be that a webhook answers with, in bytes.
const maxAnswer = 16 << 20

// question is what one webhook is asked about one request. Object and old are as the webhook sees them.
type question struct {
	r           *hook.Request
	as          hook.Target
	object, old runtime.Object
}

// encode writes an object, or null.
func encode(o runtime.Object) (runtime.RawExtension, error) {
	if o == nil {
		return runtime.RawExtension{}, nil
	}
	raw, err := hook.Encode(o)
	return runtime.RawExtension{Raw: raw}, err
}

// review is the question in the version that the webhook takes.
func (q *question) review(version string) (*admissionv1.AdmissionReview, error) {
	r, dry := q.r, q.r.DryRun
	kind, resource := metav1.GroupVersionKind(r.Own.Kind), metav1.GroupVersionResource(r.Own.Resource)
	req := &admissionv1.AdmissionRequest{
		UID:  uuid.NewUUID(),
		Kind: metav1.GroupVersionKind(q.as.Kind), Resource: metav1.GroupVersionResource(q.as.Resource), SubResource: r.Sub,
		RequestKind: &kind, RequestResource: &resource, RequestSubResource: r.Sub,
		Name: r.Name, Namespace: r.Namespace, Operation: admissionv1.Operation(r.Operation),
		UserInfo: r.UserInfo(), DryRun: &dry,
	}
	var errs [3]error
	req.Object, errs[0] = encode(q.object)
	req.OldObject, errs[1] = encode(q.old)
	req.Options, errs[2] = encode(r.OperationOptions())
	return &admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{Kind: "AdmissionReview", APIVersion: admissionv1.GroupName + "/" + version}, Request: req,
	}, errors.Join(errs[:]...)
}

// version is the first that the webhook takes and we speak.
func (w *webhook) version() (string, error) {
	for _, v := range w.versions {
		if v == "v1" || v == "v1beta1" {
			return v, nil
		}
	}
	return "", errors.New("webhook does not accept known AdmissionReview versions (v1, v1beta1)")
}

// ask asks a webhook. The error is a [*callError], a [denial], or a Status.
func (w *webhook) ask(ctx context.Context, q *question, mutating bool) (*admissionv1.AdmissionResponse, error) {
	if q.r.DryRun {
		if err := w.mayRunDry(); err != nil {
			return nil, err
		}
	}
	fail := func(code int32, format string, args ...any) error {
		return &callError{w.name, fmt.Errorf(format, args...), code}
	}
	version, err := w.version()
	if err != nil {
		return nil, fail(400, "could not create admission objects: %w", err)
	}
	review, err := q.review(version)
	if err != nil {
		return nil, fail(400, "could not create admission objects: %w", err)
	}
	body, err := apimachinery.Encode(review)
	if err != nil {
		return nil, fail(400, "could not create admission objects: %w", err)
	}
	client, err := w.client()
	if err != nil {
		return nil, fail(500, "could not get REST client: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	at, err := w.address(ctx)
	if err != nil {
		return nil, fail(503, "failed to call webhook: %w", err)
	}
	answer, err := callout.Post(ctx, client, at.String(), body, maxAnswer)
	var refused *callout.CodeError
	switch {
	case errors.As(err, &refused):
		return nil, fail(int32(refused.Code), "failed to call webhook: %w",
			apierrors.NewGenericServerResponse(refused.Code, "POST", schema.GroupResource{}, "", "unknown", 0, true))
	case err != nil:
		return nil, fail(503, "failed to call webhook: %w", err)
	}
	got := &admissionv1.AdmissionReview{}
	if err := apimachinery.DecodeLoose(answer, got); err != nil {
		return nil, fail(503, "failed to call webhook: decode the answer: %w", err)
	}
	if err := verify(got, review, version, mutating); err != nil {
		return nil, fail(503, "received invalid webhook response: %w", err)
	}
	return got.Response, nil
}

func (w *webhook) mayRunDry() error {
	switch {
	case w.effects == nil:
		return &callError{w.name, errors.New("Webhook SideEffects is nil"), 400} //nolint:staticcheck // Kubernetes' words
	case *w.effects != admissionregistrationv1.SideEffectClassNone && *w.effects != admissionregistrationv1.SideEffectClassNoneOnDryRun:
		return apierrors.NewBadRequest(fmt.Sprintf("admission webhook %q does not support dry run", w.name))
	}
	return nil
}

// verify says what is wrong with an answer. Of v1beta1 less is demanded.
func verify(got, asked *admissionv1.AdmissionReview, version string, mutating bool) error {
	a := got.Response
	if a == nil {
		return errors.New("webhook response was absent")
	}
	if version == "v1beta1" {
		if mutating && len(a.Patch) > 0 {
			patch := admissionv1.PatchTypeJSONPatch
			a.PatchType = &patch
		} else {
			a.Patch, a.PatchType = nil, nil
		}
		return nil
	}
	switch {
	case a.UID != asked.Request.UID:
		return fmt.Errorf("expected response.uid=%q, got %q", asked.Request.UID, a.UID)
	case got.GroupVersionKind() != asked.GroupVersionKind():
		return fmt.Errorf("expected webhook response of %v, got %v", asked.GroupVersionKind(), got.GroupVersionKind())
	case !mutating && len(a.Patch) > 0:
		return errors.New("validating webhook may not return response.patch")
	case !mutating && a.PatchType != nil:
		return errors.New("validating webhook may not return response.patchType")
	case len(a.Patch) > 0 && a.PatchType == nil:
		return errors.New("webhook returned response.patch but not response.patchType")
	case len(a.Patch) == 0 && a.PatchType != nil:
		return errors.New("webhook returned response.patchType but not response.patch")
	case a.PatchType != nil && *a.PatchType == "":
		return fmt.Errorf("webhook returned invalid response.patchType of %q", *a.PatchType)
	}
	return nil
}
