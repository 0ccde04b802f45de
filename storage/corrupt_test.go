package storage_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
)

// picky is a codec, and its head a schema's, that refuse what does not begin with "ok".
func picky(raw []byte) (storage.Head, error) {
	if len(raw) < 2 || string(raw[:2]) != "ok" {
		return storage.Head{}, errors.New("not ok")
	}
	return storage.Head{}, nil
}

type text struct{}

func (text) Encode(v string) ([]byte, error) { return []byte(v), nil }
func (text) Decode(b []byte) (string, error) { return string(b), nil }

// TestStoreCorrupt: a value that cannot be read is never told as one that is not there.
func TestStoreCorrupt(t *testing.T) {
	db, stop := open()
	defer stop()
	table, err := db.Table(storage.Schema{Prefix: "/registry/x/", Head: picky})
	require.NoError(t, err)
	s := storage.StoreOf(table, text{})
	_, err = s.Create(t.Context(), "a/1", "ok 1")
	require.NoError(t, err)
	_, since, err := s.List(t.Context(), "")
	require.NoError(t, err)
	bad, err := db.Commit(t.Context(), storage.Write{Table: table, Key: "a/1", Value: []byte("junk"), At: storage.AnyRev})
	require.NoError(t, err)

	_, _, err = s.List(t.Context(), "a/")
	require.ErrorIs(t, err, storage.ErrCorrupt)
	require.ErrorContains(t, err, "/registry/x/a/1")
	_, _, err = s.List(t.Context(), "b/")
	require.NoError(t, err)
	_, err = s.Get(t.Context(), "a/1")
	require.ErrorIs(t, err, storage.ErrCorrupt)
	for c, err := range s.Watch(t.Context(), "", since) {
		require.ErrorIs(t, err, storage.ErrCorrupt, "it is not deleted")
		require.Equal(t, storage.Change[string]{Key: "a/1", Rev: bad}, c, "where to go on")
	}
	_, err = s.Create(t.Context(), "a/2", "ok 2")
	require.NoError(t, err)
	for c, err := range s.Watch(t.Context(), "", bad) {
		require.NoError(t, err)
		require.Equal(t, "a/2", c.Key)
		break
	}
}

// TestStoreKeepsLease: an update leaves a key its lease.
func TestStoreKeepsLease(t *testing.T) {
	db, stop := open()
	defer stop()
	s, err := storage.NewStore[string](db, "/registry/x/", nil)
	require.NoError(t, err)
	_, since, err := s.List(t.Context(), "")
	require.NoError(t, err)
	lease, err := db.Grant(t.Context(), time.Second)
	require.NoError(t, err)
	_, err = db.Commit(t.Context(), storage.Write{Table: s.Table(), Key: "a", Value: []byte(`"1"`), Lease: lease.ID})
	require.NoError(t, err)
	_, err = s.Update(t.Context(), "a", func(string) (string, error) { return "2", nil })
	require.NoError(t, err)
	for c, err := range s.Watch(t.Context(), "", since) {
		require.NoError(t, err)
		if c.New == nil {
			break
		}
	}
}

// TestNoSuchRevision: a number that is no revision is an error, not a write without a condition.
func TestNoSuchRevision(t *testing.T) {
	db, stop := open()
	defer stop()
	s, err := storage.NewStore[string](db, "/registry/x/", nil)
	require.NoError(t, err)
	_, err = s.Create(t.Context(), "a", "1")
	require.NoError(t, err)
	for _, w := range []storage.Write{
		{Table: s.Table(), Key: "a", Value: []byte("2"), At: -7},
		{Table: s.Table(), Value: []byte("2")},
	} {
		_, err := db.Commit(t.Context(), w)
		require.Error(t, err)
	}
	require.Error(t, s.Delete(t.Context(), "a", -7))
	_, err = s.Create(t.Context(), "", "1")
	require.ErrorContains(t, err, "no key")
	_, err = s.Table().Snapshot(t.Context(), -7, false)
	require.Error(t, err)
	got, err := s.Get(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "1", got.Value)
}
