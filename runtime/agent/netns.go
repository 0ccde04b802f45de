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

// dialInside connects to an IP address as seen from inside a network namespace.
func dialInside(ctx context.Context, netns, address string) (conn net.Conn, err error) {
	err = inside(netns, func() error {
		// An IP address and a single one: the dialer then opens its socket on this very goroutine.
		var d net.Dialer
		conn, err = d.DialContext(ctx, "tcp", address)
		return err
	})
	return conn, err
}

// dialHost connects from the host's network.
func (a *Agent) dialHost(ctx context.Context, network, address string) (net.Conn, error) {
	if a.c.HostNetwork == "" {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	for _, ip := range ips {
		if conn, err = dialInside(ctx, a.c.HostNetwork, net.JoinHostPort(ip.Unmap().String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// listenHost listens on the host's network.
func (a *Agent) listenHost(address string) (l net.Listener, err error) {
	if a.c.HostNetwork == "" {
		return net.Listen("tcp", address)
	}
	err = inside(a.c.HostNetwork, func() error {
		l, err = net.Listen("tcp", address)
		return err
	})
	return l, err
}

// inside calls f on a thread that is in a network namespace. The thread is thrown away unless it comes back.
func inside(netns string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := there(netns, f)
		if back {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// there runs on a thread of its own; back says that the thread is where it was.
func there(netns string, f func() error) (back bool, err error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return true, err
	}
	defer home.Close()
	away, err := os.Open(netns)
	if err != nil {
		return true, err
	}
	defer away.Close()
	if err := unix.Setns(int(away.Fd()), unix.CLONE_NEWNET); err != nil {
		return true, fmt.Errorf("enter network namespace %s: %w", netns, err)
	}
	err = f()
	return unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil, err
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
