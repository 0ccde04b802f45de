package core

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// readWrite are the verbs of a subresource that is read and changed.
var readWrite = []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate}

// statusOf is the status subresource: prepare carries over from old what it may not write.
func statusOf[T apimachinery.Object](prepare func(new, old T), validate func(new, old T) field.ErrorList) apimachinery.Subresource {
	return apimachinery.Subresource{
		Verbs: readWrite,
		Strategy: &apimachinery.Strategy{
			Owned:   []string{"status"},
			Prepare: func(_ context.Context, new, old apimachinery.Object) { prepare(new.(T), old.(T)) },
			Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
				return validate(new.(T), old.(T))
			},
		},
	}
}

// scaled is what a scale is read from.
type scaled struct {
	replicas *int32
	selector string
	current  int32
}

// scaleOf is the scale subresource of a workload that has so many replicas.
func scaleOf[T apimachinery.Object](r schema.GroupResource, of func(T) scaled, set func(o T, replicas int32)) apimachinery.Subresource {
	return apimachinery.Subresource{
		Kind:  autoscalingv1.SchemeGroupVersion.WithKind("Scale"),
		New:   func() apimachinery.Object { return &autoscalingv1.Scale{} },
		Verbs: readWrite,
		Get: func(o apimachinery.Object) (apimachinery.Object, error) {
			have := of(o.(T))
			s := &autoscalingv1.Scale{Status: autoscalingv1.ScaleStatus{Replicas: have.current, Selector: have.selector}}
			s.Name, s.Namespace, s.UID = o.GetName(), o.GetNamespace(), o.GetUID()
			s.ResourceVersion, s.CreationTimestamp = o.GetResourceVersion(), o.GetCreationTimestamp()
			if have.replicas != nil {
				s.Spec.Replicas = *have.replicas
			}
			return s, nil
		},
		Mutate: func(_ context.Context, o, in apimachinery.Object) error {
			s := in.(*autoscalingv1.Scale)
			if errs := validation.ValidateNonnegativeField(int64(s.Spec.Replicas), spec.Child("replicas")); len(errs) > 0 {
				return errors.NewInvalid(schema.GroupKind{Group: autoscalingv1.GroupName, Kind: "Scale"}, o.GetName(), errs)
			}
			if s.UID != "" && s.UID != o.GetUID() {
				return errors.NewConflict(schema.GroupResource{Group: r.Group, Resource: r.Resource + "/scale"}, o.GetName(),
					fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", s.UID, o.GetUID())) //nolint:staticcheck // Kubernetes' words
			}
			set(o.(T), s.Spec.Replicas)
			return nil
		},
	}
}
