package authn_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/apimachinery/server/pki"
	"github.com/bedplate/bedplate/rbac/authn"
)

func TestRequestHeader(t *testing.T) {
	proxies, err := pki.Open(pki.Config{})
	require.NoError(t, err)
	others, err := pki.Open(pki.Config{})
	require.NoError(t, err)
	a, err := authn.RequestHeader(authn.FrontProxy{Clients: proxies.Pool(), Names: []string{"front-proxy-client"}})
	require.NoError(t, err)
	_, err = authn.RequestHeader(authn.FrontProxy{})
	require.Error(t, err)

	leaf := func(of *pki.Authority, name string) []*x509.Certificate {
		raw, _, err := of.Client(name, nil, time.Hour)
		require.NoError(t, err)
		block, _ := pem.Decode(raw)
		c, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		return []*x509.Certificate{c}
	}
	for name, c := range map[string]struct {
		certificates []*x509.Certificate
		header       http.Header
		ok           bool
		err          string
	}{
		"a proxy":             {leaf(proxies, "front-proxy-client"), http.Header{"X-Remote-User": {"jane"}}, true, ""},
		"none":                {nil, http.Header{"X-Remote-User": {"jane"}}, false, ""},
		"a client of ours":    {leaf(others, "front-proxy-client"), http.Header{"X-Remote-User": {"jane"}}, false, ""},
		"another of theirs":   {leaf(proxies, "somebody"), http.Header{"X-Remote-User": {"jane"}}, false, "cn=somebody is not in the allowed list"},
		"a proxy for nobody":  {leaf(proxies, "front-proxy-client"), http.Header{}, false, ""},
		"a user without name": {leaf(proxies, "front-proxy-client"), http.Header{"X-Remote-Group": {"system:masters"}}, false, ""},
	} {
		r := &http.Request{Header: c.header, TLS: &tls.ConnectionState{PeerCertificates: c.certificates}}
		r.Header["X-Remote-Group"] = append(r.Header["X-Remote-Group"], "g1", "g2")
		r.Header["X-Remote-Extra-Example.com%2fscopes"] = []string{"a", "b"}
		u, ok, err := a.Authenticate(r)
		require.Equal(t, c.ok, ok, name)
		if c.err != "" {
			require.ErrorContains(t, err, c.err, name)
		} else {
			require.NoError(t, err, name)
		}
		require.Empty(t, r.Header, "%s: the headers are gone", name)
		if ok {
			require.Equal(t, "jane", u.Name)
			require.Equal(t, []string{"g1", "g2"}, u.Groups)
			require.Equal(t, map[string][]string{"example.com/scopes": {"a", "b"}}, u.Extra)
		}
	}
}
