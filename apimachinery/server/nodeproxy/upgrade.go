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

// upgrade passes an upgraded connection through to the node.
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
			return nil, apierrors.NewBadRequest("Upgrade request required: " + verb + " speaks WebSocket (v5.channel.k8s.io)")
		}
		return &apimachinery.Response{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			p.tunnel(w, req, t, q)
		})}, nil
	})
}

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

// tunnel asks the node for the upgrade, and only when it has agreed gives the client's connection to it.
func (p *proxy) tunnel(w http.ResponseWriter, r *http.Request, t target, q url.Values) {
	node, res, reader, err := p.ask(r, t, q)
	if err != nil {
		http.Error(w, unreachable(t, err).Error(), http.StatusBadGateway)
		return
	}
	defer node.Close()
	if res.StatusCode != http.StatusSwitchingProtocols {
		defer res.Body.Close()
		code := http.StatusBadGateway
		if res.StatusCode == http.StatusBadRequest || res.StatusCode == http.StatusForbidden || res.StatusCode == http.StatusNotFound {
			code = res.StatusCode
		}
		http.Error(w, refused(t, res).Error(), code)
		return
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "the connection can't be upgraded: use HTTP/1.1", http.StatusBadRequest)
		return
	}
	defer client.Close()
	if err := errors.Join(client.SetDeadline(time.Time{}), res.Write(client)); err != nil {
		return // the client has gone
	}
	// Either side's end ends both.
	var wg sync.WaitGroup
	pipe := func(to net.Conn, from io.Reader) {
		defer to.Close()
		_, _ = io.Copy(to, from) // how a connection ends is the protocol's business
	}
	wg.Go(func() { pipe(node, buffered); client.Close() })
	wg.Go(func() { pipe(client, reader); node.Close() })
	stop := context.AfterFunc(r.Context(), func() { client.Close(); node.Close() })
	defer stop()
	wg.Wait()
}

// ask sends the client's upgrade request to the node and reads the head of its answer.
func (p *proxy) ask(r *http.Request, t target, q url.Values) (net.Conn, *http.Response, *bufio.Reader, error) {
	const patience = 30 * time.Second
	raw, err := p.c.Dial(r.Context(), "tcp", t.address)
	if err != nil {
		return nil, nil, nil, err
	}
	conn := tls.Client(raw, p.tlsFor(t))
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, (&url.URL{Scheme: "https", Host: t.address, Path: t.path, RawQuery: q.Encode()}).String(), nil)
	if err == nil {
		for name, values := range r.Header {
			if strings.HasPrefix(name, "Sec-Websocket-") || name == "Upgrade" || name == "Connection" {
				req.Header[name] = values
			}
		}
		err = errors.Join(conn.SetDeadline(time.Now().Add(patience)), req.Write(conn))
	}
	if err != nil {
		return nil, nil, nil, errors.Join(err, conn.Close())
	}
	reader := bufio.NewReader(conn)
	res, err := http.ReadResponse(reader, req)
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		return nil, nil, nil, errors.Join(err, conn.Close())
	}
	return conn, res, reader, nil
}
