package storetest

import (
	"context"
	"fmt"
	"sync"

	"github.com/bedplate/bedplate/storage"
)

var selectTests = []test{
	{"Select", testSelect},
	{"PastFromStore", testPastFromStore},
	{"PastIsShared", testPastIsShared},
	{"PastCallerLeaves", testPastCallerLeaves},
	{"PastCompacted", testPastCompacted},
	{"GetAt", testGetAt},
	{"History", testHistory},
	{"SelectModel", testSelectModel},
}

// testSelect lists by terms: what comes, in which order and on which page is the same as without them.
func testSelect(e *env) {
	db := e.db(storage.Config{})
	t := e.table(db, tagged("/registry/t/"))
	for i := range 60 {
		e.set(t, db, fmt.Sprintf("%d/%02d", i%2, i), fmt.Sprintf("%s n%d", []string{"red", "blue"}[i%2], i%5))
	}
	e.set(t, db, "1/07", "bad")
	e.set(t, db, "1/09", "blue n0")
	e.set(t, db, "1/09", "red n4")
	for range 3 { // as scanned, and then as kept
		s, err := t.Snapshot(e.ctx, 0, false)
		e.NoError(err)
		for _, prefix := range []string{"", "1/", "1/0", "2/"} {
			for _, label := range []string{"red", "blue", "green"} {
				plain := storage.Filter{Prefix: prefix, Labels: labelled(label).Labels}
				e.Equal(contents(s, plain), contents(s, storage.Filter{Prefix: prefix, LabelIs: []storage.Pair{{Key: "l", Value: label}}}))
				plain.Index = func(v []string) bool { return v[0] == "n4" }
				both := storage.Filter{
					Prefix:  prefix,
					LabelIs: []storage.Pair{{Key: "l", Value: label}},
					IndexIs: []storage.Pair{{Key: "second", Value: "n4"}},
				}
				e.Equal(contents(s, plain), contents(s, both))
				e.Equal(contents(s, both), e.paged(s, both, 2))
			}
		}
		for _, none := range []storage.Filter{
			{IndexIs: []storage.Pair{{Key: "third", Value: ""}}},
			{IndexIs: []storage.Pair{{Key: "second", Value: "n1"}, {Key: "second", Value: "n2"}}},
			{LabelIs: []storage.Pair{{Key: "m", Value: ""}}},
			{Key: "1/07"}, {Key: "1/99"}, {Key: "1/11", Prefix: "0/"}, {Key: "1/1"},
		} {
			e.Empty(contents(s, none), "%+v", none)
		}
		e.Len(contents(s, storage.Filter{Key: "1/11"}), 1)
		for range s.All(storage.Filter{Key: "1/11"}, "1/11\x00") {
			e.Fail("that key lies before")
		}
	}
}

// paged lists by pages of n.
func (e *env) paged(s *storage.Snapshot, f storage.Filter, n int) (out []string) {
	from, more := "", true
	for more {
		more = false
		page := 0
		for en := range s.All(f, from) {
			if page == n {
				more = true
				break
			}
			out = append(out, fmt.Sprintf("%s=%s@%d", en.Key, en.Raw, en.Rev))
			from = en.Key + "\x00"
			page++
		}
	}
	return out
}

// slide writes until nothing of what was before is left in a window of 16 events.
func (e *env) slide(t *storage.Table, db *storage.DB, key string) {
	var last int64
	for i := range 3 {
		var writes []storage.Write
		for j := range 120 {
			w := storage.Write{Table: t, Key: fmt.Sprintf("%s%d", key, j), Value: fmt.Append(nil, i), At: storage.AnyRev}
			writes = append(writes, w)
		}
		last = e.write(db, writes...)
	}
	e.NoError(db.WaitFor(e.ctx, last))
}

// testPastFromStore reads revisions that have left the window: the store still has them.
func testPastFromStore(e *env) {
	db := e.db(storage.Config{Window: 16, Page: 7})
	t := e.table(db, tagged("/registry/t/"))
	s, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	want := map[int64][]string{s.Rev(): nil}
	for i := range 40 {
		switch {
		case i%7 == 6:
			e.unset(t, db, fmt.Sprintf("%02d", i-4))
		case i%9 == 8:
			e.set(t, db, fmt.Sprintf("%02d", i), "bad")
		default:
			e.set(t, db, fmt.Sprintf("%02d", i%20), fmt.Sprintf("red n%d", i%3))
		}
		s, err := t.Snapshot(e.ctx, 0, false)
		e.NoError(err)
		want[s.Rev()] = contents(s, storage.Filter{})
	}
	e.slide(t, db, "noise/")
	w, err := t.Watch(1, storage.Filter{})
	e.ErrorIs(err, storage.ErrTooOld, "%v", w)
	for rev, want := range want {
		s, err := t.Snapshot(e.ctx, rev, true)
		e.NoError(err)
		e.Equal(rev, s.Rev())
		e.Equal(want, contents(s, storage.Filter{}), "revision %d", rev)
		var one []string
		for en := range s.All(storage.Filter{}, "") {
			if en.Head.Index[0] == "n1" {
				one = append(one, fmt.Sprintf("%s=%s@%d", en.Key, en.Raw, en.Rev))
			}
		}
		e.Equal(one, contents(s, storage.Filter{IndexIs: []storage.Pair{{Key: "second", Value: "n1"}}}))
	}
	now, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	then, err := t.Snapshot(e.ctx, 41, true)
	e.NoError(err)
	a, _ := now.Get("03")
	b, _ := then.Get("03")
	e.Same(a, b, "what is still the same is shared")
	var corrupt []string
	for c := range then.Corrupt() {
		corrupt = append(corrupt, c.Key)
	}
	e.NotEmpty(corrupt)
}

// gated is a backend whose reads of the past can be held and are counted.
type gated struct {
	storage.Backend
	mu     sync.Mutex
	gate   chan struct{} // not nil: reads of the past wait for it to be closed
	reads  int
	waits  chan struct{} // gets one for each read that waits
	broken chan error    // gets the error of each read that was given up
}

func newGated(b storage.Backend) *gated {
	return &gated{Backend: b, waits: make(chan struct{}, 100), broken: make(chan error, 100)}
}

// Range implements storage.Backend.
func (g *gated) Range(ctx context.Context, r storage.Range) (storage.Page, error) {
	g.mu.Lock()
	gate := g.gate
	if gate != nil {
		g.reads++
	}
	g.mu.Unlock()
	if gate == nil {
		return g.Backend.Range(ctx, r)
	}
	g.waits <- struct{}{}
	select {
	case <-gate:
		return g.Backend.Range(ctx, r)
	case <-ctx.Done():
		g.broken <- ctx.Err()
		return storage.Page{}, ctx.Err()
	}
}

func (g *gated) hold() (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gate := make(chan struct{})
	g.gate, g.reads = gate, 0
	return func() { close(gate) }
}

// old opens a table over a gated store, in whose past revision 2 is beyond the window.
func (e *env) old(g *gated, c storage.Config) (*storage.DB, *storage.Table) {
	e.put("/registry/pods/a", "1")
	db := e.dbOn(g, c)
	t := e.pods(db)
	_, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	e.set(t, db, "a", "2")
	e.slide(t, db, "x/")
	return db, t
}

func testPastIsShared(e *env) {
	g := newGated(e.b)
	db, t := e.old(g, storage.Config{Window: 16})
	release := g.hold()
	const readers = 8
	got := make(chan *storage.Snapshot, readers)
	read := func() {
		s, err := t.Snapshot(e.ctx, 2, true)
		if err != nil {
			e.T.Errorf("snapshot: %v", err)
		}
		got <- s
	}
	var wg sync.WaitGroup
	wg.Go(read)
	<-g.waits
	for range readers - 1 {
		wg.Go(read)
	}
	release()
	wg.Wait()
	first := <-got
	e.Equal([]string{"a=1@2"}, contents(first, storage.Filter{}))
	for range readers - 1 {
		e.Same(first, <-got)
	}
	again, err := t.Snapshot(e.ctx, 2, true)
	e.NoError(err)
	e.Same(first, again, "the next page shares it")
	e.Equal(1, g.reads)
	for _, rev := range []int64{1, 3, 4, 5} {
		_, err := t.Snapshot(e.ctx, rev, true)
		e.NoError(err)
	}
	before := g.reads
	_, err = t.Snapshot(e.ctx, 2, true)
	e.NoError(err)
	e.Equal(before+1, g.reads, "the last few are kept, not all")

	release = g.hold()
	next := make(chan error, 1)
	go func() {
		_, err := t.Snapshot(e.ctx, 1, true)
		next <- err
	}()
	<-g.waits
	db.Drop(t)
	e.ErrorIs(<-next, storage.ErrClosed)
	release()
}

// testPastCallerLeaves: a reader's context is the reader's alone.
func testPastCallerLeaves(e *env) {
	g := newGated(e.b)
	_, t := e.old(g, storage.Config{Window: 16})
	release := g.hold()
	ctx, cancel := context.WithCancel(e.ctx)
	read := func(ctx context.Context) chan error {
		ended := make(chan error, 1)
		go func() {
			_, err := t.Snapshot(ctx, 2, true)
			ended <- err
		}()
		return ended
	}
	leaves := read(ctx)
	<-g.waits
	cancel()
	e.ErrorIs(<-leaves, context.Canceled)
	e.ErrorIs(<-g.broken, context.Canceled, "nobody wants it any more")

	ctx, cancel = context.WithCancel(e.ctx)
	leaves = read(ctx)
	<-g.waits
	// Whether the second comes before the first leaves or after: it gets what it asked for.
	stays := read(e.ctx)
	cancel()
	e.ErrorIs(<-leaves, context.Canceled)
	release()
	e.NoError(<-stays)
}

func testPastCompacted(e *env) {
	c, ok := e.b.(Compacter)
	if !ok {
		return
	}
	db := e.db(storage.Config{Window: 16})
	t := e.pods(db)
	e.set(t, db, "a", "1")
	_, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	e.set(t, db, "a", "2")
	e.slide(t, db, "x/")
	e.NoError(c.Compact(e.ctx, 3))
	_, err = t.Snapshot(e.ctx, 2, true)
	var old *storage.TooOldError
	e.ErrorAs(err, &old)
	e.EqualValues(2, old.Rev)
	_, err = t.GetAt(e.ctx, "a", 2)
	e.ErrorIs(err, storage.ErrTooOld)
	s, err := t.Snapshot(e.ctx, 3, true)
	e.NoError(err)
	e.Equal([]string{"a=2@3"}, contents(s, storage.Filter{}))
	got, err := t.GetAt(e.ctx, "a", 3)
	e.NoError(err)
	e.Equal("2", string(got.Raw))
}

func testGetAt(e *env) {
	db := e.db(storage.Config{Window: 16})
	t := e.table(db, tagged("/registry/t/"))
	_, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	for _, raw := range []string{"red 1", "red 2", "bad 3", "red 4", "", "red 6", "bad 7", "bad 8"} { // revisions 2 to 9
		if raw == "" {
			e.unset(t, db, "a")
		} else {
			e.set(t, db, "a", raw)
		}
		e.put("/registry/t/a-longer-key", "red 1")
	}
	check := func() {
		for rev, want := range map[int64]string{
			2: "red 1", 3: "red 1", 4: "red 2", 5: "red 2", 6: "corrupt", 7: "corrupt", 8: "red 4", 9: "red 4",
			10: "none", 11: "none", 12: "red 6", 14: "corrupt", 16: "corrupt", 17: "corrupt",
		} {
			got, err := t.GetAt(e.ctx, "a", rev)
			switch want {
			case "none":
				e.ErrorIs(err, storage.ErrNotFound, "revision %d", rev)
			case "corrupt":
				e.ErrorIs(err, storage.ErrCorrupt, "revision %d", rev)
			default:
				e.NoError(err, "revision %d", rev)
				e.Equal(want, string(got.Raw), "revision %d", rev)
			}
		}
		_, err := t.GetAt(e.ctx, "a", 1)
		e.ErrorIs(err, storage.ErrNotFound)
	}
	check()
	e.slide(t, db, "x/")
	check()
	_, err = t.GetAt(e.ctx, "a", 0)
	e.ErrorIs(err, storage.ErrCorrupt)
	_, err = t.GetAt(e.ctx, "never", 9)
	e.ErrorIs(err, storage.ErrNotFound)
}

// versions is a history as text.
func (e *env) versions(t *storage.Table, key string) (out []string, since int64) {
	e.Helper()
	list, since, err := t.History(e.ctx, key)
	e.NoError(err)
	for _, v := range list {
		if v.Entry == nil {
			out = append(out, fmt.Sprintf("-@%d", v.Rev))
		} else {
			out = append(out, fmt.Sprintf("%s@%d", v.Entry.Raw, v.Rev))
			e.Equal(v.Rev, v.Entry.Rev)
		}
	}
	return out, since
}

func testHistory(e *env) {
	db := e.db(storage.Config{Window: 16})
	t := e.table(db, tagged("/registry/t/"))
	_, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	for _, raw := range []string{"red 1", "red 2", "", "bad 3", "red 4", "", "red 6"} {
		for _, key := range []string{"a", "b"} {
			if raw == "" {
				e.unset(t, db, key)
			} else {
				e.set(t, db, key, raw)
			}
		}
	}
	got, since := e.versions(t, "a")
	e.EqualValues(1, since)
	e.Equal([]string{"red 1@2", "red 2@4", "-@6", "red 4@10", "-@12", "red 6@14"}, got)
	got, _ = e.versions(t, "none")
	e.Empty(got)
	e.slide(t, db, "x/")
	got, since = e.versions(t, "a")
	e.Greater(since, int64(15))
	e.Equal([]string{"red 6@14"}, got, "what was there when the window began")
	rev := e.unset(t, db, "a")
	got, _ = e.versions(t, "a")
	e.Equal([]string{"red 6@14", fmt.Sprintf("-@%d", rev)}, got)
	e.slide(t, db, "x/")
	got, _ = e.versions(t, "a")
	e.Empty(got)
}
