package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/bedplate/bedplate/storage"
)

var selectWatchTests = []test{
	{"Terms", testWatchTerms},
	{"Sleeper", testSleeper},
	{"SlowTerm", testSlowTerm},
	{"SleeperRev", testSleeperRev},
	{"BookmarkBehindFiltered", testBookmarkBehindFiltered},
	{"RevNeverGoesBack", testRevNeverGoesBack},
	{"TermsUnderWrites", testTermsUnderWrites},
	{"TermsAtGap", testTermsAtGap},
}

func labelIs(v string) storage.Filter {
	return storage.Filter{LabelIs: []storage.Pair{{Key: "l", Value: v}}}
}

func indexIs(v string) storage.Filter {
	return storage.Filter{IndexIs: []storage.Pair{{Key: "second", Value: v}}}
}

// testWatchTerms: an object that moves in or out of what a term selects is added or deleted.
func testWatchTerms(e *env) {
	db := e.db(storage.Config{})
	t := e.table(db, tagged("/registry/t/"))
	red, one := e.watch(t, 1, labelIs("red")), e.watch(t, 1, indexIs("1"))
	under, key := e.watch(t, 1, storage.Filter{Prefix: "x/a"}), e.watch(t, 1, storage.Filter{Key: "x/a"})
	both := labelIs("red")
	both.IndexIs = indexIs("1").IndexIs
	narrow := e.watch(t, 1, both)
	none := e.watch(t, 1, storage.Filter{IndexIs: []storage.Pair{{Key: "undeclared", Value: ""}}})
	write := func() {
		e.set(t, db, "x/a", "blue 1")
		e.set(t, db, "x/a", "red 1")
		e.set(t, db, "x/a", "red 2")
		e.set(t, db, "x/a", "blue 2")
		e.set(t, db, "x/ab", "red 1")
		e.unset(t, db, "x/a")
		e.unset(t, db, "x/ab")
	}
	write()
	x := []string{"+x/a=blue 1@2", "~x/a=blue 1>red 1@3", "~x/a=red 1>red 2@4", "~x/a=red 2>blue 2@5", "-x/a=blue 2@7"}
	e.Equal([]string{"+x/a=red 1@3", "~x/a=red 1>red 2@4", "-x/a=red 2@5", "+x/ab=red 1@6", "-x/ab=red 1@8"}, e.events(red, 5))
	e.Equal([]string{"+x/a=blue 1@2", "~x/a=blue 1>red 1@3", "-x/a=red 1@4", "+x/ab=red 1@6", "-x/ab=red 1@8"}, e.events(one, 5))
	e.Equal([]string{"+x/a=red 1@3", "-x/a=red 1@4", "+x/ab=red 1@6", "-x/ab=red 1@8"}, e.events(narrow, 4))
	e.Equal(x, e.events(key, 5))
	e.Equal(slices.Insert(x, 4, "+x/ab=red 1@6"), e.events(under, 6)[:6])
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	_, err := none.Next(ctx)
	e.ErrorIs(err, context.Canceled)
	e.EqualValues(8, none.Rev(), "for who waits for nothing, nothing is missing")
	e.Equal([]string{"+x/a=red 1@3"}, e.events(e.watch(t, 2, both), 1)[:1], "resumed")
}

// testSleeper: a watcher does not fall behind the window as long as nothing happens that it waits for.
func testSleeper(e *env) {
	db := e.db(storage.Config{Window: 16})
	t := e.table(db, tagged("/registry/t/"))
	e.set(t, db, "x/a", "red 1")
	_, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	filters := []storage.Filter{labelIs("red"), indexIs("1"), {Prefix: "x/"}, {Key: "x/a"}}
	var watchers []*storage.Watcher
	for _, f := range filters {
		watchers = append(watchers, e.watch(t, 2, f))
	}
	for round := range 3 {
		e.slide(t, db, "noise/")
		old, now := []string{"red 1", "blue 2", "red 1"}[round], []string{"blue 2", "red 1", "green 0"}[round]
		rev := e.set(t, db, "x/a", now)
		// It may also be slow to look, as long as the window has what it waits for.
		e.set(t, db, "noise/0", "more")
		moved := []string{fmt.Sprintf("-x/a=%s@%d", old, rev), fmt.Sprintf("+x/a=%s@%d", now, rev), fmt.Sprintf("-x/a=%s@%d", old, rev)}[round]
		changed := fmt.Sprintf("~x/a=%s>%s@%d", old, now, rev)
		for i, w := range watchers {
			want := changed
			if i < 2 {
				want = moved
			}
			e.Equal([]string{want}, e.events(w, 1), "round %d, %+v", round, filters[i])
		}
	}
}

// testSlowTerm: a watcher that the window leaves behind with something it waits for is cut off, alone.
func testSlowTerm(e *env) {
	db := e.db(storage.Config{Window: 16})
	t := e.table(db, tagged("/registry/t/"))
	rev := e.set(t, db, "x/a", "red 1")
	_, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	slow, quick, other := e.watch(t, rev, labelIs("red")), e.watch(t, rev, labelIs("red")), e.watch(t, rev, labelIs("blue"))
	rev = e.set(t, db, "x/a", "red 2")
	e.Len(e.events(quick, 1), 1)
	e.slide(t, db, "noise/")
	_, err = slow.Next(e.ctx)
	var old *storage.TooOldError
	e.ErrorAs(err, &old)
	e.Greater(old.Oldest, rev)
	_, err = slow.Next(e.ctx)
	e.ErrorIs(err, storage.ErrClosed)
	rev = e.set(t, db, "x/a", "blue 2")
	e.Equal([]string{fmt.Sprintf("-x/a=red 2@%d", rev)}, e.events(quick, 1))
	e.Equal([]string{fmt.Sprintf("+x/a=blue 2@%d", rev)}, e.events(other, 1))
}

func testSleeperRev(e *env) {
	db := e.db(storage.Config{Window: 16})
	t := e.table(db, tagged("/registry/t/"))
	_, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	w := e.watch(t, 1, labelIs("red"))
	e.set(t, db, "a", "blue 1")
	e.slide(t, db, "noise/")
	e.Equal(t.Rev(), w.Rev(), "nothing for it came")
	before := t.Rev()
	rev := e.set(t, db, "a", "red 1")
	e.NoError(db.WaitFor(e.ctx, rev))
	e.Equal(before, w.Rev(), "what was not handed out does not count")
	e.set(t, db, "noise/0", "2")
	e.NoError(db.WaitFor(e.ctx, rev+1))
	e.Equal(before, w.Rev())
	e.events(w, 1)
	e.Equal(rev+1, w.Rev())
	e.slide(t, db, "noise/")
	w.Close()
	last := w.Rev()
	e.Equal(t.Rev(), last)
	rev = e.set(t, db, "a", "red 2")
	e.set(t, db, "noise/0", "3")
	e.NoError(db.WaitFor(e.ctx, rev+1))
	e.Equal(last, w.Rev(), "once it is closed it stays")
	e.Equal([]string{fmt.Sprintf("~a=red 1>red 2@%d", rev)}, e.events(e.watch(t, last, labelIs("red")), 1), "where another goes on")
}

// testBookmarkBehindFiltered: progress is told even where it came together with an event.
func testBookmarkBehindFiltered(e *env) {
	db := e.db(storage.Config{})
	t := e.table(db, tagged("/registry/t/"))
	_, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	for i, f := range []storage.Filter{labelled("red"), labelIs("red")} {
		f.Bookmarks = true
		w := e.watch(t, 0, f)
		red := e.set(t, db, fmt.Sprint(i), "red")
		last := e.set(t, db, "other", "blue")
		e.NoError(db.WaitFor(e.ctx, last))
		e.Equal([]string{fmt.Sprintf("+%d=red@%d", i, red), fmt.Sprintf("@%d", last)}, e.events(w, 2))
	}
}

func testRevNeverGoesBack(e *env) {
	db := e.db(storage.Config{})
	t := e.table(db, tagged("/registry/t/"))
	for i, f := range []storage.Filter{{}, labelIs("red")} {
		w := e.watch(t, 0, f)
		last := int64(0)
		for range 10 {
			rev := e.put("/registry/elsewhere", "1")
			e.NoError(db.WaitFor(e.ctx, rev))
			e.GreaterOrEqual(w.Rev(), last)
			last = w.Rev()
			rev = e.set(t, db, fmt.Sprint(i), "red")
			e.NoError(db.WaitFor(e.ctx, rev))
			e.GreaterOrEqual(w.Rev(), last)
			last = w.Rev()
		}
		w.Close()
	}
}

// testTermsUnderWrites has watchers with terms come, sleep, be woken and go on elsewhere while writers write: each
// sees exactly what one that looks at everything sees for it.
func testTermsUnderWrites(e *env) {
	db := e.db(storage.Config{})
	t := e.table(db, tagged("/registry/t/"))
	first, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	start := first.Rev()
	const watchers, writers, each = 48, 4, 60
	spaces, labels, values := []string{"a", "b", "c"}, []string{"red", "blue", "green"}, []string{"1", "2", "3"}
	chosen := make([]chooser, watchers)
	seen := make([][]string, watchers)
	var watching, writing sync.WaitGroup
	for i := range watchers {
		c := &chosen[i]
		c.terms = i%8 < 4 // the others ask by functions
		switch i % 4 {
		case 0:
			c.label = labels[i/4%3]
		case 1:
			c.index = values[i/4%3]
		case 2:
			c.prefix = spaces[i/4%3] + "/"
		case 3:
			c.key = fmt.Sprintf("%s/%d", spaces[i/4%3], i%5)
		}
		watching.Go(func() { seen[i] = e.follow(t, start, *c) })
	}
	for w := range writers {
		writing.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 7))
			for range each {
				op := storage.Write{Table: t, Key: fmt.Sprintf("%s/%d", spaces[random.IntN(3)], random.IntN(5)), At: storage.AnyRev}
				if random.IntN(5) > 0 {
					op.Value = fmt.Appendf(nil, "%s %s", labels[random.IntN(3)], values[random.IntN(3)])
				}
				if _, err := db.Commit(e.ctx, op); err != nil {
					e.T.Errorf("commit: %v", err)
				}
			}
		})
	}
	writing.Wait()
	for _, space := range spaces {
		for i, label := range labels {
			var writes []storage.Write
			for key := range 5 {
				raw := fmt.Sprintf("%s %s end", label, values[i])
				writes = append(writes, storage.Write{Table: t, Key: fmt.Sprintf("%s/%d", space, key), Value: []byte(raw), At: storage.AnyRev})
			}
			e.write(db, writes...)
		}
	}
	watching.Wait()
	var all []storage.Event
	end := e.set(t, db, "end", "end")
	for w := e.watch(t, start, storage.Filter{}); w.Rev() < end; {
		events, err := w.Next(e.ctx)
		e.NoError(err)
		all = append(all, events...)
	}
	for i, c := range chosen {
		e.Equal(c.of(all), seen[i], "%+v", c)
	}
}

// follow watches, leaving off now and then and going on with another watcher, until something ends.
func (e *env) follow(t *storage.Table, since int64, c chooser) (out []string) {
	for n := 0; ; n++ {
		w, err := t.Watch(since, c.filter())
		if err != nil {
			e.T.Errorf("watch: %v", err)
			return out
		}
		for range 1 + n%5 {
			events, err := w.Next(e.ctx)
			if err != nil {
				e.T.Errorf("next: %v", err)
				w.Close()
				return out
			}
			for _, ev := range events {
				out = append(out, describe(ev))
				if ev.New != nil && strings.HasSuffix(string(ev.New.Raw), " end") {
					w.Close()
					return out
				}
			}
		}
		w.Close()
		since = w.Rev()
	}
}

// of is what the chooser sees of events, up to the first that ends.
func (c chooser) of(all []storage.Event) (out []string) {
	for _, ev := range all {
		change := modelChange{}
		for _, side := range []struct {
			e  *storage.Entry
			to **value
		}{{ev.Old, &change.old}, {ev.New, &change.now}} {
			if side.e != nil {
				change.key, *side.to = side.e.Key, &value{raw: string(side.e.Raw)}
			}
		}
		text := c.describe(change, ev.Rev)
		if text == "" {
			continue
		}
		out = append(out, text)
		if change.now != nil && strings.HasSuffix(change.now.raw, " end") && c.match(change.key, change.now) {
			return out
		}
	}
	return out
}

// testTermsAtGap: who sleeps is told of a gap, too, even if nothing for it lies behind.
func testTermsAtGap(e *env) {
	c, ok := e.b.(Compacter)
	if !ok {
		return
	}
	f := newFaulty(e.b)
	db := e.dbOn(f, storage.Config{})
	t := e.table(db, tagged("/registry/t/"))
	_, err := t.Snapshot(e.ctx, 0, false)
	e.NoError(err)
	filters := []storage.Filter{labelIs("red"), labelled("red"), {Prefix: "x/"}, {}}
	told := make(chan error, len(filters))
	for _, f := range filters {
		w := e.watch(t, 0, f)
		go func() {
			var err error
			for err == nil { // an event may slip through before the watch breaks
				_, err = w.Next(e.ctx)
			}
			told <- err
		}()
	}
	release := f.breakWatch()
	var rev int64
	for range 20 {
		rev = e.put("/registry/t/a", "blue 1")
	}
	e.NoError(c.Compact(e.ctx, rev))
	release()
	for range filters {
		e.ErrorIs(<-told, storage.ErrTooOld)
	}
}
