package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/storage"
)

// chooser is a filter, with terms or without, that can also be asked about model values.
type chooser struct {
	modelFilter
	key       string
	terms     bool
	bookmarks bool
}

func (c chooser) filter() storage.Filter {
	f := c.modelFilter.filter()
	f.Key, f.Bookmarks = c.key, c.bookmarks
	if !c.terms {
		return f
	}
	f.Labels, f.Index = nil, nil
	if c.label != "" {
		f.LabelIs = labelIs(c.label).LabelIs
	}
	if c.index != "" {
		f.IndexIs = indexIs(c.index).IndexIs
	}
	return f
}

func (c chooser) match(key string, v *value) bool {
	return (c.key == "" || c.key == key) && c.modelFilter.match(key, v)
}

// touches tells whether a change may wake a watcher of the filter.
func (c chooser) touches(ch modelChange) bool {
	space, _, under := strings.Cut(c.prefix, "/")
	has := func(one modelFilter) bool { return one.match(ch.key, ch.old) || one.match(ch.key, ch.now) }
	switch {
	case c.key != "":
		return c.key == ch.key
	case c.terms && c.index != "":
		return has(modelFilter{index: c.index})
	case c.terms && c.label != "":
		return has(modelFilter{label: c.label})
	case under:
		return strings.HasPrefix(ch.key, space+"/")
	}
	return true
}

func (c chooser) describe(ch modelChange, rev int64) string {
	if c.key != "" && c.key != ch.key {
		return ""
	}
	return c.modelFilter.describe(ch, rev)
}

var genChooser = rapid.Custom(func(t *rapid.T) chooser {
	return chooser{
		modelFilter: genWatch.Draw(t, "filter"),
		key:         rapid.SampledFrom([]string{"", "", "", "a/1", "c"}).Draw(t, "key"),
		terms:       rapid.Bool().Draw(t, "terms"),
		bookmarks:   rapid.Bool().Draw(t, "bookmarks"),
	}
})

// selectModel is the model of tables whose window is so small that it moves on.
type selectModel struct {
	*model
	watchers []*selectWatcher
}

const selectWindow = 8

type selectWatcher struct {
	w     *storage.Watcher
	c     chooser
	since int64 // what it has been given; at first where it began
	fresh bool  // it has not looked since it began
	born  int64 // the last revision when it began
	out   []string
	from  int64 // where its story begins
}

// testSelectModel does random things to a table and to a model of it. Lists with terms, reads of any revision,
// histories, and watchers that sleep, are cut off and go on elsewhere must be what brute force says.
func testSelectModel(e *env) {
	db := e.db(storage.Config{Window: selectWindow, Page: 3})
	round := 0
	rapid.Check(e.T, func(rt *rapid.T) {
		round++
		t, err := db.Table(tagged(fmt.Sprintf("/registry/s%d/", round)))
		require.NoError(rt, err)
		defer db.Drop(t)
		first, err := t.Snapshot(e.ctx, 0, false)
		require.NoError(rt, err)
		m := &selectModel{model: &model{
			env: e, rt: rt, Assertions: require.New(rt), db: db, t: t, start: first.Rev(), now: map[string]value{},
		}}
		defer m.close()
		rt.Repeat(map[string]func(*rapid.T){
			"put":     m.put,
			"several": m.several,
			"burst":   m.burst,
			"list":    m.list,
			"getAt":   m.getAt,
			"history": m.history,
			"watch":   m.watch,
			"read":    m.read,
			"goOn":    m.goOn,
		})
		for _, w := range m.watchers {
			m.drain(w)
		}
	})
}

// burst moves the window on by a few events or by a whole one.
func (m *selectModel) burst(rt *rapid.T) {
	raw := rapid.SampledFrom([]string{"green 9", "green 9", "red 9", "blue 2"}).Draw(rt, "raw")
	n := rapid.SampledFrom([]int{5, 100, 100}).Draw(rt, "keys")
	for range rapid.IntRange(1, 4).Draw(rt, "times") {
		var writes []storage.Write
		for i := range n {
			writes = append(writes, storage.Write{Table: m.t, Key: fmt.Sprintf("z/%d", i), Value: []byte(raw), At: storage.AnyRev})
		}
		m.commit(writes...)
	}
}

func (m *selectModel) revision(rt *rapid.T) int64 {
	return rapid.Int64Range(m.start, m.last()).Draw(rt, "revision")
}

func (m *selectModel) list(rt *rapid.T) {
	at, c := m.last(), genChooser.Draw(rt, "filter")
	if rapid.Bool().Draw(rt, "past") {
		at = m.revision(rt)
	}
	from := rapid.SampledFrom([]string{"", "", "a/1", "a/1\x00", "b", "z/50"}).Draw(rt, "from")
	s, err := m.t.Snapshot(m.env.ctx, at, true)
	m.NoError(err)
	m.Equal(at, s.Rev())
	var want, got []string
	for _, text := range m.contents(at, c.modelFilter) {
		if key, _, _ := strings.Cut(text, "="); key >= from && (c.key == "" || c.key == key) {
			want = append(want, text)
		}
	}
	for e := range s.All(c.filter(), from) {
		got = append(got, fmt.Sprintf("%s=%s@%d", e.Key, e.Raw, e.Rev))
		f := c.filter()
		m.True(f.Match(e))
	}
	m.Equal(want, got, "%+v from %q at revision %d of %d to %d", c, from, at, m.start, m.last())
}

// at is the state of one key at a revision; nil: it did not exist.
func (m *selectModel) at(key string, rev int64) (v *value) {
	for _, s := range m.log {
		for _, c := range s.changes {
			if s.rev <= rev && c.key == key {
				v = c.now
			}
		}
	}
	return v
}

func (m *selectModel) getAt(rt *rapid.T) {
	key, rev := genKey.Draw(rt, "key"), m.revision(rt)
	want := m.at(key, rev)
	got, err := m.t.GetAt(m.env.ctx, key, rev)
	switch {
	case want == nil:
		m.ErrorIs(err, storage.ErrNotFound)
	case !sane(want.raw) && errors.Is(err, storage.ErrNotFound):
		now := m.at(key, m.last())
		m.True(now == nil || now.created > rev, "a corrupt object that is there is known")
	case !sane(want.raw):
		m.ErrorIs(err, storage.ErrCorrupt)
	default:
		m.NoError(err)
		m.Equal(*want, value{string(got.Raw), got.Rev, got.Created})
	}
}

func (m *selectModel) history(rt *rapid.T) {
	key := genKey.Draw(rt, "key")
	list, since, err := m.t.History(m.env.ctx, key)
	m.NoError(err)
	var want, got []string
	if v := m.at(key, since); v != nil && sane(v.raw) {
		want = append(want, fmt.Sprintf("%s@%d", v.raw, v.rev))
	}
	for _, s := range m.log {
		for _, c := range s.changes {
			switch {
			case s.rev <= since || c.key != key:
			case c.now != nil && sane(c.now.raw):
				want = append(want, fmt.Sprintf("%s@%d", c.now.raw, s.rev))
			case c.old != nil && sane(c.old.raw):
				want = append(want, fmt.Sprintf("gone@%d", s.rev))
			}
		}
	}
	for _, v := range list {
		if v.Entry == nil {
			got = append(got, fmt.Sprintf("gone@%d", v.Rev))
		} else {
			got = append(got, fmt.Sprintf("%s@%d", v.Entry.Raw, v.Rev))
		}
	}
	m.Equal(want, got, "%s since %d", key, since)
}

// events are the numbers of all changes that are events, as revisions: the window keeps at least the last few.
func (m *selectModel) events(after int64, counts func(modelChange) bool) (revs []int64) {
	for _, s := range m.log {
		for _, c := range s.changes {
			sound := c.old != nil && sane(c.old.raw) || c.now != nil && sane(c.now.raw)
			if s.rev > after && sound && counts(c) {
				revs = append(revs, s.rev)
			}
		}
	}
	return revs
}

// mayBeLost tells whether the window may have left an event behind that comes after a revision.
func (m *selectModel) mayBeLost(after int64, counts func(modelChange) bool) bool {
	first := m.events(after, counts)
	if len(first) == 0 {
		return false
	}
	later := m.events(first[0]-1, func(modelChange) bool { return true })
	return len(later) > selectWindow
}

func (m *selectModel) watch(rt *rapid.T) {
	since := m.last()
	if rapid.Bool().Draw(rt, "past") {
		since = m.revision(rt)
	}
	m.begin(genChooser.Draw(rt, "filter"), since)
}

func (m *selectModel) begin(c chooser, since int64) {
	m.NoError(m.db.WaitFor(m.env.ctx, m.last()))
	w, err := m.t.Watch(since, c.filter())
	if errors.Is(err, storage.ErrTooOld) {
		m.True(m.mayBeLost(since, func(modelChange) bool { return true }), "since %d of %d", since, m.last())
		return
	}
	m.NoError(err)
	m.watchers = append(m.watchers, &selectWatcher{w: w, c: c, since: since, fresh: true, born: m.last(), from: since})
}

// pick takes one of the watchers out; nil if there is none.
func (m *selectModel) pick(rt *rapid.T) *selectWatcher {
	if len(m.watchers) == 0 {
		return nil
	}
	i := rapid.IntRange(0, len(m.watchers)-1).Draw(rt, "watcher")
	w := m.watchers[i]
	m.watchers = append(m.watchers[:i:i], m.watchers[i+1:]...)
	return w
}

func (m *selectModel) read(rt *rapid.T) {
	if w := m.pick(rt); w != nil && m.drain(w) {
		m.watchers = append(m.watchers, w)
	}
}

// goOn closes a watcher where it is and goes on with another.
func (m *selectModel) goOn(rt *rapid.T) {
	w := m.pick(rt)
	if w == nil {
		return
	}
	m.NoError(m.db.WaitFor(m.env.ctx, m.last()))
	rev := w.w.Rev()
	w.w.Close()
	m.Equal(rev, w.w.Rev())
	m.Empty(m.expect(w.c, w.since, rev), "%+v has been given everything from %d up to %d", w.c, w.since, rev)
	m.begin(w.c, rev)
}

// drain reads all that a watcher has for now; false if it was cut off, for a reason.
func (m *selectModel) drain(w *selectWatcher) bool {
	m.NoError(m.db.WaitFor(m.env.ctx, m.last()))
	ctx, cancel := context.WithCancel(m.env.ctx)
	cancel() // do not wait
	told := int64(0)
	var got []string
	for {
		events, err := w.w.Next(ctx)
		if errors.Is(err, storage.ErrTooOld) {
			lost := m.mayBeLost(w.since, w.c.touches)
			if w.fresh {
				lost = lost || w.since < w.born && m.mayBeLost(w.since, func(modelChange) bool { return true })
			}
			m.True(lost, "%+v was cut off after %d for nothing", w.c, w.since)
			w.w.Close()
			return false
		}
		if errors.Is(err, context.Canceled) {
			break
		}
		m.NoError(err)
		for _, ev := range events {
			m.GreaterOrEqual(ev.Rev, told)
			if told = ev.Rev; ev.Old != nil || ev.New != nil {
				got = append(got, describe(ev))
			}
		}
	}
	m.Equal(m.expect(w.c, w.since, m.last()), got, "%+v from %d to %d", w.c, w.since, m.last())
	m.GreaterOrEqual(w.w.Rev(), m.last())
	if w.c.bookmarks && w.since < m.last() {
		m.GreaterOrEqual(told, m.last(), "progress is told")
	}
	w.since, w.fresh = m.last(), false
	return true
}

// expect is what a watcher is given after one revision up to another.
func (m *selectModel) expect(c chooser, after, to int64) (out []string) {
	for _, s := range m.log {
		for _, ch := range s.changes {
			if s.rev <= after || s.rev > to {
				continue
			}
			if text := c.describe(ch, s.rev); text != "" {
				out = append(out, text)
			}
		}
	}
	return out
}

func (m *selectModel) close() {
	for _, w := range m.watchers {
		w.w.Close()
	}
}
