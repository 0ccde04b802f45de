//go:build linux

package hosts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// folder is where ip-netns(8) looks for namespaces, too. Network namespaces may share it, so that a name in it says
// nothing of whose the namespace is: our link does.
const folder = "/run/netns"

// mark is the alias of lo in the hosts' namespaces.
const mark = "bedplate/hosts"

// owner says whose a name in the folder is.
type owner int

const (
	nothing   owner = iota // there is no namespace behind the name
	ours                   // our link leads into the namespace
	abandoned              // it was a host, and no link leads anywhere: its machine is gone
	others
)

// ensureNamespace finds the namespace of a host, or makes it. A namespace is connected before it is named: if the
// process ends between, the kernel removes both, and one with a name is never without its owner's link.
func (h *Hosts) ensureNamespace(path, name string) (ns netns.NsHandle, err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return netns.None(), err
	}
	unlock, err := lockFolder()
	if err != nil {
		return netns.None(), err
	}
	defer unlock()
	whose, ns, err := h.find(path)
	switch {
	case err != nil:
		return ns, err
	case whose == others:
		ns.Close()
		return netns.None(), foreign(path)
	case whose == nothing:
		if ns, err = newNamespace(); err == nil {
			err = h.at("namespace")
		}
	}
	if err == nil {
		err = h.ensureLink(ns, name)
	}
	if err == nil && whose == nothing {
		err = h.pin(ns, path)
	}
	if err != nil && ns.IsOpen() {
		ns.Close()
	}
	return ns, err
}

func foreign(path string) error {
	return fmt.Errorf("the network namespace %s is not of these hosts (no link of theirs leads there): choose another name, or remove it if nobody needs it", path)
}

// find opens the namespace that has a name, and says whose it is. There is none open if the name is nothing's.
func (h *Hosts) find(path string) (owner, netns.NsHandle, error) {
	var st unix.Statfs_t
	switch err := unix.Statfs(path, &st); {
	case errors.Is(err, unix.ENOENT), err == nil && st.Type != unix.NSFS_MAGIC:
		return nothing, netns.None(), nil
	case err != nil:
		return nothing, netns.None(), fmt.Errorf("look at %s: %w", path, err)
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nothing, netns.None(), fmt.Errorf("open %s: %w", path, err)
	}
	whose, err := h.whose(ns, filepath.Base(path))
	if err != nil {
		ns.Close()
		return nothing, netns.None(), fmt.Errorf("look at %s: %w", path, err)
	}
	return whose, ns, nil
}

func (h *Hosts) whose(ns netns.NsHandle, name string) (owner, error) {
	link, err := h.h.LinkByName(name)
	if err == nil {
		leads, err := h.leads(link, ns)
		if leads || err != nil {
			return ours, err
		}
	} else if !missing(err) {
		return others, err
	}
	inner, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return others, fmt.Errorf("open netlink socket: %w", err)
	}
	defer inner.Close()
	lo, err := inner.LinkByName("lo")
	if err != nil {
		return others, fmt.Errorf("find lo: %w", err)
	}
	switch _, err := inner.LinkByName("eth0"); {
	case missing(err) && lo.Attrs().Alias == mark:
		return abandoned, nil
	case err != nil && !missing(err):
		return others, fmt.Errorf("find eth0: %w", err)
	}
	return others, nil
}

// leads says whether a link's other end is in the namespace. That a link was asked for is what gives the namespace of
// its other end a number here.
func (h *Hosts) leads(link netlink.Link, ns netns.NsHandle) (bool, error) {
	number, err := h.h.GetNetNsIdByFd(int(ns))
	if err != nil {
		return false, fmt.Errorf("number of a network namespace: %w", err)
	}
	return link.Type() == "veth" && number >= 0 && link.Attrs().NetNsID == number, nil
}

func missing(err error) bool {
	return errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, unix.ENODEV)
}

// newNamespace makes a namespace without a name, with lo marked.
func newNamespace() (ns netns.NsHandle, err error) {
	ns = netns.None()
	err = elsewhere(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
		ns, err = netns.Get()
		return err
	})
	if err == nil {
		err = markLoopback(ns)
	}
	if err != nil {
		if ns.IsOpen() {
			ns.Close()
		}
		return ns, fmt.Errorf("make network namespace: %w", err)
	}
	return ns, nil
}

func markLoopback(ns netns.NsHandle) error {
	inner, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer inner.Close()
	lo, err := inner.LinkByName("lo")
	if err != nil {
		return err
	}
	return inner.LinkSetAlias(lo, mark)
}

// pin gives a namespace its name. A file that has the name and no namespace is what a crash left.
func (h *Hosts) pin(ns netns.NsHandle, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	if err := h.at("name"); err != nil {
		return err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", int(ns)), path, "", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("mount at %s: %w", path, err), os.Remove(path))
	}
	return h.at("mount")
}

// unpin takes the name from a namespace; it ends with the last that uses it.
func (h *Hosts) unpin(path string, mounted bool) error {
	if mounted {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
		if err := h.at("unmount"); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

// named are the names in the folder that hosts of this bridge would have.
func (h *Hosts) named() (names []string, err error) {
	entries, err := os.ReadDir(folder)
	for _, e := range entries {
		if h.hosts(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// hosts says whether a name is one of a host of this bridge.
func (h *Hosts) hosts(name string) bool {
	text, ok := strings.CutPrefix(name, h.c.Name+"-")
	n, err := strconv.Atoi(text)
	return ok && err == nil && h.name(n) == name && n >= 2
}

// alone refuses a name that hosts of another bridge have.
func (h *Hosts) alone() error {
	unlock, err := lockFolder()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	names, err := h.named()
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(folder, name)
		whose, ns, err := h.find(path)
		if err != nil {
			return err
		}
		if ns.IsOpen() {
			ns.Close()
		}
		if whose == others {
			return foreign(path)
		}
	}
	return nil
}

// inside calls f in a network namespace.
func inside(ns netns.NsHandle, f func() error) error {
	return elsewhere(func() error { return netns.Set(ns) }, f)
}

// elsewhere calls f on a thread that has entered a network namespace. The thread is thrown away unless it comes back.
func elsewhere(enter, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err == nil {
			defer home.Close()
			if err = enter(); err == nil {
				err = f()
			}
			if netns.Set(home) == nil {
				runtime.UnlockOSThread()
			}
		}
		done <- err
	}()
	return <-done
}
