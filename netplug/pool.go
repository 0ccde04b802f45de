package netplug

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
)

// pool says whose an address is, and which is next: first all that were never given out, in order, then those that
// were freed, the longest free first. It is pure bookkeeping, and holds at most an entry for each address of its
// ranges and each in use.
type pool struct {
	ranges []netip.Prefix
	owner  map[netip.Addr]string

	freed  []netip.Addr // oldest first
	queued map[netip.Addr]bool

	at     int        // the range that the walk over fresh addresses is in
	cursor netip.Addr // the next fresh address
	left   uint64     // how many are left of the walk
}

func newPool() *pool {
	return &pool{owner: map[netip.Addr]string{}, queued: map[netip.Addr]bool{}}
}

// reset makes owner the addresses in use, and ranges those to give out. What was in use and is not any more counts as
// freed now.
func (p *pool) reset(ranges []netip.Prefix, owner map[netip.Addr]string) {
	before := p.owner
	p.owner = make(map[netip.Addr]string, len(owner))
	maps.Copy(p.owner, owner)
	if !slices.Equal(p.ranges, ranges) {
		p.ranges, p.freed, p.queued = ranges, nil, map[netip.Addr]bool{}
		p.begin()
	}
	for a := range before {
		if _, used := p.owner[a]; !used {
			p.queue(a)
		}
	}
}

// begin starts the walk after the highest address in use of the first range that has one, so that a new process does
// not begin with what the last one has just freed.
func (p *pool) begin() {
	p.left, p.at, p.cursor = 0, 0, netip.Addr{}
	for n, r := range p.ranges {
		p.left = add(p.left, usable(r))
		for a := range p.owner {
			if r.Contains(a) && (!p.cursor.IsValid() || p.at == n && p.cursor.Less(a)) {
				p.at, p.cursor = n, a
			}
		}
	}
	switch {
	case p.cursor.IsValid():
		p.advance()
	case len(p.ranges) > 0:
		p.cursor = firstOf(p.ranges[0])
	}
}

// advance moves the cursor to the next address that pods may have, around all ranges.
func (p *pool) advance() {
	p.cursor = p.cursor.Next()
	if r := p.ranges[p.at]; !p.cursor.IsValid() || !r.Contains(p.cursor) || p.cursor == lastOf(r) {
		p.at = (p.at + 1) % len(p.ranges)
		p.cursor = firstOf(p.ranges[p.at])
	}
}

// take gives the owner an address.
func (p *pool) take(owner string) (netip.Addr, error) {
	for p.left > 0 {
		a := p.cursor
		p.advance()
		p.left--
		if _, used := p.owner[a]; !used && !p.queued[a] {
			p.owner[a] = owner
			return a, nil
		}
	}
	for len(p.freed) > 0 {
		a := p.freed[0]
		p.freed = p.freed[1:]
		delete(p.queued, a)
		if _, used := p.owner[a]; !used {
			p.owner[a] = owner
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no free address in %s: %d are in use", p.ranges, len(p.owner))
}

// free ends the use of an address by its owner. It does nothing if it is not the owner's.
func (p *pool) free(a netip.Addr, owner string) {
	if who, used := p.owner[a]; used && who == owner {
		delete(p.owner, a)
		p.queue(a)
	}
}

func (p *pool) queue(a netip.Addr) {
	if _, in := p.rangeOf(a); in && !p.queued[a] && !reserved(p.ranges, a) {
		p.queued[a] = true
		p.freed = append(p.freed, a)
	}
}

// rangeOf is the range that an address is from.
func (p *pool) rangeOf(a netip.Addr) (netip.Prefix, bool) {
	for _, r := range p.ranges {
		if r.Contains(a) {
			return r, true
		}
	}
	return netip.Prefix{}, false
}

// gatewayOf is the host's address on the bridge: the range's second.
func gatewayOf(r netip.Prefix) netip.Addr { return r.Masked().Addr().Next() }

// firstOf is the first address of a range that a pod may have.
func firstOf(r netip.Prefix) netip.Addr { return gatewayOf(r).Next() }

// lastOf is the last address of a range, which no pod gets.
func lastOf(r netip.Prefix) netip.Addr {
	b := r.Masked().Addr().AsSlice()
	for bit := r.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func reserved(ranges []netip.Prefix, a netip.Addr) bool {
	for _, r := range ranges {
		if r.Contains(a) && (a.Less(firstOf(r)) || a == lastOf(r)) {
			return true
		}
	}
	return false
}

// usable is how many addresses of a range pods may have.
func usable(r netip.Prefix) uint64 {
	host := r.Addr().BitLen() - r.Bits()
	if host >= 64 {
		return math.MaxUint64
	}
	return 1<<host - 3
}

func add(a, b uint64) uint64 {
	if a+b < a {
		return math.MaxUint64
	}
	return a + b
}
