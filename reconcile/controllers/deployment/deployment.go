// Package deployment rolls Deployments out, as Kubernetes does: kubectl rollout status, history, undo, pause and
// restart work on them.
//
// [Diff] works out what is to be done, as a pure function; [Add] runs it with a manager.
package deployment

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/events"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// Add adds the controller to a manager whose client knows Pod, ReplicaSet, Deployment and Event.
func Add(m *reconcile.Manager) error {
	c := &controller{
		deployments: client.For[*appsv1.Deployment](m.Client()),
		sets:        client.For[*appsv1.ReplicaSet](m.Client()),
	}
	if err := errors.Join(reconcile.IndexOrphans[*appsv1.ReplicaSet](m), c.open(m)); err != nil {
		return fmt.Errorf("add controller deployment: %w", err)
	}
	return reconcile.Add(m, reconcile.Controller[*appsv1.Deployment]{
		Name:      "deployment",
		Reconcile: c.reconcile,
		Workers:   5,
		Watches: []reconcile.Watch{
			reconcile.Owns[*appsv1.ReplicaSet](),
			reconcile.Watches(c.forOrphan),
			reconcile.Watches(c.forPod),
		},
	})
}

type controller struct {
	deployments client.Resource[*appsv1.Deployment]
	sets        client.Resource[*appsv1.ReplicaSet]
	cache       *informer.Informer[*appsv1.Deployment]
	setCache    *informer.Informer[*appsv1.ReplicaSet]
	podCache    *informer.Informer[*corev1.Pod]
	events      *events.Recorder
}

func (c *controller) open(m *reconcile.Manager) (err error) {
	if c.cache, err = reconcile.Informer[*appsv1.Deployment](m); err != nil {
		return err
	}
	if c.setCache, err = reconcile.Informer[*appsv1.ReplicaSet](m); err != nil {
		return err
	}
	if c.podCache, err = reconcile.Informer[*corev1.Pod](m); err != nil {
		return err
	}
	c.events, err = m.Events()
	return err
}

// forOrphan finds the deployments that may adopt a set which nobody controls.
func (c *controller) forOrphan(rs *appsv1.ReplicaSet) (keys []string) {
	if len(rs.Labels) == 0 || metav1.GetControllerOfNoCopy(rs) != nil {
		return nil
	}
	for d := range c.cache.List(rs.Namespace) {
		s, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		if err == nil && !s.Empty() && s.Matches(labels.Set(rs.Labels)) {
			keys = append(keys, apimachinery.KeyOf(d))
		}
	}
	return keys
}

// forPod finds a pod's deployment, if that waits for the end of pods before it makes new ones.
func (c *controller) forPod(p *corev1.Pod) []string {
	ref := metav1.GetControllerOfNoCopy(p)
	if ref == nil || ref.Kind != "ReplicaSet" {
		return nil
	}
	rs, ok := c.setCache.View(apimachinery.Key(p.Namespace, ref.Name))
	if !ok {
		return nil
	}
	owner := metav1.GetControllerOfNoCopy(rs)
	if owner == nil || owner.Kind != "Deployment" {
		return nil
	}
	key := apimachinery.Key(p.Namespace, owner.Name)
	if d, ok := c.cache.View(key); !ok || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		return nil
	}
	return []string{key}
}

func (c *controller) reconcile(ctx context.Context, d *appsv1.Deployment) (reconcile.Result, error) {
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil || selector.Empty() {
		return reconcile.Result{}, reconcile.Terminal(fmt.Errorf("selector of %s selects nothing: %v", apimachinery.KeyOf(d), err))
	}
	claimed := reconcile.Claim(d, selector, reconcile.Owned(c.setCache, d), c.setCache.ByIndex(reconcile.Orphans, d.Namespace))
	if err := reconcile.Settle(ctx, c.deployments, d, c.sets, &claimed); err != nil {
		return reconcile.Result{}, err
	}
	plan, err := Diff(World{Deployment: d, Sets: claimed.Owned, OldPods: c.oldPods(d, claimed.Owned), Now: time.Now()})
	if err != nil {
		return reconcile.Result{}, err
	}
	failed := c.act(ctx, d, &plan)
	if plan.Changed(d) {
		if d.Annotations == nil {
			d.Annotations = map[string]string{}
		}
		d.Status, d.Annotations[revisionAnnotation] = plan.Status, plan.Revision
		if _, err := c.deployments.UpdateStatus(ctx, d); err != nil && !apierrors.IsNotFound(err) {
			return reconcile.Result{}, errors.Join(failed, err)
		}
	}
	return reconcile.Result{After: plan.After}, failed
}

// oldPods says whether pods of sets other than the new one are about.
func (c *controller) oldPods(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) bool {
	if d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		return false
	}
	now := findNew(d, sets)
	for _, rs := range sets {
		if now != nil && rs.UID == now.UID {
			continue
		}
		for p := range reconcile.Owned(c.podCache, rs) {
			if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
				return true
			}
		}
	}
	return false
}

// act does what the plan says, up to the first failure. A failure to make the new set is noted in the status.
func (c *controller) act(ctx context.Context, d *appsv1.Deployment, plan *Plan) error {
	if plan.Create != nil {
		if err := c.create(ctx, d, plan); err != nil {
			return err
		}
	}
	for _, rs := range plan.Update {
		if _, err := c.sets.Update(ctx, rs); err != nil {
			plan.Status, plan.Revision = d.Status, d.Annotations[revisionAnnotation] // what was to be is not
			return err
		}
	}
	for _, text := range plan.Events {
		c.events.Normal(d, "ScalingReplicaSet", "%s", text)
	}
	for _, rs := range plan.Delete {
		err := c.sets.Delete(ctx, rs.Namespace, rs.Name, client.IfUID(rs.UID), client.Propagation(metav1.DeletePropagationBackground))
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	return nil
}

func (c *controller) create(ctx context.Context, d *appsv1.Deployment, plan *Plan) error {
	_, err := c.sets.Create(ctx, plan.Create)
	switch {
	case err == nil:
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		plan.Status, plan.Revision, plan.Events = d.Status, d.Annotations[revisionAnnotation], nil
		return nil // nothing is to be made there any more
	case apierrors.IsAlreadyExists(err):
		return c.exists(ctx, d, plan, err)
	}
	plan.Status, plan.Revision = *d.Status.DeepCopy(), d.Annotations[revisionAnnotation]
	if hasDeadline(d) {
		setCondition(&plan.Status, progressing(corev1.ConditionFalse, reasonCreateError, "Failed to create new replica set %q: %v", plan.Create.Name, err), time.Now())
	}
	c.events.Warning(d, reasonCreateError, "Failed to create new replica set %q: %v", plan.Create.Name, err)
	return err
}

// exists looks at who has the name: the set that an earlier run made, or another, and then a new name is needed.
func (c *controller) exists(ctx context.Context, d *appsv1.Deployment, plan *Plan, err error) error {
	plan.Status, plan.Revision, plan.Events = d.Status, d.Annotations[revisionAnnotation], nil
	have, getErr := c.sets.Get(ctx, d.Namespace, plan.Create.Name)
	if getErr != nil {
		return getErr
	}
	ref := metav1.GetControllerOfNoCopy(have)
	if ref != nil && ref.UID == d.UID && sameTemplate(&have.Spec.Template, &d.Spec.Template) {
		return fmt.Errorf("wait for the cache to show the new replica set: %w", err)
	}
	plan.Status = Collide(d.Status)
	return fmt.Errorf("take another name for the new replica set: %w", err)
}
