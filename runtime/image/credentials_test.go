//go:build linux

package image_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/runtime/image"
	"github.com/bedplate/bedplate/runtime/image/imagetest"
)

const (
	canaryPassword = "canary-password-5e1f"
	canaryToken    = "canary-token-77aa"
	issuedToken    = "issued-token-0b9c"
)

// thief is a host that must see no secret.
type thief struct {
	mu   sync.Mutex
	seen []string
	http.Handler
}

func (th *thief) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var b bytes.Buffer
	r.Header.Write(&b)
	io.Copy(&b, io.LimitReader(r.Body, 1<<16))
	auth := r.Header.Get("Authorization")
	if _, enc, ok := strings.Cut(auth, "Basic "); ok {
		dec, _ := base64.StdEncoding.DecodeString(enc)
		b.Write(dec)
	}
	th.mu.Lock()
	th.seen = append(th.seen, r.Method+" "+r.URL.String()+"\n"+b.String())
	th.mu.Unlock()
	if th.Handler != nil {
		th.Handler.ServeHTTP(w, r)
		return
	}
	fmt.Fprintf(w, `{"token":%q}`, issuedToken)
}

func (th *thief) requests() string {
	th.mu.Lock()
	defer th.mu.Unlock()
	return strings.Join(th.seen, "\n")
}

func (th *thief) clean(t *testing.T) {
	t.Helper()
	for _, secret := range []string{canaryPassword, canaryToken, issuedToken, "Authorization"} {
		require.NotContains(t, th.requests(), secret)
	}
}

// elsewhere serves the thief under a name that isn't an address, which address checks let pass.
func elsewhere(t *testing.T, th *thief) (url string) {
	return "http://" + strings.Replace(serve(t, th), "127.0.0.1", "localhost", 1)
}

// bearer is a registry that wants a token from a realm.
func bearer(f *front, realm func() string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			return false
		}
		if r.Header.Get("Authorization") == "Bearer "+issuedToken {
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="reg",scope="repository:demo:pull"`, realm()))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

var (
	basicCredentials    = image.Credentials{Username: "user", Password: canaryPassword}
	identityCredentials = image.Credentials{Username: "<token>", IdentityToken: canaryToken}
)

func pushDemo(t *testing.T) (f *front, host, ref string) {
	f = newFront()
	host = serve(t, f)
	ref = imagetest.Push(t, host, "demo:v1", map[string][]byte{"f": []byte("x")}, image.ContainerConfig{})
	return f, host, ref
}

func TestBasicCredentials(t *testing.T) {
	f, _, ref := pushDemo(t)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, ok := r.BasicAuth(); ok && u == "user" && p == canaryPassword {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	asked := ""
	var logged bytes.Buffer
	s := open(t, func(c *image.Config) {
		c.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Credentials = func(_ context.Context, repository string) (image.Credentials, error) {
			asked = repository
			return image.Credentials{}, nil
		}
	})
	_, err := s.Pull(t.Context(), ref, image.PullOptions{})
	require.ErrorIs(t, err, image.ErrUnauthorized)
	require.Equal(t, strings.TrimSuffix(ref, ":v1"), asked)
	wrong := image.Credentials{Username: "user", Password: "wrong" + canaryPassword}
	_, err = s.Pull(t.Context(), ref, image.PullOptions{Auth: wrong})
	require.ErrorIs(t, err, image.ErrUnauthorized)
	require.NotContains(t, err.Error(), canaryPassword)
	_, err = s.Pull(t.Context(), ref, image.PullOptions{Auth: basicCredentials})
	require.NoError(t, err)
	require.NotContains(t, logged.String(), canaryPassword)
	shown := fmt.Sprintf("%v %+v %#v %s", wrong, wrong, wrong, slog.AnyValue(wrong).Resolve())
	require.NotContains(t, shown, canaryPassword)
}

func TestTokens(t *testing.T) {
	f, host, ref := pushDemo(t)
	th := &thief{}
	th.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.True(t, r.Header.Get("Authorization") != "" || r.Method == http.MethodPost)
		fmt.Fprintf(w, `{"access_token":%q}`, issuedToken)
	})
	guarded := bearer(f, func() string { return "http://" + host + "/token" })
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			th.ServeHTTP(w, r)
			return true
		}
		return guarded(w, r)
	}
	for name, cred := range map[string]image.Credentials{"basic": basicCredentials, "identity": identityCredentials, "registry token": {RegistryToken: issuedToken}} {
		s := open(t)
		_, err := s.Pull(t.Context(), ref, image.PullOptions{Auth: cred})
		require.NoError(t, err, name)
	}
	require.Contains(t, th.requests(), canaryPassword)
	require.Contains(t, th.requests(), canaryToken)
}

func TestRealmElsewhereGetsNoCredentials(t *testing.T) {
	f, host, ref := pushDemo(t)
	th := &thief{}
	other := elsewhere(t, th)
	for name, realm := range map[string]string{
		"another host": other + "/token", "another port": "http://" + strings.TrimPrefix(strings.Replace(other, "localhost", "127.0.0.1", 1), "http://") + "/token",
		"link-local": "http://169.254.169.254/token", "private": "https://10.1.2.3/token", "mapped": "http://[::ffff:169.254.169.254]/token",
		"decimal": "http://2852039166/token", "file": "file:///etc/passwd", "user info": strings.Replace(other, "//", "//"+host+"@", 1),
		"plain HTTP elsewhere": "http://example.com/token",
	} {
		for _, cred := range []image.Credentials{basicCredentials, identityCredentials} {
			f.before = bearer(f, func() string { return realm })
			s := open(t)
			_, err := s.Pull(t.Context(), ref, image.PullOptions{Auth: cred})
			require.Error(t, err, name)
			require.True(t, isKind(err, image.ErrUnauthorized) || isKind(err, image.ErrUnavailable), "%s: %v", name, err)
			require.NotContains(t, err.Error(), canaryPassword)
			th.clean(t)
		}
	}
	require.Empty(t, th.requests())

	// Without credentials there is nothing to lose, and public registries do keep their tokens elsewhere.
	f.before = bearer(f, func() string { return other + "/token" })
	_, err := open(t).Pull(t.Context(), ref, image.PullOptions{})
	require.NoError(t, err)
	th.clean(t)
	// With the operator's consent they go.
	s := open(t, func(c *image.Config) {
		c.TokenHosts = map[string][]string{host: {strings.TrimPrefix(other, "http://")}}
	})
	_, err = s.Pull(t.Context(), ref, image.PullOptions{Auth: basicCredentials})
	require.NoError(t, err)
	require.Contains(t, th.requests(), canaryPassword)
}

func TestRedirectsCarryNoCredentials(t *testing.T) {
	f, host, ref := pushDemo(t)
	th := &thief{Handler: f.Handler}
	other := elsewhere(t, th)
	token := bearer(f, func() string { return "http://" + host + "/token" })
	for _, where := range []string{"/manifests/", "/blobs/", "/token", "/v2/"} {
		for _, code := range []int{301, 302, 307, 308} {
			for name, cred := range map[string]image.Credentials{"basic": basicCredentials, "identity": identityCredentials} {
				f.before = func(w http.ResponseWriter, r *http.Request) bool {
					if strings.Contains(r.URL.Path, where) && (where != "/v2/" || r.URL.Path == where) {
						if where == "/token" || r.Header.Get("Authorization") != "" || where == "/v2/" {
							http.Redirect(w, r, other+r.URL.Path, code)
							return true
						}
					}
					if r.URL.Path == "/token" {
						fmt.Fprintf(w, `{"token":%q}`, issuedToken)
						return true
					}
					return token(w, r)
				}
				_, err := open(t).Pull(t.Context(), ref, image.PullOptions{Auth: cred})
				th.clean(t)
				if where == "/manifests/" || where == "/blobs/" {
					require.NoError(t, err, "%s %d %s: content is verified wherever it lies", where, code, name)
				}
			}
		}
	}
	require.Contains(t, th.requests(), "/blobs/")
}

func TestTLS(t *testing.T) {
	f := newFront()
	srv := httptest.NewUnstartedServer(f)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	plain := serve(t, f)
	imagetest.Push(t, plain, "demo:v1", map[string][]byte{"f": []byte("x")}, image.ContainerConfig{})
	host := strings.TrimPrefix(srv.URL, "https://")
	_, err := open(t).Pull(t.Context(), host+"/demo:v1", image.PullOptions{})
	require.ErrorIs(t, err, image.ErrUnavailable)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	trusting := func(c *image.Config) { c.RootCAs = roots }
	_, err = open(t, trusting).Pull(t.Context(), host+"/demo:v1", image.PullOptions{})
	require.NoError(t, err)

	// A registry that was met over TLS cannot lead its credentials to plain HTTP, not even at its own name.
	th := &thief{}
	down := serve(t, th)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.TLS != nil && strings.Contains(r.URL.Path, "/manifests/") {
			http.Redirect(w, r, "http://"+down+r.URL.Path, http.StatusFound)
			return true
		}
		if _, _, ok := r.BasicAuth(); !ok && r.TLS != nil {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	}
	_, err = open(t, trusting).Pull(t.Context(), host+"/demo:v1", image.PullOptions{Auth: basicCredentials})
	require.Error(t, err)
	th.clean(t)
}
