package backup_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	clientsnapshot "go.etcd.io/etcd/client/v3/snapshot"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"

	"github.com/bedplate/bedplate/storage/etcd/backup"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// TestEtcdutlReadsOurs: status, and a data folder of it.
func TestEtcdutlReadsOurs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listen := socket(t)
	s, _ := serve(t, embedded.Config{Dir: t.TempDir(), ClientListen: listen})
	for i := range 100 {
		put(t, s.Backend(), fmt.Sprint("/registry/", i%40), "v")
	}
	client := connect(t, listen)
	for name, from := range map[string]backup.Source{"in process": s.Maintenance(), "client": client} {
		t.Run(name, func(t *testing.T) {
			info, err := backup.Save(t.Context(), from, path, nil)
			require.NoError(t, err)
			status, err := snapshot.NewV3(zap.NewNop()).Status(path)
			require.NoError(t, err)
			require.Equal(t, status.Revision, info.Revision)
			require.Equal(t, status.TotalKey, info.Keys)
			require.Equal(t, status.Version, info.Version)
			require.Equal(t, 40, info.Keys)

			dir := filepath.Join(t.TempDir(), "d")
			require.NoError(t, snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
				SnapshotPath: path, Name: "bedplate", OutputDataDir: dir,
				PeerURLs: []string{"http://127.0.0.1:2380"}, InitialCluster: "bedplate=http://127.0.0.1:2380",
			}))
			n, _ := serve(t, embedded.Config{Dir: dir})
			require.Equal(t, contents(t, s.Backend()), contents(t, n.Backend()))
		})
	}
}

// TestRestoresEtcds: what etcd's client saved, as etcdctl does.
func TestRestoresEtcds(t *testing.T) {
	listen := socket(t)
	s, _ := serve(t, embedded.Config{Dir: t.TempDir(), ClientListen: listen})
	for i := range 100 {
		put(t, s.Backend(), fmt.Sprint("/registry/", i%40), "v")
	}
	path, dir := filepath.Join(t.TempDir(), "s"), filepath.Join(t.TempDir(), "d")
	_, err := clientsnapshot.SaveWithVersion(t.Context(), zap.NewNop(), clientv3.Config{Endpoints: []string{listen}}, path)
	require.NoError(t, err)
	info, err := backup.Verify(t.Context(), path, nil)
	require.NoError(t, err)
	require.Equal(t, 40, info.Keys)
	restored, err := backup.Restore(t.Context(), path, backup.Config{Dir: dir}, nil)
	require.NoError(t, err)
	n, _ := serve(t, embedded.Config{Dir: dir})
	require.Equal(t, contents(t, s.Backend()), contents(t, n.Backend()))

	// And a snapshot of what was restored.
	var stream bytes.Buffer
	require.NoError(t, backup.Stream(t.Context(), n.Maintenance(), &stream, nil))
	again := filepath.Join(t.TempDir(), "s")
	require.NoError(t, os.WriteFile(again, stream.Bytes(), 0o600))
	second, err := backup.Restore(t.Context(), again, backup.Config{Dir: filepath.Join(t.TempDir(), "d")}, nil)
	require.NoError(t, err)
	require.Equal(t, restored.At, second.Revision)
	require.Equal(t, restored.Keys, second.Keys)
}
