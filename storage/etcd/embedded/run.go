package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"

	"github.com/bedplate/bedplate/storage"
)

const (
	memberName  = "bedplate"
	peerURL     = "http://127.0.0.1:2380" // a name in the member list; nothing listens there
	maxStreams  = 4096
	stopTimeout = 30 * time.Second
	// fatalTimeout is for an etcd that has given up: what it held locked then stays so.
	fatalTimeout = 3 * time.Second
)

// Run runs the member until ctx ends, then stops it; everything it started has ended when it returns. It
// returns nil when ctx ends or the member has left its cluster, and an error when the folder is in use by another
// process, or damaged, when a listener's address is in use, when the member cannot go on (a full or failing disk, or
// another member removed it), and when it was run before.
//
// In a cluster, the start waits up to Config.StartTimeout for a majority of the members, and the error says who does
// not answer.
func (s *Server) Run(ctx context.Context) error {
	if !s.started.CompareAndSwap(false, true) {
		return errors.New("run embedded etcd: it was run before")
	}
	defer close(s.done)
	if err := s.run(ctx); err != nil {
		return fmt.Errorf("run embedded etcd: %w", err)
	}
	return nil
}

func (s *Server) run(ctx context.Context) error {
	f, err := openFolder(s.c.Dir)
	if err != nil {
		return err
	}
	defer f.close()
	k, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	defer k.stop()
	m := &member{fatal: newFatal(), stopped: make(chan struct{})}
	cfg := s.embedConfig(m)
	if k != nil {
		if err := k.configure(cfg); err != nil {
			return err
		}
	}
	if err := m.start(cfg); err != nil {
		return fmt.Errorf("data folder %s: %w", s.c.Dir, err)
	}
	if err = s.admit(ctx, k, m); err == nil {
		s.open(k, m)
		err = s.wait(ctx, m)
	}
	m.fatal.quiet.Store(err == nil || ctx.Err() != nil)
	s.backend.close()
	k.stopClients()
	stopErr := m.stop()
	err = s.noteLeft(k, m, err)
	if ctx.Err() != nil && err == nil {
		return stopErr
	}
	return errors.Join(err, stopErr)
}

// admit waits until the member serves: it is ready, and in a cluster it has a vote.
func (s *Server) admit(ctx context.Context, k *secure, m *member) error {
	members := m.etcd.Server.Cluster().Members()
	if s.c.Cluster == nil && len(members) > 1 {
		return fmt.Errorf("data folder %s belongs to one of a cluster of %d: set Config.Cluster", s.c.Dir, len(members))
	}
	k.serve(m)
	if err := m.waitReady(ctx, s.c.StartTimeout); err != nil {
		return k.explain(ctx, m, err)
	}
	return k.settle(ctx, m)
}

// wait returns nil when ctx ends or the member has left, or why it cannot go on.
func (s *Server) wait(ctx context.Context, m *member) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.left:
		return nil
	case err := <-m.broken():
		s.leaving.Lock() // etcd ends by itself soon after it has left
		defer s.leaving.Unlock()
		select {
		case <-s.left:
			return nil
		default:
			return err
		}
	}
}

func (s *Server) embedConfig(m *member) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = s.c.name(), s.c.Dir
	peer, client := mustURL(peerURL), mustURL(s.c.ClientListen)
	cfg.AdvertisePeerUrls, cfg.ListenPeerUrls = []url.URL{*peer}, nil
	cfg.InitialCluster = cfg.Name + "=" + peerURL
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = nil, nil
	if client != nil {
		cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
		cfg.ServiceRegister = func(g *grpc.Server) { m.clients.Store(g) }
	}
	cfg.TickMs, cfg.ElectionMs = s.c.TickMs, s.c.ElectionMs
	cfg.SnapshotCount, cfg.SnapshotCatchUpEntries = s.c.SnapshotCount, s.c.SnapshotCount
	cfg.MaxSnapFiles, cfg.MaxWalFiles = 2, 2
	cfg.QuotaBackendBytes = s.c.QuotaBytes
	cfg.MaxRequestBytes, cfg.MaxTxnOps = s.c.MaxRequestBytes, s.c.MaxOps
	cfg.MaxConcurrentStreams = maxStreams
	cfg.EnableGRPCGateway = false
	if s.c.History > 0 {
		cfg.AutoCompactionMode, cfg.AutoCompactionRetention = embed.CompactorModePeriodic, s.c.History.String()
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newZap(s.c.Log, m.fatal))
	return cfg
}

// mustURL parses what validate has parsed before.
func mustURL(s string) *url.URL {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil
	}
	return u
}

// open lets the backend's calls through.
func (s *Server) open(k *secure, m *member) {
	s.mu.Lock()
	switch {
	case len(m.etcd.Clients) > 0:
		s.endpoint = endpoint(m.etcd.Clients[0].Addr())
	case k != nil && k.client != nil:
		s.endpoint = k.clientURL().String()
	}
	s.mu.Unlock()
	if k != nil {
		s.ca = k.ca
		k.serveClients(m)
	}
	s.backend.open(m.etcd.Server)
	close(s.ready)
}

func endpoint(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix://" + a.String()
	}
	return "http://" + a.String()
}

// member is one run of an etcd.
type member struct {
	etcd    *embed.Etcd
	fatal   *fatal
	clients atomic.Pointer[grpc.Server]
	stopped chan struct{}
}

// start starts the etcd. Where etcd would end the process, an error comes back; what it had opened by then
// stays open.
func (m *member) start(cfg *embed.Config) error {
	result := make(chan error, 1)
	go func() {
		err := errors.New("etcd gave up")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("etcd gave up: %v", p)
			}
			result <- err
		}()
		m.etcd, err = embed.StartEtcd(cfg)
	}()
	err := <-result
	if err != nil {
		if f := m.fatal.err(); f != nil {
			err = f
		}
		return fmt.Errorf("etcd does not open it, it may be damaged: %w", err)
	}
	return nil
}

var (
	errStartTimeout = errors.New("etcd is not ready in time")
	errStopped      = errors.New("etcd stopped by itself")
)

func (m *member) waitReady(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-m.etcd.Server.ReadyNotify():
		return nil
	case <-timer.C:
		return errStartTimeout
	case <-ctx.Done():
		return ctx.Err()
	case err := <-m.broken():
		return err
	}
}

// broken tells when the member cannot go on. It may be asked for several times.
func (m *member) broken() <-chan error {
	out := make(chan error, 1)
	go func() {
		select {
		case <-m.fatal.c:
			out <- m.fatal.err()
		case err := <-m.etcd.Err():
			out <- err
		case <-m.etcd.Server.StopNotify():
			out <- errStopped
		case <-m.stopped:
		}
	}()
	return out
}

// stop ends the member. Clients over the network are cut off, rather than waited for: a watch never ends.
func (m *member) stop() error {
	close(m.stopped)
	m.handOver()
	if g := m.clients.Load(); g != nil {
		g.Stop()
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		m.etcd.Close()
	}()
	limit := stopTimeout
	if m.fatal.err() != nil {
		limit = fatalTimeout
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-closed:
		return nil
	case <-timer.C:
		return fmt.Errorf("etcd did not stop within %s: %w", limit, storage.ErrClosed)
	}
}

// handOver gives leadership to another member. Etcd does so, too, but waits for seconds if nobody takes it, as when
// all members stop at once.
func (m *member) handOver() {
	e := m.etcd.Server
	if e.Leader() != e.MemberID() || len(e.Cluster().Members()) == 1 {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = e.TryTransferLeadershipOnShutdown() // or there will be an election
	}()
	timer := time.NewTimer(2 * e.Cfg.ElectionTimeout())
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		e.HardStop()
		<-done
	}
}
