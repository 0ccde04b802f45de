package storage_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
)

// opaque is a codec of values that are bytes already.
type opaque struct{}

func (opaque) Encode(v []byte) ([]byte, error)   { return v, nil }
func (opaque) Decode(raw []byte) ([]byte, error) { return raw, nil }

// record is a value of about objectSize bytes of JSON.
type record struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
	Ports  []int             `json:"ports"`
	Data   string            `json:"data"`
}

func makeRecord(i int, data string) record {
	return record{
		Name: podKey(i), Labels: map[string]string{"app": "web", "tier": "front"}, Ports: []int{80, 443}, Data: data,
	}
}

// BenchmarkCreate compares creates of encoded bytes without a cache, and creates by a Store with a cache that
// follows, with the bare transaction of an etcd in this process. Of a codec, "bytes" has the store's part alone
// and "json" encoding/json's beside it.
func BenchmarkCreate(b *testing.B) {
	for _, n := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("cache=false/clients=%d", n), func(b *testing.B) { benchCreate(b, n, createBytes) })
		b.Run(fmt.Sprintf("cache=true/codec=bytes/clients=%d", n), func(b *testing.B) { benchCreate(b, n, createOpaque) })
		b.Run(fmt.Sprintf("cache=true/codec=json/clients=%d", n), func(b *testing.B) { benchCreate(b, n, createJSON) })
	}
}

// benchCreate compares what open makes with the floor, and looks whether all is there in the end.
func benchCreate(b *testing.B, n int, open func(*testing.B, *storage.DB, []byte) func(int) error) {
	etcd := rawEtcd(b)
	db, err := storage.New(serve(b), storage.Config{})
	require.NoError(b, err)
	value := newRandom().object("", objectSize)
	create := open(b, db, value)
	compare(b, func(first, ops int) cost {
		return clients(b, n, first, ops, func(i int) error {
			return rawCreate(b.Context(), etcd, prefix+podKey(i), value)
		})
	}, func(first, ops int) cost {
		return clients(b, n, first, ops, create)
	})
	b.ReportMetric(objectSize, "object-bytes")
}

func createBytes(b *testing.B, db *storage.DB, value []byte) func(int) error {
	table, err := db.Table(storage.Schema{Prefix: prefix})
	require.NoError(b, err)
	return func(i int) error {
		_, err := db.Commit(b.Context(), storage.Write{Table: table, Key: podKey(i), Value: value})
		return err
	}
}

func createOpaque(b *testing.B, db *storage.DB, value []byte) func(int) error {
	return createInStore(b, db, opaque{}, func(int) []byte { return value })
}

func createJSON(b *testing.B, db *storage.DB, _ []byte) func(int) error {
	data := strings.Repeat("0123456789abcdef", (objectSize-110)/16)
	return createInStore(b, db, storage.Codec[record](nil), func(i int) record { return makeRecord(i, data) })
}

// createInStore opens a store whose cache is loaded and follows. When the benchmark ends it must hold every
// value that was made.
func createInStore[T any](b *testing.B, db *storage.DB, c storage.Codec[T], value func(int) T) func(int) error {
	store, err := storage.NewStore(db, prefix, c)
	require.NoError(b, err)
	background(b, db.Run)
	load(b, store.Table())
	b.Cleanup(func() {
		s, err := store.Table().Snapshot(context.Background(), 0, false)
		require.NoError(b, err)
		require.Equal(b, b.N, s.Len())
	})
	return func(i int) error {
		_, err := store.Create(b.Context(), podKey(i), value(i))
		return err
	}
}
