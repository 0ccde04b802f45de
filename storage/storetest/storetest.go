// Package storetest proves a storage.Backend, and the storage package on top of it. Every implementation
// runs it, those outside of this module too:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storage.Backend { return open(t) })
//	}
package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
)

// Compacter is what a backend may offer beside storage.Backend; the tests of compaction run if it does.
type Compacter interface {
	// Compact forgets the history before rev.
	Compact(ctx context.Context, rev int64) error
}

// Run runs the suite. The factory makes an empty store for each test, at revision 1, whose largest value is
// 1.5 MiB or more, and cleans up with t.Cleanup. Nobody else may write to the store. The tests of leases and
// locks, some of which take as long as short leases do, run if the backend is a storage.Leaser;
// those of streams, if it is a storage.Streamer.
func Run(t *testing.T, open func(t *testing.T) storage.Backend) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"Backend", backendTests},
		{"Stream", streamTests},
		{"Table", tableTests},
		{"Consistency", consistencyTests},
		{"Watcher", watcherTests},
		{"Recovery", recoveryTests},
		{"Store", storeTests},
		{"Model", modelTests},
		{"Lease", leaseTests},
		{"Lock", lockTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) { test.run(newEnv(t, open(t))) })
			}
		})
	}
}

type test struct {
	name string
	run  func(*env)
}

// limit bounds every test.
const limit = 60 * time.Second

// env is one test's store and what it needs to use it.
type env struct {
	*testing.T
	*require.Assertions
	ctx context.Context
	b   storage.Backend
}

func newEnv(t *testing.T, b storage.Backend) *env {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return &env{T: t, Assertions: require.New(t), ctx: ctx, b: b}
}

// db runs a DB over the store until the test ends.
func (e *env) db(c storage.Config) *storage.DB {
	e.Helper()
	return e.dbOn(e.b, c)
}

func (e *env) dbOn(b storage.Backend, c storage.Config) *storage.DB {
	e.Helper()
	db, err := storage.New(b, c)
	e.NoError(err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(e.ctx))
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	e.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			e.T.Errorf("Run: %v", err)
		}
	})
	select {
	case <-db.Ready():
	case <-e.ctx.Done():
		e.FailNow("the DB is not ready in time")
	}
	return db
}

func (e *env) table(db *storage.DB, s storage.Schema) *storage.Table {
	e.Helper()
	t, err := db.Table(s)
	e.NoError(err)
	return t
}

// pods is the plain table most tests use.
func (e *env) pods(db *storage.DB) *storage.Table {
	e.Helper()
	return e.table(db, storage.Schema{Prefix: "/registry/pods/"})
}

// raw commits to the backend directly.
func (e *env) raw(t storage.Txn) int64 {
	e.Helper()
	rev, err := e.b.Commit(e.ctx, t)
	e.NoError(err)
	return rev
}

func (e *env) put(key, value string) int64 {
	e.Helper()
	return e.raw(storage.Txn{Then: []storage.Op{{Key: key, Value: []byte(value)}}})
}

func (e *env) del(key string) int64 {
	e.Helper()
	return e.raw(storage.Txn{Then: []storage.Op{{Key: key}}})
}

// write commits through the DB.
func (e *env) write(db *storage.DB, w ...storage.Write) int64 {
	e.Helper()
	rev, err := db.Commit(e.ctx, w...)
	e.NoError(err)
	return rev
}

func (e *env) set(t *storage.Table, db *storage.DB, key, value string) int64 {
	e.Helper()
	return e.write(db, storage.Write{Table: t, Key: key, Value: []byte(value), At: storage.AnyRev})
}

func (e *env) unset(t *storage.Table, db *storage.DB, key string) int64 {
	e.Helper()
	return e.write(db, storage.Write{Table: t, Key: key, At: storage.AnyRev})
}

// contents is a snapshot as text.
func contents(s *storage.Snapshot, f storage.Filter) []string {
	var out []string
	for e := range s.All(f, "") {
		out = append(out, fmt.Sprintf("%s=%s@%d", e.Key, e.Raw, e.Rev))
	}
	return out
}

// byIndex reads an index: as the snapshot has it, which may be from before anybody asked for the index, and, if the
// table has not moved on, as it is kept since. Both must agree.
func byIndex(r require.TestingT, t *storage.Table, s *storage.Snapshot, name, value string) []string {
	keys := func(s *storage.Snapshot) (out []string) {
		for e := range s.ByIndex(name, value) {
			out = append(out, fmt.Sprintf("%s=%s@%d", e.Key, e.Raw, e.Rev))
		}
		return out
	}
	first := keys(s)
	require.Equal(r, first, keys(s), "a snapshot does not change")
	again, err := t.Snapshot(context.Background(), s.Rev(), true)
	require.NoError(r, err)
	require.Equal(r, first, keys(again), "%s is %q at revision %d, as scanned and as kept", name, value, s.Rev())
	return first
}

// events reads from a watcher until it has n.
func (e *env) events(w *storage.Watcher, n int) []string {
	e.Helper()
	var out []string
	for len(out) < n {
		events, err := w.Next(e.ctx)
		e.NoError(err)
		e.NotEmpty(events)
		for _, ev := range events {
			out = append(out, describe(ev))
		}
	}
	return out
}

func describe(ev storage.Event) string {
	switch {
	case ev.Old == nil && ev.New == nil:
		return fmt.Sprintf("@%d", ev.Rev)
	case ev.Old == nil:
		return fmt.Sprintf("+%s=%s@%d", ev.New.Key, ev.New.Raw, ev.Rev)
	case ev.New == nil:
		return fmt.Sprintf("-%s=%s@%d", ev.Old.Key, ev.Old.Raw, ev.Rev)
	}
	return fmt.Sprintf("~%s=%s>%s@%d", ev.New.Key, ev.Old.Raw, ev.New.Raw, ev.Rev)
}
