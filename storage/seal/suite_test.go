package seal_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
	"github.com/bedplate/bedplate/storage/memory"
	"github.com/bedplate/bedplate/storage/seal"
	"github.com/bedplate/bedplate/storage/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStore runs the suite of all stores over each kind of store and provider. Most of its time it waits.
func TestStore(t *testing.T) {
	for name, c := range map[string]struct {
		open func(testing.TB) storage.Backend
		rule seal.Rule
	}{
		"memory-xaesgcm":   {inMemory, seal.Rule{Prefixes: []string{""}, Providers: []seal.Provider{xaes(t, "k", 1)}}},
		"memory-secretbox": {inMemory, seal.Rule{Prefixes: []string{""}, Providers: []seal.Provider{box(t, "k", 1), xaes(t, "k", 1)}}},
		"etcd-aesgcm":      {newEtcd, under(gcm(t, "k", 1), seal.Identity)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) storage.Backend { return sealed(t, c.open(t), c.rule).Backend() })
		})
	}
}

func inMemory(t testing.TB) storage.Backend { return newMemory(t) }

func newMemory(t testing.TB) *memory.Backend {
	t.Helper()
	b, err := memory.New(memory.Config{})
	require.NoError(t, err)
	return b
}

func newEtcd(t testing.TB) storage.Backend {
	t.Helper()
	s, err := embedded.New(embedded.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	select {
	case <-s.Ready():
	case err := <-ended:
		ended <- err
		require.NoError(t, err, "ended before it was ready")
	}
	return s.Backend()
}

func sealed(t testing.TB, b storage.Backend, rules ...seal.Rule) *seal.Sealed {
	t.Helper()
	s, err := seal.New(b, seal.Config{Rules: rules})
	require.NoError(t, err)
	return s
}

// under is a rule for all keys.
func under(providers ...seal.Provider) seal.Rule {
	return seal.Rule{Prefixes: []string{"/registry/"}, Providers: providers}
}

func key(b byte) []byte {
	k := make([]byte, 32)
	for i := range k {
		k[i] = b
	}
	return k
}

func gcm(t testing.TB, name string, b byte) *seal.AESGCM {
	t.Helper()
	p, err := seal.NewAESGCM(name, key(b))
	require.NoError(t, err)
	return p
}

func xaes(t testing.TB, name string, b byte) seal.Provider {
	t.Helper()
	p, err := seal.NewXAESGCM(name, key(b))
	require.NoError(t, err)
	return p
}

func box(t testing.TB, name string, b byte) seal.Provider {
	t.Helper()
	p, err := seal.NewSecretbox(name, key(b))
	require.NoError(t, err)
	return p
}

func put(t testing.TB, b storage.Backend, key, value string) int64 {
	t.Helper()
	rev, err := b.Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: key, Value: []byte(value)}}})
	require.NoError(t, err)
	return rev
}

func get(t testing.TB, b storage.Backend, key string) storage.KV {
	t.Helper()
	page, err := b.Range(t.Context(), storage.Range{Prefix: key, Limit: 1})
	require.NoError(t, err)
	require.Len(t, page.KVs, 1)
	require.Equal(t, key, page.KVs[0].Key)
	return page.KVs[0]
}

func revision(t testing.TB, b storage.Backend) int64 {
	t.Helper()
	rev, err := b.Revision(t.Context())
	require.NoError(t, err)
	return rev
}

// runDB runs a DB until the test ends.
func runDB(t testing.TB, b storage.Backend) *storage.DB {
	t.Helper()
	db, err := storage.New(b, storage.Config{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	<-db.Ready()
	return db
}
