//go:build linux

package overlay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/reconcile/informer"
)

// RouteProtocol marks the routes that are made, by default.
const RouteProtocol = 93

// Config says which node is connected to which others. Node and Nodes are needed.
type Config struct {
	// Node is the name of this node.
	Node string
	// Nodes are the nodes of the cluster. The caller runs the informer.
	Nodes *informer.Informer[*corev1.Node]
	// Host is the path of the node's network namespace. Empty: the process's own, as it is when New is called.
	Host string
	// Mode is Routes or VXLAN.
	Mode Mode
	// Ranges is told the node's own pod ranges and those of the whole cluster, at first and when they change; it fits
	// netplug's Network.SetRanges. An error is tried again. nil: nobody is told.
	Ranges func(own, cluster []netip.Prefix) error
	// Protocol marks the routes that are made; RouteProtocol by default. No other program of the host may use the same.
	Protocol int
	// Link is the name of the tunnel's link, "bpvx" by default; VNI its number, 1 by default, and Port its UDP port,
	// 4789 by default: the same on all nodes.
	Link string
	VNI  int
	Port int
	// Resync is the time between looks at the kernel when nothing has changed; 1 min by default.
	Resync time.Duration
	// Log hears of Nodes that were left out and of what is tried again; nil: off.
	Log *slog.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Node == "" || c.Nodes == nil:
		return errors.New("Node and Nodes must be set")
	case c.Mode != Routes && c.Mode != VXLAN:
		return fmt.Errorf("mode %d is neither Routes nor VXLAN", c.Mode)
	case c.Protocol <= 4 || c.Protocol > 255:
		return fmt.Errorf("route protocol %d: 5 to 255", c.Protocol)
	case len(c.Link) > 15:
		return fmt.Errorf("link name %q is longer than 15 bytes", c.Link)
	case c.VNI < 1 || c.VNI >= 1<<24 || c.Port < 1 || c.Port > 65535:
		return fmt.Errorf("VNI %d and port %d: 1 to 16777215, and 1 to 65535", c.VNI, c.Port)
	case c.Resync < 0:
		return errors.New("Resync may not be negative")
	}
	return nil
}

func (c Config) withDefaults() Config {
	set := func(to *int, value int) {
		if *to == 0 {
			*to = value
		}
	}
	set(&c.Protocol, RouteProtocol)
	set(&c.VNI, 1)
	set(&c.Port, 4789)
	if c.Link == "" {
		c.Link = "bpvx"
	}
	if c.Resync == 0 {
		c.Resync = time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Overlay keeps one node's way to the pods of the others. Its methods may be called concurrently.
type Overlay struct {
	c     Config
	k     *kernel
	began atomic.Bool

	mu       sync.Mutex // one change of the kernel at a time
	shut     bool
	problems []string
	own, all []netip.Prefix
	told     bool
}

// New checks the configuration and opens the namespace. It changes nothing. Close or Remove ends it.
func New(c Config) (*Overlay, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure overlay: %w", err)
	}
	k, err := openKernel(&c)
	if err != nil {
		return nil, fmt.Errorf("open overlay: %w", err)
	}
	return &Overlay{c: c, k: k}, nil
}

// Run keeps the kernel as the Nodes say until ctx ends, and then returns nil and leaves all as it is. What fails is
// logged and tried again, ever more slowly, at most a Resync apart. It may be called once.
func (o *Overlay) Run(ctx context.Context) error {
	if o.began.Swap(true) {
		return errors.New("run overlay: it runs already, or has run")
	}
	select {
	case <-o.c.Nodes.Synced():
	case <-ctx.Done():
		return nil
	}
	changes := o.c.Nodes.Subscribe()
	defer changes.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	wait := firstRetry
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changes.Ready():
			if !drain(changes) {
				continue
			}
		case <-timer.C:
		}
		err := o.sync()
		switch {
		case errors.Is(err, errClosed):
			return fmt.Errorf("run overlay: %w", err)
		case err != nil:
			o.c.Log.Warn("the way to other nodes is not complete; trying again", "error", err, "after", wait)
			timer.Reset(wait)
			wait = min(2*wait, o.c.Resync)
		default:
			wait = firstRetry
			timer.Reset(o.c.Resync)
		}
	}
}

const firstRetry = 100 * time.Millisecond

var errClosed = errors.New("the overlay is closed")

// drain takes all changes, and says whether one could matter: heartbeats don't.
func drain(s *informer.Subscription[*corev1.Node]) (matters bool) {
	for {
		c, ok := s.Take()
		if !ok {
			return matters
		}
		matters = matters || c.Added || c.Deleted || !alike(c.Old, c.New)
	}
}

func alike(a, b *corev1.Node) bool {
	return a.Spec.PodCIDR == b.Spec.PodCIDR && slices.Equal(a.Spec.PodCIDRs, b.Spec.PodCIDRs) &&
		slices.Equal(a.Status.Addresses, b.Status.Addresses)
}

// sync brings the kernel to the plan, and tells of the ranges. The plan is made anew from the cache, so it is never
// older than the change that asked for it.
func (o *Overlay) sync() error {
	d := Plan(o.c.Node, slices.Collect(o.c.Nodes.List("")), o.c.Mode)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shut {
		return errClosed
	}
	if !slices.Equal(d.Problems, o.problems) {
		o.problems = d.Problems
		for _, p := range d.Problems {
			o.c.Log.Info("left out of the overlay", "problem", p)
		}
	}
	return errors.Join(o.tell(d), o.k.apply(d))
}

func (o *Overlay) tell(d Desired) error {
	if o.c.Ranges == nil || o.told && slices.Equal(d.Own, o.own) && slices.Equal(d.Cluster, o.all) {
		return nil
	}
	if err := o.c.Ranges(slices.Clone(d.Own), slices.Clone(d.Cluster)); err != nil {
		return fmt.Errorf("tell of pod ranges: %w", err)
	}
	o.own, o.all, o.told = d.Own, d.Cluster, true
	return nil
}

// Close lets go and leaves all as it is. Run must have ended. A second Close does nothing.
func (o *Overlay) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.shut {
		o.shut = true
		o.k.close()
	}
	return nil
}

// Remove takes away what was made, by this Overlay or one before it, and closes.
func (o *Overlay) Remove() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shut {
		return fmt.Errorf("remove overlay: %w", errClosed)
	}
	if err := o.k.apply(Desired{}); err != nil {
		return fmt.Errorf("remove overlay: %w", err)
	}
	o.shut = true
	o.k.close()
	return nil
}
