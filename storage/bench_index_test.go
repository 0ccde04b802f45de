package storage_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// openIndexed runs a DB whose table has n objects and indexes of which nobody has asked for any.
func openIndexed(b *testing.B, indexes, n int) (*storage.DB, *storage.Table) {
	backend, err := memory.New(memory.Config{})
	require.NoError(b, err)
	db, err := storage.New(backend, storage.Config{})
	require.NoError(b, err)
	s := storage.Schema{Prefix: "/registry/pods/", Head: func(raw []byte) (storage.Head, error) {
		return storage.Head{Index: strings.Fields(string(raw))}, nil
	}}
	for i := range indexes {
		s.Indexes = append(s.Indexes, fmt.Sprint(i))
	}
	table, err := db.Table(s)
	require.NoError(b, err)
	for i := range n {
		put(b, db, table, i, false)
	}
	background(b, db.Run)
	<-db.Ready()
	_, err = table.Snapshot(b.Context(), 0, false)
	require.NoError(b, err)
	return db, table
}

func put(b *testing.B, db *storage.DB, table *storage.Table, i int, wait bool) {
	rev, err := db.Commit(b.Context(), storage.Write{
		Table: table, Key: fmt.Sprintf("%08d", i), Value: fmt.Appendf(nil, "%d %d", i%10, i%1000), At: storage.AnyRev,
	})
	require.NoError(b, err)
	if wait {
		require.NoError(b, db.WaitFor(b.Context(), rev))
	}
}

// lookUp reads an index in the present.
func lookUp(b *testing.B, table *storage.Table, name, value string) (n int) {
	s, err := table.Snapshot(b.Context(), 0, false)
	require.NoError(b, err)
	for range s.ByIndex(name, value) {
		n++
	}
	return n
}

// BenchmarkIndex is a change to a table that has indexes, of which some are in use, and a read of one.
func BenchmarkIndex(b *testing.B) {
	for _, used := range []int{0, 1, 8} {
		b.Run(fmt.Sprintf("change/used=%dof8", used), func(b *testing.B) {
			db, table := openIndexed(b, 8, 20_000)
			for i := range used {
				lookUp(b, table, fmt.Sprint(i), "1")
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				put(b, db, table, i%20_000, true)
				i++
			}
		})
	}
	b.Run("read", func(b *testing.B) {
		_, table := openIndexed(b, 8, 20_000)
		for b.Loop() {
			lookUp(b, table, "1", "7")
		}
	})
}
