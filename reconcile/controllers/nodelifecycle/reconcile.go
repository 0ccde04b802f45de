package nodelifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
)

func (c *controller) reconcile(ctx context.Context, n *corev1.Node) (reconcile.Result, error) {
	now := time.Now()
	deadline, news := c.observe(n, now)
	if news {
		c.events.Normal(n, "RegisteredNode", "Node %s event: Registered Node %s in Controller", n.Name, n.Name)
	}
	n, err := c.judge(ctx, n, deadline, now)
	if err != nil {
		return reconcile.Result{}, ignoreGone(err)
	}
	wait, err := c.taint(ctx, n, now)
	if readiness(n) == corev1.ConditionUnknown {
		err = errors.Join(ignoreGone(err), c.unready(ctx, n.Name, now))
	}
	if left := deadline.Sub(now); left > 0 && (wait == 0 || left < wait) {
		wait = left
	}
	return reconcile.Result{After: wait}, ignoreGone(err)
}

func (c *controller) gone(_ context.Context, name string) error {
	c.mu.Lock()
	h, ok := c.known[name]
	delete(c.known, name)
	c.zones.remove(name)
	c.mu.Unlock()
	if ok {
		about := corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: name, UID: h.uid}
		c.events.Record(about, corev1.EventTypeNormal, "RemovingNode", "Node %s event: Removing Node %s from Controller", name, name)
	}
	c.turn(time.Now())
	return nil
}

// judge writes that a node has fallen silent, if it has, and returns it as it is then.
func (c *controller) judge(ctx context.Context, n *corev1.Node, deadline, now time.Time) (*corev1.Node, error) {
	if now.Before(deadline) {
		return n, nil
	}
	conditions, changed := Silent(n, now)
	if !changed {
		return n, nil
	}
	was := readiness(n)
	n.Status.Conditions = conditions
	n, err := c.nodes.UpdateStatus(ctx, n)
	if err != nil {
		return nil, err
	}
	if was == corev1.ConditionTrue {
		c.events.Normal(n, "NodeNotReady", "Node %s status is now: NodeNotReady", n.Name)
	}
	c.mu.Lock()
	if h, ok := c.known[n.Name]; ok {
		h.unknown = true
	}
	c.mu.Unlock()
	return n, nil
}

// taint brings a node's taints in line, and says when to try again if one has to wait for its turn.
func (c *controller) taint(ctx context.Context, n *corev1.Node, now time.Time) (wait time.Duration, err error) {
	stopped := c.count(n, now)
	e := Hold
	switch {
	case stopped:
		e = Lift
	case Calls(n):
		c.mu.Lock()
		wait = c.zones.take(zoneOf(n), now)
		c.mu.Unlock()
		if wait == 0 {
			e = Evict
		}
	}
	taints, changed := Taints(n, e, now)
	if !changed {
		return wait, nil
	}
	n.Spec.Taints = taints
	if _, err = c.nodes.Update(ctx, n); err != nil && e == Evict {
		c.mu.Lock()
		c.zones.zone(zoneOf(n), now).tokens = 1 // it was not used
		c.mu.Unlock()
	}
	return wait, err
}

// count counts a node as it is now, and says whether evictions are stopped.
func (c *controller) count(n *corev1.Node, now time.Time) (stopped bool) {
	c.mu.Lock()
	if !c.counted {
		c.counted = true
		for other := range c.nodeList.List("") {
			c.zones.set(other, now)
		}
		c.stopped = c.zones.stopped()
	}
	c.zones.set(n, now)
	c.mu.Unlock()
	return c.turn(now)
}

// turn notices that evictions have to stop, or may go on. Then every node is looked at again; when they go on, each
// has its whole grace anew, because it was most likely not the nodes that were down.
func (c *controller) turn(now time.Time) (stopped bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stopped = c.zones.stopped(); stopped == c.stopped {
		return stopped
	}
	c.stopped = stopped
	if !stopped {
		c.allAlive(now)
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return stopped
}

// awaken has all nodes looked at when that is called for.
func (c *controller) awaken(ctx context.Context, add func(key string)) {
	for {
		select {
		case <-c.wake:
			for n := range c.nodeList.List("") {
				add(n.Name)
			}
		case <-ctx.Done():
			return
		}
	}
}

// ofPod is the node of a pod that says it is ready though its node is silent.
func (c *controller) ofPod(p *corev1.Pod) []string {
	if p.Spec.NodeName == "" || !isReady(p) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h, ok := c.known[p.Spec.NodeName]; ok && h.unknown {
		return []string{p.Spec.NodeName}
	}
	return nil
}

func isReady(p *corev1.Pod) bool {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status != corev1.ConditionFalse
		}
	}
	return false
}

// unready says of a silent node's pods that they are not ready, so that services leave them out.
func (c *controller) unready(ctx context.Context, node string, now time.Time) error {
	var errs []error
	for p := range c.podList.ByIndex(byNode, node) {
		if !isReady(p) {
			continue
		}
		ready := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(now)}
		if err := patchCondition(ctx, c.pods, p, ready); err != nil {
			errs = append(errs, err)
			continue
		}
		c.events.Warning(p, "NodeNotReady", "Node is not ready")
	}
	return errors.Join(errs...)
}

// patchCondition sets one condition of a pod. If the pod is gone, or another, that is no error.
func patchCondition(ctx context.Context, pods client.Resource[*corev1.Pod], p *corev1.Pod, condition corev1.PodCondition) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": p.UID},
		"status":   map[string]any{"conditions": []any{conditionMap(condition)}},
	})
	if err != nil {
		return err
	}
	_, err = pods.PatchStatus(ctx, p.Namespace, p.Name, types.StrategicMergePatchType, patch)
	return ignoreOther(err)
}

// conditionMap leaves out what is not to be written.
func conditionMap(c corev1.PodCondition) map[string]any {
	m := map[string]any{"type": c.Type, "status": c.Status, "lastTransitionTime": c.LastTransitionTime}
	if c.Reason != "" {
		m["reason"], m["message"] = c.Reason, c.Message
	}
	if c.ObservedGeneration != 0 {
		m["observedGeneration"] = c.ObservedGeneration
	}
	return m
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// ignoreOther ignores what an object with a given uid answers when it is gone, or another has its name.
func ignoreOther(err error) error {
	if apierrors.IsConflict(err) {
		return nil
	}
	return ignoreGone(err)
}
