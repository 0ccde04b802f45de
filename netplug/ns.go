//go:build linux

package netplug

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// openNS opens a network namespace; "" is the process's own.
func openNS(path string) (*os.File, error) {
	if path == "" {
		path = "/proc/self/ns/net"
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	return f, nil
}

// inside calls fn on a thread that is in the namespace. The thread is thrown away unless it comes back.
func inside(ns *os.File, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := there(ns, fn)
		if back {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// there runs on a thread of its own; back says that the thread is where it was.
func there(ns *os.File, fn func() error) (back bool, err error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return true, err
	}
	defer home.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return true, fmt.Errorf("enter network namespace %s: %w", ns.Name(), err)
	}
	err = fn()
	return unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil, err
}

// handleIn opens a netlink socket in the namespace. The caller closes it.
func handleIn(ns *os.File) (h *netlink.Handle, err error) {
	err = inside(ns, func() error {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	return h, err
}

// Inside calls f on a thread that is in the network namespace at a path; "" is the process's own, where it is called as
// it is. What f opens stays in that namespace. f must not start goroutines that expect to be there.
func Inside(path string, f func() error) error {
	if path == "" {
		return f()
	}
	ns, err := openNS(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return inside(ns, f)
}
