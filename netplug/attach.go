//go:build linux

package netplug

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Attach gives the sandbox its address in the namespace pinned at netnsPath, by a link named eth0, and leads the
// pod's host ports there. Done again, it repairs what is missing and returns the same address. It waits, as long as
// ctx lasts, until the node has a range. What it began and could not end, a repeated Attach completes, and Detach or
// Keep removes. pod is only read for its host ports; nil has none.
func (n *Network) Attach(ctx context.Context, pod *corev1.Pod, sandboxID, netnsPath string) ([]netip.Addr, error) {
	addr, err := n.attach(ctx, pod, sandboxID, netnsPath)
	if err != nil {
		return nil, fmt.Errorf("attach sandbox %s: %w", sandboxID, err)
	}
	return []netip.Addr{addr}, nil
}

func (n *Network) attach(ctx context.Context, p *corev1.Pod, id, path string) (addr netip.Addr, err error) {
	if err := checkID(id); err != nil {
		return addr, err
	}
	ports, err := portsOf(p)
	if err != nil {
		return addr, err
	}
	if err := n.waitForRange(ctx); err != nil {
		return addr, err
	}
	leave, err := n.enter(id)
	if err != nil {
		return addr, err
	}
	defer leave()
	ns, err := os.Open(path)
	if err != nil {
		return addr, fmt.Errorf("open network namespace: %w", err)
	}
	defer ns.Close()
	inside, err := handleIn(ns)
	if err != nil {
		return addr, err
	}
	defer inside.Close()
	j := &joining{n: n, id: id, ns: ns, inside: inside, name: linkName(n.c.Prefix, id)}
	for range 16 {
		if err := j.reserve(ports); err != nil {
			return addr, err
		}
		err = j.run(ctx)
		if !errors.Is(err, errTaken) {
			break
		}
		n.c.Log.Warn("an address of the node's range is routed elsewhere already; taking the next", "address", j.addr, "sandbox", id)
		j.disown()
	}
	if err != nil && !j.made {
		n.forget(id)
	}
	return j.addr, err
}

func (n *Network) waitForRange(ctx context.Context) error {
	select {
	case <-n.ranged:
		return ctx.Err()
	default:
	}
	select {
	case <-n.ranged:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the node has no pod range yet (Node.spec.podCIDRs): %w", context.Cause(ctx))
	}
}

// joining is one Attach under way.
type joining struct {
	n      *Network
	id     string
	name   string
	addr   netip.Addr
	ports  portTable
	ns     *os.File
	inside *netlink.Handle
	link   netlink.Link
	made   bool // the link is there
}

var errTaken = errors.New("the address is routed elsewhere")

// reserve takes an address and the host ports, or those that the sandbox has.
func (j *joining) reserve(ports map[hostPort]uint16) error {
	n := j.n
	n.mu.Lock()
	defer n.mu.Unlock()
	addr, have := n.sandboxes[j.id]
	if err := n.ports.conflict(ports, addr, func(a netip.Addr) string { return n.pool.owner[a] }); err != nil {
		return err
	}
	if !have {
		var err error
		if addr, err = n.pool.take(j.id); err != nil {
			return err
		}
		n.sandboxes[j.id] = addr
	}
	j.addr, j.ports = addr, portTable{}
	for h, to := range ports {
		j.ports[h] = target{addr: addr, port: to}
	}
	maps.Copy(n.ports, j.ports)
	return nil
}

// disown gives the address up for somebody outside, until the next Keep.
func (j *joining) disown() {
	n := j.n
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.ports, func(_ hostPort, to target) bool { return to.addr == j.addr })
	n.pool.owner[j.addr] = ""
	delete(n.sandboxes, j.id)
}

// forget frees what the sandbox had.
func (n *Network) forget(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addr, ok := n.sandboxes[id]
	if !ok {
		return
	}
	maps.DeleteFunc(n.ports, func(_ hostPort, to target) bool { return to.addr == addr })
	n.pool.free(addr, id)
	delete(n.sandboxes, id)
}

// run takes the steps, each of which may find its work done. The link says whose the address is before anything uses
// the address.
func (j *joining) run(ctx context.Context) error {
	steps := []struct {
		name string
		do   func() error
	}{
		{"link", j.makeLink}, {"claim", j.claim}, {"host", j.host}, {"pod", j.pod},
		{"settle", j.settle}, {"ports", j.lead},
	}
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := j.n.at("attach: " + s.name); err != nil {
			return err
		}
	}
	return nil
}

// makeLink makes the pair, or finds it.
func (j *joining) makeLink() error {
	if j.link != nil {
		return nil
	}
	link, err := j.newLink()
	if errors.Is(err, unix.EEXIST) {
		var have claim
		var ok bool
		if have, ok, err = j.n.claimNamed(j.name); err != nil {
			return err
		}
		switch {
		case !ok:
			return fmt.Errorf("the namespace %s has a link %s already, which is not ours", j.ns.Name(), inPod)
		case !have.dead && j.fits(have):
			j.link, j.made = have.link, true
			return nil
		}
		// It leads to a namespace that is gone or going, or was given up.
		if err := j.n.h.LinkDel(have.link); ignore(err) != nil {
			return fmt.Errorf("remove the stale link %s: %w", j.name, err)
		}
		link, err = j.newLink()
	}
	if err != nil {
		return fmt.Errorf("make link %s: %w", j.name, err)
	}
	j.link, j.made = link, true
	return nil
}

func (j *joining) newLink() (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Flags = j.name, j.n.mtu, net.FlagUp
	if j.n.c.Mode == Routed {
		attrs.HardwareAddr = hostMAC()
	}
	v := netlink.NewVeth(attrs)
	v.PeerName, v.PeerNamespace = inPod, netlink.NsFd(int(j.ns.Fd()))
	v.PeerHardwareAddr = podMAC(j.addr)
	return v, j.n.h.LinkAdd(v)
}

// fits says whether the link's other end is in the sandbox's namespace, and made for its address.
func (j *joining) fits(c claim) bool {
	peer, err := j.inside.LinkByName(inPod)
	return err == nil && peer.Attrs().Index == c.link.Attrs().ParentIndex && peer.Attrs().ParentIndex == c.link.Attrs().Index &&
		peer.Attrs().HardwareAddr.String() == podMAC(j.addr).String() && (c.id == "" || c.id == j.id)
}

// claim writes on the link whose it is, and with which address.
func (j *joining) claim() error {
	want := aliasOf(j.id, j.addr)
	if j.link.Attrs().Alias == want {
		return nil
	}
	return j.n.h.LinkSetAlias(j.link, want)
}

// host connects the host's end.
func (j *joining) host() error {
	if j.n.c.Mode == Bridge {
		return j.plug()
	}
	index := j.link.Attrs().Index
	if err := j.n.h.NeighSet(neighbour(index, j.addr, podMAC(j.addr))); err != nil {
		return fmt.Errorf("neighbour %s: %w", j.addr, err)
	}
	err := j.n.h.RouteAdd(&netlink.Route{LinkIndex: index, Dst: hostNet(j.addr), Scope: netlink.SCOPE_LINK, Protocol: netlink.RouteProtocol(j.n.c.Protocol)})
	if errors.Is(err, unix.EEXIST) {
		return j.checkRoute(index)
	}
	return err
}

// checkRoute says whether the route that is there is ours.
func (j *joining) checkRoute(index int) error {
	list, err := again(func() ([]netlink.Route, error) {
		return j.n.h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: hostNet(j.addr)}, netlink.RT_FILTER_DST)
	})
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.LinkIndex == index {
			return nil
		}
	}
	// The link was made for this address; the next one needs another.
	if err := j.n.h.LinkDel(j.link); ignore(err) != nil {
		return err
	}
	j.link, j.made = nil, false
	return errTaken
}

func neighbour(index int, addr netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: mac}
}

// pod configures the pod's end.
func (j *joining) pod() error {
	if err := j.inside.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1}}); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	link, err := j.inside.LinkByName(inPod)
	if err != nil {
		return err
	}
	via, own := gateway, netip.PrefixFrom(j.addr, j.addr.BitLen())
	if j.n.c.Mode == Bridge {
		r, err := j.n.rangeOf(j.addr)
		if err != nil {
			return err
		}
		via, own = gatewayOf(r), netip.PrefixFrom(j.addr, r.Bits())
	}
	if err := j.inside.AddrReplace(link, &netlink.Addr{IPNet: netOf(own)}); err != nil {
		return fmt.Errorf("address %s: %w", own, err)
	}
	if err := j.inside.LinkSetUp(link); err != nil {
		return err
	}
	if j.n.c.Mode == Routed {
		if err := j.inside.NeighSet(neighbour(link.Attrs().Index, via, hostMAC())); err != nil {
			return fmt.Errorf("neighbour %s: %w", via, err)
		}
	}
	out := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: netOf(netip.PrefixFrom(netip.IPv4Unspecified(), 0)), Gw: via.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
	if err := j.inside.RouteReplace(out); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	return nil
}

// settle has the kernel take notice that the pod's end is up: the host's end sends nothing before, and left alone the
// kernel may take a second. Asking for the link does it (since Linux 6.8; older ones come to it by themselves). The
// bridge is up with the first of its links, and just as late.
func (j *joining) settle() error {
	link, err := j.n.h.LinkByIndex(j.link.Attrs().Index)
	if err != nil {
		return err
	}
	if link.Attrs().OperState != netlink.OperUp {
		j.n.c.Log.Debug("link is not up yet", "link", j.name, "state", link.Attrs().OperState.String())
	}
	if j.n.c.Mode == Bridge {
		_, err = j.n.h.LinkByIndex(link.Attrs().MasterIndex)
	}
	return err
}

func (n *Network) rangeOf(a netip.Addr) (netip.Prefix, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r, ok := n.pool.rangeOf(a)
	if !ok {
		return r, fmt.Errorf("address %s is in none of the node's ranges %s any more", a, n.pool.ranges)
	}
	return r, nil
}

// lead leads the host ports to the pod.
func (j *joining) lead() error {
	if len(j.ports) == 0 {
		return nil
	}
	return j.n.rules.add(pod{link: j.name, addr: j.addr, ports: j.ports})
}
