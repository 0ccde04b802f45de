package scheduling

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Hosts behaves as a set of integers.
func TestHosts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.SliceOfDistinct(rapid.IntRange(0, 199), rapid.ID[int])
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		set := func(ns []int) Hosts {
			h := NewHosts(200)
			for _, n := range ns {
				h.Add(n)
			}
			return h
		}
		check := func(what string, got Hosts, want func(n int) bool) {
			expect := map[int]bool{}
			for n := range 256 {
				if want(n) {
					expect[n] = true
				}
				if got.Has(n) != want(n) {
					t.Fatalf("%s: Has(%d) = %v", what, n, got.Has(n))
				}
			}
			require.Equal(t, slices.Sorted(maps.Keys(expect)), slices.Collect(got.All()), what)
			require.Equal(t, len(expect), got.Len(), what)
			require.Equal(t, len(expect) == 0, got.Empty(), what)
		}
		inA := func(n int) bool { return slices.Contains(a, n) }
		inB := func(n int) bool { return slices.Contains(b, n) }
		check("a", set(a), inA)
		and, or, not, grown := set(a), set(a), set(a), set(a).Grow(1000)
		and.And(set(b))
		or.Or(set(b))
		not.AndNot(set(b))
		check("and", and, func(n int) bool { return inA(n) && inB(n) })
		check("or", or, func(n int) bool { return inA(n) || inB(n) })
		check("and not", not, func(n int) bool { return inA(n) && !inB(n) })
		check("grown", grown, inA)
		free := set(a).firstFree()
		require.False(t, inA(free))
		for n := range free {
			require.True(t, inA(n))
		}
		odd := set(a)
		for n := range odd.All() { // removing while walking
			if n%2 == 0 {
				odd.Remove(n)
			}
		}
		check("odd", odd, func(n int) bool { return inA(n) && n%2 == 1 })
		odd.Clear()
		odd.Remove(100_000)
		check("cleared", odd, func(int) bool { return false })
	})
}
