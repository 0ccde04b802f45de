package nodeproxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
)

// upgrade passes an upgraded connection through to the node. The node is asked before the client is answered: what
// it says instead of agreeing is the answer, as an API Status.
func (p *proxy) upgrade(verb string) server.Connector {
	return server.ConnectorFunc(func(ctx context.Context, r *apimachinery.Request, o apimachinery.Object) (*apimachinery.Response, error) {
		q, container, err := streamQuery(r)
		if err != nil {
			return nil, err
		}
		t, err := p.target(ctx, o, verb, container)
		if err != nil {
			return nil, err
		}
		if r.HTTP == nil || !strings.EqualFold(r.HTTP.Header.Get("Upgrade"), "websocket") {
			return nil, p.withoutUpgrade(ctx, t, q, verb)
		}
		return p.through(ctx, r, t, q, offer(r.HTTP.Header))
	})
}

// through asks the node for an upgrade, and gives it the client's connection.
func (p *proxy) through(ctx context.Context, r *apimachinery.Request, t target, q url.Values, header http.Header) (*apimachinery.Response, error) {
	if r.HTTP.ProtoMajor != 1 {
		return nil, apierrors.NewBadRequest("a connection can only be upgraded with HTTP/1.1")
	}
	n, err := p.ask(ctx, t, q, header)
	if err != nil {
		return nil, err
	}
	return &apimachinery.Response{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { n.join(req.Context(), w) })}, nil
}

// forward leads to the ports of a pod. The node speaks SPDY, which passes through a WebSocket or without one.
func (p *proxy) forward(ctx context.Context, r *apimachinery.Request, o apimachinery.Object) (*apimachinery.Response, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("lead into a node: %T is not a pod", o)
	}
	t, err := p.targetPod(ctx, pod, "portForward")
	if err != nil {
		return nil, err
	}
	var upgrade string
	if r.HTTP != nil {
		upgrade = strings.ToLower(r.HTTP.Header.Get("Upgrade"))
	}
	switch upgrade {
	case "websocket":
		return p.through(ctx, r, t, nil, offer(r.HTTP.Header))
	case "spdy/3.1":
		const versions = "X-Stream-Protocol-Version"
		return p.through(ctx, r, t, nil, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"SPDY/3.1"}, versions: r.HTTP.Header.Values(versions)})
	}
	_, err = p.ask(ctx, t, nil, http.Header{})
	if errors.Is(err, errUpgradeRequired) {
		return nil, apierrors.NewBadRequest("Upgrade request required")
	}
	return nil, err
}

// withoutUpgrade is the answer to a request for anything but a WebSocket. kubectl asks a second time, by SPDY, when its
// WebSocket has been refused, and shows this second answer alone. So the node is asked here too, without an upgrade:
// that runs nothing, and what the node has against the request is told; only where it has nothing, the WebSocket is
// what was missing.
func (p *proxy) withoutUpgrade(ctx context.Context, t target, q url.Values, verb string) error {
	_, err := p.ask(ctx, t, q, http.Header{})
	if errors.Is(err, errUpgradeRequired) {
		return apierrors.NewBadRequest("Upgrade request required: " + verb + " speaks WebSocket (v5.channel.k8s.io), which kubectl speaks from v1.31 on")
	}
	return err
}

// errUpgradeRequired is a node's answer to a request that lacked nothing but the upgrade.
var errUpgradeRequired = errors.New("the node asks for an upgrade")

// streamQuery is what the node's API wants to know of the options.
func streamQuery(r *apimachinery.Request) (q url.Values, container string, err error) {
	q = url.Values{}
	flag := func(name string, set bool) {
		if set {
			q.Set(name, "1")
		}
	}
	switch o := r.Options.(type) {
	case *corev1.PodExecOptions:
		flag("input", o.Stdin)
		flag("output", o.Stdout)
		flag("error", o.Stderr)
		flag("tty", o.TTY)
		q["command"] = o.Command
		if len(o.Command) == 0 {
			return nil, "", apierrors.NewBadRequest("you must specify a command")
		}
		container = o.Container
	case *corev1.PodAttachOptions:
		flag("input", o.Stdin)
		flag("output", o.Stdout)
		flag("error", o.Stderr)
		flag("tty", o.TTY)
		container = o.Container
	default:
		return nil, "", fmt.Errorf("lead into a node: options of type %T", r.Options)
	}
	return q, container, nil
}

// agreed is a connection to a node that has agreed to the upgrade.
type agreed struct {
	net.Conn
	answer *http.Response
	rest   *bufio.Reader // reads what follows the answer
}

// patience is how long a node may take to answer an upgrade.
const patience = 30 * time.Second

// ask sends a request with these headers to the node. Unless they ask for an upgrade and the node agrees, the
// connection is closed.
func (p *proxy) ask(ctx context.Context, t target, q url.Values, header http.Header) (*agreed, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	raw, err := p.c.Dial(ctx, "tcp", t.address)
	if err != nil {
		return nil, unreachable(t, err)
	}
	conn := tls.Client(raw, p.tlsFor(t))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	n, err := handshake(ctx, conn, t, q, header)
	if !stop() && err == nil {
		err = unreachable(t, context.Cause(ctx))
	}
	if err != nil {
		_ = raw.Close() // without a farewell, which could block
		return nil, err
	}
	return n, nil
}

func handshake(ctx context.Context, conn *tls.Conn, t target, q url.Values, header http.Header) (*agreed, error) {
	target := url.URL{Scheme: "https", Host: t.address, Path: t.path, RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	if err := req.Write(conn); err != nil {
		return nil, unreachable(t, err)
	}
	n := &agreed{Conn: conn, rest: bufio.NewReader(conn)}
	if n.answer, err = http.ReadResponse(n.rest, req); err != nil {
		return nil, unreachable(t, err)
	}
	asked := header.Get("Upgrade") != ""
	if asked && n.answer.StatusCode == http.StatusSwitchingProtocols {
		return n, nil
	}
	defer n.answer.Body.Close()
	if !asked && n.answer.StatusCode == http.StatusUpgradeRequired {
		return nil, errUpgradeRequired
	}
	return nil, refused(t, n.answer)
}

// offer is what the node gets to see of a client's headers: its wish for a WebSocket.
func offer(client http.Header) http.Header {
	h := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
	for name, values := range client {
		if strings.HasPrefix(name, "Sec-Websocket-") {
			h[name] = values
		}
	}
	withoutToken(h)
	return h
}

// withoutToken takes out of the offered subprotocols the one in which browsers send their bearer token: it is for
// the API server's eyes alone.
func withoutToken(h http.Header) {
	const header, token = "Sec-Websocket-Protocol", "base64url.bearer.authorization.k8s.io."
	var kept []string
	for _, line := range h[header] {
		for p := range strings.SplitSeq(line, ",") {
			if p = strings.TrimSpace(p); !strings.HasPrefix(p, token) {
				kept = append(kept, p)
			}
		}
	}
	if len(kept) > 0 {
		h[header] = []string{strings.Join(kept, ", ")}
	} else {
		delete(h, header)
	}
}

// join gives the client's connection to the node. Either side's end, or the request's, ends both.
func (n *agreed) join(ctx context.Context, w http.ResponseWriter) {
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		n.Close()
		http.Error(w, "the connection can't be upgraded: "+err.Error(), http.StatusBadRequest)
		return
	}
	end := sync.OnceFunc(func() { client.Close(); n.Close() })
	defer end()
	defer context.AfterFunc(ctx, end)()
	if err := errors.Join(client.SetDeadline(time.Time{}), n.answer.Write(client)); err != nil {
		return // the client has gone
	}
	// How a connection ends is the protocol's business.
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(n.Conn, buffered); end() })
	wg.Go(func() { _, _ = io.Copy(client, n.rest); end() })
	wg.Wait()
}
