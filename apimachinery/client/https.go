package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

// Config says how to reach an API over HTTPS.
type Config struct {
	// Server is the address of the API: "https://host:port", with a path prefix if there is one. "http" is
	// accepted too, for a server behind a proxy on the same machine.
	Server string
	// CA is what the server's certificate must be signed by, in PEM. Default: the system's.
	CA []byte
	// ServerName is the name that the server's certificate must have. Default: the host of Server.
	ServerName string
	// Insecure accepts any certificate of the server.
	Insecure bool

	// Cert and Key are the client's certificate, in PEM.
	Cert, Key []byte
	// Token is asked for the bearer token before each request, so that it can be renewed. nil: none.
	Token func(ctx context.Context) (string, error)

	// UserAgent names the program; its first word becomes the default field manager. Default "bedplate".
	UserAgent string
	// Impersonate is whom to act as, if its Name is set.
	Impersonate apimachinery.User
	// Compress asks for compressed answers: worth it over slow networks.
	Compress bool
	// Dial makes connections. Default: TCP, within 30 s.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Retries is how often a request is sent again that the server refused for the moment (429, or 503 with
	// Retry-After), after the time that the server asks for. Default 5; negative: never.
	Retries int
}

func (c *Config) validate() (*url.URL, error) {
	u, err := url.Parse(c.Server)
	switch {
	case err != nil:
		return nil, fmt.Errorf("server: %w", err)
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, fmt.Errorf("server %q: give it as https://host:port", c.Server)
	case len(c.Cert) == 0 != (len(c.Key) == 0):
		return nil, errors.New("certificate and key go together: one is missing")
	case u.Scheme == "http" && (c.Token != nil || len(c.Cert) > 0):
		return nil, errors.New("credentials are sent over https alone")
	}
	return u, nil
}

// HTTPS returns a Doer that speaks to an API over HTTP/2 and TLS. It opens connections when they are needed, and
// [Conn.Close] drops those that are idle.
func HTTPS(c Config) (*Conn, error) {
	base, err := c.validate()
	if err != nil {
		return nil, fmt.Errorf("configure the API client: %w", err)
	}
	t, err := c.transport()
	if err != nil {
		return nil, fmt.Errorf("configure the API client: %w", err)
	}
	if c.UserAgent == "" {
		c.UserAgent = "bedplate"
	}
	if c.Retries == 0 {
		c.Retries = defaultRetries
	}
	return &Conn{base: base, trip: t, headers: c.headers(), token: c.Token, retries: max(0, c.Retries)}, nil
}

const (
	defaultRetries = 5
	maxRetryAfter  = 30 * time.Second
)

// Over returns a Doer that sends through a RoundTripper which sees to credentials and everything else; server
// is as in [Config].
func Over(t http.RoundTripper, server string) (*Conn, error) {
	base, err := (&Config{Server: server}).validate()
	if err != nil {
		return nil, fmt.Errorf("configure the API client: %w", err)
	}
	return &Conn{base: base, trip: t, retries: defaultRetries}, nil
}

func (c *Config) transport() (*http.Transport, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName, InsecureSkipVerify: c.Insecure}
	if len(c.CA) > 0 {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(c.CA) {
			return nil, errors.New("the CA holds no certificate in PEM")
		}
	}
	if len(c.Cert) > 0 {
		cert, err := tls.X509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		t.Certificates = []tls.Certificate{cert}
	}
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	return &http.Transport{
		TLSClientConfig: t, DialContext: dial, Proxy: http.ProxyFromEnvironment,
		ForceAttemptHTTP2: true, DisableCompression: !c.Compress,
		TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: 25, IdleConnTimeout: 90 * time.Second,
		// A connection that died without a word is found within 45 s.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}, nil
}

func (c *Config) headers() http.Header {
	h := http.Header{"User-Agent": {c.UserAgent}}
	if u := c.Impersonate; u.Name != "" {
		h.Set("Impersonate-User", u.Name)
		if u.UID != "" {
			h.Set("Impersonate-Uid", u.UID)
		}
		for _, g := range u.Groups {
			h.Add("Impersonate-Group", g)
		}
		for k, vs := range u.Extra {
			for _, v := range vs {
				h.Add("Impersonate-Extra-"+url.QueryEscape(k), v)
			}
		}
	}
	return h
}

// Conn is an apimachinery.Doer over HTTP. It is safe for concurrent use.
type Conn struct {
	base    *url.URL
	trip    http.RoundTripper
	headers http.Header
	token   func(context.Context) (string, error)
	retries int
}

var _ apimachinery.Doer = (*Conn)(nil)

// Close drops idle connections; requests under way go on.
func (c *Conn) Close() error {
	utilnet.CloseIdleConnectionsFor(c.trip)
	return nil
}

// Do implements apimachinery.Doer. The answer's body is in Stream.
func (c *Conn) Do(ctx context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	for try := 0; ; try++ {
		resp, err := c.once(ctx, r)
		wait, again := retryAfter(err)
		if !again || try >= c.retries {
			return resp, err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, err
		case <-t.C:
		}
	}
}

func (c *Conn) once(ctx context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	hr, err := wire.Build(ctx, c.base, r)
	if err != nil {
		return nil, err
	}
	for k, v := range c.headers {
		hr.Header[k] = v
	}
	if c.token != nil {
		token, err := c.token(ctx)
		if err != nil {
			return nil, fmt.Errorf("get a token: %w", err)
		}
		if token = strings.TrimSpace(token); token != "" {
			hr.Header.Set("Authorization", "Bearer "+token)
		}
	}
	resp, err := c.trip.RoundTrip(hr)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", hr.Method, c.base.Host, err)
	}
	return wire.ReadResponse(resp)
}

// retryAfter says whether the server asked to come again, and when.
func retryAfter(err error) (time.Duration, bool) {
	if !apierrors.IsTooManyRequests(err) && !apierrors.IsServiceUnavailable(err) {
		return 0, false
	}
	s, ok := apierrors.SuggestsClientDelay(err)
	if !ok {
		return 0, false
	}
	return min(time.Duration(s)*time.Second, maxRetryAfter), true
}
