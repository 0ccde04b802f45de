package embedded

import (
	"container/list"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// front is a listener whose connections have passed the TLS handshake. Those that have not are bounded in time and
// number: where one is too many, the oldest goes, so silent connections keep nobody out for long.
type front struct {
	l   net.Listener
	tls *tls.Config
	lim Limits
	log *slog.Logger

	out  chan net.Conn
	done chan struct{}
	wg   sync.WaitGroup

	mu     sync.Mutex
	silent *list.List // of net.Conn in handshake, the oldest first
	open   map[*frontConn]bool
	closed bool
	warned time.Time
}

// writeTimeout bounds a single write to a connection whose other side does not read.
const writeTimeout = 30 * time.Second

func newFront(l net.Listener, c *tls.Config, lim Limits, log *slog.Logger) *front {
	f := &front{
		l: l, tls: c, lim: lim, log: log, out: make(chan net.Conn), done: make(chan struct{}),
		silent: list.New(), open: map[*frontConn]bool{},
	}
	f.wg.Go(f.accept)
	return f
}

var _ net.Listener = (*front)(nil)

// Accept implements net.Listener: it returns a *tls.Conn.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.out:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (f *front) Addr() net.Addr { return f.l.Addr() }

// Close implements net.Listener: it closes all connections, too, and returns when nothing of the front runs.
func (f *front) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil
	}
	f.closed = true
	close(f.done)
	conns := make([]*frontConn, 0, len(f.open))
	for c := range f.open {
		conns = append(conns, c)
	}
	f.mu.Unlock()
	err := f.l.Close()
	for _, c := range conns {
		_ = c.Close() // its error is of no interest: it goes anyway
	}
	f.wg.Wait()
	return err
}

func (f *front) accept() {
	pause := time.Millisecond
	for {
		raw, err := f.l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of descriptors, as a rule: others may close theirs
			f.warn("accept connection", err)
			select {
			case <-time.After(pause):
			case <-f.done:
				return
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = time.Millisecond
		c := &frontConn{Conn: raw, f: f}
		if el := f.add(c); el != nil {
			f.wg.Go(func() { f.handshake(c, el) })
		} else {
			_ = raw.Close()
		}
	}
}

// add takes a connection in, if need be in the place of the oldest silent one; nil: there is no place.
func (f *front) add(c *frontConn) *list.Element {
	f.mu.Lock()
	var drop *frontConn
	full := len(f.open) >= f.lim.Connections
	if f.silent.Len() > 0 && (full || f.silent.Len() >= f.lim.Handshakes) {
		drop = f.silent.Remove(f.silent.Front()).(*frontConn)
		delete(f.open, drop)
		full = false
	}
	var el *list.Element
	if !full && !f.closed {
		el = f.silent.PushBack(c)
		f.open[c] = true
	}
	f.mu.Unlock()
	if drop != nil {
		_ = drop.Conn.Close()
	}
	if full {
		f.warn("refuse connection", errors.New("there are as many as Limits.Connections allows"))
	}
	return el
}

// warn logs, but not for every connection.
func (f *front) warn(what string, err error) {
	f.mu.Lock()
	now := time.Now()
	quiet := now.Sub(f.warned) < time.Minute
	if !quiet {
		f.warned = now
	}
	f.mu.Unlock()
	if !quiet {
		f.log.Warn("embedded etcd: "+what, "listener", f.l.Addr().String(), "error", err)
	}
}

func (f *front) handshake(c *frontConn, el *list.Element) {
	t := tls.Server(c, f.tls)
	_ = c.Conn.SetDeadline(time.Now().Add(f.lim.Handshake))
	err := t.Handshake()
	f.mu.Lock()
	alive := f.open[c]
	if alive {
		f.silent.Remove(el)
	}
	f.mu.Unlock()
	if err != nil || !alive {
		if err != nil {
			f.log.Debug("embedded etcd: refuse connection", "from", c.RemoteAddr().String(), "error", err)
		}
		_ = c.Close()
		return
	}
	_ = c.Conn.SetDeadline(time.Time{})
	select {
	case f.out <- t:
	case <-f.done:
		_ = c.Close()
	}
}

// frontConn is a connection beneath TLS.
type frontConn struct {
	net.Conn
	f *front
}

// Write implements net.Conn: it bounds the time.
func (c *frontConn) Write(p []byte) (int, error) {
	_ = c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	return c.Conn.Write(p)
}

// Close implements net.Conn.
func (c *frontConn) Close() error {
	c.f.mu.Lock()
	delete(c.f.open, c)
	c.f.mu.Unlock()
	return c.Conn.Close()
}

// split hands out the connections of a front by the protocol that was agreed on: those that speak HTTP/2, and all
// others. Both ends when the front does.
func split(f *front) (h2, other net.Listener) {
	a := &part{f: f, out: make(chan net.Conn)}
	b := &part{f: f, out: make(chan net.Conn)}
	f.wg.Go(func() {
		for {
			c, err := f.Accept()
			if err != nil {
				return
			}
			to := b
			if c.(*tls.Conn).ConnectionState().NegotiatedProtocol == "h2" {
				to = a
			}
			select {
			case to.out <- c:
			case <-f.done:
				return
			}
		}
	})
	return a, b
}

// part is some of a front's connections.
type part struct {
	f   *front
	out chan net.Conn
}

var _ net.Listener = (*part)(nil)

// Accept implements net.Listener.
func (p *part) Accept() (net.Conn, error) {
	select {
	case c := <-p.out:
		return c, nil
	case <-p.f.done:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (p *part) Addr() net.Addr { return p.f.Addr() }

// Close implements net.Listener; the front is closed by whoever made it.
func (p *part) Close() error { return nil }
