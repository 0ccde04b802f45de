package seal_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
	"github.com/bedplate/bedplate/storage/seal"
)

// overwrite puts bytes below the seal.
func overwrite(t testing.TB, below storage.Backend, key string, stored []byte) int64 {
	t.Helper()
	rev, err := below.Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: key, Value: stored}}})
	require.NoError(t, err)
	return rev
}

// TestCorruptObjectAlone: one object that cannot be opened is refused by its key, everything else goes on, and it can
// be deleted and overwritten.
func TestCorruptObjectAlone(t *testing.T) {
	below := newMemory(t)
	s := sealed(t, below, under(xaes(t, "k", 1))).Backend()
	rev := put(t, s, a, "hidden-a")
	put(t, s, b, "hidden-b")
	overwrite(t, below, a, get(t, below, b).Value) // moved
	db := runDB(t, s)
	table, err := db.Table(storage.Schema{Prefix: secrets})
	require.NoError(t, err)
	w, err := table.Watch(0, storage.Filter{})
	require.NoError(t, err)
	defer w.Close()

	_, err = table.Get(t.Context(), "ns/a", 0)
	var corrupt *storage.CorruptError
	require.ErrorAs(t, err, &corrupt)
	require.Equal(t, a, corrupt.Key)
	require.ErrorIs(t, err, seal.ErrNotAuthentic)
	require.NotContains(t, err.Error(), "hidden")
	snap, err := table.Snapshot(t.Context(), 0, false)
	require.NoError(t, err)
	var served []string
	for e := range snap.All(storage.Filter{}, "") {
		served = append(served, e.Key+"="+string(e.Raw))
	}
	require.Equal(t, []string{"ns/b=hidden-b"}, served)
	var found []string
	for c := range snap.Corrupt() {
		found = append(found, c.Key)
	}
	require.Equal(t, []string{a}, found)

	// By the watch as well: b breaks, c comes, a is written anew, b is deleted.
	stored := get(t, below, b).Value
	stored[len(stored)-1] ^= 1
	overwrite(t, below, b, stored)
	put(t, s, c, "hidden-c")
	_, err = db.Commit(t.Context(), storage.Write{Table: table, Key: "ns/a", Value: []byte("anew"), At: rev})
	require.ErrorIs(t, err, storage.ErrConflict)
	_, err = db.Commit(t.Context(), storage.Write{Table: table, Key: "ns/a", Value: []byte("anew"), At: corrupt.Rev})
	require.NoError(t, err)
	_, err = table.Get(t.Context(), "ns/b", 0)
	require.ErrorAs(t, err, &corrupt)
	_, err = db.Commit(t.Context(), storage.Write{Table: table, Key: "ns/b", At: corrupt.Rev})
	require.NoError(t, err)
	var events []string
	for len(events) < 3 {
		got, err := w.Next(t.Context())
		require.NoError(t, err)
		for _, ev := range got {
			if ev.New == nil {
				events = append(events, "-"+ev.Old.Key)
			} else {
				events = append(events, "+"+ev.New.Key+"="+string(ev.New.Raw))
			}
		}
	}
	require.Equal(t, []string{"-ns/b", "+ns/c=hidden-c", "+ns/a=anew"}, events)
	_, err = table.Get(t.Context(), "ns/b", 0)
	require.ErrorIs(t, err, storage.ErrNotFound)
}

// TestTypedStoreRefuses: a Store has no Head that could refuse, and codecs that take anything.
func TestTypedStoreRefuses(t *testing.T) {
	below := newMemory(t)
	s := sealed(t, below, under(gcm(t, "k", 1))).Backend()
	store, err := storage.NewStore[string](runDB(t, s), secrets, text{})
	require.NoError(t, err)
	for _, key := range []string{"ns/a", "ns/b"} {
		_, err = store.Create(t.Context(), key, "hidden")
		require.NoError(t, err)
	}
	rev := overwrite(t, below, a, []byte("not sealed"))
	_, err = store.Get(t.Context(), "ns/a")
	require.ErrorIs(t, err, storage.ErrCorrupt)
	require.NotContains(t, err.Error(), "not sealed")
	_, _, err = store.List(t.Context(), "")
	require.ErrorIs(t, err, storage.ErrCorrupt)
	require.NoError(t, store.Delete(t.Context(), "ns/a", rev))
	_, err = store.Get(t.Context(), "ns/a")
	require.ErrorIs(t, err, storage.ErrNotFound)
	items, _, err := store.List(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, items, 1)
}

// text is a codec that takes any bytes.
type text struct{}

func (text) Encode(v string) ([]byte, error)   { return []byte(v), nil }
func (text) Decode(raw []byte) (string, error) { return string(raw), nil }

// TestErrorsShowNoSecret looks at the error of everything that may lie in the store.
func TestErrorsShowNoSecret(t *testing.T) {
	below := newMemory(t)
	s := sealed(t, below, under(xaes(t, "k", 1), gcm(t, "k", 1))).Backend()
	for stored, want := range map[string]string{
		"hunter2":                                "plain",
		"":                                       "plain",
		"k8s:enc:aesgcm:v1:k:hunter2":            "sealed by k8s:enc:aesgcm:v1:k:: not authentic",
		"k8s:enc:aesgcm:v1:lost:hunter2":         "sealed by k8s:enc:aesgcm:v1:lost:, which is no provider's",
		"k8s:enc:kms:v2:cloud:hunter2:hunter2":   "sealed by k8s:enc:kms:v2:cloud:, which is no provider's",
		"k8s:enc:hunter2":                        "sealed by k8s:enc:, which is no provider's",
		"k8s:enc:x\x00:hunter2:hunter2:hunter2:": "sealed by k8s:enc:, which is no provider's",
		"k8s:enc:bedplate-xaes256gcm:v1:k:hunter2\xff": "sealed by k8s:enc:bedplate-xaes256gcm:v1:k:: not authentic",
	} {
		overwrite(t, below, a, []byte(stored))
		kv := get(t, s, a)
		require.NotNil(t, kv.Corrupt)
		require.Equal(t, []byte{}, kv.Value)
		require.Equal(t, a, kv.Corrupt.Key)
		require.Equal(t, kv.Rev, kv.Corrupt.Rev)
		require.ErrorContains(t, kv.Corrupt, want)
		require.NotContains(t, kv.Corrupt.Error(), "hunter2")
	}
}

// TestTamperedStore changes stored values at random and looks at what the store gives: what was written for that very
// key, or nothing.
func TestTamperedStore(t *testing.T) {
	providers := []seal.Provider{xaes(t, "k", 1), gcm(t, "k", 2), box(t, "k", 3)}
	rapid.Check(t, func(t *rapid.T) {
		below, err := memory.New(memory.Config{})
		require.NoError(t, err)
		p := rapid.Permutation(providers).Draw(t, "providers")
		sealed, err := seal.New(below, seal.Config{Rules: []seal.Rule{under(p...)}})
		require.NoError(t, err)
		s := sealed.Backend()
		wrote := map[string]map[string]bool{a: {}, b: {}, c: {}}
		key := rapid.SampledFrom([]string{a, b, c})
		var pool [][]byte // all that ever lay in the store
		keep := func(key string) {
			page, err := below.Range(t.Context(), storage.Range{Prefix: key})
			require.NoError(t, err)
			pool = append(pool, page.KVs[0].Value)
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				key, value := key.Draw(t, "key"), rapid.String().Draw(t, "value")
				_, err := s.Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: key, Value: []byte(value)}}})
				require.NoError(t, err)
				wrote[key][value] = true
				keep(key)
			},
			"tamper": func(t *rapid.T) {
				stored := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
				if len(pool) > 0 && rapid.Bool().Draw(t, "sealed") {
					stored = append([]byte(nil), rapid.SampledFrom(pool).Draw(t, "from")...)
					if rapid.Bool().Draw(t, "flip") {
						bit := rapid.IntRange(0, 8*len(stored)-1).Draw(t, "bit")
						stored[bit/8] ^= 1 << (bit % 8)
					}
				}
				_, err := below.Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: key.Draw(t, "key"), Value: stored}}})
				require.NoError(t, err)
			},
			"": func(t *rapid.T) {
				page, err := s.Range(t.Context(), storage.Range{Prefix: secrets})
				require.NoError(t, err)
				for _, kv := range page.KVs {
					if kv.Corrupt == nil {
						require.True(t, wrote[kv.Key][string(kv.Value)], "%s was never written there", kv.Key)
					} else {
						require.Empty(t, kv.Value)
					}
				}
			},
		})
	})
}

// TestKeyComesLater: values that could not be opened are served once the rules can, without a restart.
func TestKeyComesLater(t *testing.T) {
	below := newMemory(t)
	put(t, sealed(t, below, under(gcm(t, "old", 1))).Backend(), a, "1")
	s := sealed(t, below, under(gcm(t, "new", 2)))
	put(t, s.Backend(), b, "1")
	db := runDB(t, s.Backend())
	table, err := db.Table(storage.Schema{Prefix: secrets})
	require.NoError(t, err)
	_, err = table.Get(t.Context(), "ns/a", 0)
	require.ErrorIs(t, err, storage.ErrCorrupt)
	before, err := table.Get(t.Context(), "ns/b", 0)
	require.NoError(t, err)
	w, err := table.Watch(0, storage.Filter{})
	require.NoError(t, err)
	defer w.Close()
	require.NoError(t, s.SetRules(under(gcm(t, "new", 2), gcm(t, "old", 1))))
	_, err = w.Next(t.Context())
	require.ErrorIs(t, err, storage.ErrTooOld, "watchers read anew, too")
	got, err := table.Get(t.Context(), "ns/a", 0)
	require.NoError(t, err)
	require.Equal(t, "1", string(got.Raw))
	after, err := table.Get(t.Context(), "ns/b", 0)
	require.NoError(t, err)
	require.Same(t, before, after, "what was sound stays")

	w, err = table.Watch(0, storage.Filter{})
	require.NoError(t, err)
	defer w.Close()
	require.NoError(t, s.SetRules(under(gcm(t, "new", 2), gcm(t, "old", 1))))
	rev := put(t, s.Backend(), c, "1")
	events, err := w.Next(t.Context())
	require.NoError(t, err, "nothing was refused: nobody is disturbed")
	require.Equal(t, rev, events[0].Rev)
}

// TestNextWatchIsTold: whoever was not watching when the rules changed is told when he watches again.
func TestNextWatchIsTold(t *testing.T) {
	below := newMemory(t)
	put(t, sealed(t, below, under(gcm(t, "old", 1))).Backend(), a, "1")
	s := sealed(t, below, under(gcm(t, "new", 2)))
	require.NotNil(t, get(t, s.Backend(), a).Corrupt)
	require.NoError(t, s.SetRules(under(gcm(t, "old", 1))))
	var err error
	for _, err = range s.Backend().Watch(t.Context(), secrets, 2) {
		if err == nil {
			break
		}
	}
	var old *storage.TooOldError
	require.True(t, errors.As(err, &old))
	for _, err = range s.Backend().Watch(t.Context(), secrets, 2) {
		break
	}
	require.NoError(t, err, "once")
}
