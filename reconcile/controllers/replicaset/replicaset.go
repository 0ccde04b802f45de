// Package replicaset keeps as many pods running as each ReplicaSet says.
//
// [Diff] decides, as a pure function; [Add] runs it with a manager. There are no expectations to keep: the manager
// does not work on a set before its cache shows what was last written for it.
package replicaset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/events"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// Add adds the controller to a manager whose client knows Pod, ReplicaSet and Event.
func Add(m *reconcile.Manager) error {
	c := &controller{
		sets: client.For[*appsv1.ReplicaSet](m.Client()),
		pods: client.For[*corev1.Pod](m.Client()),
	}
	err := errors.Join(reconcile.IndexOrphans[*corev1.Pod](m), c.open(m))
	if err != nil {
		return fmt.Errorf("add controller replicaset: %w", err)
	}
	return reconcile.Add(m, reconcile.Controller[*appsv1.ReplicaSet]{
		Name:      "replicaset",
		Reconcile: c.reconcile,
		Workers:   5,
		Watches: []reconcile.Watch{
			reconcile.Owns[*corev1.Pod](),
			reconcile.Watches(c.forOrphan),
		},
	})
}

type controller struct {
	sets     client.Resource[*appsv1.ReplicaSet]
	pods     client.Resource[*corev1.Pod]
	setCache *informer.Informer[*appsv1.ReplicaSet]
	podCache *informer.Informer[*corev1.Pod]
	events   *events.Recorder
}

func (c *controller) open(m *reconcile.Manager) (err error) {
	if c.setCache, err = reconcile.Informer[*appsv1.ReplicaSet](m); err != nil {
		return err
	}
	if c.podCache, err = reconcile.Informer[*corev1.Pod](m); err != nil {
		return err
	}
	c.events, err = m.Events()
	return err
}

// forOrphan finds the sets that may adopt a pod which nobody controls.
func (c *controller) forOrphan(p *corev1.Pod) (keys []string) {
	if len(p.Labels) == 0 || metav1.GetControllerOfNoCopy(p) != nil {
		return nil
	}
	for rs := range c.setCache.List(p.Namespace) {
		s, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
		if err == nil && !s.Empty() && s.Matches(labels.Set(p.Labels)) {
			keys = append(keys, apimachinery.KeyOf(rs))
		}
	}
	return keys
}

func (c *controller) reconcile(ctx context.Context, rs *appsv1.ReplicaSet) (reconcile.Result, error) {
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil || selector.Empty() {
		return reconcile.Result{}, reconcile.Terminal(fmt.Errorf("selector of %s selects nothing: %v", apimachinery.KeyOf(rs), err))
	}
	claimed := reconcile.Claim(rs, selector, reconcile.Owned(c.podCache, rs), c.podCache.ByIndex(reconcile.Orphans, rs.Namespace))
	claimed.Adopt = slices.DeleteFunc(claimed.Adopt, func(p *corev1.Pod) bool { return !Active(p) })
	if err := reconcile.Settle(ctx, c.sets, rs, c.pods, &claimed); err != nil {
		return reconcile.Result{}, err
	}
	now := time.Now()
	plan := Diff(World{Set: rs, Pods: claimed.Owned, Related: c.related(rs), Now: now})
	reason, failed := c.act(ctx, rs, plan)
	Failure(&plan.Status, reason, failed, now)
	if !equality.Semantic.DeepEqual(rs.Status, plan.Status) {
		rs.Status = plan.Status
		if _, err := c.sets.UpdateStatus(ctx, rs); err != nil && !apierrors.IsNotFound(err) {
			return reconcile.Result{}, errors.Join(failed, err)
		}
	}
	return reconcile.Result{After: plan.After}, failed
}

// related counts the pods of the set and of its siblings under one Deployment.
func (c *controller) related(rs *appsv1.ReplicaSet) map[string]int {
	sets := []types.UID{rs.UID}
	if owner := metav1.GetControllerOfNoCopy(rs); owner != nil {
		sets = nil
		for sibling := range c.setCache.ByIndex(reconcile.ByController, string(owner.UID)) {
			sets = append(sets, sibling.UID)
		}
	}
	return related(func(owner types.UID) []*corev1.Pod {
		return slices.Collect(c.podCache.ByIndex(reconcile.ByController, string(owner)))
	}, sets)
}

func (c *controller) act(ctx context.Context, rs *appsv1.ReplicaSet, p Plan) (reason string, err error) {
	switch {
	case p.Create > 0:
		return "FailedCreate", c.create(ctx, rs, p.Create)
	case len(p.Delete) > 0:
		return "FailedDelete", c.remove(ctx, rs, p.Delete)
	}
	return "", nil
}

// create makes n pods in batches that double from one, and stops after a batch with an error: where the first pod
// is refused, so would be all others.
func (c *controller) create(ctx context.Context, rs *appsv1.ReplicaSet, n int) error {
	for size := 1; n > 0; size *= 2 {
		size = min(size, n)
		if err := together(size, func(int) error { return c.createOne(ctx, rs) }); err != nil {
			return err
		}
		n -= size
	}
	return nil
}

func (c *controller) createOne(ctx context.Context, rs *appsv1.ReplicaSet) error {
	p, err := c.pods.Create(ctx, Pod(rs))
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // nothing is to be made there any more
	case err != nil:
		c.events.Warning(rs, "FailedCreate", "Error creating: %v", err)
		return err
	}
	c.events.Normal(rs, "SuccessfulCreate", "Created pod: %s", p.Name)
	return nil
}

// Pod is what a set's template makes.
func Pod(rs *appsv1.ReplicaSet) *corev1.Pod {
	t := rs.Spec.Template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: rs.Name + "-", Namespace: rs.Namespace,
			Labels: t.Labels, Annotations: t.Annotations, Finalizers: t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))},
		},
		Spec: t.Spec,
	}
}

func (c *controller) remove(ctx context.Context, rs *appsv1.ReplicaSet, pods []*corev1.Pod) error {
	return together(len(pods), func(n int) error {
		p := pods[n]
		err := c.pods.Delete(ctx, p.Namespace, p.Name, client.IfUID(p.UID))
		switch {
		case apierrors.IsNotFound(err), apierrors.IsConflict(err):
			return nil // it is gone, or another
		case err != nil:
			c.events.Warning(rs, "FailedDelete", "Error deleting: %v", err)
			return err
		}
		c.events.Normal(rs, "SuccessfulDelete", "Deleted pod: %s", p.Name)
		return nil
	})
}

// parallel is how many pods are created or deleted at once.
const parallel = 16

// together calls f for 0 … n-1, several at a time, and returns the first error; the others are called all the same.
func together(n int, f func(int) error) error {
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
		slots = make(chan struct{}, parallel)
	)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := f(i); err != nil {
				once.Do(func() { first = err })
			}
		})
	}
	wg.Wait()
	return first
}
