//go:build linux

package image

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// guard is the transport beneath the registry client, for one pull. Whatever the client was told by a
// registry, through here goes nothing without TLS, no credentials to a stranger, and no connection from
// a public registry into a private network.
type guard struct {
	cfg      *Config
	origin   string   // the registry's host[:port] as the client writes it
	trusted  []string // hosts that may see its credentials
	secret   bool     // there are credentials
	next     *http.Transport
	class    atomic.Int32 // addrClass that the registry itself was last seen at
	proxies  sync.Map     // host:port of proxies in use
	tls      atomic.Bool  // the registry has answered over TLS
	explicit bool         // the registry is in Config.PlainHTTP: an operator's own choice
}

func newGuard(cfg *Config, r reference, secret bool) *guard {
	g := &guard{cfg: cfg, origin: r.remote.Context().RegistryStr(), secret: secret}
	g.trusted = append([]string{g.origin}, cfg.TokenHosts[r.host]...)
	g.explicit = slices.Contains(cfg.PlainHTTP, g.origin) || slices.Contains(cfg.PlainHTTP, hostname(g.origin))
	g.next = &http.Transport{
		DialContext:            g.dial,
		TLSClientConfig:        &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    15 * time.Second,
		ResponseHeaderTimeout:  cfg.Limits.Stall,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // digests are of the bytes as stored
		MaxResponseHeaderBytes: 256 << 10,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConnsPerHost:    cfg.Concurrency,
	}
	if cfg.Proxy != nil {
		g.next.Proxy = g.proxy
	}
	return g
}

func (g *guard) close() { g.next.CloseIdleConnections() }

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.check(req); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	ctx, cancel := context.WithCancel(req.Context())
	res, err := g.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	if req.URL.Scheme == "https" && req.URL.Host == g.origin {
		g.tls.Store(true)
	}
	limit := int64(math.MaxInt64)
	if strings.Contains(req.URL.Path, "/manifests/") {
		limit = g.cfg.Limits.Manifest
	}
	res.Body = newBody(res.Body, cancel, limit, g.cfg.Limits.Stall)
	return res, nil
}

func (g *guard) check(req *http.Request) error {
	host := req.URL.Host
	if req.Host != "" && req.Host != host {
		return fmt.Errorf("%w: request for %q to %q", ErrUnauthorized, req.Host, host)
	}
	switch req.URL.Scheme {
	case "https":
	case "http":
		if !plainHTTP(g.cfg, host) {
			return fmt.Errorf("%w: %s only speaks plain HTTP, which isn't allowed for it", ErrUnavailable, host)
		}
	default:
		return fmt.Errorf("%w: registry %s leads to a %q address", ErrUnavailable, g.origin, req.URL.Scheme)
	}
	// The client posts nothing but refresh tokens.
	sensitive := g.secret && (req.Header.Get("Authorization") != "" || req.Method == http.MethodPost || req.URL.User != nil)
	if sensitive && req.URL.Scheme == "http" && g.tls.Load() {
		return fmt.Errorf("%w: registry %s leads from TLS to plain HTTP", ErrUnauthorized, g.origin)
	}
	if sensitive && !slices.Contains(g.trusted, host) {
		return fmt.Errorf("%w: registry %s asks to send its credentials to %s, which isn't one of its token hosts", ErrUnauthorized, g.origin, host)
	}
	return nil
}

// plainHTTP says whether a host[:port] may be spoken to without TLS.
func plainHTTP(cfg *Config, host string) bool {
	name := hostname(host)
	if name == "localhost" || slices.Contains(cfg.PlainHTTP, host) || slices.Contains(cfg.PlainHTTP, name) {
		return true
	}
	a, err := netip.ParseAddr(name)
	return err == nil && a.Unmap().IsLoopback()
}

func hostname(hostport string) string { return (&url.URL{Host: hostport}).Hostname() }

// addrClass orders addresses by how much of the inside they are.
type addrClass int32

const (
	classUnknown addrClass = iota
	classPublic
	classPrivate
	classLoopback
	classForbidden // link-local (metadata services live there), multicast, unspecified
)

func classify(a netip.Addr) addrClass {
	a = a.Unmap()
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast():
		return classForbidden
	case a.IsLoopback():
		return classLoopback
	case a.IsPrivate(), sharedSpace.Contains(a):
		return classPrivate
	}
	return classPublic
}

var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// permits decides on an address after names were resolved. The registry itself may be anywhere but at forbidden
// addresses; where it leads us may be no further inside than it is.
func permits(origin bool, explicit bool, home, to addrClass) bool {
	switch {
	case origin && explicit:
		return true
	case to == classForbidden:
		return false
	case origin, to == classPublic:
		return true
	}
	return to <= home
}

func (g *guard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	if _, isProxy := g.proxies.Load(addr); isProxy {
		return d.DialContext(ctx, network, addr)
	}
	origin := slices.Contains([]string{g.origin, g.origin + ":443", g.origin + ":80"}, addr)
	d.Control = func(_, resolved string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(resolved)
		if err != nil {
			return err
		}
		class := classify(ap.Addr())
		if !permits(origin, g.explicit, addrClass(g.class.Load()), class) {
			return fmt.Errorf("%w: registry %s leads to %s, an address it may not lead to", ErrUnauthorized, g.origin, ap)
		}
		if origin {
			g.class.Store(int32(class))
		}
		return nil
	}
	return d.DialContext(ctx, network, addr)
}

func (g *guard) proxy(req *http.Request) (*url.URL, error) {
	u, err := g.cfg.Proxy(req)
	if err == nil && u != nil {
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
		}
		g.proxies.Store(net.JoinHostPort(u.Hostname(), port), true)
	}
	return u, err
}

// body bounds a response in bytes and in silence.
type body struct {
	io.ReadCloser
	cancel context.CancelFunc
	left   int64
	after  time.Duration
	timer  *time.Timer // ends the request when a Read blocks for too long
	silent atomic.Bool
}

func newBody(rc io.ReadCloser, cancel context.CancelFunc, limit int64, after time.Duration) *body {
	b := &body{ReadCloser: rc, cancel: cancel, left: limit, after: after}
	b.timer = time.AfterFunc(after, func() {
		b.silent.Store(true)
		cancel()
	})
	b.timer.Stop()
	return b
}

func (b *body) Read(p []byte) (int, error) {
	b.timer.Reset(b.after)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if b.silent.Load() {
		return n, fmt.Errorf("%w: it sent nothing for %v", ErrUnavailable, b.after)
	}
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%w: manifest over the limit", ErrTooLarge)
	}
	return n, err
}

func (b *body) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel()
	return err
}

// isGuard says whether an error is one of the guard's own decisions.
func isGuard(err error) bool {
	return errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrTooLarge)
}
