package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
)

// secure is what a run has beyond a single member without TLS.
type secure struct {
	s        *Server
	ca       *authority
	st       *state
	hosts    []string // of the member's certificate
	initial  string   // etcd's initial cluster, for a member that joins; "": a new cluster
	peer     *front   // nil without Cluster
	peerURL  *url.URL
	client   *front // nil without ClientListen "https://…"
	stops    []func()
	renewing chan struct{}
}

// prepare makes listeners and certificates, and joins. Nil: a single member without TLS.
func (s *Server) prepare(ctx context.Context) (_ *secure, err error) {
	st, err := loadState(s.c.Dir)
	switch {
	case err != nil:
		return nil, err
	case st != nil && st.Left != nil:
		return nil, fmt.Errorf("data folder %s: its member %s left the cluster at %s: delete the folder, and join with a new invitation",
			s.c.Dir, st.Name, st.Left.Format(time.RFC3339))
	case st != nil && len(st.Peers) > 0 && s.c.Cluster == nil:
		return nil, fmt.Errorf("data folder %s belongs to %s, one of a cluster of %d: set Config.Cluster", s.c.Dir, st.Name, len(st.Peers)+1)
	}
	if s.c.Cluster == nil && !s.c.clientTLS() {
		return nil, nil
	}
	k := &secure{s: s, st: st}
	defer func() {
		if err != nil {
			k.stop()
		}
	}()
	if k.st == nil {
		k.st = new(state)
	}
	if err := os.MkdirAll(k.dir(), 0o700); err != nil {
		return nil, fmt.Errorf("make folder for certificates: %w", err)
	}
	if err := os.Chmod(k.dir(), 0o700); err != nil {
		return nil, fmt.Errorf("keep folder for certificates to ourselves: %w", err)
	}
	return k, k.prepare(ctx)
}

func (k *secure) dir() string { return filepath.Join(k.s.c.Dir, tlsFolder) }

func (k *secure) prepare(ctx context.Context) error {
	peer, err := k.listenPeer()
	if err != nil {
		return err
	}
	client, err := k.listenClient()
	if err != nil {
		return errors.Join(err, closeListener(peer))
	}
	err = k.certify(ctx)
	if err != nil {
		return errors.Join(err, closeListener(peer), closeListener(client))
	}
	c := &k.s.c
	if peer != nil {
		k.peer = newFront(peer, k.ca.serverTLS([]string{"http/1.1"}, roleMember, roleInvitation), c.Limits, c.Log)
	}
	if client != nil {
		k.client = newFront(client, k.ca.serverTLS([]string{"h2", "http/1.1"}, roleMember, roleClient), c.Limits, c.Log)
	}
	return nil
}

func closeListener(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

func (k *secure) listenPeer() (net.Listener, error) {
	c := k.s.c.Cluster
	if c == nil {
		return nil, nil
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for members: %w", err)
	}
	addr, err := c.advertised(l.Addr().(*net.TCPAddr).Port)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	k.peerURL = peerURLOf(addr)
	k.addHost(k.peerURL.Hostname())
	return l, nil
}

func (k *secure) listenClient() (net.Listener, error) {
	if !k.s.c.clientTLS() {
		return nil, nil
	}
	u := mustURL(k.s.c.ClientListen)
	l, err := net.Listen("tcp", u.Host)
	if err != nil {
		return nil, fmt.Errorf("listen for clients: %w", err)
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "" && (ip == nil || !ip.IsUnspecified()) {
		k.addHost(u.Hostname())
	}
	for _, local := range []string{"localhost", "127.0.0.1", "::1"} {
		k.addHost(local)
	}
	return l, nil
}

func (k *secure) addHost(host string) {
	for _, h := range k.hosts {
		if h == host {
			return
		}
	}
	k.hosts = append(k.hosts, host)
}

// certify sees that there are a CA and certificates: those that were there, those of the cluster that is joined, or
// new ones.
func (k *secure) certify(ctx context.Context) (err error) {
	c, started := &k.s.c, hasWAL(k.s.c.Dir)
	k.ca, err = loadAuthority(k.dir())
	missing := errors.Is(err, os.ErrNotExist)
	invited := c.Cluster != nil && !c.Cluster.Join.IsZero() && !started
	switch {
	case err != nil && !missing:
		return err
	case invited && (missing || k.st.ID == 0):
		if err := k.join(ctx, c.Cluster.Join); err != nil {
			return fmt.Errorf("join cluster as %s: %w", c.Cluster.Join.Name(), err)
		}
	case missing && (k.st.ID != 0 || started && len(k.st.Peers) > 0):
		return fmt.Errorf("certificate authority of the cluster: copy ca.crt and ca.key from another member: %w", err)
	case missing:
		if k.ca, err = newAuthority(k.dir()); err != nil {
			return err
		}
	}
	if c.Name != "" || k.st.Name == "" {
		k.st.Name = c.name()
	}
	if _, err := k.renew(); err != nil {
		return err
	}
	if !started && k.st.ID != 0 {
		if k.initial, err = k.initialCluster(ctx); err != nil {
			return fmt.Errorf("join cluster as %s: %w", k.st.Name, err)
		}
	}
	return k.st.store(c.Dir)
}

// renew renews what is due and returns when to look again.
func (k *secure) renew() (time.Time, error) {
	life := 365 * 24 * time.Hour
	if c := k.s.c.Cluster; c != nil {
		life = c.CertLife
	}
	next, err := k.ca.renew(memberFile, identity{role: roleMember, name: k.st.Name, hosts: k.hosts}, life)
	if err != nil {
		return next, err
	}
	after, err := k.ca.renew(clientFile, identity{role: roleClient, name: "client"}, life)
	if after.Before(next) {
		next = after
	}
	return next, err
}

// renewLoop renews certificates until ctx ends. It looks again now and then, for clocks that are set.
func (k *secure) renewLoop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		next, err := k.renew()
		wait := min(time.Hour, max(time.Until(next), 100*time.Millisecond))
		if err != nil {
			k.s.c.Log.Warn("embedded etcd: certificates are not renewed", "error", err)
			wait = time.Minute
		}
		timer.Reset(wait)
	}
}

// compareMembers makes a member compare what it has with the others, at its start and at each compaction: one whose
// file was damaged then ends instead of serving it.
var compareMembers = map[string]bool{"InitialCorruptCheck": true, "CompactHashCheck": true}

// configure adapts etcd's configuration.
func (k *secure) configure(cfg *embed.Config) error {
	cfg.Name = k.st.Name
	cfg.InitialCluster = cfg.Name + "=" + peerURL
	if k.client != nil {
		cfg.ListenClientUrls, cfg.AdvertiseClientUrls = nil, []url.URL{*k.clientURL()}
		cfg.ServiceRegister = nil
	}
	if k.peer == nil {
		return nil
	}
	cfg.AdvertisePeerUrls = []url.URL{*k.peerURL}
	cfg.InitialCluster = cfg.Name + "=" + k.peerURL.String()
	cfg.InitialClusterToken = k.ca.cert.SerialNumber.Text(16) // clusters at one address are still different ones
	cfg.PeerTLSInfo = k.ca.peerTLS()
	if k.initial != "" {
		cfg.InitialCluster, cfg.ClusterState = k.initial, embed.ClusterStateFlagExisting
	}
	gate, ok := cfg.ServerFeatureGate.(interface{ SetFromMap(map[string]bool) error })
	if !ok {
		return errors.New("etcd's feature gate takes no settings")
	}
	return gate.SetFromMap(compareMembers)
}

// clientURL is where others reach the client listener.
func (k *secure) clientURL() *url.URL {
	addr := k.client.Addr().(*net.TCPAddr)
	host := mustURL(k.s.c.ClientListen).Hostname()
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if k.peerURL != nil {
			host = k.peerURL.Hostname()
		}
	}
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(host, fmt.Sprint(addr.Port))}
}

// explain says what a start lacks.
func (k *secure) explain(ctx context.Context, m *member, err error) error {
	e := m.etcd.Server
	switch {
	case k == nil || k.peer == nil || ctx.Err() != nil:
		return err
	case errors.Is(err, errStopped):
		return err // noteLeft knows
	}
	members := probe(ctx, k.ca, e, e.Cluster().Members())
	healthy := 0
	var silent []string
	for _, o := range members {
		if o.Healthy {
			healthy++
		} else {
			silent = append(silent, o.Name+" "+strings.Join(o.PeerURLs, ", "))
		}
	}
	if len(silent) == 0 {
		return fmt.Errorf("%w, though all %d members answer", err, len(members))
	}
	return fmt.Errorf("%w: %d of %d members answer, and it takes %d: no answer from %s",
		err, healthy, len(members), len(members)/2+1, strings.Join(silent, "; "))
}

// errRemoved: somebody else removed the member.
var errRemoved = errors.New("the member was removed from its cluster: delete the data folder, and join with a new invitation")

// gone tells whether a member that stopped by itself was removed from the cluster. It may have been told so by the
// others without having seen the change itself.
func (k *secure) gone(e *etcdserver.EtcdServer) bool {
	if e.Cluster().Member(e.MemberID()) == nil || e.IsIDRemoved(uint64(e.MemberID())) {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	c := newCaller(&http.Transport{TLSClientConfig: k.ca.clientTLS(memberFile)})
	defer c.close()
	for _, o := range e.Cluster().Members() {
		for _, u := range o.PeerURLs {
			var members []*membership.Member
			if o.ID == e.MemberID() || c.call(ctx, http.MethodGet, u+"/members", nil, &members) != nil {
				continue
			}
			return !slices.ContainsFunc(members, func(m *membership.Member) bool { return m.ID == e.MemberID() })
		}
	}
	return false
}

// noteLeft notes in the folder that the member is out of its cluster, and returns what Run has to say to it.
func (s *Server) noteLeft(k *secure, m *member, err error) error {
	left := false
	select {
	case <-s.left:
		left = true
	default:
	}
	if k == nil || k.peer == nil || !left && !(errors.Is(err, errStopped) && k.gone(m.etcd.Server)) {
		return err
	}
	if !left {
		err = errRemoved
	}
	now := k.ca.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	k.st.Left = &now
	return errors.Join(err, k.st.store(s.c.Dir))
}

// settle is called when etcd is ready: it waits for a vote, and tells the others where this member is.
func (k *secure) settle(ctx context.Context, m *member) error {
	if k == nil || k.peer == nil {
		return nil
	}
	e := m.etcd.Server
	limit, cancel := context.WithTimeout(ctx, k.s.c.Cluster.CatchUp)
	defer cancel()
	promoted := false
	err := k.until(limit, func() error {
		switch {
		case !e.IsLearner():
			return nil
		case promoted:
			return errors.New("the member has not heard of its vote yet")
		}
		_, err := e.PromoteMember(limit, uint64(e.MemberID()))
		promoted = err == nil || errors.Is(err, membership.ErrMemberNotLearner)
		return errors.Join(err, errors.New("the member has no vote yet"))
	})
	if err != nil {
		return fmt.Errorf("get a vote in the cluster: %w", err)
	}
	if err := k.until(limit, func() error { return k.announce(limit, m) }); err != nil {
		return fmt.Errorf("tell the cluster the address %s: %w", k.peerURL, err)
	}
	return nil
}

// until tries something again and again, as long as ctx lasts and etcd runs.
func (k *secure) until(ctx context.Context, try func() error) error {
	for {
		err := try()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, etcderrors.ErrStopped):
			return errStopped
		}
		k.s.c.Log.Debug("embedded etcd: it is tried again", "error", err)
		if !pause(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// announce sees that the cluster knows this member's address, and notes the others'.
func (k *secure) announce(ctx context.Context, m *member) error {
	e := m.etcd.Server
	self := e.Cluster().Member(e.MemberID())
	if self == nil {
		return errors.New("it is not a member any more")
	}
	if strings.Join(self.PeerURLs, ",") != k.peerURL.String() {
		ctx, cancel := context.WithTimeout(ctx, e.Cfg.ReqTimeout())
		defer cancel()
		_, err := e.UpdateMember(ctx, membership.Member{
			ID: self.ID, RaftAttributes: membership.RaftAttributes{PeerURLs: []string{k.peerURL.String()}, IsLearner: self.IsLearner},
		})
		if err != nil {
			return err
		}
	}
	return k.note(e)
}

// note stores who the others are.
func (k *secure) note(e *etcdserver.EtcdServer) error {
	var peers []string
	for _, o := range e.Cluster().Members() {
		if o.ID != e.MemberID() {
			peers = append(peers, o.PeerURLs...)
		}
	}
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	if strings.Join(peers, ",") == strings.Join(k.st.Peers, ",") {
		return nil
	}
	k.st.Peers = peers
	return k.st.store(k.s.c.Dir)
}

// pause waits; false if ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
