package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	retryMin = 20 * time.Millisecond
	retryMax = 2 * time.Second
)

// Run keeps the watch, and with it all tables, until ctx ends; everything it started has ended when it
// returns. A watch that breaks is taken up again where it was; if the store has compacted that away, all
// loaded tables are read anew and all watchers get a *TooOldError. Run returns nil when ctx ends, and an
// error if it was called before, if the backend is closed, or if the store's revision went back (a
// different or restored store). Tables and watchers return ErrClosed afterwards.
func (db *DB) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	db.mu.Lock()
	if db.phase != phaseNew {
		db.mu.Unlock()
		return errors.New("run storage: it was run before")
	}
	db.phase, db.runCtx = phaseRunning, ctx
	db.mu.Unlock()
	err := db.follow(ctx)
	db.end()
	cancel()
	db.loads.Wait()
	if err != nil {
		return fmt.Errorf("run storage: %w", err)
	}
	return nil
}

func (db *DB) end() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.phase = phaseEnded
	for _, t := range db.tables {
		t.end()
	}
	close(db.done)
}

// wentBackError: the store is not the one it was.
type wentBackError struct{ seen, now int64 }

func (e *wentBackError) Error() string {
	return fmt.Sprintf("the store's revision went back from %d to %d: it was restored or replaced", e.seen, e.now)
}

// follow watches, again and again, until ctx ends or going on is impossible.
func (db *DB) follow(ctx context.Context) error {
	pause := retryMin
	for {
		before := db.applied.Load()
		err := db.watch(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var back *wentBackError
		if errors.As(err, &back) || errors.Is(err, ErrClosed) {
			return err
		}
		if errors.Is(err, errReloaded) {
			continue
		}
		db.lastErr.Store(&err)
		db.c.Log.Warn("storage watch ended, watching again", "revision", db.applied.Load(), "err", err)
		if db.applied.Load() > before {
			pause = retryMin
		}
		if !sleep(ctx, pause) {
			return nil
		}
		pause = min(2*pause, retryMax)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// watch takes one watch of the backend from where the caches are to its end.
func (db *DB) watch(ctx context.Context) error {
	rev, err := db.Revision(ctx)
	if err != nil {
		return err
	}
	if err := db.begin(rev); err != nil {
		return err
	}
	for batch, err := range db.b.Watch(ctx, db.c.Prefix, db.applied.Load()) {
		if errors.Is(err, ErrTooOld) {
			db.c.Log.Warn("storage watch fell behind compaction, reading all tables anew", "revision", db.applied.Load())
			return db.reload(ctx)
		}
		if err != nil {
			return fmt.Errorf("watch %s: %w", db.c.Prefix, err)
		}
		db.lastErr.Store(nil)
		db.apply(batch)
		db.standing()
	}
	return fmt.Errorf("watch %s: ended without an error", db.c.Prefix)
}

// begin makes the first revision known and starts the loading that was asked for before.
func (db *DB) begin(rev int64) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.phase != phaseRunning {
		if seen := db.applied.Load(); rev < seen {
			return &wentBackError{seen, rev}
		}
		return nil
	}
	db.phase = phaseKnown
	db.applied.Store(rev)
	for _, t := range db.tables {
		t.pend.reset(rev)
		if t.wanted {
			t.startLoad()
		}
	}
	return nil
}

func (db *DB) standing() {
	select {
	case <-db.ready:
	default:
		close(db.ready)
	}
}

// apply takes one whole revision, or progress, into all tables, and then makes it known.
func (db *DB) apply(b Batch) {
	db.mu.Lock()
	if b.Rev <= db.applied.Load() { // seen before the watch was taken up again
		db.mu.Unlock()
		return
	}
	db.distribute(b.Events)
	db.trimWindows()
	db.applied.Store(b.Rev)
	db.mu.Unlock()
	db.waits.fire(b.Rev)
	db.moved.fire()
}

// distribute gives each table its part of the events.
func (db *DB) distribute(events []KV) {
	for len(events) > 0 {
		t := db.tableOf(events[0].Key)
		if t == nil {
			events = events[1:]
			continue
		}
		own, rest := t.split(events)
		t.apply(own)
		events = rest
	}
}

// split parts the events of the table from the rest. Most revisions touch one table alone.
func (t *Table) split(events []KV) (own, rest []KV) {
	foreign := func(kv KV) bool { return !hasPrefix(kv.Key, t.schema.Prefix) }
	if !slices.ContainsFunc(events, foreign) {
		return events, nil
	}
	for _, kv := range events {
		if foreign(kv) {
			rest = append(rest, kv)
		} else {
			own = append(own, kv)
		}
	}
	return own, rest
}

// trimWindows keeps the windows of all tables together within Config.WindowBytes. The caller holds mu.
func (db *DB) trimWindows() {
	for db.windowBytes > db.c.WindowBytes {
		var largest *Table
		for _, t := range db.tables {
			if len(t.w.chunks) > 1 && (largest == nil || t.w.bytes > largest.w.bytes) {
				largest = t
			}
		}
		if largest == nil {
			return // only the newest chunk of each is left: they are bounded themselves
		}
		db.windowBytes -= largest.w.dropChunk()
		largest.publish()
	}
}
