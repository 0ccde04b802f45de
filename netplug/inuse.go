//go:build linux

package netplug

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// InUse returns an error for a range that the host has a use for already: a route, other than the default one, into it
// or over it. Routes that netplug, its overlay and its proxy made, in an earlier process maybe, are no such use: protocols
// are those that mark them, beside c's own. Of c, Host, Prefix and Protocol count.
func InUse(c Config, ranges []netip.Prefix, protocols ...int) error {
	c = c.withDefaults()
	ns, err := openNS(c.Host)
	if err != nil {
		return fmt.Errorf("look for ranges in use: %w", err)
	}
	defer ns.Close()
	h, err := handleIn(ns)
	if err != nil {
		return fmt.Errorf("look for ranges in use: %w", err)
	}
	defer h.Close()
	routes, err := h.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("look for ranges in use: list routes: %w", err)
	}
	ours := append(protocols, c.Protocol)
	for _, r := range routes {
		to, ok := destination(&r)
		if !ok || slices.Contains(ours, int(r.Protocol)) {
			continue
		}
		at := slices.IndexFunc(ranges, to.Overlaps)
		if at < 0 {
			continue
		}
		name := "an unknown link"
		if link, err := h.LinkByIndex(r.LinkIndex); err == nil {
			name = link.Attrs().Name
		}
		if strings.HasPrefix(name, c.Prefix) {
			continue
		}
		return fmt.Errorf("the range %s is in use: %s has a route to %s: choose another range", ranges[at], name, to)
	}
	return nil
}

// destination is where a route leads; ok is false for the default route.
func destination(r *netlink.Route) (to netip.Prefix, ok bool) {
	if r.Dst == nil {
		return to, false
	}
	addr, ok := netip.AddrFromSlice(r.Dst.IP)
	bits, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits), ok && bits > 0
}
