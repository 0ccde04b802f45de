package serviceip

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

func TestBands(t *testing.T) {
	for text, want := range map[string]span{
		"10.0.0.0/28":     {14, 0},
		"10.0.0.0/27":     {30, 16},
		"10.0.0.0/24":     {254, 16},
		"10.96.0.0/16":    {65534, 256},
		"10.96.0.0/12":    {1<<20 - 2, 256},
		"fd00::/112":      {65535, 256},
		"fd00::/64":       {1<<64 - 2, 256},
		"192.168.0.0/30":  {2, 0},
		"192.168.0.0/31":  {0, 0},
		"192.168.0.0/32":  {0, 0},
		"fd00::/126":      {3, 0},
		"255.255.255.0/8": {1<<24 - 2, 256},
	} {
		require.Equal(t, want, newCIDR(netip.MustParsePrefix(text)).span, text)
	}
	require.Equal(t, span{2768, 86}, banded(2768, 2768, 16, 128, 32), "node ports")
	require.Equal(t, core.NodePortClaim(30000), portKey(30000), "what is looked for is what is claimed")
}

func TestHas(t *testing.T) {
	for text, want := range map[string]bool{
		"10.0.0.0": false, "10.0.0.1": true, "10.0.0.254": true, "10.0.0.255": false, "10.0.1.1": false, "fd00::1": false,
	} {
		require.Equal(t, want, newCIDR(netip.MustParsePrefix("10.0.0.0/24")).has(netip.MustParseAddr(text)), text)
	}
	six := newCIDR(netip.MustParsePrefix("fd00::/64"))
	require.False(t, six.has(netip.MustParseAddr("fd00::")))
	require.True(t, six.has(netip.MustParseAddr("fd00::ffff:ffff:ffff:ffff")))
	require.Equal(t, "fd00::ffff:ffff:ffff:fffe", six.at(six.span.size-1).String())
}

// TestPick: picked one after the other, every place comes once, those of the upper part first.
func TestPick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := span{size: rapid.Uint64Range(0, 100).Draw(t, "size")}
		s.static = rapid.Uint64Range(0, s.size).Draw(t, "static")
		random := func(below uint64) uint64 { return rapid.Uint64Range(0, below-1).Draw(t, "random") }
		taken := map[uint64]bool{}
		for n := range s.size {
			at, ok, err := s.pick(random, func(at uint64) (bool, error) { return taken[at], nil })
			require.NoError(t, err)
			require.True(t, ok)
			require.Less(t, at, s.size)
			require.False(t, taken[at])
			require.Equal(t, n < s.size-s.static, at >= s.static)
			taken[at] = true
		}
		_, ok, err := s.pick(random, func(at uint64) (bool, error) { return taken[at], nil })
		require.NoError(t, err)
		require.False(t, ok)
	})
}
