// Package callout is how an API server calls those that its users name: webhooks, extension servers. It trusts the
// bundle that it was given, follows no redirect (CVE-2020-8561, CVE-2022-3172), bounds what it reads, and keeps bodies
// to itself: no error has a part of one.
package callout

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// Dial connects, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 30 * time.Second
	idlePerHost      = 16
)

// Direct connects within 10 s.
func Direct() Dial { return (&net.Dialer{Timeout: dialTimeout}).DialContext }

// Guarded is [Direct] to where services of a cluster may be, which whoever may write a Service says: never loopback, nor
// link-local addresses, where clouds keep their metadata. It judges the address that is dialled, so no name can come
// to mean another in between.
func Guarded() Dial {
	d := &net.Dialer{Timeout: dialTimeout, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !Allowed(at.Addr()) {
			return fmt.Errorf("the address %s is not one of a service", at.Addr())
		}
		return nil
	}}
	return d.DialContext
}

// Allowed says whether a service of the cluster may be at an address.
func Allowed(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsValid() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsUnspecified()
}

// Peer says how another server is trusted, and what it is shown.
type Peer struct {
	// CABundle are the authorities, in PEM, that may have signed its certificate; empty: those of the system.
	CABundle []byte
	// ServerName is what its certificate must say; empty: the host that is called.
	ServerName string
	// Insecure has any certificate do.
	Insecure bool
	// Certificate is shown to it. Nil: none.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

// TLS is the configuration for a peer.
func (p Peer) TLS() (*tls.Config, error) {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: p.ServerName, GetClientCertificate: p.Certificate,
		InsecureSkipVerify: p.Insecure, //nolint:gosec // what the APIService says
	}
	if len(bytes.TrimSpace(p.CABundle)) > 0 {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(p.CABundle) {
			return nil, errors.New("unable to load root certificates: unable to parse bytes as PEM block")
		}
	}
	return c, nil
}

// Transport makes the transport to a peer, which keeps connections for half a minute. dial nil: [Direct].
func (p Peer) Transport(dial Dial) (*http.Transport, error) {
	c, err := p.TLS()
	if err != nil {
		return nil, err
	}
	if dial == nil {
		dial = Direct()
	}
	return &http.Transport{
		DialContext: dial, TLSClientConfig: c, ForceAttemptHTTP2: true, IdleConnTimeout: idleTimeout,
		MaxIdleConnsPerHost: idlePerHost, TLSHandshakeTimeout: handshakeTimeout,
	}, nil
}

// Client makes the client of a peer. It follows nothing.
func (p Peer) Client(dial Dial) (*http.Client, error) {
	t, err := p.Transport(dial)
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// CodeError is an answer that is neither of the class 2xx nor has what was asked for.
type CodeError struct {
	Code   int
	Status string // as in "302 Found"
	// Body is what was said, for those who know how to read it (an API Status). It is not part of the text.
	Body []byte
}

// Error tells the code alone.
func (e *CodeError) Error() string { return "the answer was " + e.Status }

// Post sends JSON and returns the answer, which may have at most so many bytes. Anything but 2xx is a [*CodeError].
func Post(ctx context.Context, c *http.Client, url string, body []byte, most int64) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "kube-apiserver-admission")
	return Do(c, r, most)
}

// Do is [Post] of a request that is the caller's own.
func Do(c *http.Client, r *http.Request, most int64) ([]byte, error) {
	if r.Header.Get("Accept") == "" {
		r.Header.Set("Accept", "application/json")
	}
	resp, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer: %w", err)
	case int64(len(answer)) > most:
		return nil, fmt.Errorf("the answer is larger than %d bytes", most)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, &CodeError{resp.StatusCode, resp.Status, answer}
	}
	return answer, nil
}
