// Package nodeipam gives each Node a range of addresses for its pods (spec.podCIDR and spec.podCIDRs), a block of
// the cluster's ranges that no other node has.
//
// A [Ledger] decides, as a pure value; [Add] runs it with a manager. What nodes have is written in the nodes alone:
// before the controller hands out its first block, it reads all of them from the API, past every cache. A block is
// written on the condition that the node is unchanged, and stays the node's in the ledger when it can't be told
// whether the write arrived; it comes back when the API says that the node is gone. Ranges that a node came with
// are respected.
package nodeipam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	netutils "k8s.io/utils/net"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/events"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// The reasons of the controller's events, which are about nodes.
const (
	// NotAvailable says that the ranges are full. The node gets its block when another node goes.
	NotAvailable = "CIDRNotAvailable"
	// AssignmentFailed says that a node's block could not be written.
	AssignmentFailed = "CIDRAssignmentFailed"
	// InConflict says that another node has addresses that the node has. Somebody must delete one of them.
	InConflict = "CIDRConflict"
)

// Config configures the controller. Ranges must be set.
type Config struct {
	// Ranges are the cluster's, at most one of each family; a node gets a block of each. A range has at most 65,536
	// blocks.
	Ranges []netip.Prefix
	// NodeMask is the length of an IPv4 block's prefix, default 24; NodeMask6 that of an IPv6 block, default 64.
	NodeMask, NodeMask6 int
	// Exclude are ranges that no block may lie in or cover, such as that of the Services.
	Exclude []netip.Prefix
}

func (c *Config) validate() error {
	if len(c.Ranges) == 0 {
		return errors.New("Ranges must be set")
	}
	if len(c.Ranges) > 2 || len(c.Ranges) == 2 && c.Ranges[0].Addr().Is4() == c.Ranges[1].Addr().Is4() {
		return errors.New("Ranges must be one, or one of each address family")
	}
	if c.NodeMask == 0 {
		c.NodeMask = 24
	}
	if c.NodeMask6 == 0 {
		c.NodeMask6 = 64
	}
	return nil
}

// Add adds the controller to a manager whose client knows Node and Event.
func Add(m *reconcile.Manager, config Config) error {
	c, err := newController(m, config)
	if err != nil {
		return fmt.Errorf("add controller nodeipam: %w", err)
	}
	return reconcile.Add(m, reconcile.Controller[*corev1.Node]{
		Name:      "nodeipam",
		Reconcile: c.reconcile,
		Gone:      c.gone,
		Watches:   []reconcile.Watch{reconcile.Triggered(c.listen)},
	})
}

func newController(m *reconcile.Manager, config Config) (*controller, error) {
	ledger, err := NewLedger(config)
	if err != nil {
		return nil, err
	}
	recorder, err := m.Events()
	if err != nil {
		return nil, err
	}
	return &controller{
		nodes: client.For[*corev1.Node](m.Client()), events: recorder, log: m.Log().With("controller", "nodeipam"),
		ledger: ledger, waiting: map[string]bool{}, told: map[string]bool{},
	}, nil
}

type controller struct {
	nodes  client.Resource[*corev1.Node]
	events *events.Recorder
	log    *slog.Logger

	mu      sync.Mutex
	ledger  *Ledger
	read    bool            // the ledger holds what the API's nodes had,
	asOf    int64           // at this revision
	waiting map[string]bool // nodes for which there was no block; never more than there are nodes
	told    map[string]bool // nodes whose conflicts were told of
	add     func(key string)
}

// listen lets nodes that wait be worked on again.
func (c *controller) listen(ctx context.Context, add func(string)) {
	c.mu.Lock()
	c.add = add
	c.wake()
	c.mu.Unlock()
	<-ctx.Done()
}

// open reads what nodes have from the API itself, once, before anything is handed out. The caller holds mu.
func (c *controller) open(ctx context.Context) error {
	if c.read {
		return nil
	}
	l, err := c.nodes.List(ctx)
	if err != nil {
		return fmt.Errorf("read what nodes have: %w", err)
	}
	for n := range l.Items {
		if has := blocks(l.Items[n]); len(has) > 0 {
			c.ledger.Occupy(l.Items[n].Name, has) // conflicts are told of when the node's turn comes
		}
	}
	c.read, c.asOf = true, informer.RevOf(l.ResourceVersion)
	return nil
}

// blocks are what a node says it has; what can't be read is nobody's.
func blocks(n *corev1.Node) (out []netip.Prefix) {
	all := n.Spec.PodCIDRs
	if len(all) == 0 && n.Spec.PodCIDR != "" {
		all = []string{n.Spec.PodCIDR}
	}
	for _, text := range all {
		_, p, err := netutils.ParseCIDRSloppy(text) // as the API's validation reads it
		if err != nil {
			continue
		}
		if a, ok := netip.AddrFromSlice(p.IP); ok {
			bits, _ := p.Mask.Size()
			out = append(out, netip.PrefixFrom(a, bits))
		}
	}
	return out
}

func (c *controller) reconcile(ctx context.Context, n *corev1.Node) (reconcile.Result, error) {
	give, err := c.decide(ctx, n)
	if err != nil || len(give) == 0 {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, c.give(ctx, n, give)
}

// decide brings the ledger up to what a node says, and returns what it is to be given, if anything.
func (c *controller) decide(ctx context.Context, n *corev1.Node) (give []netip.Prefix, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	if n.Spec.PodCIDR != "" || len(n.Spec.PodCIDRs) > 0 {
		c.occupy(n)
		return nil, nil
	}
	if n.DeletionTimestamp != nil {
		return nil, nil
	}
	give, err = c.ledger.Take(n.Name)
	if !errors.Is(err, ErrFull) {
		delete(c.waiting, n.Name)
		return give, err
	}
	if !c.waiting[n.Name] {
		c.waiting[n.Name] = true
		c.events.Warning(n, NotAvailable, "Node %s status is now: %s: %v", n.Name, NotAvailable, err)
	}
	return nil, nil
}

// occupy notes what a node says it has, and tells of conflicts, once. What the cache shows from before the ledger
// was opened is older than the ledger, or the same. The caller holds mu.
func (c *controller) occupy(n *corev1.Node) {
	delete(c.waiting, n.Name)
	has := blocks(n)
	if rev := informer.RevOf(n.ResourceVersion); rev == 0 || rev > c.asOf {
		if freed, _ := c.ledger.Occupy(n.Name, has); freed {
			c.wake()
		}
	}
	if c.told[n.Name] {
		return
	}
	for _, conflict := range c.ledger.Conflicts(n.Name, has) {
		c.told[n.Name] = true
		c.events.Warning(n, InConflict, "%v", conflict)
		c.log.Error("two nodes have the same addresses", "err", conflict)
	}
}

// wake lets all that wait try again. The caller holds mu.
func (c *controller) wake() {
	for name := range c.waiting {
		if c.add != nil {
			c.add(name)
		}
	}
}

// give writes a node's blocks, if the node is still what it was. After an error they stay the node's: the write may
// have arrived, and if not, it is tried again.
func (c *controller) give(ctx context.Context, n *corev1.Node, blocks []netip.Prefix) error {
	var patch struct {
		Metadata struct {
			ResourceVersion string    `json:"resourceVersion"`
			UID             types.UID `json:"uid"`
		} `json:"metadata"`
		Spec struct {
			PodCIDR  string   `json:"podCIDR"`
			PodCIDRs []string `json:"podCIDRs"`
		} `json:"spec"`
	}
	patch.Metadata.ResourceVersion, patch.Metadata.UID = n.ResourceVersion, n.UID
	for _, b := range blocks {
		patch.Spec.PodCIDRs = append(patch.Spec.PodCIDRs, b.String())
	}
	patch.Spec.PodCIDR = patch.Spec.PodCIDRs[0]
	body, err := apimachinery.Encode(patch)
	if err != nil {
		return err
	}
	_, err = c.nodes.Patch(ctx, "", n.Name, types.StrategicMergePatchType, body)
	switch {
	case err == nil, apierrors.IsNotFound(err): // if it is gone, that is a change of its own
		return nil
	case !apierrors.IsConflict(err) && ctx.Err() == nil:
		c.events.Warning(n, AssignmentFailed, "Node %s status is now: %s: %v", n.Name, AssignmentFailed, err)
	}
	return err
}

// gone takes back what a node had, once the API itself says that the node is gone: caches may be older, and a new
// node of the same name may have come with the old one's range.
func (c *controller) gone(ctx context.Context, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, name)
	delete(c.told, name)
	if !c.read || len(c.ledger.Has(name)) == 0 {
		return nil
	}
	switch _, err := c.nodes.Get(ctx, "", name); {
	case err == nil:
		return nil // its coming is a change of its own
	case !apierrors.IsNotFound(err):
		return err
	}
	if c.ledger.Release(name) {
		c.wake()
	}
	return nil
}
