package storage_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// inMemory returns a loaded table of n random objects.
func inMemory(b *testing.B, n, size int) (*storage.DB, *storage.Table) {
	b.Helper()
	backend, err := memory.New(memory.Config{History: 1})
	require.NoError(b, err)
	require.NoError(b, fill(b.Context(), backend, n, size))
	db, t := openDB(b, backend, storage.Config{})
	require.Equal(b, n, load(b, t).Len())
	return db, t
}

// BenchmarkGet reads one of 100,000 objects, uniformly random, and looks whether it is the right one. The floor
// is a Go map of the same keys and bytes.
func BenchmarkGet(b *testing.B) {
	const n = 100_000
	db, t := inMemory(b, n, objectSize)
	keys, words := make([]string, n), make([]uint64, n)
	floor := make(map[string][]byte, n)
	for e := range load(b, t).All(storage.Filter{}, "") {
		floor[e.Key] = e.Raw
	}
	for i := range keys {
		keys[i] = podKey(i)
		words[i] = checksum(keys[i])
	}
	b.Run("not-older", func(b *testing.B) {
		rev, ctx := db.Applied(), b.Context()
		b.ReportAllocs()
		compare(b, func(_, ops int) cost {
			r := rand.New(rand.NewPCG(1, 2))
			return measure(ops, func() {
				for range ops {
					if i := r.IntN(n); word(floor[keys[i]]) != words[i] {
						b.Fatal("another object")
					}
				}
			})
		}, func(_, ops int) cost {
			r := rand.New(rand.NewPCG(1, 2))
			return measure(ops, func() {
				for range ops {
					i := r.IntN(n)
					e, err := t.Get(ctx, keys[i], rev)
					if err != nil || word(e.Raw) != words[i] {
						b.Fatal("another object", err)
					}
				}
			})
		})
	})
}

// BenchmarkGetLinearizable compares a consistent read over the etcd in this process with etcd's own.
func BenchmarkGetLinearizable(b *testing.B) {
	etcd := rawEtcd(b)
	db, t := openDB(b, serve(b), storage.Config{})
	value := newRandom().object("a", objectSize)
	require.NoError(b, rawCreate(b.Context(), etcd, prefix+"a", value))
	_, err := db.Commit(b.Context(), storage.Write{Table: t, Key: "a", Value: value})
	require.NoError(b, err)
	for _, n := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			compare(b, func(first, ops int) cost {
				return clients(b, n, first, ops, func(int) error {
					resp, err := etcd.Range(b.Context(), &pb.RangeRequest{Key: []byte(prefix + "a")})
					if err == nil && word(resp.Kvs[0].Value) != word(value) {
						b.Error("another object")
					}
					return err
				})
			}, func(first, ops int) cost {
				return clients(b, n, first, ops, func(int) error {
					e, err := t.Get(b.Context(), "a", 0)
					if err == nil && word(e.Raw) != word(value) {
						b.Error("another object")
					}
					return err
				})
			})
		})
	}
}
