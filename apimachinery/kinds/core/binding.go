package core

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// binding is pods/binding: a scheduler's decision, folded into the pod.
func binding() apimachinery.Subresource {
	return apimachinery.Subresource{
		Kind:  corev1.SchemeGroupVersion.WithKind("Binding"),
		New:   func() apimachinery.Object { return &corev1.Binding{} },
		Verbs: []string{apimachinery.VerbCreate},
		Mutate: func(_ context.Context, o, in apimachinery.Object) error {
			return bind(o.(*corev1.Pod), in.(*corev1.Binding))
		},
	}
}

// Bindings declares the older way to bind a pod, a resource of its own that stores nothing: it hands what it gets to
// pods/binding through pods. As in Kubernetes it takes no further right than to create bindings, so pods is a door
// that may bind any pod.
func Bindings(pods apimachinery.Doer) apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Resource: "bindings"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &corev1.Binding{} },
		Views:      []apimachinery.View{{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Binding"), Plural: "bindings"}},
		Virtual: func(ctx context.Context, r *apimachinery.Request, o apimachinery.Object) (apimachinery.Object, error) {
			if o.GetName() == "" {
				return nil, errors.NewBadRequest("the binding must have the name of a pod")
			}
			_, err := pods.Do(ctx, &apimachinery.Request{
				Verb: apimachinery.VerbCreate, Resource: corev1.SchemeGroupVersion.WithResource("pods"), Namespace: o.GetNamespace(),
				Name: o.GetName(), Sub: "binding", Object: o, Options: r.Options, Fence: r.Fence, Seen: r.Seen,
			})
			return nil, err
		},
	}
}

func bind(p *corev1.Pod, b *corev1.Binding) error {
	if errs := validateBinding(b); len(errs) > 0 {
		return errors.NewInvalid(schema.GroupKind{Kind: "Binding"}, b.Name, errs)
	}
	conflict := func(format string, args ...any) error {
		return errors.NewConflict(schema.GroupResource{Resource: "pods/binding"}, p.Name, fmt.Errorf(format, args...))
	}
	switch {
	case b.UID != "" && b.UID != p.UID:
		return conflict("Precondition failed: UID in precondition: %v, UID in object meta: %v", b.UID, p.UID)
	case b.ResourceVersion != "" && b.ResourceVersion != p.ResourceVersion:
		return conflict("Precondition failed: ResourceVersion in precondition: %v, ResourceVersion in object meta: %v", b.ResourceVersion, p.ResourceVersion)
	case p.DeletionTimestamp != nil:
		return conflict("pod %s is being deleted, cannot be assigned to a host", p.Name)
	case p.Spec.NodeName != "":
		return conflict("pod %v is already assigned to node %q", p.Name, p.Spec.NodeName)
	case len(p.Spec.SchedulingGates) > 0:
		return conflict("pod %v has non-empty .spec.schedulingGates", p.Name)
	}
	assign(p, b)
	return nil
}

func assign(p *corev1.Pod, b *corev1.Binding) {
	p.Spec.NodeName = b.Target.Name
	p.Status.NominatedNodeName = ""
	for key, value := range b.Annotations {
		if p.Annotations == nil {
			p.Annotations = map[string]string{}
		}
		p.Annotations[key] = value
	}
	for key, value := range b.Labels { // of the node's topology (KEP-4742)
		if p.Labels == nil {
			p.Labels = map[string]string{}
		}
		p.Labels[key] = value
	}
	scheduled := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(), ObservedGeneration: p.Generation,
	}
	for i, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			p.Status.Conditions[i] = scheduled
			return
		}
	}
	p.Status.Conditions = append(p.Status.Conditions, scheduled)
}

func validateBinding(b *corev1.Binding) field.ErrorList {
	var errs field.ErrorList
	target := field.NewPath("target")
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		errs = append(errs, field.NotSupported(target.Child("kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		errs = append(errs, field.Required(target.Child("name"), ""))
	}
	return errs
}
