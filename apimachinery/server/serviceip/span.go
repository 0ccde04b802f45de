package serviceip

import (
	"encoding/binary"
	"math"
	"net/netip"
)

// span is a run of numbers or addresses, counted from 0, of which the first static ones are kept back for those who
// ask for them by name.
type span struct{ size, static uint64 }

// pick returns a free place: the first one from a random start in the upper part, around it, then in the lower part.
// random returns a number below its argument, which is positive. ok is false if all are taken.
func (s span) pick(random func(below uint64) uint64, taken func(at uint64) (bool, error)) (at uint64, ok bool, err error) {
	for _, part := range []struct{ from, size uint64 }{{s.static, s.size - s.static}, {0, s.static}} {
		if part.size == 0 {
			continue
		}
		start := random(part.size)
		for i := range part.size {
			at := start
			if i < part.size-start {
				at += i
			} else {
				at = i - (part.size - start)
			}
			at += part.from
			if held, err := taken(at); err != nil || !held {
				return at, err == nil, err
			}
		}
	}
	return 0, false, nil
}

// banded is a span of size with the lower part that Kubernetes keeps back: one in step of all, at least least and at
// most most; none of those too small for it.
func banded(size, all, least, most, step uint64) span {
	if all <= least {
		return span{size: size}
	}
	return span{size: size, static: min(max(least, all/step), most)}
}

// cidr is a range of addresses: those of a prefix but for the first, and for the last of IPv4.
type cidr struct {
	prefix netip.Prefix
	first  netip.Addr
	span   span
}

func newCIDR(p netip.Prefix) cidr {
	p = p.Masked()
	bits := p.Addr().BitLen() - p.Bits()
	all := uint64(math.MaxUint64)
	if bits < 64 {
		all = 1 << bits
	}
	out := uint64(1)
	if p.Addr().Is4() {
		out = 2
	}
	return cidr{prefix: p, first: p.Addr().Next(), span: banded(all-min(all, out), all, 16, 256, 16)}
}

// has says whether an address may be handed out.
func (c cidr) has(a netip.Addr) bool {
	if !c.prefix.Contains(a) || a == c.prefix.Addr() {
		return false
	}
	return a.Is6() || a != add(c.prefix.Addr(), uint64(1)<<(32-c.prefix.Bits())-1)
}

// at is the address at a place of the span.
func (c cidr) at(n uint64) netip.Addr { return add(c.first, n) }

// add counts on from an address. It stays among the addresses that differ in the last 64 bits.
func add(a netip.Addr, n uint64) netip.Addr {
	if a.Is4() {
		b := a.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
		return netip.AddrFrom4(b)
	}
	b := a.As16()
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+n)
	return netip.AddrFrom16(b)
}
