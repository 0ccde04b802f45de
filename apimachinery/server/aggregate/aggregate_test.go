package aggregate_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/kinds"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/aggregate"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// other is an extension server that answers as a test wants.
type other struct {
	*httptest.Server
	bundle []byte
	serve  http.HandlerFunc
}

func newOther(t *testing.T, proxies *x509.CertPool) *other {
	o := &other{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 {
			http.Error(w, "no certificate", 401)
			return
		}
		switch r.URL.Path {
		case "/apis/ext.example.com/v1":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"ext.example.com/v1","resources":[{"name":"things","kind":"Thing","namespaced":true,"verbs":["get"]},{"name":"things/exec","kind":"Thing","verbs":["create"]}]}`)
		case "/openapi/v3":
			fmt.Fprint(w, `{"paths":{"apis/ext.example.com/v1":{"serverRelativeURL":"/openapi/v3/apis/ext.example.com/v1?hash=ABC"}}}`)
		case "/openapi/v3/apis/ext.example.com/v1":
			fmt.Fprint(w, `{"openapi":"3.0.0"}`)
		case "/apis":
			http.NotFound(w, r)
		default:
			o.serve(w, r)
		}
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: proxies}
	s.StartTLS()
	t.Cleanup(s.Close)
	o.Server, o.bundle = s, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return o
}

// plane is a server that aggregates.
type plane struct {
	*server.Server
	aggregator *aggregate.Aggregator
	clients    *client.Client
	url        string
}

func start(t *testing.T, front *pki.Authority, services server.ServiceResolverFunc) *plane {
	registry, err := apimachinery.NewRegistry(kinds.All()...)
	require.NoError(t, err)
	backend, err := memory.New(memory.Config{})
	require.NoError(t, err)
	db, err := storage.New(backend, storage.Config{})
	require.NoError(t, err)
	certificate, key, err := front.Client("front-proxy-client", nil, time.Hour)
	require.NoError(t, err)
	pair, err := tls.X509KeyPair(certificate, key)
	require.NoError(t, err)
	a, err := aggregate.New(aggregate.Config{
		Registry: registry, Services: services, Certificate: &pair, Dial: (&net.Dialer{}).DialContext,
	})
	require.NoError(t, err)
	s, err := server.New(server.Config{Registry: registry, DB: db, Proxy: a})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 3)
	go func() { ended <- db.Run(ctx) }()
	go func() { ended <- s.Run(ctx) }()
	<-s.Ready()
	go func() { ended <- a.Run(ctx, s) }()
	<-a.Synced()
	t.Cleanup(func() {
		cancel()
		for range 3 {
			require.NoError(t, <-ended)
		}
	})
	c := client.New(s.As(apimachinery.User{Name: "admin", Groups: []string{"system:masters"}}), registry)
	return &plane{s, a, c, "http://" + s.Addr().String()}
}

func TestProxy(t *testing.T) {
	front, err := pki.Open(pki.Config{})
	require.NoError(t, err)
	o := newOther(t, front.Pool())
	p := start(t, front, func(context.Context, string, string, int32) (*url.URL, error) { return url.Parse(o.URL) })
	_, err = client.For[*corev1.Namespace](p.clients).Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	require.NoError(t, err)
	_, err = client.For[*corev1.Service](p.clients).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ext"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "ext.example.com"},
	})
	require.NoError(t, err)
	services := client.For[*apiregistrationv1.APIService](p.clients)
	_, err = services.Create(t.Context(), &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1.ext.example.com"},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: "ext.example.com", Version: "v1", GroupPriorityMinimum: 100, VersionPriority: 10, InsecureSkipTLSVerify: true,
			Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "ext"},
		},
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		s, err := services.Get(t.Context(), "", "v1.ext.example.com")
		return err == nil && len(s.Status.Conditions) > 0 && s.Status.Conditions[0].Reason == "Passed"
	}, 30*time.Second, time.Millisecond)

	list, _ := p.aggregator.Extensions()
	require.Len(t, list, 1)
	require.NoError(t, list[0].Err)
	require.Equal(t, "things", list[0].Resources[0].Resource)
	require.Equal(t, "exec", list[0].Resources[0].Subresources[0].Subresource)
	require.Equal(t, map[string]string{"apis/ext.example.com/v1": "ABC"}, p.aggregator.Schemas())
	doc, err := p.aggregator.Schema(t.Context(), "apis/ext.example.com/v1")
	require.NoError(t, err)
	require.JSONEq(t, `{"openapi":"3.0.0"}`, string(doc))

	t.Run("identity", func(t *testing.T) {
		var seen http.Header
		o.serve = func(w http.ResponseWriter, r *http.Request) { seen = r.Header.Clone(); fmt.Fprint(w, "{}") }
		r, err := http.NewRequestWithContext(t.Context(), "GET", p.url+"/apis/ext.example.com/v1/namespaces/default/things/a", nil)
		require.NoError(t, err)
		for name, value := range map[string]string{"Authorization": "Basic secret", "X-Remote-User": "root", "X-Remote-Group": "system:masters", "X-Remote-Extra-Scopes": "all"} {
			r.Header.Set(name, value)
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, []string{"system:anonymous"}, seen["X-Remote-User"])
		require.Equal(t, []string{"system:unauthenticated"}, seen["X-Remote-Group"])
		require.NotContains(t, seen, "Authorization")
		require.NotContains(t, seen, "X-Remote-Extra-Scopes")
	})
	t.Run("redirect", func(t *testing.T) {
		o.serve = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusFound)
		}
		r, err := http.NewRequestWithContext(t.Context(), "GET", p.url+"/apis/ext.example.com/v1/namespaces/default/things/a", nil)
		require.NoError(t, err)
		resp, err := http.DefaultTransport.RoundTrip(r)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, 502, resp.StatusCode)
		require.Empty(t, resp.Header.Get("Location"))
	})
	for _, code := range []int{200, 302, 403} {
		t.Run(fmt.Sprint("upgrade ", code), func(t *testing.T) {
			o.serve = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); fmt.Fprint(w, "no upgrade") }
			conn, resp := upgrade(t, p)
			require.NotEqual(t, http.StatusSwitchingProtocols, resp.StatusCode)
			_, _ = io.Copy(io.Discard, resp.Body)
			_, err := fmt.Fprint(conn, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
			_ = err // the server may have closed already
			n, _ := io.Copy(io.Discard, conn)
			require.Zero(t, n, "the connection is closed, and nothing follows")
		})
	}
	t.Run("upgrade", func(t *testing.T) {
		o.serve = func(w http.ResponseWriter, _ *http.Request) {
			c, b, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			line, _ := b.ReadString('\n')
			fmt.Fprint(c, line)
		}
		conn, resp := upgrade(t, p)
		require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
		fmt.Fprint(conn, "hello\n")
		got, err := bufio.NewReader(conn).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "hello\n", got)
	})
	t.Run("gone", func(t *testing.T) {
		o.Close()
		require.Eventually(t, func() bool {
			resp, err := http.Get(p.url + "/apis/ext.example.com/v1/namespaces/default/things/a") //nolint:noctx // a test's
			require.NoError(t, err)
			defer resp.Body.Close()
			var status metav1.Status
			return resp.StatusCode == 503 && json.NewDecoder(resp.Body).Decode(&status) == nil && status.Reason == metav1.StatusReasonServiceUnavailable
		}, 30*time.Second, time.Millisecond)
		require.Eventually(t, func() bool {
			s, err := services.Get(t.Context(), "", "v1.ext.example.com")
			return err == nil && s.Status.Conditions[0].Reason == "FailedDiscoveryCheck"
		}, 30*time.Second, time.Millisecond)
		list, _ := p.aggregator.Extensions()
		require.Error(t, list[0].Err)
		require.NotEmpty(t, list[0].Resources, "what it said before is still known")
	})
}

// upgrade asks for a connection to a thing.
func upgrade(t *testing.T, p *plane) (net.Conn, *http.Response) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://")) //nolint:noctx // a test's
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	fmt.Fprint(conn, "POST /apis/ext.example.com/v1/namespaces/default/things/a/exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\nContent-Length: 0\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil)
	require.NoError(t, err)
	return conn, resp
}
