package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/moby/spdystream"
	"github.com/moby/spdystream/spdy"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Ports are forwarded over SPDY/3.1, in which each connection is a pair of streams, one for its bytes and one that tells
// what went wrong. The SPDY goes through a WebSocket (KEP-4006), or over the connection itself.
const (
	protocolForward = "portforward.k8s.io"
	protocolTunnel  = "SPDY/3.1+" + protocolForward
	upgradeSPDY     = "SPDY/3.1"
)

const (
	// mostForwards bounds the connections that one client has open at a time.
	mostForwards = 1024
	// pairWithin is how long one stream of a pair may wait for the other.
	pairWithin = 30 * time.Second
	// forwardIdle ends a client's session in which nothing has happened for so long. kubectl pings.
	forwardIdle = 4 * time.Hour
)

// forwards is one client's session.
type forwards struct {
	ctx  context.Context
	dial func(ctx context.Context, port uint16) (net.Conn, error)
	pod  *corev1.Pod

	mu    sync.Mutex
	pairs map[string]*pair // by request
	calls sync.WaitGroup
}

// pair are the streams of one connection.
type pair struct {
	data, errs *spdystream.Stream
	wait       *time.Timer
}

// serveForward connects a client to ports of a pod, as many and as often as it likes.
func (a *Agent) serveForward(w http.ResponseWriter, r *http.Request) {
	pod := a.podNamed(r.PathValue("namespace"), r.PathValue("pod"))
	if pod == nil {
		fail(w, apierrors.NewNotFound(corev1.Resource("pods"), r.PathValue("pod")))
		return
	}
	if _, err := a.c.Runtime.Sandbox(sandboxID(string(pod.UID))); err != nil {
		fail(w, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not run: %v", pod.Name, err)))
		return
	}
	conn, err := acceptForward(w, r)
	if err != nil {
		a.c.Log.Debug("ports are not forwarded", "pod", pod.Name, "err", err)
		return // it has been answered
	}
	f := &forwards{pod: pod, pairs: map[string]*pair{}, dial: func(ctx context.Context, port uint16) (net.Conn, error) { return a.dialPod(ctx, pod, port) }}
	if err := f.serve(r.Context(), conn); err != nil {
		a.c.Log.Debug("ports are not forwarded", "pod", pod.Name, "err", err)
	}
}

// dialPod connects to a port on a pod's loopback, where programs listen that are for the pod alone, too.
func (a *Agent) dialPod(ctx context.Context, pod *corev1.Pod, port uint16) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := a.c.Runtime.Sandbox(sandboxID(string(pod.UID)))
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, host := range []string{"127.0.0.1", "::1"} {
		address := net.JoinHostPort(host, strconv.Itoa(int(port)))
		var conn net.Conn
		if pod.Spec.HostNetwork {
			conn, err = a.dialHost(ctx, "tcp", address)
		} else {
			conn, err = dialInside(ctx, s.NetnsPath, address)
		}
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// acceptForward upgrades a request to what SPDY is spoken over. When it returns an error the client has been answered.
func acceptForward(w http.ResponseWriter, r *http.Request) (net.Conn, error) {
	if strings.EqualFold(r.Header.Get("Upgrade"), upgradeSPDY) {
		return acceptSPDY(w, r)
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{protocolTunnel}, InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	if conn.Subprotocol() == "" {
		return nil, errors.Join(errAnswered, conn.Close(websocket.StatusPolicyViolation, "no subprotocol in common: offer "+protocolTunnel))
	}
	conn.SetReadLimit(mostMessageIn)
	return tunnel{websocket.NetConn(r.Context(), conn, websocket.MessageBinary), conn}, nil
}

// tunnel is a WebSocket that is closed without a farewell: SPDY has had its own.
type tunnel struct {
	net.Conn
	ws *websocket.Conn
}

func (t tunnel) Close() error { return t.ws.CloseNow() }

func acceptSPDY(w http.ResponseWriter, r *http.Request) (net.Conn, error) {
	const header = "X-Stream-Protocol-Version"
	offered := strings.Join(r.Header.Values(header), ",")
	if offered != "" && !strings.Contains(offered, protocolForward) {
		http.Error(w, "no protocol in common: offer "+protocolForward, http.StatusForbidden)
		return nil, errAnswered
	}
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", upgradeSPDY)
	w.Header().Set(header, protocolForward)
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return ahead{conn, buffered}, nil
}

// ahead is a connection of which something has been read already.
type ahead struct {
	net.Conn
	rest io.Reader
}

func (a ahead) Read(p []byte) (int, error) { return a.rest.Read(p) }

// serve serves a session until the client goes, or the context ends, and closes its connection.
func (f *forwards) serve(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	s, err := spdystream.NewConnectionWithOptions(conn, true,
		spdy.WithMaxControlFramePayloadSize(64<<10), spdy.WithMaxHeaderFieldSize(4<<10), spdy.WithMaxHeaderCount(64))
	if err != nil {
		return err
	}
	var cancel context.CancelFunc
	f.ctx, cancel = context.WithCancel(ctx)
	defer f.calls.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	s.SetIdleTimeout(forwardIdle)
	s.Serve(f.opened)
	f.forget()
	return nil
}

// forget stops waiting for the other halves of pairs.
func (f *forwards) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.pairs {
		p.wait.Stop()
	}
}

// opened takes a stream that the client has opened. It doesn't block.
func (f *forwards) opened(s *spdystream.Stream) {
	h := s.Headers()
	id := h.Get("requestID")
	port, err := strconv.ParseUint(h.Get("port"), 10, 16)
	kind := h.Get("streamType")
	if err != nil || port == 0 || kind != "data" && kind != "error" {
		_ = s.Reset() // the client has gone, if it fails: here and below
		return
	}
	if id == "" { // older clients open the stream for errors, and then the one for data
		n := s.Identifier()
		if kind == "data" {
			n -= 2
		}
		id = fmt.Sprint("stream ", n)
	}
	p, complete := f.pair(id, kind, s)
	if p == nil {
		_ = s.Reset()
		return
	}
	_ = s.SendReply(http.Header{}, false)
	if complete {
		f.calls.Go(func() {
			f.connect(p, uint16(port))
			f.mu.Lock()
			delete(f.pairs, id)
			f.mu.Unlock()
		})
	}
}

// pair puts a stream beside the other one of its request; nil: there may be no such stream.
func (f *forwards) pair(id, kind string, s *spdystream.Stream) (p *pair, complete bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p = f.pairs[id]
	if p == nil {
		if len(f.pairs) >= mostForwards {
			return nil, false
		}
		p = &pair{wait: time.AfterFunc(pairWithin, func() { f.lonely(id) })}
		f.pairs[id] = p
	}
	place := &p.data
	if kind == "error" {
		place = &p.errs
	}
	if *place != nil {
		return nil, false
	}
	*place = s
	complete = p.data != nil && p.errs != nil
	if complete && !p.wait.Stop() {
		return nil, false // too late
	}
	return p, complete
}

// lonely gives up a stream whose other half has not come.
func (f *forwards) lonely(id string) {
	f.mu.Lock()
	p := f.pairs[id]
	delete(f.pairs, id)
	f.mu.Unlock()
	for _, s := range []*spdystream.Stream{p.data, p.errs} {
		if s != nil {
			_ = s.Reset()
		}
	}
}

// connect carries one connection until the pod has ended it, or the client.
func (f *forwards) connect(p *pair, port uint16) {
	if err := f.carry(p.data, port); err != nil {
		fmt.Fprintf(p.errs, "error forwarding port %d to pod %s/%s, uid %s: %v", port, f.pod.Namespace, f.pod.Name, f.pod.UID, err)
	}
	_ = errors.Join(p.errs.Close(), p.data.Reset())
}

func (f *forwards) carry(data *spdystream.Stream, port uint16) error {
	conn, err := f.dial(f.ctx, port)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(f.ctx, func() { _ = conn.Close() })()
	f.calls.Go(func() {
		_, err := io.Copy(conn, data)
		half, ok := conn.(*net.TCPConn)
		if err == nil && ok && !data.IsFinished() {
			err = half.CloseWrite() // it may still answer
		}
		if err != nil || !ok || data.IsFinished() {
			_ = conn.Close()
		}
	})
	if _, err := io.Copy(data, conn); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	_ = data.Close()
	return nil
}
