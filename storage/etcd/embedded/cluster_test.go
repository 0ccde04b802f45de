package embedded_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// quick are a cluster member's settings for tests.
func quick(t *testing.T, name string) embedded.Config {
	t.Helper()
	return embedded.Config{
		Name: name, Dir: t.TempDir(), TickMs: 20, ElectionMs: 200, ClientListen: "https://127.0.0.1:0",
		Cluster: &embedded.Cluster{Listen: "127.0.0.1:0"}, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// join starts one more member.
func join(t *testing.T, by *embedded.Server, name string) (*embedded.Server, func()) {
	t.Helper()
	inv, err := by.Invite(t.Context(), name)
	require.NoError(t, err)
	c := quick(t, "")
	c.Cluster.Join = inv
	return start(t, c)
}

// three starts a cluster, and returns the one that leads and one that follows.
func three(t *testing.T) (leader, follower *embedded.Server) {
	t.Helper()
	a, _ := start(t, quick(t, "a"))
	b, _ := join(t, a, "b")
	c, _ := join(t, b, "c")
	servers := map[string]*embedded.Server{"a": a, "b": b, "c": c}
	for _, m := range membersOf(t, b) {
		if m.Leader {
			leader = servers[m.Name]
		} else {
			follower = servers[m.Name]
		}
	}
	require.NotNil(t, leader)
	return leader, follower
}

func membersOf(t *testing.T, s *embedded.Server) []embedded.Member {
	t.Helper()
	members, err := s.Members(t.Context())
	require.NoError(t, err)
	return members
}

// TestGrowAndShrink starts a cluster on the folder of a single member, and goes from one to three and back to one.
func TestGrowAndShrink(t *testing.T) {
	t.Parallel()
	conf := quick(t, "a")
	single := conf
	single.Cluster = nil
	s, stop := start(t, single)
	rev := put(t, s, "/x", "1")
	_, err := s.Invite(t.Context(), "b")
	require.ErrorIs(t, err, embedded.ErrNoCluster)
	stop()

	a, stopA := start(t, conf)
	require.Equal(t, "https", strings.SplitN(membersOf(t, a)[0].PeerURLs[0], ":", 2)[0])
	require.ErrorContains(t, a.Leave(t.Context()), "no other member")
	b, _ := join(t, a, "b")
	require.Equal(t, "1", get(t, b, "/x"))
	c, stopC := join(t, b, "c")
	require.Equal(t, rev+1, put(t, c, "/x", "2"))
	require.Equal(t, "2", get(t, a, "/x"))
	members := membersOf(t, c)
	require.Len(t, members, 3)
	leaders := 0
	for _, m := range members {
		require.True(t, m.Healthy, m.Name)
		require.False(t, m.Learner, m.Name)
		require.Equal(t, m.Name == "c", m.Self)
		if m.Leader {
			leaders++
		}
	}
	require.Equal(t, 1, leaders)
	require.ErrorIs(t, a.Remove(t.Context(), 1), embedded.ErrNoMember)
	require.NoError(t, c.Leave(t.Context()))
	stopC() // Run has returned nil

	stopA()
	require.ErrorContains(t, fails(t, single), "set Config.Cluster")
	// Now b is alone of two: a start of a needs b, and b answers; the address of a is another one.
	a, _ = start(t, conf)
	require.Len(t, membersOf(t, a), 2)
	require.NoError(t, b.Leave(t.Context()))
	require.Eventually(t, func() bool { // what a sends to a leader that leaves is lost
		_, err := a.Backend().Commit(t.Context(), storage.Txn{Then: []storage.Op{{Key: "/x", Value: []byte("3")}}})
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	require.Len(t, membersOf(t, a), 1)
}

// TestRemoved: a member that somebody else removes ends, and says why; so does its next start.
func TestRemoved(t *testing.T) {
	t.Parallel()
	a, _ := start(t, quick(t, "a"))
	inv, err := a.Invite(t.Context(), "b")
	require.NoError(t, err)
	conf := quick(t, "")
	conf.Cluster.Join = inv
	b, err := embedded.New(conf)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- b.Run(t.Context()) }()
	<-b.Ready()
	for _, m := range membersOf(t, a) {
		if m.Name == "b" {
			require.NoError(t, a.Remove(t.Context(), m.ID))
		}
	}
	require.ErrorContains(t, <-ended, "removed from its cluster")
	require.ErrorContains(t, fails(t, conf), "left the cluster")
}

// TestNoQuorum: with one of two members gone, calls come to an end with an error, and so does a start.
func TestNoQuorum(t *testing.T) {
	t.Parallel()
	conf := quick(t, "a")
	a, stopA := start(t, conf)
	b, stopB := join(t, a, "b")
	id := membersOf(t, b)
	stopB()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := a.Backend().Commit(ctx, storage.Txn{Then: []storage.Op{{Key: "/x", Value: []byte("1")}}})
		assert.Error(t, err)
	})
	wg.Go(func() {
		_, err := a.Backend().Revision(ctx)
		assert.Error(t, err)
	})
	wg.Go(func() {
		_, err := a.Backend().Range(ctx, storage.Range{Prefix: "/"})
		assert.Error(t, err)
	})
	wg.Go(func() {
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		_, err := a.Backend().Revision(short)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
	wg.Go(func() { assert.Error(t, a.Remove(ctx, id[0].ID)) })
	wg.Wait()
	require.NoError(t, ctx.Err(), "they ended by themselves")
	stopA()
	conf.StartTimeout = time.Second
	require.ErrorContains(t, fails(t, conf), "1 of 2 members answer, and it takes 2: no answer from b https://127.0.0.1:")
}

// TestCertificatesRenewed lets certificates live for 3 seconds: connections go on, and new ones get in.
func TestCertificatesRenewed(t *testing.T) {
	t.Parallel()
	conf := quick(t, "a")
	conf.Cluster.CertLife = 3 * time.Second
	a, _ := start(t, conf)
	inv, err := a.Invite(t.Context(), "b")
	require.NoError(t, err)
	confB := quick(t, "")
	confB.Cluster.CertLife, confB.Cluster.Join = 3*time.Second, inv
	b, stopB := start(t, confB)
	ends := func(dir string) time.Time {
		path := filepath.Join(dir, "tls", "member.pem")
		pair, err := tls.LoadX509KeyPair(path, path)
		require.NoError(t, err)
		return pair.Leaf.NotAfter
	}
	first := ends(conf.Dir)
	require.WithinDuration(t, time.Now(), first, 5*time.Second)
	conn, err := a.ClientTLS()
	require.NoError(t, err)
	open := func() *clientv3.Client {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{a.Endpoint()}, TLS: conn, Logger: zap.NewNop()})
		require.NoError(t, err)
		return c
	}
	old := open()
	defer old.Close()
	for n := 0; time.Now().Before(first.Add(time.Second)); n++ {
		put(t, b, "/x", fmt.Sprint(n)) // a majority of two is both
		_, err := old.Get(t.Context(), "/x")
		require.NoError(t, err)
	}
	require.True(t, ends(conf.Dir).After(first))
	fresh := open() // by the configuration from before
	defer fresh.Close()
	_, err = fresh.Get(t.Context(), "/x")
	require.NoError(t, err)
	stopB()
	confB.Cluster.Join = embedded.Invitation{}
	b, _ = start(t, confB) // dials anew, and is dialled anew
	put(t, b, "/x", "end")
}

// TestClientsWithTLS uses a single member's listener as etcdctl does, by files, and as a probe of its health does.
func TestClientsWithTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, stop := start(t, embedded.Config{Dir: dir, ClientListen: "https://127.0.0.1:0"})
	_, err := s.Members(t.Context())
	require.ErrorIs(t, err, embedded.ErrNoCluster)
	conf, err := embedded.FolderTLS(dir)
	require.NoError(t, err)
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, TLS: conf, Logger: zap.NewNop()})
	require.NoError(t, err)
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch := c.Watch(ctx, "/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-watch
	put(t, s, "/a", "1")
	require.Equal(t, "1", string((<-watch).Events[0].Kv.Value))
	list, err := c.MemberList(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{s.Endpoint()}, list.Members[0].ClientURLs)

	conf.NextProtos = []string{"http/1.1"}
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
	resp, err := h.Get(s.Endpoint() + "/health")
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Contains(t, string(text), `"health":"true"`)

	for _, file := range []string{"ca.key", "member.pem", "client.pem", "cluster.json"} {
		info, err := os.Stat(filepath.Join(dir, "tls", file))
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), file)
		}
	}
	begin := time.Now()
	stop()
	require.Less(t, time.Since(begin), 4*time.Second)
}

// TestSilentMembers: connections that say nothing don't keep members and clients from each other.
func TestSilentMembers(t *testing.T) {
	t.Parallel()
	conf := quick(t, "a")
	conf.Limits = embedded.Limits{Handshakes: 20, Handshake: time.Second}
	a, _ := start(t, conf)
	peer := strings.TrimPrefix(membersOf(t, a)[0].PeerURLs[0], "https://")
	client := strings.TrimPrefix(a.Endpoint(), "https://")
	var wg sync.WaitGroup
	for i := range 200 {
		addr := peer
		if i%2 == 0 {
			addr = client
		}
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		wg.Go(func() {
			_, _ = c.Read(make([]byte, 1)) // until it is dropped
			_ = c.Close()
		})
	}
	b, _ := join(t, a, "b")
	put(t, b, "/x", "1")
	wg.Wait()
}
