package nodeipam

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func ranges(texts ...string) (out []netip.Prefix) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func ledger(t require.TestingT, c Config) *Ledger {
	l, err := NewLedger(c)
	require.NoError(t, err)
	return l
}

func TestConfigIsJudged(t *testing.T) {
	for want, c := range map[string]Config{
		"Ranges must be set":                                {},
		"one of each address family":                        {Ranges: ranges("10.0.0.0/8", "11.0.0.0/8")},
		"blocks of /24 don't fit in it":                     {Ranges: ranges("10.0.0.0/25")},
		"blocks of /33 don't fit in it":                     {Ranges: ranges("10.0.0.0/25"), NodeMask: 33},
		"it would have more than 65536 blocks of /25":       {Ranges: ranges("10.0.0.0/8"), NodeMask: 25},
		"without bits set after its prefix":                 {Ranges: ranges("10.0.0.1/16")},
		"range invalid Prefix: it must be an address range": {Ranges: []netip.Prefix{{}}},
	} {
		_, err := NewLedger(c)
		require.ErrorContains(t, err, want)
	}
}

func TestTake(t *testing.T) {
	l := ledger(t, Config{Ranges: ranges("10.244.0.0/22"), Exclude: ranges("10.244.1.128/25")})
	take := func(node, want string) {
		t.Helper()
		got, err := l.Take(node)
		require.NoError(t, err)
		require.Equal(t, ranges(want), got)
	}
	take("a", "10.244.0.0/24")
	take("b", "10.244.2.0/24")
	take("a", "10.244.0.0/24")
	require.True(t, l.Release("a"))
	require.False(t, l.Release("a"))
	take("c", "10.244.3.0/24")
	take("a", "10.244.0.0/24")
	_, err := l.Take("d")
	require.ErrorIs(t, err, ErrFull)
	require.Empty(t, l.Has("d"))
	l.Release("b")
	take("d", "10.244.2.0/24")
}

func TestBothFamilies(t *testing.T) {
	l := ledger(t, Config{Ranges: ranges("10.244.0.0/16", "fd00:10:244::/56"), NodeMask: 20})
	for _, want := range [][]string{{"10.244.0.0/20", "fd00:10:244::/64"}, {"10.244.16.0/20", "fd00:10:244:1::/64"}} {
		got, err := l.Take(want[0])
		require.NoError(t, err)
		require.Equal(t, ranges(want...), got)
	}
	_, conflicts := l.Occupy("all", ranges("10.244.32.0/19", "fd00:10:244:2::1/128"))
	require.Empty(t, conflicts)
	got, err := l.Take("next")
	require.NoError(t, err)
	require.Equal(t, ranges("10.244.64.0/20", "fd00:10:244:3::/64"), got)
}

func TestConflicts(t *testing.T) {
	l := ledger(t, Config{Ranges: ranges("10.244.0.0/16")})
	occupy := func(node string, has ...string) (out []string) {
		_, conflicts := l.Occupy(node, ranges(has...))
		for _, c := range conflicts {
			out = append(out, c.Error())
		}
		return out
	}
	require.Empty(t, occupy("a", "10.244.1.0/24"))
	require.Empty(t, occupy("a", "10.244.1.0/24"))
	require.Equal(t, []string{"10.244.1.0/24 of node b is node a's also"}, occupy("b", "10.244.1.0/24"))
	require.Equal(t, []string{"10.244.0.0/16 of node c is node a's also", "10.244.0.0/16 of node c is node b's also"}, occupy("c", "10.244.0.0/16"))
	require.Empty(t, occupy("d", "192.168.0.0/24"), "out of all ranges")
	require.Equal(t, []string{"192.168.0.0/16 of node e is node d's also"}, occupy("e", "192.168.0.0/16"))
	_, err := l.Take("f")
	require.ErrorIs(t, err, ErrFull)
	l.Release("c")
	l.Release("a")
	for range 255 {
		got, err := l.Take(fmt.Sprint("n", len(l.nodes)))
		require.NoError(t, err)
		require.NotEqual(t, ranges("10.244.1.0/24"), got, "b has it still")
	}
	_, err = l.Take("f")
	require.ErrorIs(t, err, ErrFull)
}

// TestNeverTwice lets nodes come and go, with ranges of their own and without: no two ever have an address in
// common that was handed out, and what is free is found.
func TestNeverTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := ledger(t, Config{Ranges: ranges("10.0.0.0/24"), NodeMask: 28})
		given := map[string]netip.Prefix{}
		preset := map[string]netip.Prefix{}
		node := rapid.Map(rapid.IntRange(0, 20), func(n int) string { return fmt.Sprint("n", n) })
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				n := node.Draw(t, "node")
				if _, ok := preset[n]; ok {
					return
				}
				got, err := l.Take(n)
				if errors.Is(err, ErrFull) {
					used := map[int]bool{}
					for _, of := range []map[string]netip.Prefix{given, preset} {
						for _, p := range of {
							first, last, ok := l.pools[0].span(p)
							for b := first; ok && b <= last; b++ {
								used[b] = true
							}
						}
					}
					require.Len(t, used, 16)
					return
				}
				require.NoError(t, err)
				if had, ok := given[n]; ok {
					require.Equal(t, had, got[0])
				}
				given[n] = got[0]
				for other, p := range given {
					require.True(t, other == n || !p.Overlaps(got[0]), "%s and %s", n, other)
				}
				for other, p := range preset {
					require.False(t, p.Overlaps(got[0]), "%s and %s", n, other)
				}
			},
			"come with one": func(t *rapid.T) {
				n := node.Draw(t, "node")
				bits := rapid.IntRange(26, 30).Draw(t, "bits")
				a := netip.AddrFrom4([4]byte{10, 0, byte(rapid.IntRange(0, 1).Draw(t, "out")), byte(rapid.IntRange(0, 255).Draw(t, "at"))})
				p := netip.PrefixFrom(a, bits).Masked()
				for _, other := range given {
					if other.Overlaps(p) {
						return // a conflict
					}
				}
				delete(given, n)
				preset[n] = p
				l.Occupy(n, []netip.Prefix{p})
			},
			"go": func(t *rapid.T) {
				n := node.Draw(t, "node")
				delete(given, n)
				delete(preset, n)
				l.Release(n)
			},
			"": func(t *rapid.T) {
				free := 0
				for _, n := range l.pools[0].used {
					require.GreaterOrEqual(t, n, int32(0))
					if n == 0 {
						free++
					}
				}
				require.Equal(t, free, l.pools[0].free)
				for n := range l.pools[0].used {
					require.Equal(t, n, l.pools[0].number(l.pools[0].block(n).Addr()))
				}
			},
		})
	})
}

func ExampleLedger() {
	l, err := NewLedger(Config{Ranges: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}})
	if err != nil {
		fmt.Println(err)
		return
	}
	l.Occupy("old", []netip.Prefix{netip.MustParsePrefix("10.244.0.0/23")})
	got, err := l.Take("new")
	fmt.Println(got, err)
	// Output: [10.244.2.0/24] <nil>
}

func BenchmarkTakeAlmostFull(b *testing.B) {
	l := ledger(b, Config{Ranges: ranges("10.0.0.0/8")})
	for n := range 1<<16 - 1 {
		if _, err := l.Take(fmt.Sprint(n)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Take("last"); err != nil {
			b.Fatal(err)
		}
		l.Release("last")
	}
}
