// Package eviction serves pods/eviction: it deletes a pod if the disruption budgets of its namespace allow that.
//
// [Decide] and [Charge] are the decision, functions of a pod and its budgets. [Serve] makes a resource of pods answer
// the subresource by them, through a door to the API. A budget is charged, and the pod marked as a target of
// disruption, before the pod is deleted, each on condition that nobody has written the object since it was read: two
// evictions at once never use one allowance.
package eviction

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
)

// Config says through what evictions act.
type Config struct {
	// Doer is a door to the API that may read budgets and pods, write their status and delete pods: whoever may create
	// an eviction needs none of these rights. It is first used when a pod is evicted. Required.
	Doer apimachinery.Doer
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Serve makes a resource of pods answer the eviction subresource, before that goes into a registry. Evictions then
// pass through admission like any other object. A server without disruption budgets evicts whatever it is asked to.
func Serve(pods *apimachinery.Resource, c Config) error {
	if c.Doer == nil {
		return errors.New("serve evictions: there must be a Doer")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	kinds, err := apimachinery.NewRegistry(
		plain("pods", corev1.SchemeGroupVersion.WithKind("Pod"), func() apimachinery.Object { return &corev1.Pod{} }),
		plain("poddisruptionbudgets", policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"), func() apimachinery.Object { return &policyv1.PodDisruptionBudget{} }),
	)
	if err != nil {
		return fmt.Errorf("serve evictions: %w", err)
	}
	api := client.New(c.Doer, kinds)
	e := &evictor{doer: c.Doer, pods: client.For[*corev1.Pod](api), budgets: client.For[*policyv1.PodDisruptionBudget](api), now: c.Now}
	pods.Subs = maps.Clone(pods.Subs)
	if pods.Subs == nil {
		pods.Subs = map[string]apimachinery.Subresource{}
	}
	pods.Subs["eviction"] = apimachinery.Subresource{
		Kind:  policyv1.SchemeGroupVersion.WithKind("Eviction"),
		New:   func() apimachinery.Object { return &policyv1.Eviction{} },
		Verbs: []string{apimachinery.VerbCreate},
		Do:    e.create,
	}
	return nil
}

// plain is all that a client needs to know of a kind.
func plain(plural string, gvk schema.GroupVersionKind, empty func() apimachinery.Object) apimachinery.Resource {
	return apimachinery.Resource{
		Name: schema.GroupResource{Group: gvk.Group, Resource: plural}, Namespaced: true, New: empty,
		Views: []apimachinery.View{{GroupVersionKind: gvk, Plural: plural}},
	}
}

type evictor struct {
	doer    apimachinery.Doer
	pods    client.Resource[*corev1.Pod]
	budgets client.Resource[*policyv1.PodDisruptionBudget]
	now     func() time.Time
}

func (e *evictor) create(ctx context.Context, r *apimachinery.Request, o, in apimachinery.Object) (apimachinery.Object, error) {
	pod, ok := o.(*corev1.Pod)
	eviction, ok2 := in.(*policyv1.Eviction)
	if !ok || !ok2 {
		return nil, fmt.Errorf("evict: %T of %T is no Eviction of a Pod", in, o)
	}
	options, err := deleteOptions(r, eviction)
	if err != nil {
		return nil, err
	}
	return nil, e.evict(ctx, pod, options)
}

// deleteOptions are those of the eviction, with the dry run of the request.
func deleteOptions(r *apimachinery.Request, e *policyv1.Eviction) (*metav1.DeleteOptions, error) {
	out := &metav1.DeleteOptions{}
	if e.DeleteOptions != nil {
		out = e.DeleteOptions.DeepCopy()
	}
	if i := out.IgnoreStoreReadErrorWithClusterBreakingPotential; i != nil && *i {
		at := field.NewPath("deleteOptions", "ignoreStoreReadErrorWithClusterBreakingPotential")
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: policyv1.GroupName, Kind: "Eviction"}, e.Name, field.ErrorList{field.Invalid(at, true, "can not be set for pod eviction")})
	}
	o, _ := r.Options.(*metav1.CreateOptions)
	switch {
	case o == nil || len(o.DryRun) == 0:
	case len(out.DryRun) == 0:
		out.DryRun = o.DryRun
	case !slices.Equal(out.DryRun, o.DryRun):
		return nil, apierrors.NewBadRequest(fmt.Sprintf("Non-matching dry-run options in request and content: %v and %v", o.DryRun, out.DryRun))
	}
	return out, nil
}

// How often something is tried that others are faster at, and how long is waited in between.
const (
	attempts = 20
	shortest = 5 * time.Millisecond
	longest  = 500 * time.Millisecond
)

// again tries something until it is no conflict.
func again(ctx context.Context, try func(n int) error) error {
	for n := 0; ; n++ {
		err := try(n)
		if !apierrors.IsConflict(err) || n+1 == attempts {
			return err
		}
		t := time.NewTimer(min(longest, shortest<<min(n, 10)))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// evict decides by the pod as it is, and once more if it changes before it is deleted; pod is the state to begin with.
func (e *evictor) evict(ctx context.Context, pod *corev1.Pod, o *metav1.DeleteOptions) error {
	pinned := o.Preconditions != nil && o.Preconditions.ResourceVersion != nil
	free, budget := false, ""
	err := again(ctx, func(n int) (err error) {
		if n > 0 {
			if pod, err = e.pods.Get(ctx, pod.Namespace, pod.Name); err != nil {
				return err
			}
		}
		pin := false
		if free, pin = unbudgeted(pod); !free {
			return nil
		}
		if err = e.remove(ctx, pod, pinnedTo(pod, o, pin && !pinned)); apierrors.IsConflict(err) && pinned {
			return final{err}
		}
		return err
	})
	if err != nil || free {
		return unwrapped(err)
	}
	v, err := e.decide(ctx, pod)
	if err != nil {
		return err
	}
	if v.Budget != nil {
		budget = v.Budget.Name
	}
	if v.Charge {
		if err := e.charge(ctx, v.Budget, pod.Name, len(o.DryRun) > 0); err != nil {
			return err
		}
	}
	err = e.remove(ctx, pod, pinnedTo(pod, o, v.Pin))
	if apierrors.IsConflict(err) && v.Pin && !pinned {
		return unsettled(budget) // the pod has changed: it may be ready by now
	}
	return err
}

// final is a conflict that is not to be tried again.
type final struct{ error }

func unwrapped(err error) error {
	if f, ok := err.(final); ok { //nolint:errorlint // it is never wrapped
		return f.error
	}
	return err
}

// pinnedTo returns options by which only this state of the pod is deleted, if pin says so.
func pinnedTo(pod *corev1.Pod, o *metav1.DeleteOptions, pin bool) *metav1.DeleteOptions {
	if !pin {
		return o
	}
	o = o.DeepCopy()
	if o.Preconditions == nil {
		o.Preconditions = &metav1.Preconditions{}
	}
	o.Preconditions.ResourceVersion = &pod.ResourceVersion
	return o
}

func (e *evictor) decide(ctx context.Context, pod *corev1.Pod) (Verdict, error) {
	list, err := e.budgets.List(ctx, client.InNamespace(pod.Namespace))
	if apierrors.IsNotFound(err) { // a server without budgets
		return Verdict{}, nil
	}
	if err != nil {
		return Verdict{}, err
	}
	return Decide(pod, list.Items)
}

// charge writes the disruption into the budget, which is read anew when others have written it.
func (e *evictor) charge(ctx context.Context, b *policyv1.PodDisruptionBudget, pod string, dry bool) error {
	err := again(ctx, func(n int) (err error) {
		if n > 0 {
			if b, err = e.budgets.Get(ctx, b.Namespace, b.Name); err != nil {
				return err
			}
		}
		charged, err := Charge(b, pod, e.now())
		if err != nil || dry {
			return err
		}
		_, err = e.budgets.UpdateStatus(ctx, charged)
		return err
	})
	if apierrors.IsConflict(err) {
		return apierrors.NewTimeoutError(fmt.Sprintf("couldn't update PodDisruptionBudget %q due to conflicts", b.Name), 10)
	}
	return err
}

// remove marks the pod as a target of disruption and deletes it, if the options' preconditions hold.
func (e *evictor) remove(ctx context.Context, pod *corev1.Pod, o *metav1.DeleteOptions) error {
	if len(o.DryRun) == 0 {
		marked, err := e.mark(ctx, pod, o.Preconditions)
		if err != nil {
			return err
		}
		if p := o.Preconditions; p != nil && p.ResourceVersion != nil { // it is now what the mark made it
			o = o.DeepCopy()
			o.Preconditions.ResourceVersion = &marked.ResourceVersion
		}
	}
	resp, err := e.doer.Do(ctx, &apimachinery.Request{
		Verb: apimachinery.VerbDelete, Resource: e.pods.GroupVersionResource(), Namespace: pod.Namespace, Name: pod.Name, Options: o,
	})
	if err == nil && resp.Stream != nil {
		return resp.Stream.Close()
	}
	return err
}

func (e *evictor) mark(ctx context.Context, pod *corev1.Pod, p *metav1.Preconditions) (marked *corev1.Pod, err error) {
	err = again(ctx, func(int) error {
		now, err := e.pods.Get(ctx, pod.Namespace, pod.Name)
		if err != nil {
			return err
		}
		if err := holds(p, now); err != nil {
			return final{err}
		}
		target(now, e.now())
		marked, err = e.pods.UpdateStatus(ctx, now)
		return err
	})
	return marked, unwrapped(err)
}

func holds(p *metav1.Preconditions, pod *corev1.Pod) error {
	conflict := func(what string, want, have any) error {
		return apierrors.NewConflict(schema.GroupResource{Resource: "Pod"}, pod.Name, fmt.Errorf("the %s in the precondition (%v) does not match the %s in record (%v)", what, want, what, have))
	}
	switch {
	case p == nil:
	case p.UID != nil && *p.UID != "" && *p.UID != pod.UID:
		return conflict("UID", *p.UID, pod.UID)
	case p.ResourceVersion != nil && *p.ResourceVersion != "" && *p.ResourceVersion != pod.ResourceVersion:
		return conflict("ResourceVersion", *p.ResourceVersion, pod.ResourceVersion)
	}
	return nil
}

// target sets the condition by which controllers know a pod that was evicted from one that failed (KEP-3329).
func target(p *corev1.Pod, now time.Time) {
	c := corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
		LastTransitionTime: metav1.NewTime(now), ObservedGeneration: p.Generation,
	}
	i := slices.IndexFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget })
	if i < 0 {
		p.Status.Conditions = append(p.Status.Conditions, c)
		return
	}
	if p.Status.Conditions[i].Status == c.Status {
		c.LastTransitionTime = p.Status.Conditions[i].LastTransitionTime
	}
	p.Status.Conditions[i] = c
}
