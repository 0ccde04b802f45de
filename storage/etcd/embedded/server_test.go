package embedded_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func put(t *testing.T, s *embedded.Server, key, value string) int64 {
	t.Helper()
	rev, err := s.Backend().Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: key, Value: []byte(value)}}})
	require.NoError(t, err)
	return rev
}

func get(t *testing.T, s *embedded.Server, key string) string {
	t.Helper()
	page, err := s.Backend().Range(t.Context(), storage.Range{Prefix: key})
	require.NoError(t, err)
	if len(page.KVs) == 0 {
		return ""
	}
	return string(page.KVs[0].Value)
}

// fails runs a server that cannot start and returns why.
func fails(t *testing.T, c embedded.Config) error {
	t.Helper()
	s, err := embedded.New(c)
	require.NoError(t, err)
	err = s.Run(t.Context())
	require.Error(t, err)
	_, err2 := s.Backend().Revision(t.Context())
	require.ErrorIs(t, err2, storage.ErrClosed)
	return err
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	s, stop := start(t, embedded.Config{Dir: dir})
	rev := put(t, s, "/a", "1")
	stop()
	for i := range 3 {
		s, stop = start(t, embedded.Config{Dir: dir})
		require.Equal(t, fmt.Sprint(i+1), get(t, s, "/a"))
		now, err := s.Backend().Revision(t.Context())
		require.NoError(t, err)
		require.Equal(t, rev+int64(i), now)
		put(t, s, "/a", fmt.Sprint(i+2))
		stop()
	}
}

// slowMachine is what etcd rightly warns of when the machine is too busy.
var slowMachine = regexp.MustCompile("took too long|slow fdatasync|overloaded|waiting for")

func TestQuiet(t *testing.T) {
	var log logBuffer
	c := embedded.Config{
		Dir: filepath.Join(t.TempDir(), "data"), ClientListen: "http://127.0.0.1:0",
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for range 2 {
		s, stop := start(t, c)
		put(t, s, "/a", "1")
		stop()
	}
	for line := range strings.Lines(log.String()) {
		if !slowMachine.MatchString(line) {
			require.Fail(t, "a warning in a clean start and stop", line)
		}
	}
}

func TestLogs(t *testing.T) {
	var log logBuffer
	_, stop := start(t, embedded.Config{
		Dir: t.TempDir(),
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	stop()
	require.Contains(t, log.String(), "etcd: ")
}

func TestLockedFolder(t *testing.T) {
	dir := t.TempDir()
	start(t, embedded.Config{Dir: dir})
	require.EqualError(t, fails(t, embedded.Config{Dir: dir}),
		"run embedded etcd: data folder "+dir+" is locked by another process: stop it or choose another folder")
}

func TestFolderIsAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.ErrorContains(t, fails(t, embedded.Config{Dir: file}), file)
}

func TestDamagedDatabase(t *testing.T) {
	dir := t.TempDir()
	_, stop := start(t, embedded.Config{Dir: dir})
	stop()
	db := filepath.Join(dir, "member", "snap", "db")
	require.NoError(t, os.WriteFile(db, bytes.Repeat([]byte("x"), 1<<15), 0o600))
	require.ErrorContains(t, fails(t, embedded.Config{Dir: dir}), "data folder "+dir+" is damaged")
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	dir := t.TempDir()
	err = fails(t, embedded.Config{Dir: dir, ClientListen: "http://" + l.Addr().String()})
	require.ErrorContains(t, err, "address already in use")
	start(t, embedded.Config{Dir: dir}) // nothing was left behind
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]embedded.Config{
		"data folder": {},
		"ticks":       {Dir: "x", TickMs: 100, ElectionMs: 200},
		"listener":    {Dir: "x", ClientListen: "ftp://x"},
		"limit":       {Dir: "x", QuotaBytes: -1},
	} {
		_, err := embedded.New(c)
		require.ErrorContains(t, err, name)
	}
}

func TestRunTwice(t *testing.T) {
	s, stop := start(t, embedded.Config{Dir: t.TempDir()})
	require.Error(t, s.Run(t.Context()))
	stop()
	_, err := s.Backend().Revision(t.Context())
	require.ErrorIs(t, err, storage.ErrClosed)
	for _, err := range s.Backend().Watch(t.Context(), "/", 1) {
		require.ErrorIs(t, err, storage.ErrClosed)
	}
}

func TestTwoInOneProcess(t *testing.T) {
	a, _ := start(t, embedded.Config{Dir: t.TempDir()})
	b, _ := start(t, embedded.Config{Dir: t.TempDir()})
	put(t, a, "/x", "a")
	put(t, b, "/x", "b")
	require.Equal(t, "a", get(t, a, "/x"))
	require.Equal(t, "b", get(t, b, "/x"))
}

func TestStopUnderLoad(t *testing.T) {
	s, stop := start(t, embedded.Config{Dir: t.TempDir()})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for {
				_, err := s.Backend().Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: fmt.Sprint(i), Value: []byte("x")}}})
				if err != nil {
					return
				}
			}
		})
		wg.Go(func() {
			for range s.Backend().Watch(t.Context(), "", 1) {
			}
		})
	}
	rev := int64(0)
	for rev < 200 {
		var err error
		rev, err = s.Backend().Revision(t.Context())
		require.NoError(t, err)
	}
	stop()
	wg.Wait()
}

// TestClientListener connects a client whose watch does not end: stopping does not wait for it.
func TestClientListener(t *testing.T) {
	s, stop := start(t, embedded.Config{Dir: t.TempDir(), ClientListen: "http://127.0.0.1:0"})
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, Logger: zap.NewNop()})
	require.NoError(t, err)
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch := c.Watch(ctx, "/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-watch
	put(t, s, "/a", "1")
	resp, err := c.Get(t.Context(), "/a")
	require.NoError(t, err)
	require.Equal(t, "1", string(resp.Kvs[0].Value))
	begin := time.Now()
	stop()
	require.Less(t, time.Since(begin), 4*time.Second)
}

func TestQuota(t *testing.T) {
	var log logBuffer
	s, _ := start(t, embedded.Config{
		Dir: t.TempDir(), QuotaBytes: 1 << 20, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	value := []byte(strings.Repeat("x", 1<<18))
	var err error
	for i := 0; err == nil && i < 1000; i++ { // etcd looks at the size of the file, which lags
		_, err = s.Backend().Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: fmt.Sprint(i % 10), Value: value}}})
	}
	require.ErrorIs(t, err, storage.ErrNoSpace)
	require.NotEmpty(t, get(t, s, "0"), "reads go on")
}

func TestReadyTime(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		begin := time.Now()
		_, stop := start(t, embedded.Config{Dir: dir})
		t.Logf("start %d: ready in %v", i, time.Since(begin))
		stop()
	}
}

func TestDamagedLog(t *testing.T) {
	dir := t.TempDir()
	s, stop := start(t, embedded.Config{Dir: dir})
	put(t, s, "/a", strings.Repeat("x", 10_000))
	stop()
	wals, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	require.NoError(t, err)
	f, err := os.OpenFile(wals[0], os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte("z"), 500), 1000)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	err = fails(t, embedded.Config{Dir: dir})
	t.Log(err)
	require.ErrorContains(t, err, "data folder "+dir)
}
