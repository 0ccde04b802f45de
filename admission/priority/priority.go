// Package priority is the admission plugin that works out what a pod is worth: it turns the name of a PriorityClass
// into spec.priority and spec.preemptionPolicy, which nobody may set otherwise, and sees that at most one class is the
// default, as Kubernetes does.
package priority

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
)

// Name is the plugin's.
const Name = "Priority"

// Classes finds PriorityClasses. What it returns is only read.
type Classes interface {
	// PriorityClass finds a class by its name; an apierrors NotFound if there is none.
	PriorityClass(ctx context.Context, name string) (*schedulingv1.PriorityClass, error)
	// PriorityClasses are all classes: as they are now if newest is set, else as a cache has them.
	PriorityClasses(ctx context.Context, newest bool) ([]*schedulingv1.PriorityClass, error)
}

// New returns the plugin.
func New(classes Classes) apimachinery.Plugin {
	p := &plugin{classes}
	return apimachinery.Plugin{Name: Name, Mutate: p, Validate: p}
}

type plugin struct{ classes Classes }

// Mutate implements [apimachinery.Mutator].
func (p *plugin) Mutate(ctx context.Context, a *apimachinery.Admission) error {
	pod, ok := a.Object.(*corev1.Pod)
	switch {
	case !ok || a.Sub != "":
		return nil
	case a.Operation == "CREATE":
		return p.establish(ctx, a, pod)
	case a.Operation == "UPDATE":
		keep(pod, a.Old)
	}
	return nil
}

// keep carries over what a client that does not know of it leaves out.
func keep(pod *corev1.Pod, old apimachinery.Object) {
	before, ok := old.(*corev1.Pod)
	if !ok {
		return
	}
	if pod.Spec.Priority == nil {
		pod.Spec.Priority = before.Spec.Priority
	}
	if pod.Spec.PreemptionPolicy == nil {
		pod.Spec.PreemptionPolicy = before.Spec.PreemptionPolicy
	}
}

func (p *plugin) establish(ctx context.Context, a *apimachinery.Admission, pod *corev1.Pod) error {
	c, err := p.classOf(ctx, a, pod.Spec.PriorityClassName)
	if err != nil {
		return err
	}
	s := &pod.Spec
	if s.Priority != nil && *s.Priority != c.Value {
		return forbidden(a, "the integer value of priority (%d) must not be provided in pod spec; it is %d by the given PriorityClass name", *s.Priority, c.Value)
	}
	if want := c.PreemptionPolicy; want != nil {
		if s.PreemptionPolicy != nil && *s.PreemptionPolicy != *want {
			return forbidden(a, "the string value of PreemptionPolicy (%s) must not be provided in pod spec; it is %s by the given PriorityClass name", *s.PreemptionPolicy, *want)
		}
		policy := *want
		s.PreemptionPolicy = &policy
	}
	value := c.Value
	s.PriorityClassName, s.Priority = c.Name, &value
	return nil
}

// classOf finds the class that a pod names, or else the default one, or else what stands for none.
func (p *plugin) classOf(ctx context.Context, a *apimachinery.Admission, name string) (*schedulingv1.PriorityClass, error) {
	if name == "" {
		c, err := p.defaultClass(ctx, false)
		if err == nil && c == nil {
			lower := corev1.PreemptLowerPriority
			c = &schedulingv1.PriorityClass{PreemptionPolicy: &lower}
		}
		return c, err
	}
	c, err := p.classes.PriorityClass(ctx, name)
	if apierrors.IsNotFound(err) {
		return nil, forbidden(a, "no PriorityClass with name %v was found", name)
	}
	if err != nil {
		return nil, fmt.Errorf("look for PriorityClass %s: %w", name, err)
	}
	return c, nil
}

// defaultClass is the default one, nil if there is none. Should there be several, the one that is worth least.
func (p *plugin) defaultClass(ctx context.Context, newest bool) (*schedulingv1.PriorityClass, error) {
	all, err := p.classes.PriorityClasses(ctx, newest)
	if err != nil {
		return nil, fmt.Errorf("look for the default PriorityClass: %w", err)
	}
	var found *schedulingv1.PriorityClass
	for _, c := range all {
		if c.GlobalDefault && (found == nil || c.Value < found.Value) {
			found = c
		}
	}
	return found, nil
}

// Validate implements [apimachinery.Validator].
func (p *plugin) Validate(ctx context.Context, a *apimachinery.Admission) error {
	c, ok := a.Object.(*schedulingv1.PriorityClass)
	if !ok || !c.GlobalDefault || a.Sub != "" || a.Operation != "CREATE" && a.Operation != "UPDATE" {
		return nil
	}
	have, err := p.defaultClass(ctx, true)
	if err != nil || have == nil || a.Operation == "UPDATE" && have.Name == c.Name {
		return err
	}
	return forbidden(a, "PriorityClass %v is already marked as default. Only one default can exist", have.Name)
}

func forbidden(a *apimachinery.Admission, format string, args ...any) error {
	return apierrors.NewForbidden(a.Resource.GroupResource(), a.Name, fmt.Errorf(format, args...))
}
