package storetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/storage"
)

var modelTests = []test{
	{"Random", testModel},
}

// testModel does random things to a table and to a model of it, which is a map and a log, and compares all
// that can be seen: results, reads, reads of the past, and at the end every watcher's whole stream.
func testModel(e *env) {
	db := e.db(storage.Config{})
	round := 0
	rapid.Check(e.T, func(rt *rapid.T) {
		round++
		t, err := db.Table(tagged(fmt.Sprintf("/registry/m%d/", round)))
		require.NoError(rt, err)
		defer db.Drop(t)
		start, err := db.Revision(e.ctx)
		require.NoError(rt, err)
		m := &model{env: e, rt: rt, Assertions: require.New(rt), db: db, t: t, start: start, now: map[string]value{}}
		defer m.close()
		rt.Repeat(map[string]func(*rapid.T){
			"put":      m.put,
			"update":   m.update,
			"several":  m.several,
			"get":      m.get,
			"snapshot": m.snapshot,
			"index":    m.index,
			"watch":    m.watch,
		})
		m.checkWatchers()
	})
}

type value struct {
	raw          string
	rev, created int64
}

// step is one revision of the model.
type step struct {
	rev     int64
	changes []modelChange
}

type modelChange struct {
	key      string
	old, now *value
}

type model struct {
	*require.Assertions
	env      *env
	rt       *rapid.T
	db       *storage.DB
	t        *storage.Table
	start    int64
	now      map[string]value
	log      []step
	watchers []modelWatcher
}

type modelWatcher struct {
	w     *storage.Watcher
	since int64
	f     modelFilter
}

// modelFilter is a filter that can also be asked about model values.
type modelFilter struct{ prefix, label, index string }

func (f modelFilter) filter() storage.Filter {
	out := storage.Filter{Prefix: f.prefix, Bookmarks: true}
	if f.label != "" {
		out.Labels = labelled(f.label).Labels
	}
	if f.index != "" {
		out.Index = func(v []string) bool { return v[0] == f.index }
	}
	return out
}

func (f modelFilter) match(key string, v *value) bool {
	if v == nil || !sane(v.raw) || !strings.HasPrefix(key, f.prefix) {
		return false
	}
	words := strings.Fields(v.raw)
	return (f.label == "" || words[0] == f.label) && (f.index == "" || words[1] == f.index)
}

func sane(raw string) bool { return !strings.HasPrefix(raw, "bad") }

var (
	genKey   = rapid.SampledFrom([]string{"a/0", "a/1", "a/2", "b/0", "b/1", "c"})
	genRaw   = rapid.SampledFrom([]string{"red 1", "red 2", "blue 1", "blue 2", "bad 1", ""})
	genWatch = rapid.Custom(func(t *rapid.T) modelFilter {
		return modelFilter{
			prefix: rapid.SampledFrom([]string{"", "", "a/", "b/0"}).Draw(t, "prefix"),
			label:  rapid.SampledFrom([]string{"", "", "red"}).Draw(t, "label"),
			index:  rapid.SampledFrom([]string{"", "", "2"}).Draw(t, "index"),
		}
	})
)

// write makes a random write; "" deletes.
func (m *model) write(rt *rapid.T, key string) storage.Write {
	w := storage.Write{Table: m.t, Key: key, At: storage.AnyRev}
	if raw := genRaw.Draw(rt, "value"); raw != "" {
		w.Value = []byte(raw)
	}
	return w
}

func (m *model) put(rt *rapid.T) { m.commit(m.write(rt, genKey.Draw(rt, "key"))) }

func (m *model) update(rt *rapid.T) {
	w := m.write(rt, genKey.Draw(rt, "key"))
	have, ok := m.now[w.Key]
	w.At = have.rev + rapid.SampledFrom([]int64{0, 0, 1, 99}).Draw(rt, "off")
	if w.At == have.rev {
		m.commit(w)
		return
	}
	_, err := m.db.Commit(m.env.ctx, w)
	var conflict *storage.ConflictError
	m.ErrorAs(err, &conflict)
	m.Equal(&storage.ConflictError{Key: m.t.Abs(w.Key), Want: w.At, Have: have.rev, Exists: ok}, conflict)
}

func (m *model) several(rt *rapid.T) {
	var writes []storage.Write
	for _, key := range rapid.SliceOfNDistinct(genKey, 2, 4, rapid.ID).Draw(rt, "keys") {
		writes = append(writes, m.write(rt, key))
	}
	m.commit(writes...)
}

// commit does writes that must succeed, to the store and to the model.
func (m *model) commit(writes ...storage.Write) {
	rev, err := m.db.Commit(m.env.ctx, writes...)
	m.NoError(err)
	s := step{rev: rev}
	for _, w := range writes {
		c := modelChange{key: w.Key}
		if have, ok := m.now[w.Key]; ok {
			c.old = &have
		}
		switch {
		case w.Value != nil:
			c.now = &value{string(w.Value), rev, rev}
			if c.old != nil {
				c.now.created = c.old.created
			}
			m.now[w.Key] = *c.now
		case c.old == nil:
			continue
		default:
			delete(m.now, w.Key)
		}
		s.changes = append(s.changes, c)
	}
	if len(s.changes) == 0 {
		m.Equal(m.last(), rev, "no change, no revision")
		return
	}
	m.Equal(m.last()+1, rev)
	m.log = append(m.log, s)
}

func (m *model) last() int64 {
	if len(m.log) == 0 {
		return m.start
	}
	return m.log[len(m.log)-1].rev
}

func (m *model) get(rt *rapid.T) {
	key := genKey.Draw(rt, "key")
	want, ok := m.now[key]
	got, err := m.t.Get(m.env.ctx, key, 0)
	switch {
	case !ok:
		m.ErrorIs(err, storage.ErrNotFound)
	case !sane(want.raw):
		m.ErrorIs(err, storage.ErrCorrupt)
	default:
		m.NoError(err)
		m.Equal(want, value{string(got.Raw), got.Rev, got.Created})
	}
}

func (m *model) snapshot(rt *rapid.T) {
	at := rapid.Int64Range(m.start, m.last()).Draw(rt, "revision")
	f := genWatch.Draw(rt, "filter")
	s, err := m.t.Snapshot(m.env.ctx, at, true)
	m.NoError(err)
	m.Equal(at, s.Rev())
	m.Equal(m.contents(at, f), contents(s, f.filter()), "at revision %d", at)
}

// index asks for an index at some point, so that it is scanned for before and kept after that; mostly of the present,
// which is what indexes are kept of.
func (m *model) index(rt *rapid.T) {
	at := m.last()
	if rapid.IntRange(0, 3).Draw(rt, "past") == 0 {
		at = rapid.Int64Range(m.start, at).Draw(rt, "revision")
	}
	f := modelFilter{index: rapid.SampledFrom([]string{"1", "2", "again", ""}).Draw(rt, "value")}
	s, err := m.t.Snapshot(m.env.ctx, at, true)
	m.NoError(err)
	got := byIndex(rt, m.t, s, "second", f.index)
	if f.index == "" { // the filter's "all"; nothing has it
		m.Empty(got)
		return
	}
	m.Equal(m.contents(at, f), got, "%q at revision %d", f.index, at)
}

// contents is what the model holds at a revision.
func (m *model) contents(at int64, f modelFilter) (out []string) {
	then := map[string]value{}
	for _, s := range m.log {
		if s.rev > at {
			break
		}
		for _, c := range s.changes {
			if c.now == nil {
				delete(then, c.key)
			} else {
				then[c.key] = *c.now
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(then)) {
		if v := then[k]; f.match(k, &v) {
			out = append(out, fmt.Sprintf("%s=%s@%d", k, v.raw, v.rev))
		}
	}
	return out
}

func (m *model) watch(rt *rapid.T) {
	since := rapid.Int64Range(m.start, m.last()).Draw(rt, "since")
	f := genWatch.Draw(rt, "filter")
	w, err := m.t.Watch(since, f.filter())
	m.NoError(err)
	m.watchers = append(m.watchers, modelWatcher{w, since, f})
}

func (m *model) checkWatchers() {
	for _, w := range m.watchers {
		got := m.drain(w)
		m.Equal(m.expected(w), got, "watch since %d with %+v", w.since, w.f)
	}
}

// drain reads a watcher up to the last revision.
func (m *model) drain(w modelWatcher) (out []string) {
	for w.w.Rev() < m.last() {
		events, err := w.w.Next(m.env.ctx)
		m.NoError(err)
		for _, ev := range events {
			if ev.Old != nil || ev.New != nil {
				out = append(out, describe(ev))
			}
		}
	}
	return out
}

func (m *model) expected(w modelWatcher) (out []string) {
	for _, s := range m.log {
		if s.rev <= w.since {
			continue
		}
		for _, c := range s.changes {
			if text := w.f.describe(c, s.rev); text != "" {
				out = append(out, text)
			}
		}
	}
	return out
}

func (f modelFilter) describe(c modelChange, rev int64) string {
	was, is := f.match(c.key, c.old), f.match(c.key, c.now)
	switch {
	case was && is:
		return fmt.Sprintf("~%s=%s>%s@%d", c.key, c.old.raw, c.now.raw, rev)
	case is:
		return fmt.Sprintf("+%s=%s@%d", c.key, c.now.raw, rev)
	case was:
		return fmt.Sprintf("-%s=%s@%d", c.key, c.old.raw, rev)
	}
	return ""
}

func (m *model) close() {
	for _, w := range m.watchers {
		w.w.Close()
	}
}
