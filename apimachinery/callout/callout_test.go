package callout_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/apimachinery/callout"
)

func ExamplePost() {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"allowed":true}`) }))
	defer s.Close()
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	c, err := callout.Peer{CABundle: bundle}.Client(callout.Direct())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.CloseIdleConnections()
	answer, err := callout.Post(context.Background(), c, s.URL, []byte("{}"), 1<<20)
	fmt.Println(string(answer), err)
	// Output: {"allowed":true} <nil>
}

func TestGuarded(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	at := strings.TrimPrefix(s.URL, "http://")
	_, port, _ := strings.Cut(at, ":")
	for _, address := range []string{at, "localhost:" + port} { // a name that comes to mean loopback is as bad
		_, err := callout.Guarded()(t.Context(), "tcp", address)
		require.ErrorContains(t, err, "is not one of a service", address)
	}
	for address, ok := range map[string]bool{
		"10.0.0.1": true, "2001:db8::1": true, "127.0.0.1": false, "::1": false, "::ffff:127.0.0.1": false, "169.254.169.254": false,
		"fe80::1": false, "0.0.0.0": false, "224.0.0.1": false,
	} {
		require.Equal(t, ok, callout.Allowed(netip.MustParseAddr(address)), address)
	}
}

func TestPost(t *testing.T) {
	var answer http.HandlerFunc
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	defer s.Close()
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for name, c := range map[string]struct {
		peer   callout.Peer
		answer http.HandlerFunc
		err    string
	}{
		"redirect": {callout.Peer{CABundle: bundle}, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", 307) }, "the answer was 307"},
		"error":    {callout.Peer{CABundle: bundle}, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret", 500) }, "the answer was 500"},
		"large":    {callout.Peer{CABundle: bundle}, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 101)) }, "larger than 100 bytes"},
		"stranger": {callout.Peer{}, nil, "certificate"},
		"name":     {callout.Peer{CABundle: bundle, ServerName: "a.b.svc"}, nil, "a.b.svc"},
	} {
		answer = c.answer
		client, err := c.peer.Client(nil)
		require.NoError(t, err)
		_, err = callout.Post(t.Context(), client, s.URL, nil, 100)
		require.ErrorContains(t, err, c.err, name)
		require.NotContains(t, err.Error(), "secret")
		client.CloseIdleConnections()
	}
	_, err := callout.Peer{CABundle: []byte("none")}.Client(nil)
	require.ErrorContains(t, err, "unable to load root certificates")
}
