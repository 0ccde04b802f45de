//go:build linux

package netplug

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
)

// Network connects the pods of one node. Its methods may be called concurrently, and each may be repeated, may find
// its work done or undone, and may be the first after a crash. It starts no goroutine but one, now and then, that
// removes links some time after Detach; Close waits for it.
type Network struct {
	c     Config
	ns    *os.File
	locks []lock
	h     *netlink.Handle
	rules *rules
	mtu   int
	hook  func(step string) error // tests end the process here, as it were; nil: off

	sweep sync.RWMutex // Keep and Close alone, or Attach and Detach together
	shut  bool         // under sweep

	ranging sync.Mutex    // one SetRanges at a time
	ranged  chan struct{} // closed once there are ranges

	mu        sync.Mutex // below; never held during a call of the kernel
	pool      *pool
	sandboxes map[string]netip.Addr
	ports     portTable
	turns     map[string]*turn
	cluster   []netip.Prefix
	reaper    *time.Timer
	reaping   sync.WaitGroup
}

// turn makes calls for one sandbox wait for each other.
type turn struct {
	sync.Mutex
	waiting int
}

// New opens the network of a node. It makes the rules and switches forwarding on, and takes over what an earlier
// Network of the same namespace and prefix has left. One that is still open, in this process or another, is an error,
// as is one with the same route protocol. Close or Remove ends it.
func New(c Config) (*Network, error) {
	n, err := newNetwork(c)
	if err != nil {
		return nil, fmt.Errorf("configure network: %w", err)
	}
	fresh, err := n.start()
	if err != nil && fresh {
		err = errors.Join(err, n.takeAway(context.Background()))
	}
	if err != nil {
		n.release()
		return nil, fmt.Errorf("open network: %w", err)
	}
	return n, nil
}

// newNetwork touches nothing.
func newNetwork(c Config) (*Network, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &Network{c: c, pool: newPool(), sandboxes: map[string]netip.Addr{}, ports: portTable{},
		turns: map[string]*turn{}, ranged: make(chan struct{})}, nil
}

// start makes what is missing, and takes over what is there; fresh says that there was nothing.
func (n *Network) start() (fresh bool, err error) {
	if fresh, err = n.open(); err == nil {
		err = n.at("start: table")
	}
	if err == nil {
		err = n.begin()
	}
	return fresh, err
}

// open makes the rules; fresh says that there were none.
func (n *Network) open() (fresh bool, err error) {
	if n.ns, err = openNS(n.c.Host); err != nil {
		return false, err
	}
	if err := n.take(); err != nil {
		return false, err
	}
	if n.h, err = handleIn(n.ns); err != nil {
		return false, fmt.Errorf("open netlink socket: %w", err)
	}
	n.rules = newRules(n.ns, &n.c)
	before, err := n.rules.readFound()
	if err != nil {
		return false, err
	}
	now, err := readForward(n.ns)
	if err != nil {
		return false, err
	}
	if before == 0 {
		before, fresh = now, true
	}
	return fresh, n.rules.install(before)
}

// begin takes over what is there.
func (n *Network) begin() error {
	if err := switchForward(n.ns); err != nil {
		return err
	}
	if err := n.at("start: forward"); err != nil {
		return err
	}
	if n.mtu = n.c.MTU; n.mtu == 0 {
		n.mtu = n.uplinkMTU() - n.c.Overhead
	}
	if n.c.Mode == Bridge {
		if err := n.makeBridge(); err != nil {
			return err
		}
	}
	if err := n.load(); err != nil {
		return err
	}
	if err := n.at("start: load"); err != nil {
		return err
	}
	if len(n.c.Ranges) > 0 {
		return n.SetRanges(n.c.Ranges, nil)
	}
	return nil
}

// uplinkMTU is the MTU of the link that leads outside. The address is one for documentation; nothing is sent to it.
func (n *Network) uplinkMTU() int {
	routes, err := n.h.RouteGet(net.IPv4(192, 0, 2, 1))
	if err != nil || len(routes) == 0 {
		return 1500
	}
	link, err := n.h.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return 1500
	}
	return min(link.Attrs().MTU, 65535)
}

// SetRanges replaces the node's pod ranges, and the ranges of the other nodes (or of all), which pods reach under
// their own address beside [Config].NonMasquerade. Pods keep the addresses that they have.
func (n *Network) SetRanges(own, cluster []netip.Prefix) error {
	own, cluster = masked(own), masked(cluster)
	if err := errors.Join(checkRanges(own), checkPrefixes(cluster)); err != nil {
		return fmt.Errorf("set pod ranges: %w", err)
	}
	n.sweep.RLock()
	defer n.sweep.RUnlock()
	if n.shut {
		return fmt.Errorf("set pod ranges: %w", net.ErrClosed)
	}
	n.ranging.Lock()
	defer n.ranging.Unlock()
	four := only4(own)
	n.mu.Lock()
	same := slices.Equal(four, n.pool.ranges) && slices.Equal(cluster, n.cluster)
	n.mu.Unlock()
	if same {
		return nil
	}
	if err := n.applyRanges(four, cluster); err != nil {
		return fmt.Errorf("set pod ranges: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cluster = cluster
	n.pool.reset(four, n.pool.owner)
	if len(four) > 0 {
		select {
		case <-n.ranged:
		default:
			close(n.ranged)
		}
	}
	return nil
}

func (n *Network) applyRanges(own, cluster []netip.Prefix) error {
	if err := n.rules.setRanges(own, slices.Concat(own, cluster, n.c.NonMasquerade)); err != nil {
		return err
	}
	if err := n.at("ranges: rules"); err != nil {
		return err
	}
	if n.c.Mode == Bridge {
		return n.addressBridge(own)
	}
	return n.routeRanges(own)
}

// routeRanges answers for addresses of the node's ranges that no pod has, so that packets to them don't go back out.
func (n *Network) routeRanges(own []netip.Prefix) error {
	routes, err := n.routes()
	if err != nil {
		return err
	}
	for _, r := range routes {
		if p, ok := prefixOf(r.Dst); ok && r.Type == unreachable && !slices.Contains(own, p) {
			if err := n.h.RouteDel(&r); ignore(err) != nil {
				return fmt.Errorf("remove route of range %s: %w", p, err)
			}
		}
	}
	for _, p := range own {
		r := &netlink.Route{Dst: netOf(p), Type: unreachable, Protocol: netlink.RouteProtocol(n.c.Protocol)}
		if err := n.h.RouteReplace(r); err != nil {
			return fmt.Errorf("route range %s: %w", p, err)
		}
		if err := n.at("ranges: route"); err != nil {
			return err
		}
	}
	return nil
}

// enter waits for the sandbox's turn.
func (n *Network) enter(id string) (leave func(), err error) {
	n.sweep.RLock()
	if n.shut {
		n.sweep.RUnlock()
		return nil, net.ErrClosed
	}
	n.mu.Lock()
	t := n.turns[id]
	if t == nil {
		t = &turn{}
		n.turns[id] = t
	}
	t.waiting++
	n.mu.Unlock()
	t.Lock()
	return func() {
		t.Unlock()
		n.mu.Lock()
		if t.waiting--; t.waiting == 0 {
			delete(n.turns, id)
		}
		n.mu.Unlock()
		n.sweep.RUnlock()
	}, nil
}

// at is a place where tests end the process.
func (n *Network) at(step string) error {
	if n.hook == nil {
		return nil
	}
	return n.hook(step)
}

// Close lets go of the network and leaves it as it is: pods go on, and the next New takes over. A second Close does
// nothing.
func (n *Network) Close() error {
	n.sweep.Lock()
	defer n.sweep.Unlock()
	if n.shut {
		return nil
	}
	n.shut = true
	n.stopReaper()
	err := n.reap()
	n.release()
	return err
}

// Remove takes the network away and closes: links, routes, rules, and forwarding as it was found. Pods that still
// run have no network then.
func (n *Network) Remove(ctx context.Context) error {
	n.sweep.Lock()
	defer n.sweep.Unlock()
	if n.shut {
		return fmt.Errorf("remove network: %w", net.ErrClosed)
	}
	if err := n.takeAway(ctx); err != nil {
		return fmt.Errorf("remove network: %w", err)
	}
	n.shut = true
	n.stopReaper()
	n.release()
	return nil
}

// takeAway ends with the table, as that knows how the sysctls were.
func (n *Network) takeAway(ctx context.Context) error {
	if err := n.removeLinks(ctx, nil); err != nil {
		return err
	}
	if n.c.Mode == Bridge {
		if err := n.removeBridge(); err != nil {
			return err
		}
		if err := n.at("remove: bridge"); err != nil {
			return err
		}
	}
	if err := n.removeRoutes(); err != nil {
		return err
	}
	found, err := n.rules.readFound()
	if err != nil {
		return err
	}
	heir, err := n.rules.bequeath(found)
	if err != nil {
		return err
	}
	if err := n.at("remove: heir"); err != nil {
		return err
	}
	if heir == "" {
		if err := n.restoreForward(found); err != nil {
			return err
		}
	}
	return n.rules.destroy()
}

func (n *Network) removeRoutes() error {
	routes, err := n.routes()
	if err != nil {
		return err
	}
	for _, r := range routes {
		if err := n.h.RouteDel(&r); ignore(err) != nil {
			return fmt.Errorf("remove route %s: %w", r.Dst, err)
		}
		if err := n.at("remove: route"); err != nil {
			return err
		}
	}
	return nil
}

// release closes what is open, and gives up the locks last.
func (n *Network) release() {
	if n.h != nil {
		n.h.Close()
	}
	if n.ns != nil {
		n.ns.Close()
	}
	for _, l := range n.locks {
		l.release()
	}
}
