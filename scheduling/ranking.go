package scheduling

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
)

// plan is which plugins speak about an item, and the item's class.
type plan struct {
	filters, scores []int
	local           bool
	key             []byte
}

// workspace is what a cycle needs and the next one may overwrite.
type workspace struct {
	plan               plan
	dirty, fit, before Hosts
	column             []int64
}

// ranking is what is known of all hosts for one class of items.
type ranking struct {
	valid bool
	at    uint64 // position in the change log
	fit   Hosts
	by    []uint16   // of hosts that don't fit: the filter that refused them
	base  []int64    // weighted sum of the scores that need no scaling
	raw   [][]int64  // raw scores of those that do, in the plan's order
	span  []span     // and their extremes among the hosts that fit
	total []int64    // the final score
	tie   []uint32   // order among equals
	tree  tournament // over the hosts that fit; only in a kept ranking
}

// plan finds out who has something to say about item.
func (e *Engine[I, H]) planFor(item I) *plan {
	p := &e.work.plan
	*p = plan{filters: p.filters[:0], scores: p.scores[:0], key: p.key[:0], local: true}
	for i := range e.filters {
		f := &e.filters[i]
		if f.skip == nil || !f.skip.Skip(item) {
			p.filters = append(p.filters, i)
			addClass(p, f.local, i, item)
		}
	}
	for i := range e.scores {
		s := &e.scores[i]
		if s.skip == nil || !s.skip.Skip(item) {
			p.scores = append(p.scores, i)
			addClass(p, s.local, ^i, item)
		}
	}
	return p
}

// addClass appends one plugin's part of the class: its index, the length of the
// part, the part. Without the length, parts could run into one another.
func addClass[I any](p *plan, l Local[I], index int, item I) {
	if !p.local {
		return
	}
	if l == nil {
		p.local = false
		return
	}
	p.key = binary.AppendVarint(p.key, int64(index))
	start := len(p.key)
	p.key = append(p.key, 0, 0, 0, 0)
	p.key, p.local = l.Class(p.key, item)
	binary.LittleEndian.PutUint32(p.key[start:], uint32(len(p.key)-start))
}

// rank brings the ranking for item up to date, asking about no more hosts than
// it must. The result is good until the next call.
func (e *Engine[I, H]) rank(ctx context.Context, item I) (*ranking, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := e.planFor(item)
	r := &e.scratch
	r.valid = false
	if p.local {
		r = e.kept.get(p.key, r)
	}
	dirty := e.work.reset(len(e.hosts.present))
	if !r.valid || len(r.fit) != len(dirty) || !e.changes.since(r.at, dirty) {
		dirty.Copy(e.hosts.present)
		r.reset(len(dirty), e.scalers(p))
	}
	r.valid = false // until all plugins have answered
	for i := range r.span {
		r.span[i].leave(r.raw[i], r.fit, dirty)
	}
	r.fit.AndNot(dirty)
	fit := e.work.fit
	fit.Copy(dirty)
	fit.And(e.hosts.present)
	if err := e.filter(ctx, item, p, r, fit); err != nil {
		return nil, err
	}
	r.fit.Or(fit)
	if err := e.score(ctx, item, p, r, fit); err != nil {
		return nil, err
	}
	r.settle(dirty, e.total(p, r, fit), r != &e.scratch)
	r.at, r.valid = e.changes.next, true
	return r, nil
}

// filter narrows fit, and notes who refused each host.
func (e *Engine[I, H]) filter(ctx context.Context, item I, p *plan, r *ranking, fit Hosts) error {
	before := e.work.before
	for _, i := range p.filters {
		before.Copy(fit)
		if err := e.filters[i].Filter.Filter(ctx, item, fit); err != nil {
			return fmt.Errorf("filter %s: %w", e.filters[i].Name(), err)
		}
		fit.And(before)
		before.AndNot(fit)
		for n := range before.All() {
			r.by[n] = uint16(i)
		}
		if fit.Empty() {
			return nil
		}
	}
	return nil
}

// score fills the columns of the hosts in fit.
func (e *Engine[I, H]) score(ctx context.Context, item I, p *plan, r *ranking, fit Hosts) error {
	if fit.Empty() {
		return nil
	}
	if e.rand != nil {
		for n := range fit.All() {
			r.tie[n] = e.rand.Uint32()
		}
	}
	column := e.work.columnFor(len(r.base))
	scaled, first := 0, true
	for _, i := range p.scores {
		s := &e.scores[i]
		if err := s.Score.Score(ctx, item, fit, column); err != nil {
			return fmt.Errorf("score %s: %w", s.Name(), err)
		}
		if s.scaler != nil {
			fit.set(r.raw[scaled], column, 1)
			scaled++
			continue
		}
		if first {
			fit.set(r.base, column, s.weight)
		} else {
			fit.addTo(r.base, column, s.weight)
		}
		first = false
	}
	if first {
		fit.set(r.base, column, 0)
	}
	return nil
}

// total adds up the scores: of the hosts in fit, or of all when an extreme has
// moved. It returns whether it was all.
func (e *Engine[I, H]) total(p *plan, r *ranking, fit Hosts) (all bool) {
	for i := range r.span {
		if r.span[i].enter(r.raw[i], r.fit, fit) {
			all = true
		}
	}
	if all {
		fit = r.fit
	}
	fit.set(r.total, r.base, 1)
	column := e.work.columnFor(len(r.base))
	scaled := 0
	for _, i := range p.scores {
		s := &e.scores[i]
		if s.scaler == nil {
			continue
		}
		raw, ext := r.raw[scaled], r.span[scaled]
		scaled++
		fit.set(column, raw, 1)
		s.scaler.Scale(fit, column, ext.low, ext.high)
		fit.addTo(r.total, column, s.weight)
	}
	return all
}

func (e *Engine[I, H]) scalers(p *plan) (n int) {
	for _, i := range p.scores {
		if e.scores[i].scaler != nil {
			n++
		}
	}
	return n
}

// reset makes room and returns the empty set of dirty hosts.
func (w *workspace) reset(words int) Hosts {
	if len(w.dirty) != words {
		w.dirty, w.fit, w.before = make(Hosts, words), make(Hosts, words), make(Hosts, words)
	}
	w.dirty.Clear()
	return w.dirty
}

func (w *workspace) columnFor(n int) []int64 {
	if len(w.column) != n {
		w.column = make([]int64, n)
	}
	return w.column
}

// reset empties the ranking and gives it room for that many words of hosts.
func (r *ranking) reset(words, scalers int) {
	n := words * 64
	if len(r.fit) != words {
		*r = ranking{fit: make(Hosts, words), by: make([]uint16, n), base: make([]int64, n), total: make([]int64, n), tie: make([]uint32, n)}
	}
	r.raw = r.raw[:cap(r.raw)]
	for len(r.raw) < scalers {
		r.raw = append(r.raw, nil)
	}
	r.raw = r.raw[:scalers]
	for i := range r.raw {
		if r.raw[i] == nil {
			r.raw[i] = make([]int64, n)
		}
	}
	r.span = append(r.span[:0], make([]span, scalers)...)
	r.fit.Clear()
}

// better orders hosts that fit.
func (r *ranking) better(a, b int) bool {
	if r.total[a] != r.total[b] {
		return r.total[a] > r.total[b]
	}
	if r.tie[a] != r.tie[b] {
		return r.tie[a] > r.tie[b]
	}
	return a < b
}

// settle brings the tournament up to date after the hosts in dirty were judged.
func (r *ranking) settle(dirty Hosts, all, keep bool) {
	switch {
	case !keep:
		r.tree = nil
	case all || r.tree == nil || dirty.Len() > len(r.tree)/16:
		r.tree = r.tree.build(r)
	default:
		for n := range dirty.All() {
			r.tree.update(r, n)
		}
	}
}

// best returns the number of the best host, or -1.
func (r *ranking) best() int {
	if r.tree != nil {
		return r.tree.winner()
	}
	best := -1
	for i, w := range r.fit {
		if w == 0 {
			continue
		}
		// Few hosts beat the best so far; find those by the score alone.
		least := int64(math.MinInt64)
		if best >= 0 {
			least = r.total[best]
		}
		for k, v := range Block(r.total, i<<6) {
			if v < least || w>>k&1 == 0 {
				continue
			}
			if best < 0 || r.better(i<<6|k, best) {
				best, least = i<<6|k, v
			}
		}
	}
	return best
}

// span is the lowest and highest raw score among the hosts that fit, and how
// many hosts hold them.
type span struct {
	low, high int64
	lows      int
	highs     int
}

// leave takes the hosts out that are in both sets.
func (s *span) leave(raw []int64, fit, dirty Hosts) {
	for i, w := range dirty {
		if w&fit[i] == 0 {
			continue
		}
		for n := range (Hosts{w & fit[i]}).All() {
			v := raw[i<<6|n]
			if v == s.low {
				s.lows--
			}
			if v == s.high {
				s.highs--
			}
		}
	}
}

// enter brings the hosts of fresh in, which are part of fit, and reports whether
// an extreme is another than before.
func (s *span) enter(raw []int64, fit, fresh Hosts) (moved bool) {
	was := *s
	if s.lows <= 0 || s.highs <= 0 {
		*s, fresh = span{}, fit
	}
	for n := range fresh.All() {
		s.add(raw[n])
	}
	return s.low != was.low || s.high != was.high
}

func (s *span) add(v int64) {
	first := s.lows == 0
	switch {
	case first || v < s.low:
		s.low, s.lows = v, 1
	case v == s.low:
		s.lows++
	}
	switch {
	case first || v > s.high:
		s.high, s.highs = v, 1
	case v == s.high:
		s.highs++
	}
}
