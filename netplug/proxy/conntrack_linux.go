package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// flows finds the UDP flows that go on to endpoints which are none any more: without connections, a client that
// keeps its port would stay with its endpoint for good. TCP connections are left alone; they end by themselves.
// What a frontend may have maps to its endpoints; frontends that are no more have none.
type flows map[Frontend]map[netip.AddrPort]struct{}

// stale says whether a flow goes to an endpoint that is none any more.
func (f flows) stale(flow flow) bool {
	serving, ours := f[Frontend{flow.to.Addr(), UDP, flow.to.Port()}]
	_, still := serving[flow.from]
	return ours && !still
}

// flows lists the UDP frontends of a difference, or all, with what they may lead to.
func (r *ruleSet) flows(d *difference, all bool) flows {
	f := flows{}
	note := func(at Frontend) {
		if at.Protocol == UDP {
			f[at] = nil
		}
	}
	for _, e := range []elements{d.del, d.add} {
		eachKey(e.services, note)
		eachKey(e.refused, note)
		eachKey(e.endpoints, func(s slot) { note(s.Frontend) })
		eachKey(e.sticky, func(s slot) { note(s.Frontend) })
	}
	if all {
		eachKey(r.claims, note)
	}
	for at := range f {
		f[at] = map[netip.AddrPort]struct{}{}
		if p := r.owner(at); p != nil {
			for _, e := range p.Serving {
				f[at][e] = struct{}{}
			}
		}
	}
	return f
}

func eachKey[K comparable, V any](m map[K]V, do func(K)) {
	for k := range m {
		do(k)
	}
}

// few is up to how many frontends the kernel is asked for the flows of each, instead of for all UDP flows.
const few = 16

// cut deletes stale flows.
func (h *host) cut(f flows) (err error) {
	if len(f) == 0 {
		return nil
	}
	c := &netlink.Config{}
	if h.ns != nil {
		c.NetNS = int(h.ns.Fd())
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, c)
	if err != nil {
		return fmt.Errorf("connect to conntrack: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return fmt.Errorf("bound the wait for conntrack: %w", err)
	}
	if len(f) > few {
		return cutMatching(conn, Frontend{Protocol: UDP}, f)
	}
	for at := range f {
		if err := cutMatching(conn, at, f); err != nil {
			return err
		}
	}
	return nil
}

func cutMatching(conn *netlink.Conn, at Frontend, f flows) error {
	found, err := dumpFlows(conn, at)
	if err != nil {
		return fmt.Errorf("read the flows to %s: %w", at, err)
	}
	for _, flow := range found {
		if !f.stale(flow) {
			continue
		}
		if err := flow.delete(conn); err != nil {
			return fmt.Errorf("delete a flow from %s to %s: %w", flow.to, flow.from, err)
		}
	}
	return nil
}
