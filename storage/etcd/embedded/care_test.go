package embedded_test

import (
	"context"
	"crypto/sha256"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

func TestMaintenance(t *testing.T) {
	s, stop := start(t, embedded.Config{Dir: t.TempDir(), QuotaBytes: 1 << 30})
	m := s.Maintenance()
	rev := put(t, s, "/a", "1")
	status, err := m.Status(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, rev, status.Header.Revision)
	require.Equal(t, status.Header.MemberId, status.Leader)
	require.EqualValues(t, 1<<30, status.DbSizeQuota)
	require.Positive(t, status.DbSize)
	require.Empty(t, status.Errors)

	alarms, err := m.AlarmList(t.Context())
	require.NoError(t, err)
	require.Empty(t, alarms.Alarms)
	_, err = m.AlarmDisarm(t.Context(), &clientv3.AlarmMember{MemberID: status.Leader})
	require.NoError(t, err)

	before, err := m.HashKV(t.Context(), "", rev)
	require.NoError(t, err)
	_, err = m.HashKV(t.Context(), "", rev+9)
	require.ErrorIs(t, err, storage.ErrFuture)
	_, err = m.Defragment(t.Context(), "")
	require.NoError(t, err)
	after, err := m.HashKV(t.Context(), "", rev)
	require.NoError(t, err)
	require.Equal(t, before.Hash, after.Hash)
	require.Equal(t, "1", get(t, s, "/a"))

	stop()
	_, err = m.Status(t.Context(), "")
	require.ErrorIs(t, err, storage.ErrClosed)
	_, err = m.Snapshot(t.Context())
	require.ErrorIs(t, err, storage.ErrClosed)
}

func TestSnapshot(t *testing.T) {
	s, _ := start(t, embedded.Config{Dir: t.TempDir()})
	put(t, s, "/a", "1")
	r, err := s.Maintenance().Snapshot(t.Context())
	require.NoError(t, err)
	size := r.(interface{ Size() int64 }).Size()

	put(t, s, "/b", "1") // writes go on
	_, err = s.Maintenance().Defragment(t.Context(), "")
	require.ErrorContains(t, err, "a snapshot of the database is being read")
	put(t, s, "/c", "1")

	all, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.EqualValues(t, size, len(all))
	content, sum := all[:len(all)-sha256.Size], all[len(all)-sha256.Size:]
	require.Equal(t, sha256.Sum256(content), [sha256.Size]byte(sum))
	_, err = s.Maintenance().Defragment(t.Context(), "")
	require.NoError(t, err)
}

func TestSnapshotNotRead(t *testing.T) {
	s, stop := start(t, embedded.Config{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	given, err := s.Maintenance().Snapshot(ctx)
	require.NoError(t, err)
	cancel()
	_, err = io.ReadAll(given)
	require.ErrorIs(t, err, context.Canceled)

	left, err := s.Maintenance().Snapshot(t.Context())
	require.NoError(t, err)
	stop() // waits for nobody
	_, err = io.ReadAll(left)
	require.ErrorIs(t, err, storage.ErrClosed)
}
