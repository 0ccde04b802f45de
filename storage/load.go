package storage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
)

// pending is what a table that is not loaded has seen of the watch: with the objects as they were at
// revision start, it makes the present. It bridges the time that loading takes, and lets the first watcher
// resume from before its table was loaded.
type pending struct {
	start int64
	kvs   []KV
	bytes int64
}

const kvOverhead = 96

func (p *pending) reset(start int64) { *p = pending{start: start} }

func (p *pending) add(kvs []KV) {
	for _, kv := range kvs {
		p.bytes += kvBytes(kv)
	}
	p.kvs = append(p.kvs, kvs...)
}

// trim forgets the oldest revisions beyond the limits.
func (p *pending) trim(count int, bytes int64) {
	for len(p.kvs) > 0 && (len(p.kvs) > count || p.bytes > bytes) {
		p.start = p.kvs[0].Rev
		for len(p.kvs) > 0 && p.kvs[0].Rev == p.start {
			p.bytes -= kvBytes(p.kvs[0])
			p.kvs[0] = KV{}
			p.kvs = p.kvs[1:]
		}
	}
}

func kvBytes(kv KV) int64 { return int64(len(kv.Key) + len(kv.Value) + kvOverhead) }

// want makes sure that the table is loaded or being loaded.
func (t *Table) want() error {
	t.db.mu.Lock()
	defer t.db.mu.Unlock()
	switch {
	case t.isGone():
		return ErrClosed
	case t.wanted:
		return nil
	}
	t.wanted = true
	if t.db.phase == phaseKnown {
		t.startLoad()
	}
	return nil
}

// startLoad loads in the background of Run. The caller holds mu.
func (t *Table) startLoad() {
	ctx := t.db.runCtx
	t.db.loads.Go(func() { t.load(ctx) })
}

// load reads the table until it succeeds or the table or Run ends.
func (t *Table) load(ctx context.Context) {
	pause := retryMin
	for !t.isGone() && ctx.Err() == nil {
		err := t.tryLoad(ctx)
		if err == nil {
			return
		}
		t.loadErr.Store(&err)
		t.db.c.Log.Warn("storage table not loaded, trying again", "prefix", t.schema.Prefix, "err", err)
		if !sleep(ctx, pause) {
			return
		}
		pause = min(2*pause, retryMax)
	}
}

var errStartMoved = errors.New("changes came faster than the table could be read")

func (t *Table) tryLoad(ctx context.Context) error {
	start := t.pendingStart()
	entries, err := t.read(ctx, start, func() error {
		if t.pendingStart() != start {
			return errStartMoved
		}
		return nil
	})
	if errors.Is(err, ErrTooOld) {
		t.restartPending()
		return err
	}
	if err != nil {
		return err
	}
	return t.finishLoad(entries, start)
}

func (t *Table) pendingStart() int64 {
	t.db.mu.Lock()
	defer t.db.mu.Unlock()
	return t.pend.start
}

// restartPending gives up what was seen: the store no longer has the revision it began at.
func (t *Table) restartPending() {
	t.db.mu.Lock()
	defer t.db.mu.Unlock()
	t.pend.reset(t.db.applied.Load())
}

func (t *Table) finishLoad(entries []*Entry, start int64) error {
	t.db.mu.Lock()
	defer t.db.mu.Unlock()
	switch {
	case t.isGone():
		return nil
	case t.pend.start != start:
		return errStartMoved
	}
	kvs := t.pend.kvs
	t.pend.reset(0)
	t.w.fill(t, entries, start)
	for len(kvs) > 0 {
		n := 1
		for n < len(kvs) && kvs[n].Rev == kvs[0].Rev {
			n++
		}
		t.take(kvs[:n])
		kvs = kvs[n:]
	}
	t.publish()
	t.db.trimWindows()
	close(t.loaded)
	return nil
}

// Streamer is a Backend that can read a long range faster than by Backend.Range, page by page: for an etcd, a page
// costs as much as there are keys behind it.
type Streamer interface {
	// Stream yields what Range would return for r, in order, in as many pages as it likes; their Rev and More
	// say nothing. It ends after the first error, which may be errors.ErrUnsupported before anything came: what
	// is behind the backend has no such thing. The consumer may leave at any time.
	Stream(ctx context.Context, r Range) iter.Seq2[Page, error]
}

// read reads all objects as of a revision, asking between the pages whether to go on.
func (t *Table) read(ctx context.Context, at int64, goOn func() error) ([]*Entry, error) {
	var entries []*Entry
	for page, err := range t.db.scan(ctx, Range{Prefix: t.schema.Prefix, At: at}) {
		if err == nil {
			err = goOn()
		}
		if err != nil {
			return nil, fmt.Errorf("read %s at revision %d: %w", t.schema.Prefix, at, err)
		}
		for _, kv := range page.KVs {
			entries = append(entries, t.entry(kv))
		}
	}
	return entries, nil
}

// scan yields a range in pages, by the backend's stream if it has one.
func (db *DB) scan(ctx context.Context, r Range) iter.Seq2[Page, error] {
	return func(yield func(Page, error) bool) {
		if s, ok := db.b.(Streamer); !ok || !stream(ctx, s, r, yield) {
			db.turnPages(ctx, r, yield)
		}
	}
}

// stream is false if there is no stream after all.
func stream(ctx context.Context, s Streamer, r Range, yield func(Page, error) bool) bool {
	for page, err := range s.Stream(ctx, r) {
		if errors.Is(err, errors.ErrUnsupported) {
			return false
		}
		if !yield(page, err) {
			break
		}
	}
	return true
}

// pageBytes is about how much one page takes in the end. The first has Config.Page keys.
const pageBytes = 32 << 20

func (db *DB) turnPages(ctx context.Context, r Range, yield func(Page, error) bool) {
	r.Limit = db.c.Page
	most := math.MaxInt
	for {
		page, err := db.b.Range(ctx, r)
		if errors.Is(err, ErrTooLarge) && r.Limit > 1 { // for the client's connection
			r.Limit /= 2
			most = r.Limit
			continue
		}
		if !yield(page, err) || err != nil || !page.More || len(page.KVs) == 0 {
			return
		}
		r.From = page.KVs[len(page.KVs)-1].Key + "\x00"
		r.Limit = min(nextLimit(r.Limit, page), most)
	}
}

// nextLimit lets pages grow, and shrink if they have become far too large.
func nextLimit(limit int, page Page) int {
	var size int64
	for _, kv := range page.KVs {
		size += kvBytes(kv)
	}
	switch {
	case size < pageBytes/2:
		return 2 * limit
	case size > 2*pageBytes:
		return max(limit/2, 1)
	}
	return limit
}

// reload reads all loaded tables anew, at one revision, after the store has compacted away what the watch
// had still to see. Watchers cannot go on and are told so.
func (db *DB) reload(ctx context.Context) error {
	rev, err := db.Revision(ctx)
	if err != nil {
		return err
	}
	if seen := db.applied.Load(); rev < seen {
		return &wentBackError{seen, rev}
	}
	got := map[*Table][]*Entry{}
	for {
		t := db.takeOver(got, rev)
		if t == nil {
			break
		}
		if got[t], err = t.read(ctx, rev, ctx.Err); err != nil {
			return err
		}
	}
	db.waits.fire(rev)
	db.moved.fire()
	db.c.Log.Info("storage tables read anew", "revision", rev, "tables", len(got))
	return errReloaded
}

var errReloaded = errors.New("read anew, watching from there")

// takeOver puts what was read anew into all tables at once, so that they agree. If one was loaded
// meanwhile that was not read, it returns that one instead.
func (db *DB) takeOver(got map[*Table][]*Entry, rev int64) (missing *Table) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, t := range db.tables {
		if _, ok := got[t]; !ok && t.state.Load() != nil {
			return t
		}
	}
	for _, t := range db.tables {
		if entries, ok := got[t]; ok {
			t.w.refill(t, entries, rev)
			t.publish()
		} else {
			t.pend.reset(rev)
		}
	}
	db.applied.Store(rev)
	return nil
}
