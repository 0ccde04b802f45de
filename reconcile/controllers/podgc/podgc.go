// Package podgc deletes pods that nobody else can: those of nodes that are gone or out of service, those that are to
// go and were never bound to a node, and the oldest of those that have ended, once there are too many.
//
// Such a pod is marked Failed if it hasn't ended, and then deleted without a grace period, because no agent will
// answer any more. [Judge] decides, as a pure function; [Add] runs it with a manager.
package podgc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// Config says how long things are let lie. The zero value is Kubernetes' own.
type Config struct {
	// Quarantine is how long a node must have been missing before its pods are deleted. Default 40 s.
	Quarantine time.Duration
	// Terminated is how many pods that have ended may stay. Default 12,500; negative: any number.
	Terminated int
	// Period is how often pods that have ended are counted. Default 20 s.
	Period time.Duration
}

func (c *Config) validate() error {
	if c.Quarantine < 0 || c.Period < 0 {
		return errors.New("Quarantine and Period must not be negative")
	}
	c.Quarantine = cmp.Or(c.Quarantine, 40*time.Second)
	c.Terminated = cmp.Or(c.Terminated, 12_500)
	c.Period = cmp.Or(c.Period, 20*time.Second)
	return nil
}

// Verdict is what is to become of a pod.
type Verdict int

// What may become of a pod.
const (
	// Keep leaves it to others.
	Keep Verdict = iota
	// Orphan is on a node that doesn't exist: it goes once that is certain.
	Orphan
	// Delete goes at once.
	Delete
)

// Judge says what is to become of a pod; node is the one that it is bound to, nil if there is none of that name. It
// is a pure function.
func Judge(p *corev1.Pod, node *corev1.Node) Verdict {
	ending := p.DeletionTimestamp != nil
	switch {
	case p.Spec.NodeName == "" && ending:
		return Delete
	case p.Spec.NodeName == "":
		return Keep
	case node == nil:
		return Orphan
	case ending && outOfService(node):
		return Delete
	}
	return Keep
}

// outOfService says whether somebody has declared a node to be shut down for good, and it isn't ready.
func outOfService(n *corev1.Node) bool {
	ready := slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	return !ready && slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

// byNode is the index of pods by the node that they are bound to.
const byNode = "spec.nodeName"

// Add adds the controller to a manager whose client knows Pod and Node.
func Add(m *reconcile.Manager, config Config) error {
	if err := config.validate(); err != nil {
		return fmt.Errorf("configure the pod garbage collector: %w", err)
	}
	c := &controller{config: config, pods: client.For[*corev1.Pod](m.Client()), nodes: client.For[*corev1.Node](m.Client()), missing: map[string]time.Time{}}
	if err := c.open(m); err != nil {
		return fmt.Errorf("add controller podgc: %w", err)
	}
	m.Go("pods that have ended", true, func(ctx context.Context) error { return c.followEnded(ctx, m) })
	return reconcile.Add(m, reconcile.Controller[*corev1.Pod]{
		Name: "podgc", Reconcile: c.reconcile, Wants: c.wants, Workers: 4, Watches: []reconcile.Watch{reconcile.Watches(c.ofNode)},
	})
}

type controller struct {
	config   Config
	pods     client.Resource[*corev1.Pod]
	nodes    client.Resource[*corev1.Node]
	podList  *informer.Informer[*corev1.Pod]
	nodeList *informer.Informer[*corev1.Node]

	mu      sync.Mutex
	missing map[string]time.Time // since when nodes are
}

func (c *controller) open(m *reconcile.Manager) (err error) {
	if c.podList, err = reconcile.Informer[*corev1.Pod](m); err != nil {
		return err
	}
	if c.nodeList, err = reconcile.Informer[*corev1.Node](m); err != nil {
		return err
	}
	return c.podList.EnsureIndex(byNode, func(p *corev1.Pod) []string {
		if p.Spec.NodeName == "" {
			return nil
		}
		return []string{p.Spec.NodeName}
	})
}

// ofNode are the pods of a node that is gone, or out of service.
func (c *controller) ofNode(n *corev1.Node) (keys []string) {
	if c.node(n.Name) != nil && !outOfService(n) {
		return nil
	}
	for p := range c.podList.ByIndex(byNode, n.Name) {
		keys = append(keys, apimachinery.KeyOf(p))
	}
	return keys
}

// node returns a node if it is there, and then it is not missing.
func (c *controller) node(name string) *corev1.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.nodeList.View(name)
	if !ok {
		return nil
	}
	delete(c.missing, name)
	return n
}

func (c *controller) wants(p *corev1.Pod) bool {
	if p.Spec.NodeName == "" {
		return Judge(p, nil) != Keep
	}
	return Judge(p, c.node(p.Spec.NodeName)) != Keep
}

func (c *controller) reconcile(ctx context.Context, p *corev1.Pod) (reconcile.Result, error) {
	switch Judge(p, c.node(p.Spec.NodeName)) {
	case Delete:
		return reconcile.Result{}, c.remove(ctx, p, nil)
	case Orphan:
		since := c.missingSince(p.Spec.NodeName, time.Now())
		if left := time.Until(since.Add(c.config.Quarantine)); left > 0 {
			return reconcile.Result{After: left}, nil
		}
		return c.orphan(ctx, p)
	}
	return reconcile.Result{}, nil
}

// missingSince returns since when a node has been missing; now if it isn't.
func (c *controller) missingSince(name string, now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.nodeList.View(name); there {
		return now
	}
	if _, ok := c.missing[name]; !ok {
		c.missing[name] = now
	}
	return c.missing[name]
}

// forget forgets missing nodes that no pod is bound to.
func (c *controller) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.missing {
		bound := false
		for range c.podList.ByIndex(byNode, name) {
			bound = true
			break
		}
		if !bound {
			delete(c.missing, name)
		}
	}
}

// orphan deletes a pod whose node is gone, once the API says so too, rather than the cache alone.
func (c *controller) orphan(ctx context.Context, p *corev1.Pod) (reconcile.Result, error) {
	switch _, err := c.nodes.Get(ctx, "", p.Spec.NodeName); {
	case err == nil:
		return reconcile.Result{After: c.config.Quarantine}, nil
	case !apierrors.IsNotFound(err):
		return reconcile.Result{}, err
	}
	err := c.remove(ctx, p, map[string]any{
		"type": corev1.DisruptionTarget, "status": corev1.ConditionTrue, "lastTransitionTime": metav1.Now(), "observedGeneration": p.Generation,
		"reason": "DeletionByPodGC", "message": "PodGC: node no longer exists",
	})
	return reconcile.Result{}, err
}

// remove ends a pod. If it is gone, or another has its name, that is no error.
func (c *controller) remove(ctx context.Context, p *corev1.Pod, condition map[string]any) error {
	if !ended(p) {
		status := map[string]any{"phase": corev1.PodFailed}
		if condition != nil {
			status["conditions"] = []any{condition}
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID}, "status": status})
		if err != nil {
			return err
		}
		_, err = c.pods.PatchStatus(ctx, p.Namespace, p.Name, types.StrategicMergePatchType, patch)
		if err != nil {
			return ignoreOther(err)
		}
	}
	return ignoreOther(c.pods.Delete(ctx, p.Namespace, p.Name, client.IfUID(p.UID), client.Grace(0)))
}

func ignoreOther(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// Surplus are the pods to delete so that no more than most that have ended are left: those that were evicted first,
// and then the oldest. It is a pure function.
func Surplus(pods []*corev1.Pod, most int) []*corev1.Pod {
	pods = slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return !ended(p) })
	if len(pods) <= most {
		return nil
	}
	evicted := func(p *corev1.Pod) int {
		if p.Status.Phase == corev1.PodFailed && p.Status.Reason == "Evicted" {
			return 0
		}
		return 1
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(evicted(a), evicted(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return pods[:len(pods)-most]
}

// followEnded counts pods that have ended, now and then.
func (c *controller) followEnded(ctx context.Context, m *reconcile.Manager) error {
	tick := time.NewTicker(c.config.Period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.forget()
		}
		if c.config.Terminated < 0 || c.podList.Len() <= c.config.Terminated {
			continue
		}
		for _, p := range Surplus(slices.Collect(c.podList.List("")), c.config.Terminated) {
			if err := c.remove(ctx, p, nil); err != nil && ctx.Err() == nil {
				m.Log().Error("delete a pod that has ended", "pod", apimachinery.KeyOf(p), "err", err)
			}
		}
	}
}
