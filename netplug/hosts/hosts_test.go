//go:build linux

package hosts_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/netplug/hosts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var made atomic.Int32

// unique is a name that no other test has, on this machine.
func unique() string { return fmt.Sprintf("t%d", (os.Getpid()%10_000)*100+int(made.Add(1))) }

// machine makes a network namespace that stands for the machine, with lo up and forwarding on.
func machine(t testing.TB) string {
	name := unique() + "m"
	do(t, "", func() error {
		ns, err := netns.NewNamed(name)
		if err != nil {
			return err
		}
		defer ns.Close()
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	t.Cleanup(func() { require.NoError(t, netns.DeleteNamed(name)) })
	return filepath.Join("/run/netns", name)
}

// do calls f on a thread in a network namespace; "" is the process's own.
func do(t testing.TB, path string, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocks: the thread ends with it
		if path == "" {
			done <- f()
			return
		}
		ns, err := netns.GetFromPath(path)
		if err == nil {
			err = netns.Set(ns)
			ns.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	require.NoError(t, <-done)
}

func open(t testing.TB, c hosts.Config) *hosts.Hosts {
	t.Helper()
	h, err := hosts.Open(c)
	require.NoError(t, err)
	return h
}

// serve answers connections at an address of a namespace with the address that they come from.
func serve(t testing.TB, ns string, at netip.Addr) string {
	var l net.Listener
	do(t, ns, func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
		return err
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String()
}

// ask connects from a namespace and returns what is answered.
func ask(t testing.TB, ns, address string) string {
	t.Helper()
	var got []byte
	do(t, ns, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		defer c.Close()
		got, err = io.ReadAll(c)
		return err
	})
	return string(got)
}

// left is what a name has left: its links in the machine, and its namespaces.
func left(t testing.TB, machine, name string) (found []string) {
	do(t, machine, func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			if l.Attrs().Name != "lo" {
				found = append(found, l.Attrs().Name)
			}
		}
		return err
	})
	entries, err := os.ReadDir("/run/netns")
	require.NoError(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), name+"-") {
			found = append(found, e.Name())
		}
	}
	return found
}

func TestHosts(t *testing.T) {
	c := hosts.Config{Name: unique(), Range: netip.MustParsePrefix("10.99.7.0/24"), Machine: machine(t)}
	h := open(t, c)
	require.False(t, h.Found())
	one := h.Machine()
	require.Equal(t, "10.99.7.1", one.Address.String())
	two, err := h.Add(2)
	require.NoError(t, err)
	three, err := h.Add(3)
	require.NoError(t, err)
	require.Equal(t, "10.99.7.3", three.Address.String())

	at := serve(t, three.Namespace, three.Address)
	require.Equal(t, two.Address.String(), ask(t, two.Namespace, at))
	require.Equal(t, one.Address.String(), ask(t, c.Machine, at))
	require.Equal(t, three.Address.String(), ask(t, three.Namespace, serve(t, c.Machine, one.Address)))

	h.Close() // as a process that ends leaves it
	h = open(t, c)
	require.True(t, h.Found())
	again, err := h.Add(2)
	require.NoError(t, err)
	require.Equal(t, two, again)
	require.Equal(t, two.Address.String(), ask(t, two.Namespace, at), "it is as it was")

	require.NoError(t, h.Remove())
	require.Empty(t, left(t, c.Machine, c.Name))
}

// TestOutside: hosts have the machine's address outside, and their own inside.
func TestOutside(t *testing.T) {
	c := hosts.Config{
		Name: unique(), Range: netip.MustParsePrefix("10.99.7.0/24"), Machine: machine(t),
		Inside: []netip.Prefix{netip.MustParsePrefix("10.98.2.0/24")},
	}
	outside, inside := machine(t), machine(t)
	h := open(t, c)
	defer h.Remove()
	two, err := h.Add(2)
	require.NoError(t, err)
	connect(t, c.Machine, outside, "198.51.100.1/24", "198.51.100.2/24", netip.MustParsePrefix("10.99.7.0/24"))
	connect(t, c.Machine, inside, "10.98.2.1/24", "10.98.2.2/24", netip.MustParsePrefix("10.99.7.0/24"))
	require.Equal(t, "198.51.100.1", ask(t, two.Namespace, serve(t, outside, netip.MustParseAddr("198.51.100.2"))))
	require.Equal(t, two.Address.String(), ask(t, two.Namespace, serve(t, inside, netip.MustParseAddr("10.98.2.2"))))
}

// connect puts a link between two namespaces; there has a route back to a range.
func connect(t testing.TB, here, there, ours, theirs string, back netip.Prefix) {
	name := unique()
	do(t, here, func() error {
		ns, err := netns.GetFromPath(there)
		if err != nil {
			return err
		}
		defer ns.Close()
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "up", PeerNamespace: netlink.NsFd(ns)}); err != nil {
			return err
		}
		return up(name, ours)
	})
	do(t, there, func() error {
		if err := up("up", theirs); err != nil {
			return err
		}
		via := net.ParseIP(strings.Split(ours, "/")[0])
		return netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: back.Addr().AsSlice(), Mask: net.CIDRMask(back.Bits(), 32)}, Gw: via})
	})
}

func up(name, address string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// TestHalfMade: what a crash left half made is completed, and what an earlier process made is removed.
func TestHalfMade(t *testing.T) {
	c := hosts.Config{Name: unique(), Range: netip.MustParsePrefix("10.99.7.0/28"), Machine: machine(t)}
	h := open(t, c)
	require.NoError(t, os.WriteFile(filepath.Join("/run/netns", c.Name+"-2"), nil, 0o600)) // a name, and nothing behind it
	two, err := h.Add(2)
	require.NoError(t, err)
	do(t, two.Namespace, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(link) // its routes go with that
	})
	_, err = h.Add(3)
	require.NoError(t, err)
	_, err = h.Add(2)
	require.NoError(t, err)
	require.Equal(t, two.Address.String(), ask(t, two.Namespace, serve(t, c.Machine, h.Machine().Address)))
	h.Close()
	require.NoError(t, open(t, c).Remove())
	require.Empty(t, left(t, c.Machine, c.Name))
}

func TestRefusals(t *testing.T) {
	at := machine(t)
	c := hosts.Config{Name: unique(), Range: netip.MustParsePrefix("10.99.7.0/30"), Machine: at}
	h := open(t, c)
	for _, n := range []int{-1, 0, 1, 3, 4} {
		_, err := h.Add(n)
		require.ErrorContains(t, err, "has room for hosts 2 to 2", n)
	}
	for _, bad := range []struct {
		edit func(*hosts.Config)
		says string
	}{
		{func(c *hosts.Config) { c.Name = "" }, "a letter first"},
		{func(c *hosts.Config) { c.Name = "much-too-long" }, "a letter first"},
		{func(c *hosts.Config) { c.Range = netip.Prefix{} }, "an IPv4 range"},
		{func(c *hosts.Config) { c.Range = netip.MustParsePrefix("fd00::/64") }, "an IPv4 range"},
		{func(c *hosts.Config) { c.Name = unique() }, "is in use: " + c.Name + " has a route to 10.99.7.0/30"},
		{func(c *hosts.Config) { c.Machine = "/run/netns/none" }, "open network namespace /run/netns/none"},
	} {
		other := c
		bad.edit(&other)
		_, err := hosts.Open(other)
		require.ErrorContains(t, err, bad.says)
	}
	_, err := hosts.Open(c)
	require.ErrorContains(t, err, "another process has them")
	elsewhere := c
	elsewhere.Machine = machine(t)
	require.NoError(t, open(t, elsewhere).Remove(), "each network namespace has its own")
	require.NoError(t, h.Remove())
	require.False(t, slices.Contains(left(t, at, c.Name), c.Name))
	var st unix.Statfs_t
	require.Error(t, unix.Statfs(filepath.Join("/run/netns", c.Name+"-2"), &st))
}
