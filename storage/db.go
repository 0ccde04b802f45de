package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config configures a DB. The zero value works.
type Config struct {
	// Prefix is what the one watch covers: all tables lie under it. Default "/registry/".
	Prefix string
	// Window is how many events a table keeps for watchers that lag or resume and for reads of older
	// revisions. Default 10,000. A table that nobody has read yet keeps a tenth.
	Window int
	// WindowBytes bounds the bytes that the windows of all tables keep alive beside the current objects;
	// beyond it the largest window loses its oldest events. A table that nobody has read yet keeps at most a
	// sixteenth of it, one that is being loaded all of it. Default 128 MiB.
	WindowBytes int64
	// MaxValue is the size in bytes of the largest value; a larger one is ErrTooLarge. Default 1.5 MiB.
	MaxValue int
	// FormBytes bounds the memo of derived forms (Entry.Form) of all entries. Default 64 MiB.
	FormBytes int64
	// Wait is how long a read waits for the cache to reach a revision before it gives up with ErrFuture or
	// ErrBehind, unless its context ends earlier. Default 3 s.
	Wait time.Duration
	// Page is how many keys the first page takes when a table is loaded from a backend that is no Streamer; later
	// ones grow to about 32 MB. Default 1,000.
	Page int
	// Log hears of lost and restored watches and of corrupt objects. Nil: off.
	Log *slog.Logger
}

func (c *Config) validate() error {
	if c.Prefix != "" && !strings.HasSuffix(c.Prefix, "/") {
		return fmt.Errorf("prefix %q does not end in /", c.Prefix)
	}
	if c.Window < 0 || c.WindowBytes < 0 || c.MaxValue < 0 || c.FormBytes < 0 || c.Wait < 0 || c.Page < 0 {
		return errors.New("a limit is negative")
	}
	return nil
}

func (c Config) withDefaults() Config {
	c.Prefix = orDefault(c.Prefix, "/registry/")
	c.Window = orDefault(c.Window, 10_000)
	c.WindowBytes = orDefault(c.WindowBytes, 128<<20)
	c.MaxValue = orDefault(c.MaxValue, 3<<19)
	c.FormBytes = orDefault(c.FormBytes, 64<<20)
	c.Wait = orDefault(c.Wait, 3*time.Second)
	c.Page = orDefault(c.Page, 1_000)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// DB is one backend, one watch and any number of tables. All methods may be called concurrently.
type DB struct {
	b      Backend
	c      Config
	forms  formBudget
	handed handed
	shared sharedRevision

	applied atomic.Int64 // every table holds every change up to and including it
	waits   waitList     // readers that wait for applied
	moved   signal       // fires when applied moves
	lastErr atomic.Pointer[error]

	ready chan struct{}
	done  chan struct{} // closed when Run ends

	// mu makes changes of tables one after the other: applying, loading, opening and dropping.
	mu          sync.Mutex
	tables      []*Table // sorted by prefix
	windowBytes int64
	phase       phase
	runCtx      context.Context
	loads       sync.WaitGroup
}

type phase int

const (
	phaseNew     phase = iota
	phaseRunning       // Run was called
	phaseKnown         // the first revision is known
	phaseEnded
)

// New makes a DB; it starts nothing and does not use the backend.
func New(b Backend, c Config) (*DB, error) {
	if b == nil {
		return nil, errors.New("open storage: no backend")
	}
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("open storage: %w", err)
	}
	db := &DB{b: b, c: c.withDefaults(), ready: make(chan struct{}), done: make(chan struct{})}
	db.forms.limit = db.c.FormBytes
	db.shared.ask = b.Revision
	return db, nil
}

// Ready is closed once the watch stands.
func (db *DB) Ready() <-chan struct{} { return db.ready }

// Applied returns the revision the caches are at, without asking the backend. It never goes back.
func (db *DB) Applied() int64 { return db.applied.Load() }

// Table opens the table of a schema, at any time, before or during Run. It loads nothing until first used.
// A prefix that equals, contains or lies in another table's, or lies outside Config.Prefix, is an error.
func (db *DB) Table(s Schema) (*Table, error) {
	if err := db.checkPrefix(s.Prefix); err != nil {
		return nil, fmt.Errorf("open table %q: %w", s.Prefix, err)
	}
	t := newTable(db, s)
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.phase == phaseEnded {
		return nil, fmt.Errorf("open table %q: %w", s.Prefix, ErrClosed)
	}
	for _, o := range db.tables {
		if hasPrefix(o.schema.Prefix, s.Prefix) || hasPrefix(s.Prefix, o.schema.Prefix) {
			return nil, fmt.Errorf("open table %q: overlaps table %q", s.Prefix, o.schema.Prefix)
		}
	}
	t.pend.start = db.applied.Load()
	at, _ := slices.BinarySearchFunc(db.tables, s.Prefix, (*Table).comparePrefix)
	db.tables = slices.Insert(db.tables, at, t)
	return t, nil
}

func (db *DB) checkPrefix(prefix string) error {
	switch {
	case !strings.HasSuffix(prefix, "/"):
		return errors.New("the prefix does not end in /")
	case !hasPrefix(prefix, db.c.Prefix):
		return fmt.Errorf("the prefix is outside of the watched %q", db.c.Prefix)
	}
	return nil
}

// Drop forgets a table: its cache goes, its watchers and readers get ErrClosed, its prefix may be opened
// again. What is stored stays. Dropping twice does nothing.
func (db *DB) Drop(t *Table) {
	db.mu.Lock()
	defer db.mu.Unlock()
	at := slices.Index(db.tables, t)
	if at < 0 {
		return
	}
	db.tables = slices.Delete(db.tables, at, at+1)
	db.windowBytes -= t.w.bytes
	t.end()
}

// tableOf returns the table that a key belongs to, or nil. The caller holds mu.
func (db *DB) tableOf(key string) *Table {
	at, found := slices.BinarySearchFunc(db.tables, key, (*Table).comparePrefix)
	if !found {
		at-- // the last prefix before the key
	}
	if at < 0 || !hasPrefix(key, db.tables[at].schema.Prefix) {
		return nil
	}
	return db.tables[at]
}

// Commit applies all writes and checks all their conditions in one transaction, all or nothing, and returns
// its revision. It does not wait for the cache, and needs no Run: a reader who must see it asks for this
// revision. Errors are those of Backend.Commit; a *ConflictError names the absolute key. Two writes of one
// key, and no writes at all, are errors. A lease is errors.ErrUnsupported if the backend has none.
func (db *DB) Commit(ctx context.Context, w ...Write) (rev int64, err error) {
	t, err := db.txn(w)
	if err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	db.hand(w)
	rev, err = db.b.Commit(ctx, t)
	if err != nil {
		db.takeBack(w)
		return 0, fmt.Errorf("commit: %w", err)
	}
	return rev, nil
}

// hand leaves what the writer knows for the watch to find.
func (db *DB) hand(writes []Write) {
	for _, w := range writes {
		if w.Made != nil && w.Value != nil && w.Table != nil && w.Table.state.Load() != nil {
			db.handed.put(w.Table.Abs(w.Key), w.Value, w.Made)
		}
	}
}

func (db *DB) takeBack(writes []Write) {
	for _, w := range writes {
		if w.Made != nil && w.Table != nil {
			db.handed.forget(w.Table.Abs(w.Key), w.Made)
		}
	}
}

func (db *DB) txn(writes []Write) (Txn, error) {
	t := Txn{If: make([]Cond, 0, len(writes)), Then: make([]Op, 0, len(writes))}
	for i := range writes {
		w := &writes[i]
		t.If = append(t.If, w.If...)
		if w.Key == "" {
			if w.Value != nil || w.Lease != 0 {
				return t, errors.New("a value without a key")
			}
			continue
		}
		op := Op{Key: w.Key, Value: w.Value, Lease: w.Lease}
		if w.Table != nil {
			op.Key = w.Table.schema.Prefix + w.Key
		}
		if w.At < AnyRev {
			return t, fmt.Errorf("%s: At is %d: want a revision, 0 for a key that must not exist, or AnyRev", op.Key, w.At)
		}
		if len(w.Value) > db.c.MaxValue {
			return t, fmt.Errorf("%s: %d bytes, the limit is %d: %w", op.Key, len(w.Value), db.c.MaxValue, ErrTooLarge)
		}
		if w.Lease != 0 {
			if _, err := db.leaser(); err != nil {
				return t, fmt.Errorf("%s: %w", op.Key, err)
			}
		}
		if slices.ContainsFunc(t.Then, func(o Op) bool { return o.Key == op.Key }) {
			return t, fmt.Errorf("%s is written twice", op.Key)
		}
		t.Then = append(t.Then, op)
		if w.At >= 0 {
			t.If = append(t.If, Cond{Key: op.Key, Rev: w.At})
		}
	}
	if len(t.Then)+len(t.If) == 0 {
		return t, errors.New("nothing to write")
	}
	return t, nil
}
