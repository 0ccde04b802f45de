package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// RouteProtocol marks the routes of this package in the kernel, as their origin.
const RouteProtocol = 189

// host is a network namespace: its table, routes and flows.
type host struct {
	ns     *os.File        // nil: the process's own
	handle *netlink.Handle // for routes
	kernel *kernel
}

// openHost opens the namespace at a path; "" is the process's own.
func openHost(path, table string, l layout) (*host, error) {
	h := &host{}
	var err error
	if path == "" {
		h.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	} else {
		if h.ns, err = os.Open(path); err != nil {
			return nil, fmt.Errorf("open network namespace: %w", err)
		}
		h.handle, err = netlink.NewHandleAt(netns.NsHandle(h.ns.Fd()), unix.NETLINK_ROUTE)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reach network namespace %q: %w", path, err), h.close())
	}
	h.kernel = newKernel(table, h.ns, l)
	return h, nil
}

func (h *host) close() (err error) {
	if h.kernel != nil {
		err = h.kernel.close()
	}
	if h.handle != nil {
		h.handle.Close()
	}
	if h.ns != nil {
		err = errors.Join(err, h.ns.Close())
	}
	return err
}

// route makes the service ranges reachable for what runs on the host itself: the kernel looks for a route before
// it rewrites the destination, and for another after that. Where the first leads does not matter.
func (h *host) route(ranges []netip.Prefix, source []netip.Addr) error {
	for _, p := range ranges {
		r, err := h.routeOf(p)
		if err != nil {
			return err
		}
		if len(source) > 0 {
			r.Src = net.IP(source[0].AsSlice())
		}
		if err := h.handle.RouteReplace(r); err != nil {
			return fmt.Errorf("add the route for services %s: %w", p, err)
		}
	}
	return nil
}

// unroute removes what route added; that there is none is fine.
func (h *host) unroute(ranges []netip.Prefix) error {
	var errs []error
	for _, p := range ranges {
		r, err := h.routeOf(p)
		if err == nil {
			err = h.handle.RouteDel(r)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("delete the route for services %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

func (h *host) routeOf(p netip.Prefix) (*netlink.Route, error) {
	lo, err := h.handle.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("look for the loopback link: %w", err)
	}
	dst := &net.IPNet{IP: net.IP(p.Masked().Addr().AsSlice()), Mask: net.CIDRMask(p.Bits(), 32)}
	return &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK, Protocol: RouteProtocol}, nil
}
