package storage

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func indexedTable() *Table {
	t := newTable(&DB{}, Schema{Prefix: "/t/", Indexes: []string{"unused", "used"}})
	var entries []*Entry
	for i := range 100 {
		entries = append(entries, at(i, fmt.Sprint(i%3)))
	}
	entries[50].corrupt = &CorruptError{Err: errors.New("cannot read it")}
	t.w.fill(t, entries, 100)
	t.publish()
	return t
}

func at(i int, value string) *Entry {
	return &Entry{Key: fmt.Sprintf("%03d", i), Rev: int64(i), Head: Head{Index: []string{value, value}}}
}

func TestIndexIsKeptOnceAskedFor(t *testing.T) {
	table := indexedTable()
	st := table.state.Load()
	require.Equal(t, 2, len(st.index))
	require.Nil(t, st.index[1])
	before := table.present(st, 100)
	look := func(s *Snapshot) (keys []string) {
		for e := range s.ByIndex("used", "1") {
			keys = append(keys, e.Key)
		}
		return keys
	}
	table.db.mu.Lock()
	want := look(before)
	require.Len(t, want, 33)
	require.Nil(t, table.state.Load().index[1], "a reader does not wait for who is changing tables")
	table.db.mu.Unlock()
	require.Equal(t, want, look(before))
	st = table.state.Load()
	require.Equal(t, 99, st.index[1].Len(), "all but the corrupt one")
	require.Nil(t, st.index[0], "of the others nobody has asked")
	require.Equal(t, want, look(table.present(st, 100)))
	require.Equal(t, want, look(before))
	require.Same(t, st, table.state.Load(), "made once")

	old, _ := table.w.tree.Get("001")
	table.w.set("001", old, at(1, "2"))
	table.publish()
	require.Equal(t, want[1:], look(table.present(table.state.Load(), 101)))
	require.Equal(t, want, look(table.present(st, 100)))

	table.w.refill(table, []*Entry{at(7, "1"), at(8, "2")}, 200)
	table.publish()
	require.Equal(t, 2, table.state.Load().index[1].Len(), "kept over a reload")
	require.Equal(t, []string{"007"}, look(table.present(table.state.Load(), 200)))

	table = indexedTable()
	before = table.present(table.state.Load(), 100)
	table.end()
	require.Equal(t, want, look(before))
	require.Nil(t, table.state.Load().index[1], "not for a table that ended")
}
