package storage_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// grown is a table of n small objects with an index in which 100 of them have each value.
type grown struct {
	db *storage.DB
	t  *storage.Table
	n  int
	r  *rand.Rand

	keys []string
}

const (
	smallSize = 256
	perValue  = 100
)

func grow(b *testing.B, n int) *grown {
	b.Helper()
	backend, err := memory.New(memory.Config{History: 1})
	require.NoError(b, err)
	const at = 100
	r := newRandom()
	for i := 0; i < n; i += at {
		var txn storage.Txn
		for j := range at {
			txn.Then = append(txn.Then, storage.Op{Key: prefix + podKey(i+j), Value: smallObject(r, i+j, n)})
		}
		_, err := backend.Commit(b.Context(), txn)
		require.NoError(b, err)
	}
	names := make([]string, n/perValue)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	db, err := storage.New(backend, storage.Config{})
	require.NoError(b, err)
	t, err := db.Table(storage.Schema{Prefix: prefix, Indexes: []string{"group"}, Head: func(raw []byte) (storage.Head, error) {
		i := binary.LittleEndian.Uint64(raw[8:])
		return storage.Head{Index: names[i : i+1]}, nil
	}})
	require.NoError(b, err)
	background(b, db.Run)
	require.Equal(b, n, load(b, t).Len())
	g := &grown{db: db, t: t, n: n, r: rand.New(rand.NewPCG(1, 2))}
	for i := range n {
		g.keys = append(g.keys, podKey(i))
	}
	require.Equal(b, perValue, g.lookUp(b, 0)) // from now on there is an index
	require.Equal(b, perValue, g.lookUp(b, 1))
	return g
}

func smallObject(r random, i, n int) []byte {
	raw := r.object(podKey(i), smallSize)
	binary.LittleEndian.PutUint64(raw[8:], uint64(i%(n/perValue)))
	return raw
}

func (g *grown) lookUp(b *testing.B, value int) (n int) {
	s, err := g.t.Snapshot(b.Context(), storage.Cached, false)
	require.NoError(b, err)
	for range s.ByIndex("group", fmt.Sprint(value)) {
		n++
	}
	return n
}

// BenchmarkGrowth is what each operation costs in tables of 1,000 to 1,000,000 objects over the store in memory.
func BenchmarkGrowth(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("objects=%d", n), func(b *testing.B) {
			g := grow(b, n)
			for _, op := range []struct {
				name string
				do   func(*testing.B)
			}{
				{"get", g.get}, {"snapshot", g.snapshot}, {"page", g.page}, {"index", g.index},
				{"update", g.update}, {"watch", g.watch}, {"create", g.create},
			} {
				b.Run(op.name, func(b *testing.B) {
					b.ReportAllocs()
					measure(b.N, func() {
						for range b.N {
							op.do(b)
						}
					}).report(b, "")
				})
			}
		})
	}
}

func (g *grown) get(b *testing.B) {
	key := g.keys[g.r.IntN(g.n)]
	if e, err := g.t.Get(b.Context(), key, storage.Cached); err != nil || word(e.Raw) != checksum(key) {
		b.Fatal("another object", err)
	}
}

func (g *grown) snapshot(b *testing.B) {
	if s, err := g.t.Snapshot(b.Context(), storage.Cached, false); err != nil || s.Len() < g.n {
		b.Fatal("another snapshot", err)
	}
}

// page reads 500 objects from anywhere.
func (g *grown) page(b *testing.B) {
	s, err := g.t.Snapshot(b.Context(), storage.Cached, false)
	require.NoError(b, err)
	n := 0
	for range s.All(storage.Filter{}, g.keys[g.r.IntN(g.n/2)/100*100]) {
		if n++; n == 500 {
			return
		}
	}
	b.Fatalf("%d objects", n)
}

func (g *grown) index(b *testing.B) {
	if n := g.lookUp(b, 1+g.r.IntN(g.n/perValue-1)); n != perValue {
		b.Fatalf("%d objects", n)
	}
}

// put writes an object and waits until the cache has it.
func (g *grown) put(b *testing.B, key string, i int) int64 {
	raw := make([]byte, smallSize)
	binary.LittleEndian.PutUint64(raw, checksum(key))
	binary.LittleEndian.PutUint64(raw[8:], uint64(i%(g.n/perValue)))
	rev, err := g.db.Commit(b.Context(), storage.Write{Table: g.t, Key: key, Value: raw, At: storage.AnyRev})
	require.NoError(b, err)
	require.NoError(b, g.db.WaitFor(b.Context(), rev))
	return rev
}

func (g *grown) update(b *testing.B) {
	i := g.r.IntN(g.n)
	g.put(b, g.keys[i], i)
}

// watch opens a watcher, updates an object and waits for the event.
func (g *grown) watch(b *testing.B) {
	w, err := g.t.Watch(0, storage.Filter{})
	require.NoError(b, err)
	defer w.Close()
	i := g.r.IntN(g.n)
	rev := g.put(b, g.keys[i], i)
	events, err := w.Next(b.Context())
	require.NoError(b, err)
	require.Equal(b, rev, events[0].Rev)
}

// create adds an object at a random place, of the first index value.
func (g *grown) create(b *testing.B) {
	g.put(b, fmt.Sprintf("ns-%03d/pod-%x", g.r.IntN(100), g.r.Uint64()), 0)
}
