package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// dialInside connects to an address as seen from inside a network namespace. The thread that goes there is thrown
// away unless it comes back.
func dialInside(ctx context.Context, netns, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	ch := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		conn, back, err := dialThere(ctx, netns, address)
		if back {
			runtime.UnlockOSThread()
		}
		ch <- result{conn, err}
	}()
	r := <-ch
	return r.conn, r.err
}

// dialThere runs on a thread of its own; back says that the thread is where it was.
func dialThere(ctx context.Context, netns, address string) (conn net.Conn, back bool, err error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, true, err
	}
	defer home.Close()
	there, err := os.Open(netns)
	if err != nil {
		return nil, true, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, true, fmt.Errorf("enter network namespace %s: %w", netns, err)
	}
	// An IP address and a single one: the dialer then opens its socket on this very goroutine.
	var d net.Dialer
	conn, err = d.DialContext(ctx, "tcp", address)
	return conn, unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil, err
}

// MachineAddresses are the machine's first global address, or 127.0.0.1.
func MachineAddresses() []netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
				return []netip.Addr{p.Addr()}
			}
		}
	}
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
}
