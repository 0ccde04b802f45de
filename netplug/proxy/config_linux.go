package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile/informer"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Config says what a [Proxy] serves, and where.
type Config struct {
	// Client reads services and endpoint slices; its registry must know core/v1 Service and discovery.k8s.io/v1
	// EndpointSlice. Needed unless Services and Slices are given.
	Client *client.Client
	// Services and Slices are all services and endpoint slices, kept current by whoever runs them. nil: the proxy
	// has informers of its own, which list and watch over Client.
	Services *informer.Informer[*corev1.Service]
	Slices   *informer.Informer[*discoveryv1.EndpointSlice]

	// Node is the node that the rules are for.
	Node Node
	// PodRanges are the addresses of the cluster's pods, IPv4. What comes from elsewhere to a cluster IP gets this
	// node's address as its source, so that answers find back. None: nothing does, and with an external traffic
	// policy of Local, pods are treated like clients outside.
	PodRanges []netip.Prefix
	// ServiceRanges are the addresses of the cluster's services, IPv4. For each the proxy keeps a route, so that
	// the host reaches services without a default route, and refuses what no service listens on. None: neither.
	ServiceRanges []netip.Prefix

	// Namespace is the path of the network namespace to work in; "" is the process's own.
	Namespace string
	// Table is the name of the nftables table (family ip), which belongs to the proxy alone. Default "bedplate-services".
	Table string
	// Mark is the bit of the packet mark that stands for "to be masqueraded" between the hooks. Only the first
	// packet of a connection has it, and none leaves the host with it. Default 0x4000, Kubernetes' own.
	Mark uint32
	// Resync is how often the kernel's state is compared with what it should be, and repaired. Default 1 minute.
	Resync time.Duration
	// RemoveOnStop removes table and routes when Run ends. By default they stay, and services work on as they were.
	RemoveOnStop bool
	// Programmed is told of each change once it is in the kernel. It must not block. nil: nobody is.
	Programmed func(Programming)
	// Log takes one line for each fault; nil: off.
	Log *slog.Logger
}

// Programming is what one transaction brought into the kernel.
type Programming struct {
	// Services is how many services had changed; Elements how many elements of maps and sets that came to.
	Services, Elements int
	// Waited is the time from the first of the changes, as an informer told it, until it was in force.
	Waited time.Duration
	// Took is the part of Waited that was spent on computing and on the kernel.
	Took time.Duration
}

func (c *Config) validate() error {
	switch {
	case c.Client == nil && (c.Services == nil || c.Slices == nil):
		return errors.New("service proxy: Config.Client is nil, and so is Services or Slices")
	case len(c.Table) > 200 || strings.ContainsRune(c.Table, 0):
		return fmt.Errorf("service proxy: Config.Table %q is no name of a table", c.Table)
	case c.Mark != 0 && bits.OnesCount32(c.Mark) != 1:
		return fmt.Errorf("service proxy: Config.Mark %#x is not one bit", c.Mark)
	case c.Resync < 0:
		return errors.New("service proxy: Config.Resync is negative")
	}
	for _, p := range slices.Concat(c.PodRanges, c.ServiceRanges) {
		if !p.IsValid() || !p.Addr().Is4() {
			return fmt.Errorf("service proxy: %s is no IPv4 range", p)
		}
	}
	for _, a := range c.Node.Addresses {
		if got, ok := unicast(a.String()); !ok || got != a {
			return fmt.Errorf("service proxy: node ports can't be served at %s: an IPv4 address of the node is needed, and not loopback", a)
		}
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.Table == "" {
		c.Table = "bedplate-services"
	}
	if c.Mark == 0 {
		c.Mark = 0x4000
	}
	if c.Resync == 0 {
		c.Resync = time.Minute
	}
	if c.Programmed == nil {
		c.Programmed = func(Programming) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func (c *Config) layout() layout {
	return layout{pods: c.PodRanges, services: c.ServiceRanges, mark: c.Mark}
}
