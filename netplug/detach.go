//go:build linux

package netplug

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// reapAfter is how long links that nobody needs wait for each other, or for the end of their namespace.
const reapAfter = time.Second

// Detach takes the sandbox off the network and frees its address: nothing reaches it any more and nothing comes from
// it. Its link ends with its namespace; if that lives on, it is removed a second later, together with others, since
// removing one costs the kernel about as much as removing a hundred. The namespace may be gone already.
func (n *Network) Detach(ctx context.Context, sandboxID string) error {
	err := checkID(sandboxID)
	if err == nil {
		err = n.detach(ctx, sandboxID)
	}
	if err != nil {
		return fmt.Errorf("detach sandbox %s: %w", sandboxID, err)
	}
	return nil
}

func (n *Network) detach(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	leave, err := n.enter(id)
	if err != nil {
		return err
	}
	defer leave()
	c, ok, err := n.claimNamed(linkName(n.c.Prefix, id))
	if err != nil {
		return err
	}
	if err := n.removeElements(id); err != nil {
		return err
	}
	if err := n.at("detach: ports"); err != nil {
		return err
	}
	if ok && !c.dead {
		if err := n.bury(c, "detach: "); err != nil {
			return err
		}
	}
	n.forget(id)
	return nil
}

// removeElements takes the sandbox out of the rules.
func (n *Network) removeElements(id string) error {
	n.mu.Lock()
	addr, ok := n.sandboxes[id]
	p := pod{link: linkName(n.c.Prefix, id), addr: addr, ports: n.ports.of(addr)}
	n.mu.Unlock()
	if !ok {
		return nil
	}
	if n.c.Mode == Bridge {
		p.mac = podMAC(addr)
	}
	return n.rules.remove(n.rules.elements(p))
}

// bury cuts a link off and gives it up. Without the route nothing goes to the pod, and nothing that it sends passes
// the guard.
func (n *Network) bury(c claim, hook string) error {
	if c.addr.IsValid() && n.c.Mode == Routed {
		r := &netlink.Route{LinkIndex: c.link.Attrs().Index, Dst: hostNet(c.addr), Scope: netlink.SCOPE_LINK, Protocol: netlink.RouteProtocol(n.c.Protocol)}
		if err := n.h.RouteDel(r); ignore(err) != nil {
			return fmt.Errorf("remove route %s: %w", c.addr, err)
		}
		if err := n.at(hook + "route"); err != nil {
			return err
		}
	}
	if err := n.h.LinkSetGroup(c.link, int(graveyard(n.c.Prefix))); ignore(err) != nil {
		return fmt.Errorf("give link %s up: %w", c.link.Attrs().Name, err)
	}
	n.reapLater()
	return n.at(hook + "link")
}

// Keep frees what belongs to any other sandbox, and what belongs to nobody: the sweep after a crash. Attach and
// Detach wait meanwhile.
func (n *Network) Keep(ctx context.Context, sandboxIDs []string) error {
	n.sweep.Lock()
	defer n.sweep.Unlock()
	if n.shut {
		return fmt.Errorf("keep sandboxes: %w", net.ErrClosed)
	}
	if err := n.removeLinks(ctx, sandboxIDs); err != nil {
		return fmt.Errorf("keep %d sandboxes: %w", len(sandboxIDs), err)
	}
	return nil
}

// removeLinks removes all links but those of the sandboxes, and reads anew what is left.
func (n *Network) removeLinks(ctx context.Context, keep []string) error {
	names := map[string]bool{}
	for _, id := range keep {
		names[linkName(n.c.Prefix, id)] = true
	}
	claims, err := n.claims()
	if err != nil {
		return err
	}
	kept := map[netip.Addr]string{}
	for name, c := range claims {
		if names[name] && !c.dead && c.addr.IsValid() {
			kept[c.addr] = c.id
		}
	}
	if err := n.removeStrays(kept); err != nil {
		return err
	}
	for name, c := range claims {
		if names[name] || c.dead {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := n.bury(c, "keep: "); err != nil {
			return err
		}
	}
	if err := n.reap(); err != nil {
		return err
	}
	return n.load()
}

func (n *Network) removeStrays(kept map[netip.Addr]string) error {
	strays, err := n.rules.strays(kept)
	if err != nil {
		return err
	}
	for s, list := range strays {
		for part := range slices.Chunk(list, 500) {
			if err := n.rules.remove(map[*nftables.Set][]nftables.SetElement{s: part}); err != nil {
				return err
			}
		}
	}
	return n.at("keep: elements")
}

// load reads from the kernel whose addresses and host ports are.
func (n *Network) load() error {
	claims, err := n.claims()
	if err != nil {
		return err
	}
	ports, err := n.rules.portsInKernel()
	if err != nil {
		return err
	}
	owner, sandboxes, dead := map[netip.Addr]string{}, map[string]netip.Addr{}, false
	for _, c := range claims {
		if dead = dead || c.dead; c.dead || !c.addr.IsValid() {
			continue
		}
		owner[c.addr], sandboxes[c.id] = c.id, c.addr
	}
	n.mu.Lock()
	n.pool.reset(n.pool.ranges, owner)
	n.sandboxes, n.ports = sandboxes, ports
	n.mu.Unlock()
	if dead {
		n.reapLater()
	}
	return nil
}

// reapLater has the links that were given up removed, some time from now.
func (n *Network) reapLater() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reaper != nil {
		return
	}
	n.reaping.Add(1)
	n.reaper = time.AfterFunc(reapAfter, func() {
		defer n.reaping.Done()
		n.mu.Lock()
		n.reaper = nil
		n.mu.Unlock()
		if err := n.reap(); err != nil {
			n.c.Log.Warn("links of sandboxes that are gone are still there; the next Keep tries again", "error", err)
		}
	})
}

// stopReaper waits until nothing runs beside the caller.
func (n *Network) stopReaper() {
	n.mu.Lock()
	if n.reaper != nil && n.reaper.Stop() {
		n.reaper = nil
		n.reaping.Done()
	}
	n.mu.Unlock()
	n.reaping.Wait()
}

// reap removes the links that were given up: all at once, if nobody else has chosen the same group.
func (n *Network) reap() error {
	list, err := n.allLinks()
	if err != nil {
		return err
	}
	var dead []netlink.Link
	foreign := false
	for _, l := range list {
		if l.Attrs().Group == graveyard(n.c.Prefix) {
			foreign = foreign || !n.ours(l.Attrs().Name)
			dead = append(dead, l)
		}
	}
	if len(dead) == 0 {
		return nil
	}
	if !foreign {
		return n.removeGroup()
	}
	var errs []error
	for _, l := range dead {
		if n.ours(l.Attrs().Name) {
			errs = append(errs, ignore(n.h.LinkDel(l)))
		}
	}
	return errors.Join(errs...)
}

func (n *Network) removeGroup() error {
	err := inside(n.ns, func() error {
		req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(graveyard(n.c.Prefix))))
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
	if ignore(err) != nil {
		return fmt.Errorf("remove links: %w", err)
	}
	return nil
}
