package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/bedplate/bedplate/storage"
)

var consistencyTests = []test{
	{"LoadUnderWrites", testLoadUnderWrites},
	{"ConsistentReads", testConsistentReads},
	{"TablesAgree", testTablesAgree},
	{"TwoDBs", testTwoDBs},
	{"Linearizable", testLinearizable},
}

func testLoadUnderWrites(e *env) {
	for i := range 500 {
		e.put(fmt.Sprintf("/registry/pods/%03d", i), "old")
	}
	db := e.db(storage.Config{Page: 17})
	start := db.Applied()
	t := e.pods(db)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 100 {
				key := fmt.Sprintf("%03d", (i*7+w*131)%600)
				op := storage.Write{Table: t, Key: key, At: storage.AnyRev}
				if i%3 != 0 {
					op.Value = fmt.Appendf(nil, "%d.%d", w, i)
				}
				if _, err := db.Commit(e.ctx, op); err != nil {
					e.T.Errorf("commit: %v", err)
				}
			}
		})
	}
	early, err := t.Snapshot(e.ctx, storage.Cached, false)
	e.NoError(err)
	w, err := t.Watch(early.Rev(), storage.Filter{})
	e.NoError(err)
	defer w.Close()
	fromStart, err := t.Watch(start, storage.Filter{})
	e.NoError(err)
	defer fromStart.Close()
	wg.Wait()
	last, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	page, err := e.b.Range(e.ctx, storage.Range{Prefix: "/registry/pods/"})
	e.NoError(err)
	e.Equal(page.Rev, last.Rev())
	var stored []string
	for _, kv := range page.KVs {
		stored = append(stored, fmt.Sprintf("%s=%s@%d", strings.TrimPrefix(kv.Key, "/registry/pods/"), kv.Value, kv.Rev))
	}
	e.Equal(stored, contents(last, storage.Filter{}))
	e.Equal(stored, e.replay(early, w, last.Rev()))
	first, err := t.Snapshot(e.ctx, start, true)
	e.NoError(err)
	e.Equal(stored, e.replay(first, fromStart, last.Rev()))
}

// replay applies a watcher's events to a snapshot, up to a revision, and returns the contents.
func (e *env) replay(s *storage.Snapshot, w *storage.Watcher, to int64) []string {
	e.Helper()
	now := map[string]*storage.Entry{}
	for en := range s.All(storage.Filter{}, "") {
		now[en.Key] = en
	}
	last := s.Rev()
	for w.Rev() < to {
		events, err := w.Next(e.ctx)
		e.NoError(err)
		for _, ev := range events {
			e.GreaterOrEqual(ev.Rev, last)
			last = ev.Rev
			e.applyTo(now, ev)
		}
	}
	var out []string
	for en := range sortedEntries(now) {
		out = append(out, fmt.Sprintf("%s=%s@%d", en.Key, en.Raw, en.Rev))
	}
	return out
}

// applyTo applies an event to a map and checks that it fits what is there.
func (e *env) applyTo(now map[string]*storage.Entry, ev storage.Event) {
	e.Helper()
	key := ""
	if ev.New != nil {
		key = ev.New.Key
	} else {
		key = ev.Old.Key
	}
	e.Same(now[key], ev.Old, "the event's old state is the one before, at %s", describe(ev))
	if ev.New == nil {
		delete(now, key)
	} else {
		now[key] = ev.New
	}
}

// testConsistentReads has writers that raise a counter, and readers who must see every acknowledged write
// that came before their read began, though they share requests and read a cache.
func testConsistentReads(e *env) {
	db := e.db(storage.Config{})
	t := e.pods(db)
	var mu sync.Mutex
	acked := map[string]int64{}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			key := fmt.Sprintf("w%d", w)
			for i := range 100 {
				rev, err := db.Commit(e.ctx, storage.Write{Table: t, Key: key, Value: fmt.Append(nil, i), At: storage.AnyRev})
				if err != nil {
					e.T.Errorf("commit: %v", err)
					return
				}
				mu.Lock()
				acked[key] = rev
				mu.Unlock()
			}
		})
	}
	for r := range 8 {
		wg.Go(func() {
			key := fmt.Sprintf("w%d", r%4)
			for range 100 {
				mu.Lock()
				want := acked[key]
				mu.Unlock()
				got, err := t.Get(e.ctx, key, 0)
				if errors.Is(err, storage.ErrNotFound) && want == 0 {
					continue
				}
				if err != nil || got.Rev < want {
					e.T.Errorf("stale read of %s: %v, %v, acknowledged %d", key, got, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

// testTablesAgree commits to two tables at once and sees that nobody ever sees one half.
func testTablesAgree(e *env) {
	db := e.db(storage.Config{})
	a, b := e.table(db, storage.Schema{Prefix: "/registry/a/"}), e.table(db, storage.Schema{Prefix: "/registry/b/"})
	start, err := a.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	_, err = b.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	const n = 100
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			v := fmt.Append(nil, i)
			_, err := db.Commit(e.ctx,
				storage.Write{Table: a, Key: "x", Value: v, At: storage.AnyRev},
				storage.Write{Table: b, Key: "x", Value: v, At: storage.AnyRev},
				storage.Write{Table: a, Key: fmt.Sprintf("y%d", i), Value: v})
			if err != nil {
				e.T.Errorf("commit: %v", err)
			}
		}
	})
	for {
		sa, err := a.Snapshot(e.ctx, storage.Cached, false)
		e.NoError(err)
		sb, err := b.Snapshot(e.ctx, sa.Rev(), true)
		e.NoError(err)
		va, okA := sa.Get("x")
		vb, okB := sb.Get("x")
		e.Equal(okA, okB)
		if okA {
			e.Equal(string(va.Raw), string(vb.Raw), "at revision %d", sa.Rev())
			e.Equal(fmt.Sprint(sa.Len()-2), string(va.Raw))
			if sa.Len() == n+1 {
				break
			}
		}
	}
	wg.Wait()
	w, err := a.Watch(start.Rev(), storage.Filter{})
	e.NoError(err)
	defer w.Close()
	for seen := 0; seen < 2*n; {
		events, err := w.Next(e.ctx)
		e.NoError(err)
		e.Zero(len(events)%2, "both changes of a revision come together")
		seen += len(events)
	}
}

// testTwoDBs has two DBs over one store, as two API servers have it.
func testTwoDBs(e *env) {
	db1, db2 := e.db(storage.Config{}), e.db(storage.Config{})
	t1, t2 := e.pods(db1), e.pods(db2)
	for i := range 50 {
		e.set(t1, db1, "a", fmt.Sprint(i))
		got, err := t2.Get(e.ctx, "a", 0)
		e.NoError(err)
		e.Equal(fmt.Sprint(i), string(got.Raw))
		e.set(t2, db2, "a", fmt.Sprint(-i))
		got, err = t1.Get(e.ctx, "a", 0)
		e.NoError(err)
		e.Equal(fmt.Sprint(-i), string(got.Raw))
	}
}
