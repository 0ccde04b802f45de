package nodeproxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/nodeproxy"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is a node's API that answers as a test wants it.
type backend struct {
	*httptest.Server
	ca     *pki.Authority
	node   *corev1.Node
	answer http.HandlerFunc
	closed chan struct{} // gets a token for each connection that has ended
}

// newBackend starts a node's API whose certificate is for the name certified.
func newBackend(t *testing.T, certified string, answer http.HandlerFunc) *backend {
	t.Helper()
	b := &backend{answer: answer, closed: make(chan struct{}, 64)}
	var err error
	b.ca, err = pki.Open(pki.Config{})
	require.NoError(t, err)
	cert, err := b.ca.Other(certified, certified)
	require.NoError(t, err)
	b.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "api", r.TLS.PeerCertificates[0].Subject.CommonName)
		b.answer(w, r)
	}))
	b.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, ClientCAs: b.ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
	b.Config.ErrorLog = log.New(io.Discard, "", 0)
	b.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			b.closed <- struct{}{}
		}
	}
	b.StartTLS()
	t.Cleanup(b.Close)
	b.node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	b.node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(b.Listener.Addr().(*net.TCPAddr).Port)
	b.node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	return b
}

// front serves the connectors over HTTP, as an API server does once it has let a request pass.
func (b *backend) front(t *testing.T, name string, options func() *apimachinery.Request, dial func(ctx context.Context, network, address string) (net.Conn, error)) *httptest.Server {
	t.Helper()
	config, err := b.ca.ClientTLS("api")
	require.NoError(t, err)
	connectors, err := nodeproxy.Connectors(nodeproxy.Config{TLS: config, Dial: dial, Node: func(context.Context, string) (*corev1.Node, error) { return b.node, nil }})
	require.NoError(t, err)
	s := httptest.NewServer(serve(connectors[name], options))
	t.Cleanup(s.Close)
	return s
}

func serve(c server.Connector, options func() *apimachinery.Request) http.HandlerFunc {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c"}}}}
	return func(w http.ResponseWriter, hr *http.Request) {
		r := options()
		r.HTTP = hr
		res, err := c.Connect(hr.Context(), r, pod)
		switch {
		case err != nil:
			http.Error(w, err.Error(), codeOf(err))
		case res.Handler != nil:
			res.Handler.ServeHTTP(w, hr)
		default:
			defer res.Stream.Close()
			w.WriteHeader(res.Code)
			_, _ = io.Copy(w, res.Stream)
		}
	}
}

func codeOf(err error) int {
	if s, ok := err.(interface{ Status() metav1.Status }); ok {
		return int(s.Status().Code)
	}
	return 500
}

func exec() *apimachinery.Request {
	return &apimachinery.Request{Options: &corev1.PodExecOptions{Stdout: true, Command: []string{"id", "-u"}}}
}

func logs() *apimachinery.Request {
	lines := int64(7)
	return &apimachinery.Request{Options: &corev1.PodLogOptions{Follow: true, TailLines: &lines}}
}

// upgrade asks for an upgrade and returns the connection with what was answered.
func upgrade(t *testing.T, address string, header ...string) (net.Conn, *http.Response, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n%s\r\n", strings.Join(append(header, ""), "\r\n"))
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	return conn, res, r
}

func (b *backend) awaitClosed(t *testing.T) {
	t.Helper()
	select {
	case <-b.closed:
	case <-time.After(30 * time.Second):
		require.FailNow(t, "the connection to the node is still open")
	}
}

// TestRefusedUpgrade: a node that answers an upgrade with anything but its agreement is heard out and the connection
// closed; where it points to is never gone to (CVE-2018-1002105, CVE-2020-8559).
func TestRefusedUpgrade(t *testing.T) {
	var visited atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited.Store(true) }))
	defer elsewhere.Close()
	for answer, want := range map[int]int{200: 500, 302: 500, 307: 500, 400: 400, 403: 500, 404: 404, 500: 500} {
		b := newBackend(t, "n", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", elsewhere.URL)
			w.Header().Set("Upgrade", "websocket")
			w.WriteHeader(answer)
			fmt.Fprint(w, "no thanks")
		})
		front := b.front(t, "pods/exec", exec, nil)
		conn, res, _ := upgrade(t, front.URL)
		require.Equal(t, want, res.StatusCode, answer)
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Contains(t, string(text), "no thanks")
		b.awaitClosed(t)
		conn.Close()
	}
	require.False(t, visited.Load())
}

// TestWithoutUpgrade: who asks by SPDY, as kubectl does once its WebSocket has been refused, hears what refused it;
// only what lacks nothing else is asked for a WebSocket. The node is never asked for an upgrade, so it runs nothing.
func TestWithoutUpgrade(t *testing.T) {
	code, text := 0, ""
	b := newBackend(t, "n", func(w http.ResponseWriter, r *http.Request) {
		require.Empty(t, r.Header.Get("Upgrade"))
		require.Empty(t, r.Header.Get("Connection"))
		require.Equal(t, "/exec/default/web/c?command=id&command=-u&output=1", r.RequestURI)
		http.Error(w, text, code)
	})
	front := b.front(t, "pods/exec", exec, nil)
	defer http.DefaultClient.CloseIdleConnections()
	ask := func(protocol string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front.URL, nil)
		require.NoError(t, err)
		if protocol != "" {
			req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {protocol}, "X-Stream-Protocol-Version": {"v4.channel.k8s.io"}}
		}
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		said, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, strings.TrimSpace(string(said))
	}
	const waiting, ended = `container "c" in pod "web" is waiting to start: ContainerCreating`, `container "c" in pod "web" does not run: it is exited`
	for _, c := range []struct {
		code int
		text string
		want int
		said string
	}{
		{426, "no upgrade", 400, "Upgrade request required: exec speaks WebSocket (v5.channel.k8s.io), which kubectl speaks from v1.31 on"},
		{400, waiting, 400, waiting},
		{400, ended, 400, ended},
		{404, `pods "web" not found`, 404, `pods "web" not found`},
		{403, "Forbidden", 500, "Internal error occurred: node n answered 403 Forbidden: Forbidden"},
		{200, "what?", 500, "Internal error occurred: node n answered 200 OK: what?"},
		{302, "there", 500, "Internal error occurred: node n answered 302 Found: there"},
	} {
		code, text = c.code, c.text
		for _, protocol := range []string{"SPDY/3.1", "h2c", ""} {
			got, said := ask(protocol)
			require.Equal(t, c.want, got, said)
			require.Equal(t, c.said, said)
		}
		b.awaitClosed(t)
		b.awaitClosed(t)
		b.awaitClosed(t)
	}
	b.Close()
	got, said := ask("SPDY/3.1")
	require.Equal(t, 500, got)
	require.Contains(t, said, "node n does not answer: dial tcp 127.0.0.1")
}

func TestTunnel(t *testing.T) {
	b := newBackend(t, "n", func(w http.ResponseWriter, r *http.Request) {
		head, err := json.Marshal(r.Header)
		require.NoError(t, err)
		conn, rw, err := http.NewResponseController(w).Hijack()
		require.NoError(t, err)
		defer conn.Close()
		// What follows the answer comes in the same packet.
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Is: kept\r\n\r\n%s %s\n", r.RequestURI, head)
		require.NoError(t, rw.Flush())
		_, _ = io.Copy(conn, rw)
	})
	front := b.front(t, "pods/exec", exec, nil)
	conn, res, r := upgrade(t, front.URL, "Authorization: Bearer secret", "Cookie: secret",
		"Sec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0")
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	require.Equal(t, "kept", res.Header.Get("X-Is"))
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "/exec/default/web/c?command=id&command=-u&output=1 ")
	require.Contains(t, line, `["v5.channel.k8s.io"]`)
	require.NotContains(t, line, "ecret", "credentials are not passed on")
	require.NotContains(t, line, "c2VjcmV0")
	for _, text := range []string{"one\n", strings.Repeat("x", 1<<20) + "\n"} {
		go func() { _, _ = io.WriteString(conn, text) }()
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, text, line)
	}
	require.NoError(t, conn.Close()) // one side's end is the other's
	front.CloseClientConnections()
}

// TestUnreachable: a node that isn't there, isn't who it should be, or doesn't answer.
func TestUnreachable(t *testing.T) {
	other := newBackend(t, "other", func(w http.ResponseWriter, _ *http.Request) { t.Error("it was asked") })
	_, res, _ := upgrade(t, other.front(t, "pods/exec", exec, nil).URL)
	require.Equal(t, http.StatusInternalServerError, res.StatusCode)
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Contains(t, string(text), "node n does not answer: ")
	require.Contains(t, string(text), "certificate is valid for other, not n")
	res, err = http.Get(other.front(t, "pods/log", logs, nil).URL)
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, http.StatusInternalServerError, res.StatusCode)

	// The client's going ends what a silent node would keep for ever.
	asked, released := make(chan struct{}), make(chan struct{})
	silent := newBackend(t, "n", func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(released)
	})
	front := silent.front(t, "pods/exec", exec, nil)
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	require.NoError(t, err)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	<-asked
	require.NoError(t, conn.Close())
	<-released
	http.DefaultClient.CloseIdleConnections()
}

func TestLog(t *testing.T) {
	b := newBackend(t, "n", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RequestURI) })
	front := b.front(t, "pods/log", logs, nil)
	defer http.DefaultClient.CloseIdleConnections()
	get := func() (int, string) {
		res, err := http.Get(front.URL)
		require.NoError(t, err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(text)
	}
	code, text := get()
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "/containerLogs/default/web/c?follow=true&tailLines=7", text)
	for answer, want := range map[int]int{302: 500, 400: 400, 403: 500, 404: 404, 503: 500} {
		b.answer = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			http.Error(w, "no thanks", answer)
		}
		code, text := get()
		require.Equal(t, want, code)
		require.Contains(t, text, "no thanks")
	}
}

// TestAddresses: no node object leads to where no node is (CVE-2020-8562: a name that comes to mean something else
// isn't even looked up).
func TestAddresses(t *testing.T) {
	b := newBackend(t, "n", nil)
	var dialled atomic.Int64
	front := b.front(t, "pods/exec", exec, func(context.Context, string, string) (net.Conn, error) {
		dialled.Add(1)
		return nil, io.ErrUnexpectedEOF
	})
	port := b.node.Status.DaemonEndpoints.KubeletEndpoint.Port
	for _, c := range []struct {
		address string
		port    int32
		dialled bool
	}{
		{"169.254.169.254", port, false}, {"::ffff:169.254.169.254", port, false}, {"fe80::1", port, false}, {"fe80::1%eth0", port, false},
		{"0.0.0.0", port, false}, {"::", port, false}, {"224.0.0.1", port, false}, {"metadata.internal", port, false}, {"127.1", port, false},
		{"10.0.0.1", 0, false}, {"10.0.0.1:80", port, false}, {"", port, false}, {"10.0.0.1", port, true}, {"2001:db8::1", port, true},
	} {
		dialled.Store(0)
		b.node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "h"}, {Type: corev1.NodeInternalIP, Address: c.address}}
		b.node.Status.DaemonEndpoints.KubeletEndpoint.Port = c.port
		conn, res, _ := upgrade(t, front.URL)
		conn.Close()
		require.Equal(t, c.dialled, dialled.Load() == 1, c.address)
		require.GreaterOrEqual(t, res.StatusCode, 500, c.address)
	}
}

func TestRequests(t *testing.T) {
	b := newBackend(t, "n", func(http.ResponseWriter, *http.Request) { t.Error("it was asked") })
	config, err := b.ca.ClientTLS("api")
	require.NoError(t, err)
	connectors, err := nodeproxy.Connectors(nodeproxy.Config{TLS: config, Node: func(context.Context, string) (*corev1.Node, error) { return b.node, nil }})
	require.NoError(t, err)
	two := &corev1.Pod{Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "a"}, {Name: "b"}}, InitContainers: []corev1.Container{{Name: "i"}}}}
	unbound := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}}}}
	for _, c := range []struct {
		connector string
		pod       *corev1.Pod
		request   *apimachinery.Request
		words     string
	}{
		{"pods/log", two, logs(), "a container name must be specified for pod , choose one of: [a b i]"},
		{"pods/log", unbound, logs(), "does not have a host assigned"},
		{"pods/log", two, &apimachinery.Request{Options: &corev1.PodLogOptions{Container: "../x"}}, "is not valid"},
		{"pods/exec", two, &apimachinery.Request{Options: &corev1.PodExecOptions{}}, "you must specify a command"},
		{"pods/exec", unbound, exec(), "does not have a host assigned"},
		{"pods/attach", two, &apimachinery.Request{
			Options: &corev1.PodAttachOptions{Container: "a"}, HTTP: &http.Request{ProtoMajor: 2, Header: http.Header{"Upgrade": {"websocket"}}},
		}, "HTTP/1.1"},
	} {
		_, err := connectors[c.connector].Connect(t.Context(), c.request, c.pod)
		require.ErrorContains(t, err, c.words)
		require.Equal(t, 400, codeOf(err), err)
	}
	_, err = nodeproxy.Connectors(nodeproxy.Config{})
	require.ErrorContains(t, err, "must be set")
}
