package scheduling

import (
	"iter"
	"math/bits"
)

// Hosts is a set of host numbers, one bit each. Numbers start at 0, are given
// out by the [Engine] and are reused after a host is gone.
//
// All methods but [Hosts.Grow] leave the length alone; the sets that the engine
// hands to plugins all have one length.
type Hosts []uint64

// NewHosts returns an empty set with room for the numbers below n.
func NewHosts(n int) Hosts { return make(Hosts, (n+63)/64) }

// Has reports whether n is in the set.
func (h Hosts) Has(n int) bool {
	return uint(n)/64 < uint(len(h)) && h[n/64]&(1<<(n%64)) != 0
}

// Add puts n into the set, which must have room for it.
func (h Hosts) Add(n int) { h[n/64] |= 1 << (n % 64) }

// Remove takes n out of the set. It may be called while [Hosts.All] runs.
func (h Hosts) Remove(n int) {
	if uint(n)/64 < uint(len(h)) {
		h[n/64] &^= 1 << (n % 64)
	}
}

// All yields the numbers in the set in ascending order.
func (h Hosts) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, w := range h {
			for ; w != 0; w &= w - 1 {
				if !yield(i<<6 | bits.TrailingZeros64(w)) {
					return
				}
			}
		}
	}
}

// Blocks yields the first number of each run of 64 in which the set has any: for
// loops over whole runs of columns, which are faster than over single hosts as
// long as the set isn't sparse. The word of a run that starts at n is h[n/64].
func (h Hosts) Blocks() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, w := range h {
			if w != 0 && !yield(i<<6) {
				return
			}
		}
	}
}

// KeepAtLeast clears the hosts whose value in column is less than least: the
// commonest of all filters, in its fastest form.
func (h Hosts) KeepAtLeast(column Column[int64], least int64) {
	for i, w := range h {
		if w == 0 {
			continue
		}
		block := Block(column, i<<6)
		var drop uint64
		for k := 0; k < 64; k += 4 {
			// The signs of the differences, without a branch; exact while values
			// stay within half of the range of int64.
			drop |= (uint64(block[k]-least)>>63 | uint64(block[k+1]-least)>>63<<1 |
				uint64(block[k+2]-least)>>63<<2 | uint64(block[k+3]-least)>>63<<3) << k
		}
		h[i] &^= drop
	}
}

// Len counts the numbers in the set.
func (h Hosts) Len() int {
	n := 0
	for _, w := range h {
		n += bits.OnesCount64(w)
	}
	return n
}

// Empty reports whether the set has no number.
func (h Hosts) Empty() bool {
	for _, w := range h {
		if w != 0 {
			return false
		}
	}
	return true
}

// Clear takes all numbers out.
func (h Hosts) Clear() { clear(h) }

// Copy makes the set equal to o, which must have the same length.
func (h Hosts) Copy(o Hosts) { copy(h, o) }

// And keeps the numbers that are in o as well.
func (h Hosts) And(o Hosts) {
	for i := range h {
		h[i] &= o[i]
	}
}

// Or adds the numbers of o.
func (h Hosts) Or(o Hosts) {
	for i := range h {
		h[i] |= o[i]
	}
}

// AndNot takes the numbers of o out.
func (h Hosts) AndNot(o Hosts) {
	for i := range h {
		h[i] &^= o[i]
	}
}

// Grow returns the set with room for the numbers below n.
func (h Hosts) Grow(n int) Hosts {
	if words := (n + 63) / 64; words > len(h) {
		h = append(h, make(Hosts, words-len(h))...)
	}
	return h
}

// firstFree returns the lowest number that is not in the set; it may be one for
// which the set has no room yet.
func (h Hosts) firstFree() int {
	for i, w := range h {
		if w != ^uint64(0) {
			return i<<6 | bits.TrailingZeros64(^w)
		}
	}
	return len(h) * 64
}

// set makes to[n] = times × from[n] for each n in the set, and touches no other.
func (h Hosts) set(to, from []int64, times int64) {
	for i, w := range h {
		if w == 0 {
			continue
		}
		to, from := Block(to, i<<6), Block(from, i<<6)
		if w == ^uint64(0) {
			for k := range to {
				to[k] = times * from[k]
			}
			continue
		}
		for ; w != 0; w &= w - 1 {
			k := bits.TrailingZeros64(w)
			to[k] = times * from[k]
		}
	}
}

// addTo adds times × from[n] to to[n] for each n in the set, and touches no other.
func (h Hosts) addTo(to, from []int64, times int64) {
	for i, w := range h {
		if w == 0 {
			continue
		}
		to, from := Block(to, i<<6), Block(from, i<<6)
		if w == ^uint64(0) {
			for k := range to {
				to[k] += times * from[k]
			}
			continue
		}
		for ; w != 0; w &= w - 1 {
			k := bits.TrailingZeros64(w)
			to[k] += times * from[k]
		}
	}
}

// Column is an array by host number that grows when it is written, by whole runs
// of 64, so that it covers the [Hosts.Blocks] of all hosts for which it was
// written. Its zero value is ready for use.
type Column[T any] []T

// At returns the place of host n, growing the column when needed. The pointer
// is good until the next call of At.
func (c *Column[T]) At(n int) *T {
	if n >= len(*c) {
		*c = append(*c, make([]T, (n|63)+1-len(*c))...)
	}
	return &(*c)[n]
}

// Get returns the value of host n, or the zero value when there is none.
func (c Column[T]) Get(n int) (v T) {
	if n < len(c) {
		v = c[n]
	}
	return v
}

// Block returns the 64 entries of an array by host number that start at at, which
// [Hosts.Blocks] yielded. As their count is a constant, loops over them need no
// bounds checks.
func Block[T any](column []T, at int) *[64]T { return (*[64]T)(column[at:]) }
