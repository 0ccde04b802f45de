//go:build linux

package netplug

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// bridgeName is the name of the bridge. It is none of a pod's link.
func bridgeName(prefix string) string { return prefix + "br" }

func (n *Network) makeBridge() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = bridgeName(n.c.Prefix), n.mtu
	if err := n.h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make bridge %s: %w", attrs.Name, err)
	}
	if err := n.at("start: bridge"); err != nil {
		return err
	}
	b, err := n.bridge()
	if err != nil {
		return err
	}
	if b.Type() != "bridge" {
		return fmt.Errorf("link %s is there and is no bridge: choose another prefix", attrs.Name)
	}
	if err := n.h.LinkSetUp(b); err != nil {
		return fmt.Errorf("bridge %s: %w", attrs.Name, err)
	}
	return nil
}

func (n *Network) bridge() (netlink.Link, error) {
	b, err := n.h.LinkByName(bridgeName(n.c.Prefix))
	if err != nil {
		return nil, fmt.Errorf("bridge %s: %w", bridgeName(n.c.Prefix), err)
	}
	return b, nil
}

// addressBridge gives the bridge the gateway's address of each range, and takes others away.
func (n *Network) addressBridge(ranges []netip.Prefix) error {
	b, err := n.bridge()
	if err != nil {
		return err
	}
	// An address of its own: the bridge would otherwise change with its ports, and pods remember it.
	if len(ranges) > 0 {
		if err := n.h.LinkSetHardwareAddr(b, podMAC(gatewayOf(ranges[0]))); err != nil {
			return fmt.Errorf("bridge %s: %w", b.Attrs().Name, err)
		}
	}
	if err := n.at("ranges: bridge"); err != nil {
		return err
	}
	want := map[netip.Prefix]bool{}
	for _, r := range ranges {
		p := netip.PrefixFrom(gatewayOf(r), r.Bits())
		want[p] = true
		if err := n.h.AddrReplace(b, &netlink.Addr{IPNet: netOf(p)}); err != nil {
			return fmt.Errorf("bridge %s, address %s: %w", b.Attrs().Name, p, err)
		}
		if err := n.at("ranges: address"); err != nil {
			return err
		}
	}
	have, err := again(func() ([]netlink.Addr, error) { return n.h.AddrList(b, netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("bridge %s: %w", b.Attrs().Name, err)
	}
	for _, a := range have {
		if p, ok := prefixOf(a.IPNet); ok && !want[p] {
			if err := n.h.AddrDel(b, &a); err != nil {
				return fmt.Errorf("bridge %s, remove address %s: %w", b.Attrs().Name, p, err)
			}
		}
	}
	return nil
}

func (n *Network) removeBridge() error {
	b, err := n.h.LinkByName(bridgeName(n.c.Prefix))
	if missing(err) {
		return nil
	}
	if err == nil && b.Type() == "bridge" { // else it is somebody's whom New has refused
		err = n.h.LinkDel(b)
	}
	if ignore(err) != nil {
		return fmt.Errorf("remove bridge: %w", err)
	}
	return nil
}

// plug connects the host's end to the bridge, after it was said what the pod may send as.
func (j *joining) plug() error {
	if err := j.n.rules.add(pod{link: j.name, addr: j.addr, mac: podMAC(j.addr)}); err != nil {
		return err
	}
	b, err := j.n.bridge()
	if err != nil {
		return err
	}
	if err := j.n.h.LinkSetMasterByIndex(j.link, b.Attrs().Index); err != nil {
		return fmt.Errorf("plug into %s: %w", b.Attrs().Name, err)
	}
	// With bridge-nf-call-iptables the destination is translated on the bridge, and what a pod sends to itself by a
	// host port has to go out where it came in.
	return j.n.h.LinkSetHairpin(j.link, true)
}
