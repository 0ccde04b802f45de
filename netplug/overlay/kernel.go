//go:build linux

package overlay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// kernel is the routes of one namespace that carry our protocol, and the tunnel's link.
type kernel struct {
	c *Config
	h *netlink.Handle
}

func openKernel(c *Config) (*kernel, error) {
	path := c.Host
	if path == "" {
		path = "/proc/self/ns/net"
	}
	ns, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	defer ns.Close()
	h, err := handleIn(ns)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket in %s: %w", path, err)
	}
	return &kernel{c: c, h: h}, nil
}

// handleIn opens a socket in the namespace, which keeps it. The thread that goes there is thrown away unless it comes
// back.
func handleIn(ns *os.File) (h *netlink.Handle, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		home, failed := os.Open("/proc/thread-self/ns/net")
		if err = failed; err != nil {
			runtime.UnlockOSThread()
			return
		}
		defer home.Close()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		}
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	<-done
	return h, err
}

func (k *kernel) close() { k.h.Close() }

// apply brings the kernel to what is desired. It does all that it can, and returns what it could not.
func (k *kernel) apply(d Desired) error {
	index := 0
	if d.Tunnel != (Tunnel{}) {
		var err error
		if index, err = k.tunnel(d.Tunnel); err != nil {
			return err
		}
	}
	errs := []error{k.peers(index, d.Peers), k.routes(index, d.Routes)}
	if index == 0 {
		errs = append(errs, k.removeTunnel())
	}
	return errors.Join(errs...)
}

// routes makes what is missing or different and removes what nobody wants.
func (k *kernel) routes(index int, want []Route) error {
	var errs []error
	left := map[netip.Prefix]bool{}
	if index == 0 && k.c.Mode == VXLAN {
		want = nil
	}
	for _, r := range want {
		left[r.To] = true
	}
	have, err := again(func() ([]netlink.Route, error) {
		return k.h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: netlink.RouteProtocol(k.c.Protocol)}, netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	there := map[Route]bool{}
	for _, r := range have {
		to, ok := prefixOf(r.Dst)
		via, _ := netip.AddrFromSlice(r.Gw)
		if ok && left[to] {
			there[Route{to, via.Unmap()}] = index == 0 || r.LinkIndex == index
			continue
		}
		if err := k.h.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove route to %s: %w", r.Dst, err))
		}
	}
	for _, r := range want {
		if !there[r] {
			errs = append(errs, k.route(index, r))
		}
	}
	return errors.Join(errs...)
}

// route makes a route, or changes ours. One of somebody else's to the same range is left, and is an error.
func (k *kernel) route(index int, r Route) error {
	route := &netlink.Route{Dst: netOf(r.To), Gw: r.Via.AsSlice(), Protocol: netlink.RouteProtocol(k.c.Protocol)}
	if index != 0 {
		route.LinkIndex, route.Flags = index, int(netlink.FLAG_ONLINK)
	}
	have, err := again(func() ([]netlink.Route, error) {
		return k.h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: netOf(r.To)}, netlink.RT_FILTER_DST)
	})
	if err != nil {
		return fmt.Errorf("list routes to %s: %w", r.To, err)
	}
	for _, h := range have {
		if int(h.Protocol) != k.c.Protocol && h.Priority == 0 {
			return fmt.Errorf("route to %s: another program (route protocol %d) has one already; remove it, or give the node another range", r.To, h.Protocol)
		}
	}
	if err := k.h.RouteReplace(route); err != nil {
		if k.c.Mode == Routes && errors.Is(err, unix.ENETUNREACH) {
			return fmt.Errorf("route to %s via %s: this node is in no network with that address; use VXLAN: %w", r.To, r.Via, err)
		}
		return fmt.Errorf("route to %s via %s: %w", r.To, r.Via, err)
	}
	return nil
}

// tunnel makes the link, or makes it anew if it is not as it should be.
func (k *kernel) tunnel(t Tunnel) (index int, err error) {
	have, err := k.h.LinkByName(k.c.Link)
	switch {
	case missing(err):
	case err != nil:
		return 0, fmt.Errorf("look for link %s: %w", k.c.Link, err)
	case have.Type() != "vxlan":
		return 0, fmt.Errorf("link %s is there and is no VXLAN: choose another name", k.c.Link)
	case !k.right(have.(*netlink.Vxlan), t):
		if err := k.h.LinkDel(have); err != nil && !missing(err) {
			return 0, fmt.Errorf("remove link %s: %w", k.c.Link, err)
		}
		have = nil
	}
	if have == nil {
		if have, err = k.newTunnel(t); err != nil {
			return 0, err
		}
	}
	// The address that the node itself has towards pods elsewhere.
	if err := k.h.AddrReplace(have, &netlink.Addr{IPNet: netOf(netip.PrefixFrom(t.Inner, 32))}); err != nil {
		return 0, fmt.Errorf("link %s, address %s: %w", k.c.Link, t.Inner, err)
	}
	if err := k.h.LinkSetUp(have); err != nil {
		return 0, fmt.Errorf("link %s: %w", k.c.Link, err)
	}
	return have.Attrs().Index, k.onlyAddress(have, t.Inner)
}

func (k *kernel) newTunnel(t Tunnel) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = k.c.Link, t.MAC[:]
	uplink, err := k.linkWith(t.Local)
	if err != nil {
		return nil, err
	}
	attrs.MTU = uplink.Attrs().MTU - VXLANOverhead
	v := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: k.c.VNI, Port: k.c.Port, SrcAddr: t.Local.AsSlice(), VtepDevIndex: uplink.Attrs().Index, UDPCSum: true}
	if err := k.h.LinkAdd(v); err != nil {
		return nil, fmt.Errorf("make link %s: %w", k.c.Link, err)
	}
	return k.h.LinkByName(k.c.Link)
}

func (k *kernel) right(v *netlink.Vxlan, t Tunnel) bool {
	return v.VxlanId == k.c.VNI && v.Port == k.c.Port && v.SrcAddr.Equal(t.Local.AsSlice()) && v.HardwareAddr.String() == t.MAC.String()
}

// linkWith is the link that has the node's address.
func (k *kernel) linkWith(a netip.Addr) (netlink.Link, error) {
	list, err := again(func() ([]netlink.Addr, error) { return k.h.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, have := range list {
		if have.IP.Equal(a.AsSlice()) {
			return k.h.LinkByIndex(have.LinkIndex)
		}
	}
	return nil, fmt.Errorf("this node's InternalIP %s is on none of its links", a)
}

func (k *kernel) onlyAddress(link netlink.Link, keep netip.Addr) error {
	list, err := again(func() ([]netlink.Addr, error) { return k.h.AddrList(link, netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", k.c.Link, err)
	}
	for _, a := range list {
		if !a.IP.Equal(keep.AsSlice()) {
			if err := k.h.AddrDel(link, &a); err != nil {
				return fmt.Errorf("link %s, remove address %s: %w", k.c.Link, a.IP, err)
			}
		}
	}
	return nil
}

func (k *kernel) removeTunnel() error {
	have, err := k.h.LinkByName(k.c.Link)
	if missing(err) || err == nil && have.Type() != "vxlan" {
		return nil
	}
	if err == nil {
		err = k.h.LinkDel(have)
	}
	if err != nil && !missing(err) {
		return fmt.Errorf("remove link %s: %w", k.c.Link, err)
	}
	return nil
}

// peers keeps the neighbours (address inside → MAC) and the forwarding table (MAC → node) of the tunnel's link.
func (k *kernel) peers(index int, want []Peer) error {
	if index == 0 {
		return nil // they end with the link
	}
	var errs []error
	near, far := map[string]netlink.Neigh{}, map[string]netlink.Neigh{}
	for _, p := range want {
		mac := net.HardwareAddr(p.MAC[:])
		near[p.Inner.String()+" "+p.MAC.String()] = netlink.Neigh{LinkIndex: index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT, IP: p.Inner.AsSlice(), HardwareAddr: mac}
		far[p.Outer.String()+" "+p.MAC.String()] = netlink.Neigh{LinkIndex: index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF, IP: p.Outer.AsSlice(), HardwareAddr: mac}
	}
	for family, entries := range map[int]map[string]netlink.Neigh{netlink.FAMILY_V4: near, unix.AF_BRIDGE: far} {
		errs = append(errs, k.neighbours(index, family, entries))
	}
	return errors.Join(errs...)
}

func (k *kernel) neighbours(index, family int, want map[string]netlink.Neigh) error {
	have, err := again(func() ([]netlink.Neigh, error) { return k.h.NeighList(index, family) })
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	var errs []error
	for _, h := range have {
		key := h.IP.String() + " " + h.HardwareAddr.String()
		if _, ok := want[key]; ok && h.State&netlink.NUD_PERMANENT != 0 {
			delete(want, key)
			continue
		}
		if h.State&netlink.NUD_PERMANENT == 0 {
			continue // the kernel's own, which it forgets
		}
		if err := k.h.NeighDel(&h); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove neighbour %s: %w", h.IP, err))
		}
	}
	for _, w := range want {
		if err := k.h.NeighSet(&w); err != nil {
			errs = append(errs, fmt.Errorf("neighbour %s: %w", w.IP, err))
		}
	}
	return errors.Join(errs...)
}

func missing(err error) bool {
	var gone netlink.LinkNotFoundError
	return errors.As(err, &gone) || errors.Is(err, unix.ENODEV)
}

// again repeats a listing that a change in the kernel has interrupted.
func again[T any](list func() ([]T, error)) (out []T, err error) {
	for range 100 {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return out, err
}

func netOf(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits), ok
}
