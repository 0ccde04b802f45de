//go:build linux

package netplug

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
)

// The process ends at each step of Remove, while a pod has its network. The next one gives it back to the pod, and
// leaves nothing.
func TestExitAtEveryStepOfRemove(t *testing.T) {
	inModes(t, func(t *testing.T, mode Mode) {
		host, outside := newHost(t)
		serve(t, outside, 80)
		before := state(t, host)
		for at, passed := 1, false; !passed; at++ {
			n, err := New(configOf(host, mode))
			require.NoError(t, err)
			s := newSpace(t)
			_, err = n.Attach(t.Context(), podWith(tcp(8080, 80)), "a", s.path())
			require.NoError(t, err)
			steps := exitAt(n, at)
			err = n.Remove(t.Context())
			passed = err == nil
			if passed {
				require.Equal(t, before, state(t, host))
				require.Greater(t, len(*steps), 5)
			} else {
				require.ErrorIs(t, err, errExit)
				crash(n)
			}
			if at%2 == 0 {
				n, err := New(configOf(host, mode))
				require.NoError(t, err)
				_, err = n.Attach(t.Context(), podWith(tcp(8080, 80)), "a", s.path())
				require.NoError(t, err, *steps)
				sees(t, s, outsideAddr+":80", hostAddr)
				require.NoError(t, n.Close())
			}
			s.end()
			end(t, host, mode, before, at%4 > 1)
		}
	})
}

// end starts the network, has a pod use it, or not, and removes it: nothing is left then.
func end(t *testing.T, host *space, mode Mode, before []string, use bool) {
	t.Helper()
	n, err := New(configOf(host, mode))
	require.NoError(t, err)
	require.NoError(t, n.Keep(t.Context(), nil))
	if use {
		s := newSpace(t)
		defer s.end()
		_, err = n.Attach(t.Context(), podWith(tcp(8080, 80)), "b", s.path())
		require.NoError(t, err)
		sees(t, s, outsideAddr+":80", hostAddr)
	}
	require.NoError(t, n.Remove(t.Context()))
	require.Equal(t, before, state(t, host))
}

// A Remove that fails may be repeated; what it took away stays so.
func TestRemoveAgain(t *testing.T) {
	inModes(t, func(t *testing.T, mode Mode) {
		host, _ := newHost(t)
		hardened(t, host)
		before := state(t, host)
		for at, passed := 1, false; !passed; at++ {
			n := start(t, configOf(host, mode))
			attach(t, n, "a", tcp(8080, 80))
			exitAt(n, at)
			err := n.Remove(t.Context())
			if passed = err == nil; !passed {
				require.ErrorIs(t, err, errExit)
				require.NoError(t, n.Remove(t.Context()))
			}
			require.Equal(t, before, state(t, host))
		}
	})
}

// A New that fails where nothing was leaves nothing; where a network was, it leaves that.
func TestStartFails(t *testing.T) {
	host, outside := newHost(t)
	before := state(t, host)
	serve(t, outside, 80)
	c := configOf(host, Bridge)
	foreign := netlink.NewVeth(netlink.LinkAttrs{Name: "bpbr"})
	foreign.PeerName = "peer"
	require.NoError(t, host.h.LinkAdd(foreign))
	with := state(t, host)
	_, err := New(c)
	require.ErrorContains(t, err, "link bpbr is there and is no bridge")
	require.Equal(t, with, state(t, host))
	require.NoError(t, host.h.LinkDel(foreign))
	require.Equal(t, before, state(t, host))

	n := start(t, c)
	s, _ := attach(t, n, "a", tcp(8080, 80))
	require.NoError(t, n.Close())
	running := state(t, host)
	c.Ranges = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")}
	n, err = newNetwork(c)
	require.NoError(t, err)
	n.hook = func(string) error { return errors.New("no") }
	fresh, err := n.start()
	require.EqualError(t, err, "no")
	require.False(t, fresh)
	n.release()
	require.Equal(t, running, state(t, host))
	sees(t, s, outsideAddr+":80", hostAddr)
	require.NoError(t, start(t, configOf(host, Bridge)).Remove(t.Context()))
	require.Equal(t, before, state(t, host))
}

// The process ends at each step of Remove of one network, while another lives in the same namespace and inherits.
func TestExitAtEveryStepWithHeir(t *testing.T) {
	host, _ := newHost(t)
	hardened(t, host)
	before := state(t, host)
	for at, passed := 1, false; !passed; at++ {
		one, err := New(configOf(host, Routed))
		require.NoError(t, err)
		two, err := New(Config{Host: host.path(), Prefix: "bq", Protocol: 91})
		require.NoError(t, err)
		exitAt(one, at)
		err = one.Remove(t.Context())
		if passed = err == nil; !passed {
			require.ErrorIs(t, err, errExit)
			crash(one)
		}
		last := two
		if at%2 == 0 { // either may be the last
			last, err = New(configOf(host, Routed))
			require.NoError(t, err)
			require.NoError(t, two.Remove(t.Context()))
		} else if !passed {
			one, err = New(configOf(host, Routed))
			require.NoError(t, err)
			require.NoError(t, one.Remove(t.Context()))
		}
		require.NoError(t, last.Remove(t.Context()))
		require.Equal(t, before, state(t, host), at)
	}
}
