package aggregate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

type targetKey struct{}

// ServeHTTP leads a request to the other server.
func (x *extension) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, known := apimachinery.UserFrom(r.Context())
	switch {
	case !known:
		refuse(w, r, apierrors.NewInternalError(errors.New("missing user")))
		return
	case x.broken != nil:
		refuse(w, r, apierrors.NewInternalError(x.broken))
		return
	case x.state.Load().err() != nil:
		refuse(w, r, apierrors.NewServiceUnavailable("service unavailable"))
		return
	}
	at, err := x.a.c.Services.Resolve(r.Context(), x.spec.Service.Namespace, x.spec.Service.Name, x.port())
	if err != nil {
		x.a.c.Log.Warn("service of an APIService not found", "name", x.name, "err", err)
		x.poke()
		refuse(w, r, apierrors.NewServiceUnavailable("service unavailable"))
		return
	}
	x.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), targetKey{}, at)))
}

func refuse(w http.ResponseWriter, r *http.Request, err error) {
	_ = wire.WriteError(w, r, err) // nobody is left to tell if that fails
}

// newProxy makes what passes requests on. A connection is upgraded only once the other server has agreed to it.
func (x *extension) newProxy() http.Handler {
	return &httputil.ReverseProxy{
		FlushInterval: -1,
		Transport:     x,
		Rewrite: func(p *httputil.ProxyRequest) {
			at := p.In.Context().Value(targetKey{}).(*url.URL)
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = at.Scheme, at.Host, at.Host
			p.Out.URL.RawQuery = p.In.URL.RawQuery
			p.SetXForwarded()
			withoutCredentials(p.Out.Header)
			u, _ := apimachinery.UserFrom(p.In.Context())
			identify(p.Out.Header, u)
		},
		ModifyResponse: noRedirect,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				panic(http.ErrAbortHandler) // the client has gone
			}
			x.a.c.Log.Warn("request of an extension not passed on", "name", x.name, "err", err)
			x.poke()
			refuse(w, r, apierrors.NewServiceUnavailable(fmt.Sprintf("error trying to reach service: %v", err)))
		},
	}
}

// RoundTrip sends a request; one for an upgrade over a connection of its own, which ends with it.
func (x *extension) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Upgrade") != "" {
		return x.upgrades.RoundTrip(r)
	}
	return x.plain.RoundTrip(r)
}

// noRedirect keeps redirects from the client, who has shown its credentials here alone. An upgrade that was refused ends
// the client's connection, too.
func noRedirect(resp *http.Response) error {
	defer func() {
		if resp.Request.Header.Get("Upgrade") != "" && resp.StatusCode != http.StatusSwitchingProtocols {
			resp.Header.Set("Connection", "close")
		}
	}()
	if resp.StatusCode < 300 || resp.StatusCode > 399 || resp.StatusCode == http.StatusNotModified {
		return nil
	}
	resp.Body.Close()
	const text = "the backend attempted to redirect this request, which is not permitted"
	resp.StatusCode, resp.Status = http.StatusBadGateway, "502 Bad Gateway"
	resp.Header = http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	return nil
}

const bearerProtocol = "base64url.bearer.authorization.k8s.io."

// withoutCredentials takes out what was for this server alone, and what only this server may say.
func withoutCredentials(h http.Header) {
	for name := range h {
		if name == "Authorization" || strings.HasPrefix(name, "Impersonate-") || strings.HasPrefix(name, "X-Remote-") {
			delete(h, name)
		}
	}
	const protocols = "Sec-Websocket-Protocol"
	var kept []string
	for _, line := range h[protocols] {
		for p := range strings.SplitSeq(line, ",") {
			if p = strings.TrimSpace(p); p != "" && !strings.HasPrefix(p, bearerProtocol) {
				kept = append(kept, p)
			}
		}
	}
	if delete(h, protocols); len(kept) > 0 {
		h.Set(protocols, strings.Join(kept, ", "))
	}
}

// identify says who asks, as a front proxy does.
func identify(h http.Header, u apimachinery.User) {
	h.Set("X-Remote-User", u.Name)
	if u.UID != "" {
		h.Set("X-Remote-Uid", u.UID)
	}
	for _, g := range u.Groups {
		h.Add("X-Remote-Group", g)
	}
	for k, values := range u.Extra {
		for _, v := range values {
			h.Add("X-Remote-Extra-"+escapeKey(k), v)
		}
	}
}

// escapeKey makes a key of an extra field part of a header's name: what may not stand there is percent-encoded.
func escapeKey(key string) string {
	const also = "!#$&'*+-.^_`|~"
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || slices.Contains([]byte(also), c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
