package etcd_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
	"github.com/bedplate/bedplate/storage/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs an etcd that listens, and returns where.
func serve(tb testing.TB) string {
	tb.Helper()
	sockets, err := os.MkdirTemp("", "etcd") // the path of a socket must be short
	require.NoError(tb, err)
	tb.Cleanup(func() { os.RemoveAll(sockets) })
	s, err := embedded.New(embedded.Config{
		Dir: tb.TempDir(), ClientListen: "unix://" + filepath.Join(sockets, "s"),
	})
	require.NoError(tb, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		require.NoError(tb, <-ended)
	})
	select {
	case <-s.Ready():
	case err := <-ended:
		require.NoError(tb, err)
	}
	return s.Endpoint()
}

func connect(tb testing.TB, endpoint string) *etcd.Backend {
	tb.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	require.NoError(tb, err)
	tb.Cleanup(func() { c.Close() })
	b, err := etcd.New(c, etcd.Config{})
	require.NoError(tb, err)
	return b
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storage.Backend { return connect(t, serve(t)) })
}
