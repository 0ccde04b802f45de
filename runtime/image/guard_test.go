//go:build linux

package image

import (
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAddressClasses(t *testing.T) {
	for addr, want := range map[string]addrClass{
		"8.8.8.8": classPublic, "2001:4860::1": classPublic, "10.0.0.1": classPrivate, "192.168.1.1": classPrivate,
		"100.64.0.1": classPrivate, "fd00::1": classPrivate, "::ffff:10.0.0.1": classPrivate, "127.0.0.1": classLoopback,
		"::1": classLoopback, "::ffff:127.0.0.1": classLoopback, "169.254.169.254": classForbidden,
		"::ffff:169.254.169.254": classForbidden, "fe80::1": classForbidden, "0.0.0.0": classForbidden, "::": classForbidden,
		"224.0.0.1": classForbidden,
	} {
		require.Equal(t, want, classify(netip.MustParseAddr(addr)), addr)
	}
}

func TestWhereARegistryMayLead(t *testing.T) {
	for _, c := range []struct {
		origin, explicit bool
		home, to         addrClass
		want             bool
	}{
		{true, false, classUnknown, classPublic, true},
		{true, false, classUnknown, classPrivate, true},
		{true, false, classUnknown, classLoopback, true},
		{true, false, classUnknown, classForbidden, false},
		{true, true, classUnknown, classForbidden, true},
		{false, false, classPublic, classPublic, true},
		{false, false, classPublic, classPrivate, false},
		{false, false, classPublic, classLoopback, false},
		{false, false, classPublic, classForbidden, false},
		{false, true, classPublic, classForbidden, false},
		{false, false, classPrivate, classPrivate, true},
		{false, false, classPrivate, classLoopback, false},
		{false, false, classLoopback, classLoopback, true},
		{false, false, classLoopback, classForbidden, false},
		{false, false, classUnknown, classPrivate, false},
	} {
		require.Equal(t, c.want, permits(c.origin, c.explicit, c.home, c.to), "%+v", c)
	}
}

func testGuard(t *testing.T, secret bool, cfg Config) *guard {
	t.Helper()
	cfg.Dir = "/x"
	cfg.setDefaults()
	r, err := parseReference("registry.example:5000/demo")
	require.NoError(t, err)
	return newGuard(&cfg, r, secret)
}

func TestGuardChecks(t *testing.T) {
	g := testGuard(t, true, Config{PlainHTTP: []string{"old.example"}, TokenHosts: map[string][]string{"registry.example:5000": {"auth.example"}}})
	do := func(method, u, auth string) error {
		req, err := http.NewRequest(method, u, nil)
		require.NoError(t, err)
		if auth != "" {
			req.Header.Set("Authorization", auth)
		}
		return g.check(req)
	}
	require.NoError(t, do("GET", "https://registry.example:5000/v2/", "Basic x"))
	require.NoError(t, do("GET", "https://auth.example/token", "Basic x"))
	require.NoError(t, do("GET", "https://cdn.example/blob", ""))
	require.NoError(t, do("GET", "http://old.example:80/blob", ""))
	require.NoError(t, do("GET", "http://127.0.0.1:5000/blob", ""))
	require.NoError(t, do("GET", "http://[::1]:5000/blob", ""))
	require.ErrorIs(t, do("GET", "https://cdn.example/blob", "Bearer x"), ErrUnauthorized)
	require.ErrorIs(t, do("GET", "https://registry.example/v2/", "Basic x"), ErrUnauthorized, "another port")
	require.ErrorIs(t, do("GET", "https://auth.example:444/token", "Basic x"), ErrUnauthorized)
	require.ErrorIs(t, do("POST", "https://elsewhere.example/token", ""), ErrUnauthorized)
	require.ErrorIs(t, do("GET", "http://registry.example:5000/v2/", ""), ErrUnavailable)
	require.ErrorIs(t, do("GET", "http://10.0.0.1/v2/", ""), ErrUnavailable)
	require.ErrorIs(t, do("GET", "http://localhost.evil.example/v2/", ""), ErrUnavailable)
	require.ErrorIs(t, do("GET", "ftp://registry.example:5000/v2/", ""), ErrUnavailable)
	g.cfg.PlainHTTP = append(g.cfg.PlainHTTP, "registry.example")
	require.NoError(t, do("GET", "http://registry.example:5000/v2/", "Basic x"))
	g.tls.Store(true)
	require.ErrorIs(t, do("GET", "http://registry.example:5000/v2/", "Basic x"), ErrUnauthorized, "it has TLS")
	require.NoError(t, do("GET", "http://registry.example:5000/v2/", ""))
	g.secret = false
	require.NoError(t, do("GET", "https://cdn.example/blob", "Bearer anonymous"))
}

func TestProxiesAreNoStrangers(t *testing.T) {
	g := testGuard(t, false, Config{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse("http://10.0.0.9:3128") }})
	u, err := g.proxy(&http.Request{})
	require.NoError(t, err)
	require.Equal(t, "10.0.0.9:3128", u.Host)
	_, ok := g.proxies.Load("10.0.0.9:3128")
	require.True(t, ok)
}

// silence never says anything until its request ends.
type silence struct{ end chan struct{} }

func (s silence) Read([]byte) (int, error) { <-s.end; return 0, io.ErrUnexpectedEOF }
func (s silence) Close() error             { return nil }

func TestSilentBodiesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silence{make(chan struct{})}
		b := newBody(s, func() { close(s.end) }, 10, time.Minute)
		start := time.Now()
		_, err := b.Read(make([]byte, 1))
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorContains(t, err, "1m")
		require.Equal(t, time.Minute, time.Since(start))
	})
	b := newBody(io.NopCloser(strings.NewReader("more than ten bytes")), func() {}, 10, time.Minute)
	_, err := io.ReadAll(b)
	require.ErrorIs(t, err, ErrTooLarge)
	require.NoError(t, b.Close())
}
