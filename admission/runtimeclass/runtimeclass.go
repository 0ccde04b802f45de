// Package runtimeclass is the admission plugin that gives pods what their RuntimeClass says: the overhead of running
// them at all, and where they may run (KEP-585, KEP-688), as Kubernetes does.
package runtimeclass

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
)

// Name is the plugin's.
const Name = "RuntimeClass"

// Classes finds a RuntimeClass; an apierrors NotFound if there is none. The result is only read.
type Classes interface {
	RuntimeClass(ctx context.Context, name string) (*nodev1.RuntimeClass, error)
}

// ClassesFunc adapts a function to [Classes].
type ClassesFunc func(ctx context.Context, name string) (*nodev1.RuntimeClass, error)

// RuntimeClass calls f.
func (f ClassesFunc) RuntimeClass(ctx context.Context, name string) (*nodev1.RuntimeClass, error) {
	return f(ctx, name)
}

// New returns the plugin.
func New(classes Classes) apimachinery.Plugin {
	p := &plugin{classes}
	return apimachinery.Plugin{Name: Name, Mutate: p, Validate: p}
}

type plugin struct{ classes Classes }

// of returns the pod that is being created, nil if it is something else, and a copy of its class, nil if it has none.
func (p *plugin) of(ctx context.Context, a *apimachinery.Admission) (*corev1.Pod, *nodev1.RuntimeClass, error) {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok || a.Operation != "CREATE" || a.Sub != "" {
		return nil, nil, nil
	}
	name := pod.Spec.RuntimeClassName
	if name == nil {
		return pod, nil, nil
	}
	c, err := p.classes.RuntimeClass(ctx, *name)
	if apierrors.IsNotFound(err) {
		return nil, nil, forbidden(a, "pod rejected: RuntimeClass %q not found", *name)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("look for RuntimeClass %s: %w", *name, err)
	}
	return pod, c.DeepCopy(), nil
}

// Mutate implements [apimachinery.Mutator].
func (p *plugin) Mutate(ctx context.Context, a *apimachinery.Admission) error {
	pod, c, err := p.of(ctx, a)
	if err != nil || pod == nil || c == nil {
		return err
	}
	if o := c.Overhead; o != nil {
		if len(pod.Spec.Overhead) > 0 && !equality.Semantic.DeepEqual(o.PodFixed, pod.Spec.Overhead) {
			return otherOverhead(a)
		}
		pod.Spec.Overhead = o.PodFixed
	}
	if c.Scheduling == nil {
		return nil
	}
	if pod.Spec.NodeSelector == nil {
		pod.Spec.NodeSelector = c.Scheduling.NodeSelector
	}
	for key, value := range c.Scheduling.NodeSelector {
		if have, ok := pod.Spec.NodeSelector[key]; ok && have != value {
			return forbidden(a, "conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, value, key, have)
		}
		pod.Spec.NodeSelector[key] = value
	}
	pod.Spec.Tolerations = merge(pod.Spec.Tolerations, c.Scheduling.Tolerations)
	return nil
}

// Validate implements [apimachinery.Validator]: nobody else says what a pod's overhead is.
func (p *plugin) Validate(ctx context.Context, a *apimachinery.Admission) error {
	pod, c, err := p.of(ctx, a)
	switch {
	case err != nil || pod == nil:
		return err
	case c == nil || c.Overhead == nil:
		if pod.Spec.Overhead != nil {
			return forbidden(a, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
		}
	case !equality.Semantic.DeepEqual(c.Overhead.PodFixed, pod.Spec.Overhead):
		return otherOverhead(a)
	}
	return nil
}

func otherOverhead(a *apimachinery.Admission) error {
	return forbidden(a, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
}

func forbidden(a *apimachinery.Admission, format string, args ...any) error {
	return apierrors.NewForbidden(a.Resource.GroupResource(), a.Name, fmt.Errorf(format, args...))
}

// merge joins tolerations without those that others cover.
func merge(first, second []corev1.Toleration) []corev1.Toleration {
	all := append(append([]corev1.Toleration{}, first...), second...)
	var merged []corev1.Toleration
	for i, t := range all {
		if !redundant(t, merged, all[i+1:]) {
			merged = append(merged, t)
		}
	}
	return merged
}

// redundant says whether one that is kept covers t, or one to come that isn't the same.
func redundant(t corev1.Toleration, kept, rest []corev1.Toleration) bool {
	for _, k := range kept {
		if covers(k, t) {
			return true
		}
	}
	for _, r := range rest {
		if !equality.Semantic.DeepEqual(t, r) && covers(r, t) {
			return true
		}
	}
	return false
}

// covers says whether whatever t tolerates, wide does too.
func covers(wide, t corev1.Toleration) bool {
	if equality.Semantic.DeepEqual(wide, t) {
		return true
	}
	anyKey := wide.Key == "" && wide.Operator == corev1.TolerationOpExists
	if t.Key != wide.Key && !anyKey || t.Effect != wide.Effect && wide.Effect != "" {
		return false
	}
	if s := wide.TolerationSeconds; wide.Effect == corev1.TaintEffectNoExecute && s != nil && (t.TolerationSeconds == nil || *t.TolerationSeconds > *s) {
		return false
	}
	switch wide.Operator {
	case corev1.TolerationOpEqual, "":
		return t.Operator == corev1.TolerationOpEqual && t.Value == wide.Value
	case corev1.TolerationOpExists:
		return true
	}
	return false
}
