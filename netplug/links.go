//go:build linux

package netplug

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	inPod       = "eth0" // a pod's link, as the pod sees it
	unreachable = unix.RTN_UNREACHABLE
	idMax       = 128 // of a sandbox's id, in bytes; an alias holds 255
)

// gateway is where routed pods send everything. No link has it: the pods' neighbour entry makes it the host's.
var gateway = netip.AddrFrom4([4]byte{169, 254, 1, 1})

// hostMAC is the address of the host's end of every routed pod.
func hostMAC() net.HardwareAddr { return net.HardwareAddr{0x02, 0x62, 0, 0, 0, 1} }

// podMAC is a pod's, made of its address.
func podMAC(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return append(net.HardwareAddr{0x02, 0x62}, b[:]...)
}

// linkName is the name of the host's end of a sandbox's link.
func linkName(prefix, id string) string {
	sum := sha256.Sum256([]byte(id))
	return prefix + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:10]
}

func checkID(id string) error {
	if id == "" || len(id) > idMax || strings.ContainsAny(id, " \n\x00") {
		return fmt.Errorf("sandbox id %q: 1 to %d bytes without blanks", id, idMax)
	}
	return nil
}

// graveyard is the group of links that nobody needs any more. A group is removed in one go, which costs the kernel
// about as much as one link.
func graveyard(prefix string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(prefix))
	return 0x62000000 | h.Sum32()&0xffffff
}

// claim is a link of ours and what its alias says.
type claim struct {
	link netlink.Link
	id   string
	addr netip.Addr
	dead bool
}

func aliasOf(id string, addr netip.Addr) string { return id + " " + addr.String() }

func parseAlias(alias string) (id string, addr netip.Addr) {
	id, text, _ := strings.Cut(alias, " ")
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return "", netip.Addr{}
	}
	return id, addr
}

func (n *Network) claimOf(l netlink.Link) claim {
	c := claim{link: l, dead: l.Attrs().Group == graveyard(n.c.Prefix)}
	c.id, c.addr = parseAlias(l.Attrs().Alias)
	return c
}

// claims are the links of ours, by name.
func (n *Network) claims() (map[string]claim, error) {
	list, err := n.allLinks()
	if err != nil {
		return nil, err
	}
	out := map[string]claim{}
	for _, l := range list {
		if name := l.Attrs().Name; n.ours(name) {
			out[name] = n.claimOf(l)
		}
	}
	return out, nil
}

func (n *Network) ours(name string) bool {
	return strings.HasPrefix(name, n.c.Prefix+"-") && len(name) == len(linkName(n.c.Prefix, ""))
}

// claimNamed is one link of ours; ok is false if it is not there.
func (n *Network) claimNamed(name string) (c claim, ok bool, err error) {
	l, err := n.h.LinkByName(name)
	switch {
	case missing(err):
		return c, false, nil
	case err != nil:
		return c, false, fmt.Errorf("look for link %s: %w", name, err)
	}
	return n.claimOf(l), true, nil
}

func missing(err error) bool {
	var gone netlink.LinkNotFoundError
	return errors.As(err, &gone) || errors.Is(err, unix.ENODEV)
}

// ignore makes nil of errors that say that something is gone already.
func ignore(err error) error {
	if missing(err) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (n *Network) allLinks() ([]netlink.Link, error) {
	list, err := again(n.h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return list, nil
}

// routes are those that carry our protocol.
func (n *Network) routes() ([]netlink.Route, error) {
	list, err := again(func() ([]netlink.Route, error) {
		return n.h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: netlink.RouteProtocol(n.c.Protocol)}, netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return list, nil
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
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// hostNet is the prefix of one address.
func hostNet(a netip.Addr) *net.IPNet { return netOf(netip.PrefixFrom(a, a.BitLen())) }

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits), ok
}

func masked(list []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = p.Masked()
	}
	return out
}

func only4(list []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		if p.Addr().Is4() {
			out = append(out, p)
		}
	}
	return out
}
