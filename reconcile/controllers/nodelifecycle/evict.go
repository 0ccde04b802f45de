package nodelifecycle

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
)

// EvictAt is when a pod has to leave a node because of its NoExecute taints; leave is false if it may stay. since is
// from when a taint counts. A taint that isn't tolerated counts at once, one that is tolerated for a time after that.
// It is a pure function.
func EvictAt(p *corev1.Pod, taints []corev1.Taint, since func(corev1.Taint) time.Time) (at time.Time, leave bool) {
	for _, t := range taints {
		if t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		patience, forever := patienceWith(p, &t)
		if forever {
			continue
		}
		if due := since(t).Add(patience); !leave || due.Before(at) {
			at, leave = due, true
		}
	}
	return at, leave
}

// patienceWith is how long a pod tolerates a taint, by its first toleration that does.
func patienceWith(p *corev1.Pod, taint *corev1.Taint) (d time.Duration, forever bool) {
	for i := range p.Spec.Tolerations {
		t := &p.Spec.Tolerations[i]
		switch {
		case !tolerates(t, taint):
		case t.TolerationSeconds == nil:
			return 0, true
		default:
			const most = int64(1<<63-1) / int64(time.Second)
			return time.Duration(min(max(*t.TolerationSeconds, 0), most)) * time.Second, false
		}
	}
	return 0, false
}

// tolerates says whether a toleration is for a taint: what it leaves out is any, and Exists any value. Gt and Lt
// compare integers, the taint's with the toleration's.
func tolerates(t *corev1.Toleration, taint *corev1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
		return false
	}
	switch t.Operator {
	case "", corev1.TolerationOpEqual:
		return t.Value == taint.Value
	case corev1.TolerationOpExists:
		return true
	case corev1.TolerationOpGt, corev1.TolerationOpLt:
		limit, err := strconv.ParseInt(t.Value, 10, 64)
		value, err2 := strconv.ParseInt(taint.Value, 10, 64)
		if err != nil || err2 != nil {
			return false
		}
		return t.Operator == corev1.TolerationOpGt && value > limit || t.Operator == corev1.TolerationOpLt && value < limit
	}
	return false
}

// evictor is the second controller.
type evictor struct {
	*controller
	mu      sync.Mutex
	seen    map[string]map[taintID]time.Time // by node: when taints without a time were first seen
	waiting map[string]bool                  // pods that will have to leave
}

type taintID struct{ key, value string }

func executing(n *corev1.Node) (out []corev1.Taint) {
	for _, t := range n.Spec.Taints {
		if t.Effect == corev1.TaintEffectNoExecute {
			out = append(out, t)
		}
	}
	return out
}

func evicts(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute })
}

// ofNode are the pods on a node that evicts.
func (e *evictor) ofNode(n *corev1.Node) (keys []string) {
	e.forget(n.Name)
	if !evicts(n) {
		return nil
	}
	for p := range e.podList.ByIndex(byNode, n.Name) {
		keys = append(keys, apimachinery.KeyOf(p))
	}
	return keys
}

// wants are the pods on nodes that evict, and those that would have had to leave.
func (e *evictor) wants(p *corev1.Pod) bool {
	if p.Spec.NodeName == "" || p.DeletionTimestamp != nil {
		return false
	}
	if n, ok := e.nodeList.View(p.Spec.NodeName); ok && evicts(n) {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.waiting) > 0 && e.waiting[apimachinery.KeyOf(p)]
}

func (e *evictor) reconcile(ctx context.Context, p *corev1.Pod) (reconcile.Result, error) {
	now := time.Now()
	taints, since, ok := e.taints(p.Spec.NodeName, now)
	if !ok {
		return reconcile.Result{}, nil
	}
	at, leave := EvictAt(p, taints, since)
	key := apimachinery.KeyOf(p)
	if had := e.wait(key, leave); had && !leave {
		e.events.Normal(p, "TaintManagerEviction", "Cancelling deletion of Pod %s", key)
	}
	switch {
	case !leave:
		return reconcile.Result{}, nil
	case at.After(now):
		return reconcile.Result{After: at.Sub(now)}, nil
	}
	return reconcile.Result{}, e.evict(ctx, p)
}

func (e *evictor) evict(ctx context.Context, p *corev1.Pod) error {
	e.events.Normal(p, "TaintManagerEviction", "Marking for deletion Pod %s", apimachinery.KeyOf(p))
	err := patchCondition(ctx, e.pods, p, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(), ObservedGeneration: p.Generation,
		Reason: "DeletionByTaintManager", Message: "Taint manager: deleting due to NoExecute taint",
	})
	if err != nil {
		return err
	}
	return ignoreOther(e.pods.Delete(ctx, p.Namespace, p.Name, client.IfUID(p.UID)))
}

func (e *evictor) gone(_ context.Context, key string) error {
	e.wait(key, false)
	return nil
}

// wait notes whether a pod will have to leave, and returns whether it had to before.
func (e *evictor) wait(key string, leave bool) (had bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	had = e.waiting[key]
	if leave {
		e.waiting[key] = true
	} else {
		delete(e.waiting, key)
	}
	return had
}

// taints are those by which a node evicts, and from when they count; ok is false if there is no such node. The node is
// looked up under the lock, so that forget, which is told of what comes later, has the last word.
func (e *evictor) taints(node string, now time.Time) (taints []corev1.Taint, since func(corev1.Taint) time.Time, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n, ok := e.nodeList.View(node)
	if !ok {
		return nil, nil, false
	}
	taints = executing(n)
	had, has := e.seen[node], map[taintID]time.Time{}
	for _, t := range taints {
		id := taintID{t.Key, t.Value}
		switch first, ok := had[id]; {
		case t.TimeAdded != nil:
			has[id] = t.TimeAdded.Time
		case ok:
			has[id] = first
		default:
			has[id] = now
		}
	}
	if len(has) > 0 {
		e.seen[node] = has
	}
	return taints, func(t corev1.Taint) time.Time { return has[taintID{t.Key, t.Value}] }, true
}

// forget forgets since when a node has had its taints, if it has none any more or is gone.
func (e *evictor) forget(node string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n, ok := e.nodeList.View(node); !ok || !evicts(n) {
		delete(e.seen, node)
	}
}
