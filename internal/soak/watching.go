//go:build linux

package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/bedplate/bedplate/storage"
)

// watching is what one watcher was told, over many watches: each goes on where the one before ended.
type watching struct {
	table string
	marks bool
	told  []told
	rev   atomic.Int64 // everything up to and including it was handed out
	err   atomic.Pointer[string]
}

// told is one thing that a watcher was told.
type told struct {
	kind    string // list: all entries at rev; news: events up to rev; resumed: goes on at rev; tooOld
	rev     int64
	entries []entry
	events  []event
}

// watch follows a table until ctx ends. Now and then it leaves and goes on through another door, and now and then from
// a revision before.
func (w *work) watch(ctx context.Context, id int, open func(r *rand.Rand) door) {
	me := &watching{table: tables[id%len(tables)], marks: id%2 == 0 || id%3 == 0}
	w.mu.Lock()
	w.watchers = append(w.watchers, me)
	w.mu.Unlock()
	random := rand.New(rand.NewPCG(w.seed, 1_000+uint64(id)))
	listed := false
	for ctx.Err() == nil {
		d := open(random)
		if !listed {
			listed = me.list(ctx, d)
		}
		if listed {
			since := me.rev.Load()
			switch n := random.IntN(12); {
			case n < 2:
				since = me.before(random)
			case n < 3 && !me.marks: // it has not happened yet, and may never
				since += 1 + random.Int64N(5)
			}
			me.told = append(me.told, told{kind: "resumed", rev: since})
			listed = me.follow(ctx, d, since, 1+random.IntN(400))
		}
		d.Close()
		pause(ctx, pauseShort)
	}
}

// before is a revision that the watcher has been at.
func (m *watching) before(r *rand.Rand) int64 {
	for i := len(m.told) - 1; i >= 0 && i > len(m.told)-50; i-- {
		if m.told[i].kind == "list" || r.IntN(10) == 0 {
			return m.told[i].rev
		}
	}
	return m.rev.Load()
}

func (m *watching) list(ctx context.Context, d door) bool {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	l, err := d.List(ctx, m.table, 0)
	if err != nil {
		return false
	}
	m.told = append(m.told, told{kind: "list", rev: l.Rev, entries: l.Entries})
	m.rev.Store(l.Rev)
	return true
}

// follow returns false if the watcher has to list anew. It leaves after so many news.
func (m *watching) follow(ctx context.Context, d door, since int64, limit int) bool {
	err := d.Watch(ctx, m.table, since, m.marks, func(n news) bool {
		m.told = append(m.told, told{kind: "news", rev: n.Rev, events: n.Events})
		m.rev.Store(n.Rev)
		limit--
		return limit > 0
	})
	switch {
	case errors.Is(err, storage.ErrTooOld):
		m.told = append(m.told, told{kind: "tooOld"})
		return false
	case errors.Is(err, storage.ErrFuture), errors.Is(err, storage.ErrCorrupt):
		text := err.Error() // neither may happen here
		m.err.Store(&text)
	}
	return true
}

// check compares all that a watcher was told with what was.
func (m *watching) check(h *history, bad func(string, ...any)) (c watchCounts) {
	at := int64(0)
	if text := m.err.Load(); text != nil {
		bad("watch: %s", *text)
	}
	for _, t := range m.told {
		switch t.kind {
		case "list":
			c.lists++
			if t.rev < at {
				bad("watch: listed at revision %d after having been at %d", t.rev, at)
			}
			if want := h.state(m.table, t.rev); !slices.Equal(want, t.entries) {
				bad("watch: list of %s at revision %d is %v, the store was %v", m.table, t.rev, t.entries, want)
			}
			at = t.rev
		case "resumed":
			c.resumed++
			at = t.rev
		case "tooOld":
			c.tooOld++
		case "news":
			c.events += len(t.events)
			if len(t.events) > 0 && t.events[0].New == nil && t.events[0].Old == nil {
				c.bookmarks++
				c.events--
			}
			m.checkNews(h, at, t, bad)
			at = max(at, t.rev)
		}
	}
	return c
}

type watchCounts struct{ lists, resumed, tooOld, events, bookmarks int }

// checkNews: the events are those of the revisions after at up to t.rev, whole, once and in order.
func (m *watching) checkNews(h *history, at int64, t told, bad func(string, ...any)) {
	if t.rev < at {
		bad("watch: revision went back from %d to %d", at, t.rev)
		return
	}
	var got, want []string
	last := at
	for _, ev := range t.events {
		bookmark := ev.New == nil && ev.Old == nil // it may say again what the events before it have said
		if ev.Rev < last || ev.Rev <= at && !bookmark {
			bad("watch: an event of revision %d came after revision %d", ev.Rev, last)
		}
		last = ev.Rev
		if !bookmark {
			got = append(got, ev.String())
		}
	}
	for rev := max(at, h.base) + 1; rev <= t.rev; rev++ {
		for _, c := range h.revs[rev] {
			if table, _ := split(c.Key); table == m.table {
				want = append(want, h.event(c).String())
			}
		}
	}
	if !slices.Equal(got, want) {
		bad("watch: of %s after revision %d to %d it was told %v, and there was %v", m.table, at, t.rev, got, want)
	}
}

// event is what a watcher must be told of a change.
func (h *history) event(c change) event {
	ev := event{Rev: c.Rev}
	if old, _ := h.at(c.Key, c.Rev-1); !old.Deleted {
		ev.Old = &entry{Key: old.Key, Value: old.Value, Rev: old.Rev}
	}
	if !c.Deleted {
		ev.New = &entry{Key: c.Key, Value: c.Value, Rev: c.Rev}
	}
	return ev
}

func (e event) String() string {
	text := func(e *entry) string {
		if e == nil {
			return "none"
		}
		return fmt.Sprintf("%s=%q@%d", e.Key, e.Value, e.Rev) // whole: it is compared
	}
	return fmt.Sprintf("%d: %s to %s", e.Rev, text(e.Old), text(e.New))
}
