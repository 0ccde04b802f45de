package storetest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/bedplate/bedplate/storage"
)

var watcherTests = append([]test{
	{"Events", testEvents},
	{"Filter", testFilter},
	{"Resume", testResume},
	{"FirstUse", testWatchFirstUse},
	{"TooOld", testTooOld},
	{"Slow", testSlow},
	{"Bookmarks", testBookmarks},
	{"Rev", testWatcherRev},
	{"Future", testWatchFuture},
	{"Many", testManyWatchers},
	{"Close", testWatcherClose},
}, selectWatchTests...)

func sortedEntries(m map[string]*storage.Entry) iter.Seq[*storage.Entry] {
	return func(yield func(*storage.Entry) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(m[k]) {
				return
			}
		}
	}
}

func (e *env) watch(t *storage.Table, since int64, f storage.Filter) *storage.Watcher {
	e.Helper()
	w, err := t.Watch(since, f)
	e.NoError(err)
	e.Cleanup(w.Close)
	return w
}

func testEvents(e *env) {
	db := e.db(storage.Config{})
	t := e.pods(db)
	w := e.watch(t, 1, storage.Filter{})
	e.set(t, db, "a", "1")
	e.set(t, db, "a", "2")
	e.unset(t, db, "a")
	e.unset(t, db, "a")
	e.set(t, db, "a", "3")
	want := []string{"+a=1@2", "~a=1>2@3", "-a=2@4", "+a=3@5"}
	e.Equal(want, e.events(w, 4))
	e.Equal(want, e.events(e.watch(t, 1, storage.Filter{}), 4))
}

func testFilter(e *env) {
	db := e.db(storage.Config{})
	t := e.table(db, tagged("/registry/t/"))
	red := e.watch(t, 1, labelled("red"))
	under := e.watch(t, 1, storage.Filter{Prefix: "x/"})
	second := e.watch(t, 1, storage.Filter{Index: func(v []string) bool { return v[0] == "1" }})
	e.set(t, db, "x/a", "blue 1")
	e.set(t, db, "x/a", "red 1")
	e.set(t, db, "x/a", "red 2")
	e.set(t, db, "x/a", "blue 2")
	e.set(t, db, "y/b", "red 1")
	e.unset(t, db, "x/a")
	e.unset(t, db, "y/b")
	e.Equal([]string{"+x/a=red 1@3", "~x/a=red 1>red 2@4", "-x/a=red 2@5", "+y/b=red 1@6", "-y/b=red 1@8"}, e.events(red, 5))
	e.Equal([]string{"+x/a=blue 1@2", "~x/a=blue 1>red 1@3", "~x/a=red 1>red 2@4", "~x/a=red 2>blue 2@5", "-x/a=blue 2@7"}, e.events(under, 5))
	e.Equal([]string{"+x/a=blue 1@2", "~x/a=blue 1>red 1@3", "-x/a=red 1@4", "+y/b=red 1@6", "-y/b=red 1@8"}, e.events(second, 5))
}

func testResume(e *env) {
	db := e.db(storage.Config{})
	t := e.pods(db)
	const n = 40
	var want []string
	for i := range n {
		e.set(t, db, fmt.Sprint(i), "x")
		e.put("/registry/other", fmt.Sprint(i))
		want = append(want, fmt.Sprintf("+%d=x@%d", i, 2+2*i))
	}
	for since := int64(1); since < 2*n; since++ {
		w := e.watch(t, since, storage.Filter{})
		e.Equal(want[since/2:], e.events(w, n-int(since/2)), "since %d", since)
	}
}

// testWatchFirstUse resumes a watch on a table that nobody has used yet.
func testWatchFirstUse(e *env) {
	e.put("/registry/pods/old", "1")
	db := e.db(storage.Config{})
	t := e.pods(db)
	rev := e.set(t, db, "a", "1")
	e.set(t, db, "a", "2")
	e.unset(t, db, "old")
	w := e.watch(t, rev, storage.Filter{})
	e.Equal([]string{"~a=1>2@4", "-old=1@5"}, e.events(w, 2))
}

func testTooOld(e *env) {
	db := e.db(storage.Config{Window: 16})
	t := e.pods(db)
	_, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	var last int64
	for i := range 400 {
		last = e.set(t, db, fmt.Sprint(i%5), fmt.Sprint(i))
	}
	e.NoError(db.WaitFor(e.ctx, last))
	_, err = t.Watch(2, storage.Filter{})
	var old *storage.TooOldError
	e.ErrorAs(err, &old)
	e.EqualValues(2, old.Rev)
	e.Less(old.Oldest, last-15, "at least the window is kept")
	e.Len(e.events(e.watch(t, old.Oldest, storage.Filter{}), int(last-old.Oldest)), int(last-old.Oldest))
	_, err = t.Watch(old.Oldest-1, storage.Filter{})
	e.ErrorIs(err, storage.ErrTooOld)
	_, err = t.Snapshot(e.ctx, old.Oldest, true)
	e.NoError(err)
}

func testSlow(e *env) {
	db := e.db(storage.Config{Window: 16})
	t := e.pods(db)
	_, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	slow, quick := e.watch(t, 1, storage.Filter{}), e.watch(t, 1, storage.Filter{})
	for i := range 400 {
		e.set(t, db, "a", fmt.Sprint(i))
		e.Len(e.events(quick, 1), 1, "a slow watcher slows nobody")
	}
	_, err = slow.Next(e.ctx)
	var old *storage.TooOldError
	e.ErrorAs(err, &old)
	e.Zero(old.Rev)
	e.Greater(old.Oldest, int64(2))
	_, err = slow.Next(e.ctx)
	e.ErrorIs(err, storage.ErrClosed)
}

func testBookmarks(e *env) {
	db := e.db(storage.Config{})
	t := e.table(db, tagged("/registry/t/"))
	f := labelled("red")
	f.Bookmarks = true
	w := e.watch(t, 1, f)
	rev := e.set(t, db, "a", "blue")
	e.Equal([]string{fmt.Sprintf("@%d", rev)}, e.events(w, 1))
	e.Equal(rev, w.Rev())
	e.set(t, db, "a", "red")
	e.Equal([]string{"+a=red@3"}, e.events(w, 1))
	rev = e.put("/elsewhere", "1")
	_, err := db.Revision(e.ctx)
	e.NoError(err)
	e.Equal([]string{fmt.Sprintf("@%d", rev)}, e.events(w, 1))
}

func testWatcherRev(e *env) {
	db := e.db(storage.Config{})
	t := e.pods(db)
	_, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	w := e.watch(t, 1, storage.Filter{Prefix: "x/"})
	e.EqualValues(1, w.Rev())
	e.set(t, db, "x/a", "1")
	rev := e.set(t, db, "x/b", "1")
	e.NoError(db.WaitFor(e.ctx, rev))
	e.EqualValues(1, w.Rev(), "what was not handed out does not count")
	e.events(w, 2)
	e.Equal(rev, w.Rev())
	rev = e.put("/registry/other/a", "1")
	e.NoError(db.WaitFor(e.ctx, rev))
	e.Equal(rev, w.Rev(), "it moves with the DB")
	e.Equal(rev, t.Rev())
}

func testWatchFuture(e *env) {
	db := e.db(storage.Config{})
	t := e.pods(db)
	rev := e.set(t, db, "a", "1")
	w := e.watch(t, rev+2, storage.Filter{})
	for i := range 4 {
		e.set(t, db, "a", fmt.Sprintf("n%d", i))
	}
	e.Equal([]string{"~a=n1>n2@5", "~a=n2>n3@6"}, e.events(w, 2))
}

// testManyWatchers has watchers come at any time, with any filter, while writers write: each gets exactly
// what it should.
func testManyWatchers(e *env) {
	db := e.db(storage.Config{})
	t := e.pods(db)
	const writers, each = 4, 100
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				_, err := db.Commit(e.ctx, storage.Write{Table: t, Key: fmt.Sprintf("%d/%d", w, i), Value: []byte("x")})
				if err != nil {
					e.T.Errorf("commit: %v", err)
				}
			}
		})
	}
	for i := range 40 {
		wg.Go(func() {
			f, want := storage.Filter{}, writers*each
			if i%2 == 0 {
				f, want = storage.Filter{Prefix: fmt.Sprintf("%d/", i%writers)}, each
			}
			w, err := t.Watch(1, f)
			if err != nil {
				e.T.Errorf("watch: %v", err)
				return
			}
			defer w.Close()
			seen := map[string]bool{}
			var last int64
			for len(seen) < want {
				events, err := w.Next(e.ctx)
				if err != nil {
					e.T.Errorf("next: %v", err)
					return
				}
				for _, ev := range events {
					if ev.Rev <= last || seen[ev.New.Key] || ev.Old != nil {
						e.T.Errorf("out of order or twice: %s after %d", describe(ev), last)
					}
					last, seen[ev.New.Key] = ev.Rev, true
				}
			}
		})
	}
	wg.Wait()
}

func testWatcherClose(e *env) {
	db := e.db(storage.Config{})
	t := e.pods(db)
	w := e.watch(t, 0, storage.Filter{})
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	_, err := w.Next(ctx)
	e.ErrorIs(err, context.Canceled)
	e.set(t, db, "a", "1")
	e.events(w, 1) // a context that ended does not end the watcher
	next := make(chan error, 1)
	go func() {
		_, err := w.Next(e.ctx)
		next <- err
	}()
	w.Close()
	w.Close()
	e.ErrorIs(<-next, storage.ErrClosed)
}
