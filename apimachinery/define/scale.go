package define

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// newScaling is the scale subresource of a kind whose replicas lie at some paths.
func newScaling(p apimachinery.ScalePaths) (apimachinery.Subresource, error) {
	if p.Spec == "" || p.Status == "" {
		return apimachinery.Subresource{}, errors.New(`the Scale needs the paths Spec and Status: ".spec.replicas", ".status.replicas"`)
	}
	s := &scaling{spec: steps(p.Spec), status: steps(p.Status)}
	if p.Selector != "" {
		s.selector = steps(p.Selector)
	}
	return apimachinery.Subresource{
		Kind:  autoscalingv1.SchemeGroupVersion.WithKind("Scale"),
		New:   func() apimachinery.Object { return &autoscalingv1.Scale{} },
		Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
		Owns:  map[string]string{"spec.replicas": strings.Join(s.spec, ".")},
		Get:   s.get, Mutate: s.mutate, Scale: &p,
	}, nil
}

type scaling struct{ spec, status, selector []string }

func steps(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

func (s *scaling) get(o apimachinery.Object) (apimachinery.Object, error) {
	c, err := content(o)
	if err != nil {
		return nil, err
	}
	out := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{
		Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
		CreationTimestamp: o.GetCreationTimestamp(),
	}}
	var failed [3]error
	out.Spec.Replicas, failed[0] = number(c, s.spec)
	out.Status.Replicas, failed[1] = number(c, s.status)
	if s.selector != nil {
		out.Status.Selector, _, failed[2] = unstructured.NestedString(c, s.selector...)
	}
	return out, errors.Join(failed[:]...)
}

func number(c map[string]any, path []string) (int32, error) {
	n, _, err := unstructured.NestedInt64(c, path...)
	if err == nil && (n < math.MinInt32 || n > math.MaxInt32) {
		err = fmt.Errorf("%s is %d, which is no number of replicas", strings.Join(path, "."), n)
	}
	return int32(n), err
}

func (s *scaling) mutate(_ context.Context, o, in apimachinery.Object) error {
	replicas := in.(*autoscalingv1.Scale).Spec.Replicas
	if replicas < 0 {
		return apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), o.GetName(), field.ErrorList{
			field.Invalid(field.NewPath("spec", "replicas"), replicas, "must be greater than or equal to 0"),
		})
	}
	c, err := content(o)
	if err != nil {
		return err
	}
	if err := unstructured.SetNestedField(c, int64(replicas), s.spec...); err != nil {
		return err
	}
	raw, err := apimachinery.Encode(c)
	if err != nil {
		return err
	}
	fresh := reflect.New(reflect.TypeOf(o).Elem())
	if err := apimachinery.DecodeLoose(raw, fresh.Interface()); err != nil {
		return err
	}
	reflect.ValueOf(o).Elem().Set(fresh.Elem())
	return nil
}
