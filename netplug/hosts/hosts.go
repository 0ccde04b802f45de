//go:build linux

package hosts

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Config says what hosts to make. Name and Range are needed.
type Config struct {
	// Name is the bridge's, and begins the names of the hosts: <Name>-2, <Name>-3 and so on. One to ten of a-z, 0-9
	// and -, a letter first.
	Name string
	// Range has the hosts' addresses. The machine itself is host 1 and has the first.
	Range netip.Prefix
	// Inside are ranges that the hosts reach under their own addresses, as they do each other: those of the pods.
	// Elsewhere they have the machine's.
	Inside []netip.Prefix
	// Machine is the path of the network namespace that has the bridge. Empty: the process's own.
	Machine string
}

// Host is one host.
type Host struct {
	// Namespace is the path of its network namespace; empty for the machine itself.
	Namespace string
	Address   netip.Addr
}

var names = regexp.MustCompile(`^[a-z][a-z0-9-]{0,9}$`)

func (c *Config) validate() error {
	switch {
	case !names.MatchString(c.Name):
		return fmt.Errorf("name %q: one to ten of a-z, 0-9 and -, a letter first", c.Name)
	case !c.Range.IsValid() || !c.Range.Addr().Is4() || c.Range.Bits() > 30 || c.Range.Bits() < 8:
		return fmt.Errorf("range %s: an IPv4 range of /8 to /30 is needed", c.Range)
	}
	c.Range = c.Range.Masked()
	return nil
}

// Hosts are the hosts of one bridge. Its methods are for one goroutine at a time.
type Hosts struct {
	c       Config
	machine netns.NsHandle
	lock    int // a socket; -1: none
	h       *netlink.Handle
	bridge  netlink.Link
	found   bool
	hook    func(step string) error // tests end the process here, as it were; nil: off
}

// Open makes the bridge with the machine's address, or finds them. It refuses a range that is in use otherwise, hosts
// that another Hosts has open, and a name that hosts of another network namespace have. Close or Remove ends it.
func Open(c Config) (*Hosts, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure hosts: %w", err)
	}
	h := &Hosts{c: c, machine: netns.None(), lock: -1}
	if err := h.open(); err != nil {
		if h.bridge != nil && !h.found {
			err = errors.Join(err, h.removeBridge())
		}
		h.Close()
		return nil, fmt.Errorf("open hosts %s: %w", c.Name, err)
	}
	return h, nil
}

func (h *Hosts) open() (err error) {
	path := h.c.Machine
	if path == "" {
		path = "/proc/self/ns/net"
	}
	if h.machine, err = netns.GetFromPath(path); err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	if err := h.take(); err != nil {
		return err
	}
	if h.h, err = netlink.NewHandleAt(h.machine, unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	if err := h.free(); err != nil {
		return err
	}
	if err := h.alone(); err != nil {
		return err
	}
	if h.bridge, err = h.ensureBridge(); err != nil {
		return err
	}
	if err := setAddress(h.h, h.bridge, netip.PrefixFrom(h.address(1), h.c.Range.Bits())); err != nil {
		return err
	}
	return h.masquerade()
}

// free refuses a range that the machine has a use for already.
func (h *Hosts) free() error {
	routes, err := h.h.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		bits, _ := r.Dst.Mask.Size()
		if !ok || bits == 0 || !netip.PrefixFrom(addr, bits).Overlaps(h.c.Range) {
			continue
		}
		link, err := h.h.LinkByIndex(r.LinkIndex)
		if err == nil && link.Attrs().Name == h.c.Name {
			continue
		}
		name := "an unknown link"
		if err == nil {
			name = link.Attrs().Name
		}
		return fmt.Errorf("the range %s is in use: %s has a route to %s: choose another range", h.c.Range, name, r.Dst)
	}
	return nil
}

func (h *Hosts) ensureBridge() (netlink.Link, error) {
	link, err := h.h.LinkByName(h.c.Name)
	h.found = err == nil
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = h.c.Name
		if err := h.h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return nil, fmt.Errorf("make bridge %s: %w", h.c.Name, err)
		}
		link, err = h.h.LinkByName(h.c.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("find bridge %s: %w", h.c.Name, err)
	}
	if link.Type() != "bridge" {
		return nil, fmt.Errorf("%s is a link of type %s already, not a bridge: choose another name", h.c.Name, link.Type())
	}
	return link, h.h.LinkSetUp(link)
}

// Found says that the hosts, or some of them, were there before: an earlier process has left them.
func (h *Hosts) Found() bool { return h.found }

// Machine is the machine itself, which is host 1.
func (h *Hosts) Machine() Host { return Host{Address: h.address(1), Namespace: h.c.Machine} }

// Add makes host number n, from 2 on, or finds it. It refuses one that is another's.
func (h *Hosts) Add(n int) (Host, error) {
	at := h.address(n)
	if n < 2 || !h.c.Range.Contains(at) || !h.c.Range.Contains(at.Next()) {
		return Host{}, fmt.Errorf("add host %d: the range %s has room for hosts 2 to %d", n, h.c.Range, 1<<(32-h.c.Range.Bits())-2)
	}
	host := Host{Namespace: filepath.Join(folder, h.name(n)), Address: at}
	if err := h.add(host, h.name(n)); err != nil {
		return Host{}, fmt.Errorf("add host %d: %w", n, err)
	}
	return host, nil
}

func (h *Hosts) name(n int) string { return fmt.Sprintf("%s-%d", h.c.Name, n) }

func (h *Hosts) add(host Host, name string) error {
	ns, err := h.ensureNamespace(host.Namespace, name)
	if err != nil {
		return err
	}
	defer ns.Close()
	inner, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	defer inner.Close()
	lo, err := inner.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := inner.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	eth0, err := inner.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	if err := setAddress(inner, eth0, netip.PrefixFrom(host.Address, h.c.Range.Bits())); err != nil {
		return err
	}
	err = inner.RouteReplace(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: h.address(1).AsSlice()})
	if err != nil {
		return fmt.Errorf("set the default route: %w", err)
	}
	return nil
}

// ensureLink connects a namespace with the bridge. A link that is there and leads elsewhere is what a crash left.
func (h *Hosts) ensureLink(ns netns.NsHandle, name string) error {
	link, err := h.h.LinkByName(name)
	if err == nil {
		leads, err := h.leads(link, ns)
		switch {
		case err != nil:
			return err
		case !leads && !h.owns(link):
			return fmt.Errorf("%s is a link of another kind or bridge already: choose another name", name)
		case leads:
			return h.plug(link)
		}
		if err := h.h.LinkDel(link); err != nil && !missing(err) {
			return fmt.Errorf("remove link %s: %w", name, err)
		}
	} else if !missing(err) {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if err := h.h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns)}); err != nil {
		return fmt.Errorf("make link %s: %w", name, err)
	}
	if link, err = h.h.LinkByName(name); err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if err := h.at("link"); err != nil {
		return err
	}
	return h.plug(link)
}

// owns says whether a link that has the name of a host's is one of ours, wherever it leads.
func (h *Hosts) owns(link netlink.Link) bool {
	master := link.Attrs().MasterIndex
	return link.Type() == "veth" && (master == 0 || master == h.bridge.Attrs().Index)
}

// plug puts a host's link on the bridge.
func (h *Hosts) plug(link netlink.Link) error {
	name := link.Attrs().Name
	if err := h.h.LinkSetMaster(link, h.bridge); err != nil {
		return fmt.Errorf("put %s on the bridge: %w", name, err)
	}
	// Where bridges ask the IP rules (bridge-nf-call-iptables), what the machine's rules lead from a host back to that
	// host never leaves the bridge's layer.
	if err := h.h.LinkSetHairpin(link, true); err != nil {
		return fmt.Errorf("let %s send back to where it came from: %w", name, err)
	}
	if err := h.h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

func setAddress(h *netlink.Handle, link netlink.Link, p netip.Prefix) error {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if err := h.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("give %s the address %s: %w", link.Attrs().Name, p, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", link.Attrs().Name, err)
	}
	return nil
}

// address is that of host n.
func (h *Hosts) address(n int) netip.Addr {
	a := h.c.Range.Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// Close lets go of the hosts and leaves them as they are.
func (h *Hosts) Close() {
	if h.h != nil {
		h.h.Close()
	}
	if h.machine.IsOpen() {
		h.machine.Close()
	}
	h.release()
}

// Remove takes away the hosts, those of an earlier process too, and the bridge, and closes h. What has a host's name
// and is another's stays.
func (h *Hosts) Remove() error {
	defer h.Close()
	if err := errors.Join(h.removeNames(), h.removeLinks(), h.removeBridge()); err != nil {
		return fmt.Errorf("remove hosts %s: %w", h.c.Name, err)
	}
	return nil
}

// removeNames ends the hosts' namespaces.
func (h *Hosts) removeNames() error {
	unlock, err := lockFolder()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	names, err := h.named()
	errs := []error{err}
	for _, name := range names {
		path := filepath.Join(folder, name)
		whose, ns, err := h.find(path)
		if ns.IsOpen() {
			ns.Close()
		}
		if err == nil && whose != others {
			err = h.unpin(path, whose != nothing)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removeLinks removes the hosts' links, those too that a crash left without a name for where they lead.
func (h *Hosts) removeLinks() error {
	if err := h.at("names"); err != nil {
		return err
	}
	links, err := h.h.LinkList()
	for n := 0; errors.Is(err, netlink.ErrDumpInterrupted) && n < 100; n++ {
		links, err = h.h.LinkList()
	}
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, link := range links {
		if name := link.Attrs().Name; h.hosts(name) && h.owns(link) {
			if err := h.h.LinkDel(link); err != nil && !missing(err) {
				errs = append(errs, fmt.Errorf("remove link %s: %w", name, err))
			}
		}
	}
	return errors.Join(append(errs, h.at("links"))...)
}

func (h *Hosts) removeBridge() error {
	errs := []error{h.unmasquerade()}
	if err := h.h.LinkDel(h.bridge); err != nil && !missing(err) {
		errs = append(errs, fmt.Errorf("remove bridge: %w", err))
	}
	return errors.Join(errs...)
}

// at is a place where tests end the process.
func (h *Hosts) at(step string) error {
	if h.hook == nil {
		return nil
	}
	return h.hook(step)
}
