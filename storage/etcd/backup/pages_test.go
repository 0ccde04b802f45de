package backup

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"google.golang.org/protobuf/proto"
)

// database makes one with branch pages, values over several pages, and small buckets.
func database(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoFreelistSync: true})
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bolt.Tx) error {
		for _, b := range schema.AllBuckets {
			if _, err := tx.CreateBucket(b.Name()); err != nil {
				return err
			}
		}
		keys := tx.Bucket(schema.Key.Name())
		for i := range int64(500) {
			kv := &mvccpb.KeyValue{Key: fmt.Append(nil, "/a/", i), Value: bytes.Repeat([]byte("x"), rand.IntN(9_000)%int(1+i*i%9_000))}
			value, err := proto.Marshal(kv)
			if err != nil {
				return err
			}
			if err := keys.Put(mvcc.RevToBytes(mvcc.Revision{Main: i + 2}, mvcc.NewRevBytes()), value); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, db.Close())
	all, err := os.ReadFile(path)
	require.NoError(t, err)
	return all
}

// TestDamagedPages: whatever is written over a database, looking at it ends with an answer.
func TestDamagedPages(t *testing.T) {
	whole := database(t)
	path := filepath.Join(t.TempDir(), "s")
	look := func(content []byte) error {
		require.NoError(t, os.WriteFile(path, content, 0o600))
		_, err := verify(t.Context(), path, true, nil)
		return err
	}
	require.NoError(t, look(whole))
	size := os.Getpagesize()
	found := 0
	for range 150 {
		bad := bytes.Clone(whole)
		page := rand.IntN(len(bad) / size)
		switch rand.IntN(4) {
		case 0: // a header or the first elements
			for range 1 + rand.IntN(3) {
				bad[page*size+rand.IntN(64)] = byte(rand.Uint32())
			}
		case 1: // another page in its place
			from := rand.IntN(len(bad) / size)
			copy(bad[page*size:(page+1)*size], bad[from*size:])
		case 2: // nothing
			clear(bad[page*size : (page+1)*size])
		default:
			bad[rand.IntN(len(bad))] ^= 1 << rand.IntN(8)
		}
		if err := look(bad); err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			found++
		}
	}
	t.Logf("%d of 150 found", found)
	require.Greater(t, found, 15)
}
