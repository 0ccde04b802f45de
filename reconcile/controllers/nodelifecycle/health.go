package nodelifecycle

import (
	"context"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/reconcile/informer"
)

// Silent are the conditions of a node that has fallen silent, and whether they are others than it has: all that a
// kubelet keeps are Unknown. NetworkUnavailable is not its to keep. It is a pure function.
func Silent(n *corev1.Node, now time.Time) (conditions []corev1.NodeCondition, changed bool) {
	conditions = slices.Clone(n.Status.Conditions)
	for _, t := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		at := slices.IndexFunc(conditions, func(c corev1.NodeCondition) bool { return c.Type == t })
		if at < 0 {
			conditions = append(conditions, corev1.NodeCondition{
				Type: t, Status: corev1.ConditionUnknown, LastHeartbeatTime: n.CreationTimestamp, LastTransitionTime: metav1.NewTime(now),
				Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
			})
			changed = true
			continue
		}
		if c := &conditions[at]; c.Status != corev1.ConditionUnknown {
			c.Status, c.LastTransitionTime = corev1.ConditionUnknown, metav1.NewTime(now)
			c.Reason, c.Message = "NodeStatusUnknown", "Kubelet stopped posting node status."
			changed = true
		}
	}
	return conditions, changed
}

func condition(n *corev1.Node, t corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == t {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

// readiness is the status of a node's Ready condition; "" if it has none.
func readiness(n *corev1.Node) corev1.ConditionStatus {
	if c := condition(n, corev1.NodeReady); c != nil {
		return c.Status
	}
	return ""
}

// health is what is known of a node's signs of life.
type health struct {
	uid     types.UID
	beat    metav1.Time      // of its Ready condition
	renewed metav1.MicroTime // of its lease
	alive   time.Time        // when the last sign was seen
	unknown bool             // its Ready condition is
}

// observe notes a node as it is now, and returns when it is silent for too long. news says that it is a new one.
func (c *controller) observe(n *corev1.Node, now time.Time) (deadline time.Time, news bool) {
	ready := condition(n, corev1.NodeReady)
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.known[n.Name]
	switch {
	case !ok || h.uid != n.UID:
		h, news = &health{uid: n.UID, alive: now}, true
		if ready == nil {
			h.alive = n.CreationTimestamp.Time
		}
		c.known[n.Name] = h
	case ready != nil && !ready.LastHeartbeatTime.Equal(&h.beat):
		h.alive = now
	}
	h.unknown = ready != nil && ready.Status == corev1.ConditionUnknown
	if ready == nil {
		return h.alive.Add(c.config.StartupGrace), news
	}
	h.beat = ready.LastHeartbeatTime
	return h.alive.Add(c.config.Grace), news
}

// followLeases takes each renewal for a sign of life.
func (c *controller) followLeases(ctx context.Context) error {
	stop := c.leases.Handle(informer.Handler[*coordinationv1.Lease]{Change: func(ch informer.Change[*coordinationv1.Lease]) {
		if l := ch.New; !ch.Deleted && l.Namespace == corev1.NamespaceNodeLease && l.Spec.RenewTime != nil {
			c.renewed(l.Name, *l.Spec.RenewTime, time.Now())
		}
	}})
	defer stop()
	<-ctx.Done()
	return nil
}

func (c *controller) renewed(node string, at metav1.MicroTime, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h, ok := c.known[node]; ok && h.renewed.Before(&at) {
		h.renewed, h.alive = at, now
	}
}

// allAlive gives every node its whole grace anew.
func (c *controller) allAlive(now time.Time) {
	for _, h := range c.known {
		h.alive = now
	}
}
