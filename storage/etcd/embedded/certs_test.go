package embedded

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testAuthority(t *testing.T) *authority {
	t.Helper()
	a, err := newAuthority(t.TempDir())
	require.NoError(t, err)
	return a
}

func memberIdentity(hosts ...string) identity {
	return identity{role: roleMember, name: "a", hosts: append(hosts, "127.0.0.1")}
}

func serialOf(t *testing.T, a *authority, file string) string {
	t.Helper()
	pair, err := a.load(file)
	require.NoError(t, err)
	return pair.Leaf.SerialNumber.String()
}

// TestRenew moves the clock: a certificate is renewed when a third of its life is left, and not before.
func TestRenew(t *testing.T) {
	a := testAuthority(t)
	begin := time.Now()
	const life = 90 * 24 * time.Hour
	renew := func(after time.Duration, id identity) string {
		a.now = func() time.Time { return begin.Add(after) }
		next, err := a.renew(memberFile, id, life)
		require.NoError(t, err)
		require.True(t, next.After(a.now()))
		return serialOf(t, a, memberFile)
	}
	first := renew(0, memberIdentity())
	require.Equal(t, first, renew(life*2/3-time.Hour, memberIdentity()))
	second := renew(life*2/3+time.Hour, memberIdentity())
	require.NotEqual(t, first, second)
	require.Equal(t, second, renew(life, memberIdentity()))
	third := renew(10*life, memberIdentity())
	require.NotEqual(t, second, third, "long over")
	require.NotEqual(t, third, renew(10*life, memberIdentity("store.example")), "another address")

	path := filepath.Join(a.dir, memberFile)
	require.NoError(t, os.WriteFile(path, []byte("half a fi"), 0o600))
	renew(10*life, memberIdentity())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm()&0o677)
	files, err := os.ReadDir(a.dir)
	require.NoError(t, err)
	require.Len(t, files, 3, "nothing is left behind")
}

// TestRenewUnderReaders renews all the time: whoever reads the file finds a certificate with its key.
func TestRenewUnderReaders(t *testing.T) {
	a := testAuthority(t)
	_, err := a.renew(memberFile, memberIdentity(), time.Hour)
	require.NoError(t, err)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				path := filepath.Join(a.dir, memberFile)
				if _, err := tls.LoadX509KeyPair(path, path); err != nil { // in two steps, as etcd does
					t.Errorf("half a file: %v", err)
					return
				}
			}
		})
	}
	for i := range 30 {
		a.now = func() time.Time { return time.Now().Add(time.Duration(i) * time.Hour) }
		_, err := a.renew(memberFile, memberIdentity(), time.Hour)
		require.NoError(t, err)
	}
	close(stop)
	wg.Wait()
}

func TestAuthorityIsKept(t *testing.T) {
	a := testAuthority(t)
	b, err := loadAuthority(a.dir)
	require.NoError(t, err)
	require.True(t, a.cert.Equal(b.cert))
	_, err = loadAuthority(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}

// testFront is an HTTPS server behind a front.
func testFront(t *testing.T, a *authority, lim Limits, roles ...role) *front {
	t.Helper()
	_, err := a.renew(memberFile, memberIdentity(), time.Hour)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f := newFront(l, a.serverTLS([]string{"http/1.1"}, roles...), lim.withDefaults(), slog.New(slog.DiscardHandler))
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "in")
	})}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(f) }()
	t.Cleanup(func() {
		_ = srv.Close()
		_ = f.Close()
		<-ended
	})
	return f
}

// ask makes one request on a connection of its own.
func ask(f *front, c *tls.Config) error {
	tr := &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr, Timeout: 30 * time.Second}).Get("https://" + f.Addr().String())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && string(text) != "in" {
		err = errors.New("another answer")
	}
	return err
}

// with is a client of a's members that shows a certificate, or none.
func with(t *testing.T, a *authority, by *authority, id identity, life time.Duration) *tls.Config {
	t.Helper()
	c := &tls.Config{RootCAs: a.pool(), MinVersion: tls.VersionTLS13}
	if by == nil {
		return c
	}
	text, err := by.pair(id, nil, life)
	require.NoError(t, err)
	pair, err := tls.X509KeyPair(text, text)
	require.NoError(t, err)
	// As somebody would who shows it whether or not the server's list of authorities asks for it.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return c
}

func TestWhoGetsIn(t *testing.T) {
	a, other := testAuthority(t), testAuthority(t)
	peer := testFront(t, a, Limits{}, roleMember, roleInvitation)
	client := testFront(t, a, Limits{}, roleMember, roleClient)
	member, user := identity{role: roleMember, name: "m"}, identity{role: roleClient, name: "c"}
	guest, odd := identity{role: roleInvitation, name: "i"}, identity{role: "something", name: "x"}
	for name, c := range map[string]struct {
		c            *tls.Config
		peer, client bool
	}{
		"a member":                  {with(t, a, a, member, time.Hour), true, true},
		"a client":                  {with(t, a, a, user, time.Hour), false, true},
		"an invitation":             {with(t, a, a, guest, time.Hour), true, false},
		"another role":              {with(t, a, a, odd, time.Hour), false, false},
		"no certificate":            {with(t, a, nil, member, 0), false, false},
		"another CA's member":       {with(t, a, other, member, time.Hour), false, false},
		"an expired member":         {with(t, a, a, member, -time.Minute), false, false},
		"an expired client":         {with(t, a, a, user, -time.Minute), false, false},
		"who asks for another CA's": {&tls.Config{RootCAs: other.pool()}, false, false},
	} {
		require.Equal(t, c.peer, ask(peer, c.c) == nil, "%s at the listener for members", name)
		require.Equal(t, c.client, ask(client, c.c) == nil, "%s at the listener for clients", name)
	}
}

// TestSilentConnections opens 10,000 connections that say nothing, and some that say half of a hello. Others get
// through meanwhile, the server holds few of them, and those go when their time is up.
func TestSilentConnections(t *testing.T) {
	a := testAuthority(t)
	lim := Limits{Handshakes: 50, Connections: 200, Handshake: 2 * time.Second}
	f := testFront(t, a, lim, roleMember)
	good := with(t, a, a, identity{role: roleMember, name: "m"}, time.Hour)
	var wg sync.WaitGroup
	worst := time.Duration(0)
	slots := make(chan struct{}, 1000) // what this side has open
	for i := range 10_000 {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			c, err := net.Dial("tcp", f.Addr().String())
			if err != nil {
				return // the queue of the kernel is full
			}
			defer c.Close()
			if i%2 == 0 {
				_, _ = c.Write([]byte{22, 3, 1, 2, 0, 1, 0})
			}
			_, _ = c.Read(make([]byte, 1)) // until the server has enough of it
		})
		if i%500 == 0 {
			begin := time.Now() // whoever is dropped in such a flood comes again
			require.Eventually(t, func() bool { return ask(f, good) == nil }, 30*time.Second, time.Millisecond)
			worst = max(worst, time.Since(begin))
			open, silent := f.count()
			require.LessOrEqual(t, silent, lim.Handshakes)
			require.LessOrEqual(t, open, lim.Connections)
		}
	}
	wg.Wait() // all are dropped: by later ones, or by time
	open, _ := f.count()
	require.LessOrEqual(t, open, 1)
	require.NoError(t, ask(f, good))
	t.Logf("in the flood a request took %s at most", worst)
}

func (f *front) count() (open, silent int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open), f.silent.Len()
}

// TestTooManyConnections: those that have got in are not dropped for others.
func TestTooManyConnections(t *testing.T) {
	a := testAuthority(t)
	f := testFront(t, a, Limits{Connections: 3}, roleMember)
	good := with(t, a, a, identity{role: roleMember, name: "m"}, time.Hour)
	var conns []*tls.Conn
	for range 3 {
		c, err := tls.Dial("tcp", f.Addr().String(), good)
		require.NoError(t, err)
		conns = append(conns, c)
	}
	for _, c := range conns { // the handshake is over on the server's side, too
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.NoError(t, err)
	}
	require.Error(t, ask(f, good))
	require.NoError(t, conns[0].Close())
	require.Eventually(t, func() bool { return ask(f, good) == nil }, 30*time.Second, 10*time.Millisecond)
	for _, c := range conns[1:] {
		require.NoError(t, c.Close())
	}
}

func TestInvitationIsASecret(t *testing.T) {
	a := testAuthority(t)
	text, err := a.pair(identity{role: roleInvitation, name: "b", serial: "1f"}, nil, time.Hour)
	require.NoError(t, err)
	inv := Invitation{name: "b", peers: []string{"https://127.0.0.1:2380"}, ca: certToPEM(a.cert.Raw), cert: text}
	line, err := inv.MarshalText()
	require.NoError(t, err)
	var again Invitation
	require.NoError(t, again.UnmarshalText(line))
	require.Equal(t, inv, again)
	require.Equal(t, `invitation for "b"`, again.String())
	require.WithinDuration(t, time.Now().Add(time.Hour), again.Expires(), time.Minute)
	for _, bad := range []string{"x", invitationPrefix, invitationPrefix + "!", invitationPrefix + "e30"} {
		require.Error(t, again.UnmarshalText([]byte(bad)), bad)
	}
	var none Invitation
	line, err = none.MarshalText()
	require.NoError(t, err)
	require.Empty(t, line)
	require.NoError(t, again.UnmarshalText(nil))
	require.True(t, again.IsZero())
	require.Error(t, func() error { _, err := (Invitation{cert: certToPEM(a.cert.Raw)}).tls(); return err }())
}
