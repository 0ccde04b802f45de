//go:build linux

package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// registrySource reads an image from a registry.
type registrySource struct {
	ref    reference
	guard  *guard
	puller *remote.Puller
}

func newRegistrySource(cfg *Config, ref reference, cred Credentials) (*registrySource, error) {
	g := newGuard(cfg, ref, cred != (Credentials{}))
	p, err := remote.NewPuller(
		remote.WithTransport(g),
		remote.WithAuth(authenticator(cred)),
		remote.WithJobs(max(cfg.Concurrency, 1)),
		remote.WithUserAgent("bedplate"),
		// The caller has its own back-off; these cover a hiccup.
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 2}),
		remote.WithRetryStatusCodes(http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout),
	)
	if err != nil {
		return nil, err
	}
	return &registrySource{ref: ref, guard: g, puller: p}, nil
}

func authenticator(c Credentials) authn.Authenticator {
	if c == (Credentials{}) {
		return authn.Anonymous
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: c.Username, Password: c.Password,
		IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
	})
}

func (r *registrySource) close() { r.guard.close() }

func (r *registrySource) root(ctx context.Context) ([]byte, types.MediaType, v1.Hash, error) {
	d, err := r.get(ctx, r.ref.remote)
	if err != nil {
		return nil, "", v1.Hash{}, err
	}
	return d.Manifest, d.MediaType, r.ref.digest, nil
}

func (r *registrySource) manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	got, err := r.get(ctx, r.ref.remote.Context().Digest(d.Digest.String()))
	if err != nil {
		return nil, err
	}
	return got.Manifest, nil
}

func (r *registrySource) get(ctx context.Context, ref name.Reference) (*remote.Descriptor, error) {
	d, err := r.puller.Get(ctx, ref)
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	return d, nil
}

func (r *registrySource) blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	l, err := r.puller.Layer(ctx, r.ref.remote.Context().Digest(d.Digest.String()))
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	rc, err := l.Compressed()
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	return &explained{ReadCloser: rc, src: r, ctx: ctx}, nil
}

// explained gives a stream's errors their kind.
type explained struct {
	io.ReadCloser
	src *registrySource
	ctx context.Context
}

func (e *explained) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if err != nil && err != io.EOF && !strings.HasPrefix(err.Error(), "error verifying") {
		err = e.src.explain(e.ctx, err)
	}
	return n, err
}

// explain gives a registry client's error its kind, and a text that is short and holds no secret.
func (r *registrySource) explain(ctx context.Context, err error) error {
	if cerr := ctx.Err(); cerr != nil {
		return context.Cause(ctx)
	}
	if isGuard(err) {
		return err
	}
	var t *transport.Error
	if errors.As(err, &t) {
		return r.explainStatus(t)
	}
	text := err.Error()
	switch {
	case strings.HasPrefix(text, "manifest digest:"):
		return fmt.Errorf("%w: %s", ErrDigest, short(text))
	case strings.Contains(text, "no token in bearer response"):
		// What follows is the token server's answer, and none of the log's business.
		return fmt.Errorf("%w: the token server of %s gave no token", ErrUnauthorized, r.ref.host)
	case strings.Contains(text, "invalid realm"), strings.Contains(text, "refusing token-server redirect"),
		strings.Contains(text, "SSRF protection"):
		return fmt.Errorf("%w: %s", ErrUnauthorized, short(text))
	}
	return fmt.Errorf("%w: %s", ErrUnavailable, short(text))
}

func (r *registrySource) explainStatus(t *transport.Error) error {
	kind := ErrUnavailable
	switch t.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		kind = ErrUnauthorized
	case http.StatusNotFound:
		kind = ErrNotFound
	}
	what := http.StatusText(t.StatusCode)
	if len(t.Errors) > 0 {
		what = fmt.Sprintf("%s: %s", t.Errors[0].Code, t.Errors[0].Message)
	}
	return fmt.Errorf("%w: registry %s answered %d %s", kind, r.ref.host, t.StatusCode, short(what))
}

// short makes a text of somebody else's fit for a log line and a pod's status.
func short(s string) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, s)
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "..."
	}
	return s
}
