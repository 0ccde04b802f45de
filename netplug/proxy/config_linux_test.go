package proxy

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConfig(t *testing.T) {
	good := withInformers(t, Config{})
	_, err := New(good)
	require.NoError(t, err)
	for want, change := range map[string]func(*Config){
		"Config.Client is nil":   func(c *Config) { c.Client = nil },
		"is not one bit":         func(c *Config) { c.Mark = 3 },
		"Resync is negative":     func(c *Config) { c.Resync = -1 },
		"is no IPv4 range":       func(c *Config) { c.PodRanges = []netip.Prefix{netip.MustParsePrefix("fd00::/64")} },
		"can't be served at 127": func(c *Config) { c.Node.Addresses = []netip.Addr{netip.MustParseAddr("127.0.0.1")} },
		"is no name of a table":  func(c *Config) { c.Table = "a\x00b" },
	} {
		c := good
		change(&c)
		_, err := New(c)
		require.ErrorContains(t, err, want)
	}
	c := good
	c.Namespace = "/nowhere"
	p, err := New(c)
	require.NoError(t, err)
	require.ErrorContains(t, p.Run(t.Context()), "open network namespace")
}

// TestSweepIsTriedAgain: what could not be looked at is still to do, unless something newer was said of it.
func TestSweepIsTriedAgain(t *testing.T) {
	l := newLab(t)
	s := newSweeper(l.e.host, nil)
	at := Frontend{netip.MustParseAddr(vip), UDP, 53}
	s.add(flows{at: nil})
	closed, err := openHost(l.host.path(), "x", layout{})
	require.NoError(t, err)
	require.NoError(t, closed.close())
	s.host = closed
	require.Error(t, s.sweep())
	require.Len(t, s.todo, 1)
	s.host = l.e.host
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.run(ctx))
	require.Empty(t, s.todo)
}
