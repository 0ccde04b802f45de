package storage

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tidwall/btree"
)

// The bounds of what a table keeps of the past, beside those of its window.
const (
	maxPast  = 4
	pastIdle = time.Minute
	// pastShare of Config.WindowBytes is what the kept snapshots may have beside the present objects.
	pastShare = 4
)

// pastSnapshots keeps the last few snapshots of older revisions, so that the pages of a list don't each make them
// anew.
type pastSnapshots struct {
	t    *Table
	turn chan struct{} // held by who reads

	// The DB's mu may be held when mu is taken, and not the other way round.
	mu      sync.Mutex
	list    []pastSnapshot // the latest used last
	bytes   int64
	reading map[int64]*pastRead
	timer   *time.Timer // runs while something is kept
}

type pastSnapshot struct {
	*Snapshot
	bytes int64
	used  time.Time
}

// pastRead is one read of a revision from the store, for all who want it.
type pastRead struct {
	at      int64
	done    chan struct{}
	cancel  context.CancelFunc
	callers int // guarded by mu; the last one to leave cancels

	s   *Snapshot
	err error
}

func (p *pastSnapshots) init(t *Table) {
	p.t, p.turn, p.reading = t, make(chan struct{}, 1), map[int64]*pastRead{}
}

// find returns the snapshot of a revision if it is kept. The caller holds mu.
func (p *pastSnapshots) find(at int64) *Snapshot {
	i := slices.IndexFunc(p.list, func(s pastSnapshot) bool { return s.rev == at })
	if i < 0 {
		return nil
	}
	used := p.list[i]
	used.used = time.Now()
	p.list = append(slices.Delete(p.list, i, i+1), used)
	return used.Snapshot
}

// keep adds a snapshot and drops older ones beyond the bounds. The caller holds mu.
func (p *pastSnapshots) keep(s *Snapshot, bytes int64) {
	if p.t.isGone() {
		return
	}
	p.list = append(p.list, pastSnapshot{s, bytes, time.Now()})
	p.bytes += bytes
	for len(p.list) > maxPast || len(p.list) > 1 && p.bytes > p.t.db.c.WindowBytes/pastShare {
		p.dropFirst()
	}
	if p.timer == nil {
		p.timer = time.AfterFunc(pastIdle, p.expire)
	}
}

func (p *pastSnapshots) dropFirst() {
	p.bytes -= p.list[0].bytes
	p.list = slices.Delete(p.list, 0, 1)
}

// expire drops what was not used for a while.
func (p *pastSnapshots) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.list) > 0 && time.Since(p.list[0].used) >= pastIdle {
		p.dropFirst()
	}
	switch {
	case p.timer == nil:
	case len(p.list) == 0:
		p.timer = nil
	default:
		p.timer.Reset(pastIdle - time.Since(p.list[0].used))
	}
}

// clear forgets everything, when the table ends.
func (p *pastSnapshots) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list, p.bytes = nil, 0
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// undone returns the table at a revision inside the window.
func (p *pastSnapshots) undone(st *state, at int64) *Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.find(at)
	if s == nil {
		var bytes int64
		s, bytes = p.t.undo(st, at)
		p.keep(s, bytes)
	}
	return s
}

// undo makes the table as it was at a revision inside the window. The caller holds past.mu, which keeps
// two copies of one tree from being made at once.
func (t *Table) undo(st *state, at int64) (s *Snapshot, bytes int64) {
	s = &Snapshot{rev: at, table: t, past: true, tree: st.tree.IsoCopy(), corrupt: st.corrupt}
	for i := len(st.chunks) - 1; i >= 0; i-- {
		evs := st.eventsOf(i)
		for j := len(evs) - 1; j >= 0; j-- {
			ev := evs[j]
			if ev.Rev <= at {
				return s, bytes
			}
			if ev.Old != nil {
				s.tree.Set(ev.Old.Key, ev.Old)
				bytes += int64(len(ev.Old.Raw)) + kvOverhead
			} else {
				s.tree.Delete(ev.New.Key)
			}
		}
	}
	return s, bytes
}

// read returns the table at a revision before the window, as the store has it.
func (p *pastSnapshots) read(ctx context.Context, at int64) (*Snapshot, error) {
	r, s, err := p.join(at)
	if r == nil {
		return s, err
	}
	select {
	case <-r.done:
		return r.s, r.err
	case <-p.t.gone:
		p.leave(r)
		return nil, ErrClosed
	case <-ctx.Done():
		p.leave(r)
		return nil, ctx.Err()
	}
}

// join returns the read of a revision, beginning it if nobody has, or the snapshot if it is kept.
func (p *pastSnapshots) join(at int64) (*pastRead, *Snapshot, error) {
	db := p.t.db
	db.mu.Lock() // Run ends with it held, and waits for the loads that there are then
	defer db.mu.Unlock()
	if db.phase == phaseEnded || p.t.isGone() {
		return nil, nil, ErrClosed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.find(at); s != nil {
		return nil, s, nil
	}
	r := p.reading[at]
	if r == nil {
		r = &pastRead{at: at, done: make(chan struct{})}
		var ctx context.Context
		ctx, r.cancel = context.WithCancel(db.runCtx)
		p.reading[at] = r
		db.loads.Go(func() { p.run(ctx, r) })
	}
	r.callers++
	return r, nil, nil
}

func (p *pastSnapshots) leave(r *pastRead) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.callers--; r.callers > 0 {
		return
	}
	r.cancel()
	p.forget(r)
}

// forget lets the next caller begin anew. The caller holds mu.
func (p *pastSnapshots) forget(r *pastRead) {
	if p.reading[r.at] == r {
		delete(p.reading, r.at)
	}
}

func (p *pastSnapshots) run(ctx context.Context, r *pastRead) {
	defer r.cancel()
	var bytes int64
	r.s, bytes, r.err = p.inTurn(ctx, r.at)
	if r.err != nil && ctx.Err() != nil { // Run has ended: whoever has a context of its own that ended has left
		r.err = ErrClosed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.err == nil {
		p.keep(r.s, bytes)
	}
	p.forget(r)
	close(r.done)
}

// inTurn reads when no other read of the table runs.
func (p *pastSnapshots) inTurn(ctx context.Context, at int64) (*Snapshot, int64, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-p.t.gone:
		return nil, 0, ErrClosed
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	return p.t.readPast(ctx, at)
}

// readPast reads the table as it was at a revision. What is still the same is shared with the present; bytes is
// what the rest takes.
func (t *Table) readPast(ctx context.Context, at int64) (s *Snapshot, bytes int64, _ error) {
	s = &Snapshot{rev: at, table: t, past: true, tree: btree.NewMap[string, *Entry](treeDegree), corrupt: map[string]*Entry{}}
	for page, err := range t.db.scan(ctx, Range{Prefix: t.schema.Prefix, At: at}) {
		if err == nil && t.isGone() {
			err = ErrClosed
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read at revision %d: %w", at, err)
		}
		now := t.state.Load().tree
		for _, kv := range page.KVs {
			e, ok := now.Get(kv.Key[len(t.schema.Prefix):])
			if !ok || e.Rev != kv.Rev || e.corrupt != nil {
				e = t.parse(kv)
				bytes += kvBytes(kv)
			}
			s.tree.Load(e.Key, e)
			if e.corrupt != nil {
				s.corrupt[e.Key] = e
			}
		}
	}
	return s, bytes, nil
}
