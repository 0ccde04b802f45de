package nodeipam

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// ErrFull says that a cluster range has no free block left.
var ErrFull = errors.New("no address block is left")

// Conflict says that two nodes have addresses in common.
type Conflict struct {
	// Node has Block, which Other has also, in whole or part.
	Node, Other string
	Block       netip.Prefix
}

// Error implements error.
func (c Conflict) Error() string {
	return fmt.Sprintf("%s of node %s is node %s's also", c.Block, c.Node, c.Other)
}

// Ledger knows which node has which addresses, and hands out blocks. It is pure: no clock, lock or I/O. Blocks are
// handed out in turn, so that one that comes back is used again as late as can be.
type Ledger struct {
	pools []*pool
	nodes map[string][]netip.Prefix
}

// pool is one cluster range, in blocks of one size.
type pool struct {
	in   netip.Prefix
	bits int     // a block's
	used []int32 // by how many holders each block is used
	free int
	next int
}

// maxBlockBits bounds the blocks of a range; Kubernetes has the same limit.
const maxBlockBits = 16

func newPool(in netip.Prefix, bits int, exclude []netip.Prefix) (*pool, error) {
	switch {
	case !in.IsValid() || in != in.Masked():
		return nil, fmt.Errorf("range %s: it must be an address range, without bits set after its prefix", in)
	case bits < in.Bits() || bits > in.Addr().BitLen():
		return nil, fmt.Errorf("range %s: blocks of /%d don't fit in it", in, bits)
	case bits-in.Bits() > maxBlockBits:
		return nil, fmt.Errorf("range %s: it would have more than %d blocks of /%d", in, 1<<maxBlockBits, bits)
	}
	n := 1 << (bits - in.Bits())
	p := &pool{in: in, bits: bits, used: make([]int32, n), free: n}
	for _, e := range exclude {
		p.mark(e)
	}
	return p, nil
}

// span are the blocks that a prefix lies in or covers, first to last; false if none.
func (p *pool) span(of netip.Prefix) (first, last int, ok bool) {
	if !of.IsValid() || !p.in.Overlaps(of) {
		return 0, 0, false
	}
	if of.Bits() <= p.in.Bits() {
		return 0, len(p.used) - 1, true
	}
	first = p.number(of.Masked().Addr())
	if of.Bits() >= p.bits {
		return first, first, true
	}
	return first, first + 1<<(p.bits-of.Bits()) - 1, true
}

// number is that of the block an address is in.
func (p *pool) number(a netip.Addr) (n int) {
	raw := a.AsSlice()
	for bit := p.in.Bits(); bit < p.bits; bit++ {
		n = n<<1 | int(raw[bit/8]>>(7-bit%8)&1)
	}
	return n
}

// block is the nth block.
func (p *pool) block(n int) netip.Prefix {
	raw := p.in.Addr().AsSlice()
	for bit := p.bits - 1; bit >= p.in.Bits(); bit-- {
		raw[bit/8] |= byte(n&1) << (7 - bit%8)
		n >>= 1
	}
	a, _ := netip.AddrFromSlice(raw) // it has the length of the range's
	return netip.PrefixFrom(a, p.bits)
}

func (p *pool) mark(of netip.Prefix) {
	first, last, ok := p.span(of)
	for n := first; ok && n <= last; n++ {
		if p.used[n]++; p.used[n] == 1 {
			p.free--
		}
	}
}

func (p *pool) unmark(of netip.Prefix) {
	first, last, ok := p.span(of)
	for n := first; ok && n <= last; n++ {
		if p.used[n]--; p.used[n] == 0 {
			p.free++
		}
	}
}

// pick is the next free block; false if there is none.
func (p *pool) pick() (netip.Prefix, bool) {
	for p.free > 0 {
		n := p.next
		p.next = (p.next + 1) % len(p.used)
		if p.used[n] == 0 {
			return p.block(n), true
		}
	}
	return netip.Prefix{}, false
}

// NewLedger returns a ledger in which no node has anything.
func NewLedger(c Config) (*Ledger, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("open the ledger of node ranges: %w", err)
	}
	l := &Ledger{nodes: map[string][]netip.Prefix{}}
	for _, r := range c.Ranges {
		bits := c.NodeMask
		if r.Addr().Is6() {
			bits = c.NodeMask6
		}
		p, err := newPool(r, bits, c.Exclude)
		if err != nil {
			return nil, fmt.Errorf("open the ledger of node ranges: %w", err)
		}
		l.pools = append(l.pools, p)
	}
	return l, nil
}

// Take returns a block of each range for a node: those that it has, or free ones, which it has from now on. Of
// ErrFull nothing is taken.
func (l *Ledger) Take(node string) ([]netip.Prefix, error) {
	if have := l.nodes[node]; len(have) > 0 {
		return slices.Clone(have), nil
	}
	var blocks []netip.Prefix
	for _, p := range l.pools {
		b, ok := p.pick()
		if !ok {
			return nil, fmt.Errorf("range %s: %w", p.in, ErrFull)
		}
		blocks = append(blocks, b)
	}
	_, conflicts := l.Occupy(node, blocks)
	return slices.Clone(blocks), errors.Join(conflicts...)
}

// Occupy notes what a node has, instead of what it had. freed says that something may be free which was not before.
// Each conflict is a [Conflict]; the node has the addresses all the same, since it says so. Addresses out of all
// ranges count too.
func (l *Ledger) Occupy(node string, has []netip.Prefix) (freed bool, conflicts []error) {
	had := l.nodes[node]
	if slices.Equal(had, has) {
		return false, l.Conflicts(node, has)
	}
	conflicts = l.Conflicts(node, has)
	for _, b := range has {
		l.each(b, (*pool).mark)
	}
	for _, b := range had {
		l.each(b, (*pool).unmark)
	}
	if l.nodes[node] = slices.Clone(has); len(has) == 0 {
		delete(l.nodes, node)
	}
	return len(had) > 0, conflicts
}

// Release gives back what a node has, and says whether it had something.
func (l *Ledger) Release(node string) bool {
	freed, _ := l.Occupy(node, nil)
	return freed
}

// Has is what a node has.
func (l *Ledger) Has(node string) []netip.Prefix { return slices.Clone(l.nodes[node]) }

func (l *Ledger) each(of netip.Prefix, f func(*pool, netip.Prefix)) {
	for _, p := range l.pools {
		f(p, of)
	}
}

// Conflicts are the nodes that have some of these addresses too. It looks for them only where a block is used more
// than by the node itself, or lies in no range.
func (l *Ledger) Conflicts(node string, has []netip.Prefix) (out []error) {
	for _, b := range has {
		if !l.contested(node, b) {
			continue
		}
		for _, other := range slices.Sorted(maps.Keys(l.nodes)) {
			if other != node && slices.ContainsFunc(l.nodes[other], b.Overlaps) {
				out = append(out, Conflict{node, other, b})
			}
		}
	}
	return out
}

func (l *Ledger) contested(node string, b netip.Prefix) bool {
	own := int32(0)
	if slices.Contains(l.nodes[node], b) {
		own = 1
	}
	inside := false
	for _, p := range l.pools {
		first, last, ok := p.span(b)
		inside = inside || ok
		for n := first; ok && n <= last; n++ {
			if p.used[n] > own {
				return true
			}
		}
	}
	return !inside
}
