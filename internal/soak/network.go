//go:build linux

package soak

import (
	"errors"
	"fmt"
	"net"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// network is a switch in a network namespace of its own, and one namespace beside for each member. The namespaces
// have no names: they go with the process.
type network struct {
	hub    netns.NsHandle
	h      *netlink.Handle
	bridge netlink.Link
	spaces []netns.NsHandle
}

func newNetwork(members int) (n *network, err error) {
	n = &network{hub: netns.None()}
	defer func() {
		if err != nil {
			n.close()
			err = fmt.Errorf("make network: %w", err)
		}
	}()
	if n.hub, err = newSpace(); err != nil {
		return n, err
	}
	if n.h, err = netlink.NewHandleAt(n.hub, unix.NETLINK_ROUTE); err != nil {
		return n, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "switch"
	if err := n.h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return n, err
	}
	if n.bridge, err = n.h.LinkByName(attrs.Name); err != nil {
		return n, err
	}
	if err := n.h.LinkSetUp(n.bridge); err != nil {
		return n, err
	}
	for i := range members {
		if err := n.add(i); err != nil {
			return n, err
		}
	}
	return n, nil
}

// newSpace makes a network namespace and leaves the process where it was.
func newSpace() (netns.NsHandle, error) {
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		return netns.None(), err
	}
	defer before.Close()
	space, err := netns.New()
	if err != nil {
		runtime.UnlockOSThread()
		return netns.None(), err
	}
	return space, back(before)
}

// back returns the locked thread to its namespace; if that is impossible it stays locked, and ends with its goroutine.
func back(before netns.NsHandle) error {
	if err := netns.Set(before); err != nil {
		return fmt.Errorf("return to the network namespace: %w", err)
	}
	runtime.UnlockOSThread()
	return nil
}

// inside runs f on a thread in a member's namespace.
func (n *network) inside(i int, f func() error) error {
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		return err
	}
	defer before.Close()
	if err := netns.Set(n.spaces[i]); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	return errors.Join(err, back(before))
}

func (n *network) address(i int) string { return fmt.Sprintf("10.0.0.%d", i+1) }

func port(i int) string { return fmt.Sprintf("port%d", i) }

func (n *network) add(i int) error {
	space, err := newSpace()
	if err != nil {
		return err
	}
	n.spaces = append(n.spaces, space)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = port(i)
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(space)}
	if err := n.h.LinkAdd(veth); err != nil {
		return err
	}
	if err := n.plug(i, true); err != nil {
		return err
	}
	h, err := netlink.NewHandleAt(space, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	for _, name := range []string{"lo", "eth0"} {
		link, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		if name == "eth0" {
			ip := &net.IPNet{IP: net.ParseIP(n.address(i)), Mask: net.CIDRMask(24, 32)}
			if err := h.AddrAdd(link, &netlink.Addr{IPNet: ip}); err != nil {
				return err
			}
		}
		if err := h.LinkSetUp(link); err != nil {
			return err
		}
	}
	return nil
}

// plug puts a member's cable in, or takes it out: what is sent is then lost without a notice.
func (n *network) plug(i int, in bool) error {
	link, err := n.h.LinkByName(port(i))
	if err != nil {
		return err
	}
	if !in {
		return n.h.LinkSetNoMaster(link)
	}
	if err := n.h.LinkSetMaster(link, n.bridge); err != nil {
		return err
	}
	return n.h.LinkSetUp(link)
}

func (n *network) close() {
	if n.h != nil {
		n.h.Close()
	}
	for _, s := range append(n.spaces, n.hub) {
		if s.IsOpen() {
			_ = s.Close() // it goes with its last process
		}
	}
}
