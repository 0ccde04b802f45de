package storage

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// Cached as the minimum revision of a read takes whatever the cache has.
const Cached int64 = -1

// Table is one kind of thing: the objects under one prefix, cached. All methods may be called concurrently.
// The first read or watch loads the table, which needs the DB's Run; reads before Run wait for it.
type Table struct {
	db     *DB
	schema Schema

	state   atomic.Pointer[state] // nil: not loaded
	loaded  chan struct{}         // closed with the first state
	loadErr atomic.Pointer[error] // why loading failed last
	changed signal                // fires with each new state
	gone    chan struct{}         // closed when the table or its DB ends
	dead    atomic.Bool

	wanted bool    // guarded by db.mu: loading was asked for
	pend   pending // guarded by db.mu: until loaded
	w      writer  // guarded by db.mu: once loaded

	buckets  buckets // who waits for what
	sleepers sleepers
	asked    atomic.Uint64 // how often anybody asked for an index
	keyed    keyed         // written under db.mu
	past     pastSnapshots
}

func newTable(db *DB, s Schema) *Table {
	t := &Table{db: db, schema: s, loaded: make(chan struct{}), gone: make(chan struct{})}
	t.buckets.names = t.schema.Indexes
	t.past.init(t)
	return t
}

func (t *Table) comparePrefix(key string) int { return strings.Compare(t.schema.Prefix, key) }

// Prefix is the absolute prefix of the table's keys.
func (t *Table) Prefix() string { return t.schema.Prefix }

// Abs returns the absolute key of a relative one, for conditions.
func (t *Table) Abs(key string) string { return t.schema.Prefix + key }

// end closes the table. The caller holds db.mu.
func (t *Table) end() {
	t.dead.Store(true)
	close(t.gone)
	t.past.clear()
}

func (t *Table) isGone() bool { return t.dead.Load() }

// Get returns the object at a key.
//
// min 0: linearizable, at least as new as any write acknowledged before the call. min -1 (Cached): whatever
// the cache has. Otherwise: not older than revision min. The entry may be newer than asked for.
//
// Errors: ErrNotFound, *CorruptError, *FutureError if revision min did not come within Config.Wait,
// ErrBehind, ErrClosed, the context's.
func (t *Table) Get(ctx context.Context, key string, min int64) (*Entry, error) {
	if err := t.reach(ctx, min); err != nil {
		return nil, &tableError{"get", t.Abs(key), err}
	}
	e := t.keyed.get(key) // at least as new as the state
	if st := t.state.Load(); e == nil || e.Rev > st.rev {
		e, _ = st.tree.Get(key)
	}
	switch {
	case e == nil:
		return nil, &tableError{"get", t.Abs(key), ErrNotFound}
	case e.corrupt != nil:
		return nil, &tableError{"get", t.Abs(key), e.corrupt}
	}
	return e, nil
}

// reach returns once the table is loaded and as new as a read asks for.
func (t *Table) reach(ctx context.Context, min int64) error {
	if min < Cached {
		return fmt.Errorf("revision %d: want a revision, 0 for the latest, or Cached", min)
	}
	if err := t.ensure(ctx); err != nil {
		return err
	}
	switch {
	case min < 0 || min > 0 && t.db.applied.Load() >= min:
		return nil
	case min > 0:
		return t.db.WaitFor(ctx, min)
	}
	return t.db.consistent(ctx)
}

// ensure returns once the table is loaded. It gives up after Config.Wait only if something keeps it from
// being loaded: a large table may take its time.
func (t *Table) ensure(ctx context.Context) error {
	if t.isGone() {
		return ErrClosed
	}
	if t.state.Load() != nil {
		return nil
	}
	if err := t.want(); err != nil {
		return err
	}
	tick := time.NewTicker(t.db.c.Wait)
	defer tick.Stop()
	for {
		select {
		case <-t.loaded:
			return nil
		case <-t.gone:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if p := t.loadErr.Load(); p != nil {
				return fmt.Errorf("%w: not loaded yet (%w)", ErrBehind, *p)
			}
			if why := t.db.why(); why != "" {
				return fmt.Errorf("%w: not loaded yet%s", ErrBehind, why)
			}
		}
	}
}

// tableError names an operation and its key; the text is made only if somebody reads it.
type tableError struct {
	op, key string
	err     error
}

func (e *tableError) Error() string { return e.op + " " + e.key + ": " + e.err.Error() }
func (e *tableError) Unwrap() error { return e.err }

// Rewrite returns the entry's bytes in another encoding by the schema's Rewrite, memoised as a form; the
// raw bytes if the entry has that encoding already or the schema has no Rewrite. The bytes are shared: read
// only.
func (t *Table) Rewrite(e *Entry, to uint32) ([]byte, error) {
	if e.Head.Encoding == to || t.schema.Rewrite == nil {
		return e.Raw, nil
	}
	v, err := e.Form(rewritten(to), func() (any, error) { return t.schema.Rewrite(e.Raw, to) })
	if err != nil {
		return nil, &tableError{"rewrite", t.Abs(e.Key), err}
	}
	return v.([]byte), nil
}

type rewritten uint32

// Rev is the revision the table's cache is at: that of the DB. 0 before the table is loaded.
func (t *Table) Rev() int64 {
	applied := t.db.applied.Load()
	st := t.state.Load()
	if st == nil {
		return 0
	}
	return max(applied, st.rev)
}

// apply takes the table's changes of one revision. The caller holds db.mu.
func (t *Table) apply(kvs []KV) {
	if t.state.Load() == nil {
		t.hold(kvs)
		return
	}
	t.take(kvs)
	t.publish()
}

// hold keeps changes until the table is loaded.
func (t *Table) hold(kvs []KV) {
	t.pend.add(kvs)
	if !t.wanted {
		t.pend.trim(max(t.db.c.Window/10, 1), t.db.c.WindowBytes/16)
	} else if t.pend.bytes > t.db.c.WindowBytes {
		t.pend.reset(kvs[0].Rev) // what is being read is lost; reading starts over with room ahead
	}
}

// take makes the events of one revision and puts them into the writer's side.
func (t *Table) take(kvs []KV) {
	events := make([]Event, 0, len(kvs))
	for _, kv := range kvs {
		key := kv.Key[len(t.schema.Prefix):]
		old, _ := t.w.tree.Get(key)
		var e *Entry
		if kv.Value != nil {
			e = t.entry(kv)
		}
		if old == nil && e == nil {
			continue
		}
		t.w.set(key, old, e)
		ev := Event{Old: sound(old), New: sound(e), Rev: kv.Rev}
		if e != nil {
			ev.Corrupt = e.corrupt
		}
		if ev.Old != nil || ev.New != nil {
			events = append(events, ev)
		}
	}
	t.w.rev = kvs[0].Rev
	if len(events) > 0 {
		t.db.windowBytes += t.w.add(events)
		t.db.windowBytes -= t.w.trim(t.db.c.Window)
	}
}

// sound is nil for a corrupt entry: to watchers it is not there.
func sound(e *Entry) *Entry {
	if e == nil || e.corrupt != nil {
		return nil
	}
	return e
}

func (t *Table) publish() {
	st := t.w.publishable()
	t.state.Store(st)
	t.changed.fire()
	t.buckets.wake()
	t.sleepers.pass(st)
}

// entry makes the entry of a stored object that the watch or a first read brought.
func (t *Table) entry(kv KV) *Entry {
	raw, made := t.db.handed.take(kv)
	if made == nil {
		return t.parse(kv)
	}
	e := t.bare(kv)
	e.Raw, e.Head = raw, made.Head
	e.Head.schema = &t.schema
	if made.Form != nil {
		e.Keep(made.Form(kv.Rev))
	}
	return e
}

// parse makes the entry of a stored object by reading its head.
func (t *Table) parse(kv KV) *Entry {
	e := t.bare(kv)
	if kv.Corrupt != nil {
		return t.refuse(e, kv.Corrupt)
	}
	if t.schema.Head == nil {
		return e
	}
	h, err := t.schema.Head(kv.Value)
	if err != nil {
		return t.refuse(e, &CorruptError{Key: kv.Key, Rev: kv.Rev, Err: err})
	}
	e.Head = h
	e.Head.schema = &t.schema
	return e
}

// refuse marks an entry as corrupt.
func (t *Table) refuse(e *Entry, why *CorruptError) *Entry {
	e.corrupt = why
	t.db.c.Log.Error("stored object is corrupt, not serving it", "key", why.Key, "revision", why.Rev, "err", why.Err)
	return e
}

func (t *Table) bare(kv KV) *Entry {
	e := &Entry{Key: kv.Key[len(t.schema.Prefix):], Rev: kv.Rev, Created: kv.Created, Raw: kv.Value}
	e.Head.schema = &t.schema
	e.forms.budget = &t.db.forms
	return e
}
