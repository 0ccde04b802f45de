package storage

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func indexedTable() *Table {
	t := newTable(&DB{}, Schema{Prefix: "/t/", Indexes: []string{"unused", "used"}})
	var entries []*Entry
	for i := range 100 {
		entries = append(entries, t.at(i, fmt.Sprint(i%3)))
	}
	entries[50].corrupt = &CorruptError{Err: errors.New("cannot read it")}
	t.w.fill(t, entries, 100)
	t.publish()
	return t
}

// at makes an entry with one value for both indexes and for the label l.
func (t *Table) at(i int, value string) *Entry {
	e := t.bare(KV{Key: fmt.Sprintf("/t/%03d", i), Rev: int64(i)})
	e.Head.Index, e.Head.Labels = []string{value, value}, []Pair{{"l", value}}
	return e
}

func keysOf(all iter.Seq[*Entry]) (keys []string) {
	for e := range all {
		keys = append(keys, e.Key)
	}
	return keys
}

func TestIndexIsKeptOnceAskedFor(t *testing.T) {
	used := indexName{name: "used"}
	table := indexedTable()
	st := table.state.Load()
	require.Empty(t, st.index)
	before := table.present(st, 100)
	look := func(s *Snapshot) []string { return keysOf(s.ByIndex("used", "1")) }
	table.db.mu.Lock()
	want := look(before)
	require.Len(t, want, 33)
	require.Empty(t, table.state.Load().index, "a reader does not wait for who is changing tables")
	table.db.mu.Unlock()
	require.Equal(t, want, look(before))
	st = table.state.Load()
	require.Len(t, st.index, 1, "of the others nobody has asked")
	require.Equal(t, 99, findIndex(st.index, used).tree.Len(), "all but the corrupt one")
	require.Equal(t, want, look(table.present(st, 100)))
	require.Equal(t, want, look(before))
	require.Same(t, st, table.state.Load(), "made once")

	old, _ := table.w.tree.Get("001")
	table.w.set("001", old, table.at(1, "2"))
	table.publish()
	require.Equal(t, want[1:], look(table.present(table.state.Load(), 101)))
	require.Equal(t, want, look(table.present(st, 100)))

	table.w.refill(table, []*Entry{table.at(7, "1"), table.at(8, "2")}, 200)
	table.publish()
	require.Equal(t, 2, findIndex(table.state.Load().index, used).tree.Len(), "kept over a reload")
	require.Equal(t, []string{"007"}, look(table.present(table.state.Load(), 200)))

	table = indexedTable()
	before = table.present(table.state.Load(), 100)
	table.end()
	require.Equal(t, want, look(before))
	require.Empty(t, table.state.Load().index, "not for a table that ended")
}

// TestIndexUnchanged: what did not change is not copied.
func TestIndexUnchanged(t *testing.T) {
	table := indexedTable()
	ask := func(f Filter) *kept {
		keysOf(table.present(table.state.Load(), 100).All(f, ""))
		return &table.state.Load().index[0]
	}
	x := ask(Filter{LabelIs: []Pair{{"l", "1"}}})
	plain := table.bare(KV{Key: "/t/plain", Rev: 101})
	table.w.set("plain", nil, plain)
	table.publish()
	require.Same(t, x.tree, table.state.Load().index[0].tree, "an object without the label")
	table.w.set("plain", plain, table.at(500, "1"))
	table.publish()
	require.NotSame(t, x.tree, table.state.Load().index[0].tree)
	require.Equal(t, 99, x.tree.Len())
}

func TestLabelIndexesAreBounded(t *testing.T) {
	table := indexedTable()
	ask := func(label string) {
		keysOf(table.present(table.state.Load(), 100).All(Filter{LabelIs: []Pair{{label, "x"}}}, ""))
	}
	kept := func(label string) bool {
		return findIndex(table.state.Load().index, indexName{label: true, name: label}) != nil
	}
	keysOf(table.present(table.state.Load(), 100).ByIndex("used", "1"))
	for i := range maxLabelIndexes {
		ask(fmt.Sprint(i))
		require.True(t, kept(fmt.Sprint(i)))
	}
	ask("more")
	require.False(t, kept("more"), "the others were used just now")
	for range labelIndexIdle {
		for i := range maxLabelIndexes - 1 {
			ask(fmt.Sprint(i))
		}
	}
	require.True(t, kept("31"), "nobody needed its place")
	ask("more")
	require.True(t, kept("more"))
	require.False(t, kept("31"), "the least recently used")
	require.Len(t, table.state.Load().index, 1+maxLabelIndexes, "the declared ones are apart")
}

// TestNarrowest: of several indexes the one with the fewest objects under the prefix is read.
func TestNarrowest(t *testing.T) {
	table := newTable(&DB{}, Schema{Prefix: "/t/", Indexes: []string{"a", "b"}})
	var entries []*Entry
	for i := range 1000 {
		e := table.bare(KV{Key: fmt.Sprintf("/t/%d/%03d", i%2, i/2), Rev: 1})
		e.Head.Index = []string{fmt.Sprint(i % 10), fmt.Sprint(i % 50)}
		e.Head.Labels = []Pair{{"few", fmt.Sprint(i % 500)}}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b *Entry) int { return strings.Compare(a.Key, b.Key) })
	table.w.fill(table, entries, 1)
	table.publish()
	f := Filter{Prefix: "1/", IndexIs: []Pair{{"a", "3"}, {"b", "3"}}, LabelIs: []Pair{{"few", "3"}}}
	best := func(f Filter, from string) (string, int) {
		s := table.present(table.state.Load(), 1)
		x, value, possible := s.narrowest(&f, max(from, f.Prefix))
		require.True(t, possible)
		if x == nil {
			return "", 0
		}
		return x.name, x.count(value, max(from, f.Prefix), f.Prefix)
	}
	name, _ := best(f, "")
	require.Empty(t, name, "nothing is kept yet")
	name, n := best(f, "")
	require.Equal(t, "few", name)
	require.Equal(t, 2, n)
	f.LabelIs = nil
	name, n = best(f, "")
	require.Equal(t, "b", name)
	require.Equal(t, 20, n)
	_, n = best(f, "1/250")
	require.Equal(t, 10, n)
	f.Prefix = "0/"
	_, n = best(f, "")
	require.Zero(t, n, "under another prefix")
	_, _, possible := table.present(table.state.Load(), 1).narrowest(&Filter{IndexIs: []Pair{{"none", ""}}}, "")
	require.False(t, possible)
}
