package netplug

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func ranges(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestPoolOrder(t *testing.T) {
	p := newPool()
	p.reset(ranges("10.0.0.0/29", "10.9.0.0/30"), map[netip.Addr]string{netip.MustParseAddr("10.0.0.4"): "old"})
	take := func(want string) {
		t.Helper()
		a, err := p.take(want)
		require.NoError(t, err)
		require.Equal(t, want, a.String())
	}
	take("10.0.0.5") // after what is in use
	p.free(netip.MustParseAddr("10.0.0.5"), "10.0.0.5")
	take("10.0.0.6")
	p.free(netip.MustParseAddr("10.0.0.4"), "somebody else")
	p.free(netip.MustParseAddr("10.0.0.4"), "old")
	take("10.9.0.2")
	take("10.0.0.2")
	take("10.0.0.3")
	take("10.0.0.5") // the longest free first
	take("10.0.0.4")
	_, err := p.take("one more")
	require.ErrorContains(t, err, "no free address in [10.0.0.0/29 10.9.0.0/30]: 6 are in use")
}

func TestUsable(t *testing.T) {
	for r, want := range map[string]uint64{"10.0.0.0/24": 253, "10.0.0.0/30": 1, "0.0.0.0/0": 1<<32 - 3, "fd00::/64": 1<<64 - 1} {
		require.Equal(t, want, usable(netip.MustParsePrefix(r)), r)
	}
	require.Equal(t, "fd00::ffff:ffff:ffff:ffff", lastOf(netip.MustParsePrefix("fd00::/64")).String())
}

// TestPoolIsSound compares with a model: 20,000 random steps (100 runs of 200), among them crashes after which only what the kernel
// knows is left.
func TestPoolIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := ranges("10.0.0.0/27", "10.0.1.0/28")
		p, model, freedAt := newPool(), map[netip.Addr]string{}, map[netip.Addr]int{}
		p.reset(all, nil)
		for step := range 200 {
			id := fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "id"))
			switch rapid.IntRange(0, 9).Draw(t, "do") {
			case 0: // a crash
				p = newPool()
				p.reset(all, model)
				clear(freedAt)
			case 1: // the kernel has lost somebody
				for a := range model {
					delete(model, a)
					freedAt[a] = step
					break
				}
				p.reset(all, model)
			case 2, 3, 4:
				for a, owner := range model {
					if owner == id {
						p.free(a, id)
						delete(model, a)
						freedAt[a] = step
					}
				}
			default:
				a, err := p.take(id)
				if err != nil {
					require.Len(t, model, 29+13)
					continue
				}
				require.NotContains(t, model, a)
				require.False(t, reserved(all, a))
				for other, at := range freedAt {
					_, used := model[other]
					require.True(t, used || freedAt[a] <= at, "%s was freed after %s", a, other)
				}
				delete(freedAt, a)
				model[a] = id
			}
			require.True(t, maps.Equal(model, p.owner))
			require.LessOrEqual(t, len(p.queued), 29+13)
		}
	})
}
