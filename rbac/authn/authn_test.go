package authn_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
	"github.com/bedplate/bedplate/rbac/authn"
)

func authority(t require.TestingT) *pki.Authority {
	a, err := pki.Open(pki.Config{})
	require.NoError(t, err)
	return a
}

func clientCertificate(t *testing.T, a *pki.Authority, user string, groups ...string) *x509.Certificate {
	data, _, err := a.Client(user, groups, time.Hour)
	require.NoError(t, err)
	block, _ := pem.Decode(data)
	c, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return c
}

func request(certificates ...*x509.Certificate) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	if certificates != nil {
		r.TLS = &tls.ConnectionState{PeerCertificates: certificates}
	}
	return r
}

func TestCertificates(t *testing.T) {
	ours, theirs := authority(t), authority(t)
	now := time.Now()
	a := authn.Certificates(ours.Pool(), func() time.Time { return now })

	u, ok, err := a.Authenticate(request(clientCertificate(t, ours, "jane", "dev", "ops")))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "jane", u.Name)
	require.Equal(t, []string{"dev", "ops"}, u.Groups)
	require.Contains(t, u.Extra["authentication.kubernetes.io/credential-id"][0], "X509SHA256=")

	_, ok, err = a.Authenticate(request())
	require.NoError(t, err)
	require.False(t, ok)

	_, ok, err = a.Authenticate(request(clientCertificate(t, theirs, "jane")))
	require.Error(t, err, "another authority's")
	require.False(t, ok)

	serving, err := ours.Serving("localhost")
	require.NoError(t, err)
	_, _, err = a.Authenticate(request(serving.Leaf))
	require.Error(t, err, "a serving certificate is no client's")

	late := clientCertificate(t, ours, "jane")
	_, ok, err = a.Authenticate(request(late))
	require.NoError(t, err)
	require.True(t, ok)
	now = now.Add(2 * time.Hour)
	_, _, err = a.Authenticate(request(late))
	require.Error(t, err, "expired, and what is known of it too")
}

func TestStaticTokens(t *testing.T) {
	a := authn.Bearer(authn.Static(map[string]apimachinery.User{"secret": {Name: "jane", Groups: []string{"g"}}, "": {Name: "nobody"}}, "api"))
	for _, c := range []struct {
		header string
		ok     bool
		bad    bool
	}{
		{"Bearer secret", true, false},
		{"bearer  secret ", true, false},
		{"Bearer wrong", false, true},
		{"Bearer ", false, false},
		{"Bearer", false, false},
		{"Basic secret", false, false},
		{"", false, false},
		{"secret", false, false},
	} {
		r := request()
		r.Header.Set("Authorization", c.header)
		u, ok, err := a.Authenticate(r)
		require.Equal(t, c.ok, ok, c.header)
		require.Equal(t, c.bad, err != nil, c.header)
		if ok {
			require.Equal(t, apimachinery.User{Name: "jane", Groups: []string{"g"}}, u)
		}
	}
	s := authn.Static(map[string]apimachinery.User{"secret": {Name: "jane"}}, "api")
	_, good, ok, err := s.AuthenticateToken(t.Context(), "secret", []string{"x", "api"})
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, []string{"api"}, good)
	_, _, ok, err = s.AuthenticateToken(t.Context(), "secret", []string{"x"})
	require.NoError(t, err)
	require.False(t, ok)
}

type fixed struct {
	u   apimachinery.User
	ok  bool
	err error
}

func (f fixed) Authenticate(*http.Request) (apimachinery.User, bool, error) { return f.u, f.ok, f.err }

func (f fixed) AuthenticateToken(context.Context, string, []string) (apimachinery.User, []string, bool, error) {
	return f.u, nil, f.ok, f.err
}

func TestUnion(t *testing.T) {
	bad := errors.New("bad")
	jane := fixed{u: apimachinery.User{Name: "jane"}, ok: true}
	u, ok, err := authn.Union(fixed{}, fixed{err: bad}, jane, fixed{u: apimachinery.User{Name: "joe"}, ok: true}).Authenticate(request())
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, apimachinery.User{Name: "jane", Groups: []string{"system:authenticated"}}, u)

	_, ok, err = authn.Union(fixed{}, fixed{err: bad}).Authenticate(request())
	require.ErrorIs(t, err, bad)
	require.False(t, ok)
	_, ok, err = authn.Union(fixed{}).Authenticate(request())
	require.NoError(t, err)
	require.False(t, ok)
	u, _, _ = authn.Union(fixed{u: authn.Anonymous(), ok: true}).Authenticate(request())
	require.Equal(t, authn.Anonymous(), u, "nobody is not authenticated")

	_, _, ok, err = authn.UnionTokens(fixed{err: bad}, jane).AuthenticateToken(t.Context(), "t", nil)
	require.NoError(t, err)
	require.True(t, ok)
	_, _, ok, err = authn.UnionTokens(fixed{err: bad}, fixed{}).AuthenticateToken(t.Context(), "t", nil)
	require.ErrorIs(t, err, bad)
	require.False(t, ok)
}

func Example() {
	tokens := authn.Static(map[string]apimachinery.User{"s3cret": {Name: "jane"}})
	a := authn.Union(authn.Bearer(tokens))
	r := httptest.NewRequest("GET", "/api/v1/pods", nil)
	r.Header.Set("Authorization", "Bearer s3cret")
	u, ok, err := a.Authenticate(r)
	fmt.Println(u.Name, u.Groups, ok, err)
	// Output: jane [system:authenticated] true <nil>
}
