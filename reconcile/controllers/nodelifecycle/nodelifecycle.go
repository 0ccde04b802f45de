// Package nodelifecycle notices nodes that have fallen silent, tells of them, and moves their pods.
//
// It is two controllers. The first watches each node's Lease in kube-node-lease and the heartbeats in its status. One
// that renews neither for [Config.Grace] gets Unknown for its conditions, and its pods are no longer ready. Taints
// follow the conditions: NoSchedule at once, and NoExecute (unreachable, or not-ready where the node itself says so)
// at a rate for each zone, because that makes pods move. When all zones are down, it is most likely the control plane
// that is cut off: then nothing is evicted at all. The second controller deletes the pods that don't tolerate a
// NoExecute taint, whoever put it there, at once or when their tolerationSeconds have passed.
//
// [Silent], [Taints] and [EvictAt] decide, as pure functions; [Add] runs them with a manager. A node's silence is
// measured by this process' clock from when it saw the last renewal, so that clocks needn't agree, and a controller
// that has just started gives every node its whole grace.
//
// The time that a pod may stay counts from the taint's timeAdded where it has one, and so goes on over a restart;
// where it has none, from when the taint was first seen. A node that changes between unreachable and not-ready keeps
// the older time.
package nodelifecycle

import (
	"errors"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/events"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// Config says how patient the controllers are. The zero value is Kubernetes' own.
type Config struct {
	// Grace is how long a node may be silent. It should be several times the interval of its renewals. Default 50 s.
	Grace time.Duration
	// StartupGrace is the same for a node that has never said how it is, from its creation. Default 60 s.
	StartupGrace time.Duration
	// Rate is how many nodes of a zone are tainted NoExecute each second, the first one at once. Default 0.1.
	Rate float64
	// SecondaryRate is that of a large zone of which much is down; in a small one it is none. Default 0.01.
	SecondaryRate float64
	// LargeZone is the number of nodes beyond which a zone is large. Default 50.
	LargeZone int
	// Unhealthy is the part of a zone's nodes, at least three, that must be down for SecondaryRate. Default 0.55.
	Unhealthy float64
}

func (c *Config) validate() error {
	if c.Grace < 0 || c.StartupGrace < 0 || c.Rate < 0 || c.SecondaryRate < 0 || c.LargeZone < 0 || c.Unhealthy < 0 || c.Unhealthy > 1 {
		return errors.New("nothing may be negative, and Unhealthy at most 1")
	}
	set(&c.Grace, 50*time.Second)
	set(&c.StartupGrace, 60*time.Second)
	set(&c.Rate, 0.1)
	set(&c.SecondaryRate, 0.01)
	set(&c.LargeZone, 50)
	set(&c.Unhealthy, 0.55)
	return nil
}

func set[T comparable](v *T, to T) {
	if *v == *new(T) {
		*v = to
	}
}

// byNode is the index of pods by the node that they are bound to.
const byNode = "spec.nodeName"

// Add adds both controllers to a manager whose client knows Node, Pod, Lease and Event.
func Add(m *reconcile.Manager, config Config) error {
	if err := config.validate(); err != nil {
		return fmt.Errorf("configure the node lifecycle controller: %w", err)
	}
	c := &controller{
		config: config, nodes: client.For[*corev1.Node](m.Client()), pods: client.For[*corev1.Pod](m.Client()),
		known: map[string]*health{}, zones: newZones(config), wake: make(chan struct{}, 1),
	}
	if err := c.open(m); err != nil {
		return fmt.Errorf("add controller nodelifecycle: %w", err)
	}
	m.Go("node leases", true, c.followLeases)
	e := &evictor{controller: c, seen: map[string]map[taintID]time.Time{}, waiting: map[string]bool{}}
	return errors.Join(
		reconcile.Add(m, reconcile.Controller[*corev1.Node]{
			Name: "node-lifecycle", Reconcile: c.reconcile, Gone: c.gone, Workers: 8,
			Watches: []reconcile.Watch{reconcile.Watches(c.ofPod), reconcile.Triggered(c.awaken)},
		}),
		reconcile.Add(m, reconcile.Controller[*corev1.Pod]{
			Name: "taint-eviction", Reconcile: e.reconcile, Wants: e.wants, Gone: e.gone, Workers: 8,
			Watches: []reconcile.Watch{reconcile.Watches(e.ofNode)},
		}),
	)
}

// controller is the first of the two.
type controller struct {
	config   Config
	nodes    client.Resource[*corev1.Node]
	pods     client.Resource[*corev1.Pod]
	nodeList *informer.Informer[*corev1.Node]
	podList  *informer.Informer[*corev1.Pod]
	leases   *informer.Informer[*coordinationv1.Lease]
	events   *events.Recorder
	wake     chan struct{} // gets a token when all nodes have to be looked at

	mu      sync.Mutex
	known   map[string]*health
	zones   *zones
	counted bool // zones has all nodes
	stopped bool // all zones are down
}

func (c *controller) open(m *reconcile.Manager) (err error) {
	if c.nodeList, err = reconcile.Informer[*corev1.Node](m); err != nil {
		return err
	}
	if c.podList, err = reconcile.Informer[*corev1.Pod](m); err != nil {
		return err
	}
	if c.leases, err = reconcile.Informer[*coordinationv1.Lease](m); err != nil {
		return err
	}
	if c.events, err = m.Events(); err != nil {
		return err
	}
	return c.podList.EnsureIndex(byNode, func(p *corev1.Pod) []string {
		if p.Spec.NodeName == "" {
			return nil
		}
		return []string{p.Spec.NodeName}
	})
}
