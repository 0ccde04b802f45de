package crd

import (
	"context"
	"fmt"
	"math"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// scaling is the scale subresource of a version: where replicas and their selector lie in an object.
type scaling struct {
	text                   apiext.CustomResourceSubresourceScale
	spec, status, selector []string
}

func newScaling(s *apiext.CustomResourceSubresources) *scaling {
	if s == nil || s.Scale == nil {
		return nil
	}
	out := &scaling{text: *s.Scale, spec: steps(s.Scale.SpecReplicasPath), status: steps(s.Scale.StatusReplicasPath)}
	if p := s.Scale.LabelSelectorPath; p != nil && *p != "" {
		out.selector = steps(*p)
	}
	return out
}

func steps(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

func (s *scaling) subresource() apimachinery.Subresource {
	return apimachinery.Subresource{
		Kind:  autoscalingv1.SchemeGroupVersion.WithKind("Scale"),
		New:   func() apimachinery.Object { return &autoscalingv1.Scale{} },
		Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
		Get:   s.get, Mutate: s.mutate,
	}
}

func (s *scaling) get(o apimachinery.Object) (apimachinery.Object, error) {
	u := o.(*unstructured.Unstructured)
	replicas, found, err := unstructured.NestedInt64(u.Object, s.spec...)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, apierrors.NewInternalError(fmt.Errorf("the spec replicas field %q does not exist", s.text.SpecReplicasPath))
	}
	current, _, err := unstructured.NestedInt64(u.Object, s.status...)
	if err != nil {
		return nil, err
	}
	out := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: u.GetName(), Namespace: u.GetNamespace(), UID: u.GetUID(), ResourceVersion: u.GetResourceVersion(),
			CreationTimestamp: u.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: int32(replicas)},
		Status: autoscalingv1.ScaleStatus{Replicas: int32(current)},
	}
	if s.selector != nil {
		if out.Status.Selector, _, err = unstructured.NestedString(u.Object, s.selector...); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *scaling) mutate(_ context.Context, o, in apimachinery.Object) error {
	replicas := in.(*autoscalingv1.Scale).Spec.Replicas
	if replicas < 0 {
		return apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), o.GetName(), field.ErrorList{
			field.Invalid(field.NewPath("spec", "replicas"), replicas, "must be greater than or equal to 0"),
		})
	}
	return unstructured.SetNestedField(o.(*unstructured.Unstructured).Object, int64(replicas), s.spec...)
}

// validate judges what the paths lead to. spec says whether it is the spec's too.
func (s *scaling) validate(o map[string]any, spec bool) field.ErrorList {
	if s == nil {
		return nil
	}
	var errs field.ErrorList
	count := func(path string, steps []string) {
		n, _, err := unstructured.NestedInt64(o, steps...)
		at := field.NewPath(path)
		switch {
		case err != nil:
			errs = append(errs, field.Invalid(at, n, err.Error()))
		case n < 0:
			errs = append(errs, field.Invalid(at, n, "should be a non-negative integer"))
		case n > math.MaxInt32:
			errs = append(errs, field.Invalid(at, n, fmt.Sprintf("should be less than or equal to %v", math.MaxInt32)))
		}
	}
	if spec {
		count(s.text.SpecReplicasPath, s.spec)
	}
	count(s.text.StatusReplicasPath, s.status)
	if s.selector != nil {
		if text, _, err := unstructured.NestedString(o, s.selector...); err != nil {
			errs = append(errs, field.Invalid(field.NewPath(*s.text.LabelSelectorPath), text, err.Error()))
		}
	}
	return errs
}
