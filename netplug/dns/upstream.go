package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
)

// upstreamSize is the size of answers that upstreams are asked for over UDP.
const upstreamSize = 1232

// upstream is a resolver.
type upstream struct {
	addr  netip.AddrPort
	token string // label of the probe that would come back
	dial  func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex
	fails int
	until time.Time // left out until then
	loops bool
	came  bool // since the probe began, a query of it came back
}

// longest time that a failing upstream is left out
const longestRest = 30 * time.Second

// usable says whether it can be asked, and whether it should be.
func (u *upstream) usable(now time.Time) (can, should bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.loops, !now.Before(u.until)
}

// report says how it went: after each failure it rests twice as long, from 1 s to 30 s.
func (u *upstream) report(ok bool, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if ok {
		u.fails, u.until = 0, time.Time{}
		return
	}
	u.until = now.Add(min(time.Second<<min(u.fails, 10), longestRest))
	u.fails++
}

// leadsBack says that a probe came back, and whether that is new.
func (u *upstream) leadsBack() (news bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	news = !u.loops
	u.loops, u.came = true, true
	return news
}

func (u *upstream) beginProbe() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.came = false
}

// endProbe takes the upstream back if the probe didn't come back, and says whether that is new.
func (u *upstream) endProbe() (news bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	news = u.loops && !u.came
	u.loops = u.came
	return news
}

// ask sends a query over UDP, and again over TCP if the answer doesn't fit.
func (u *upstream) ask(ctx context.Context, m *miekg.Msg, timeout time.Duration) (*miekg.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := u.exchange(ctx, "udp", m)
	if err == nil && r.Truncated {
		r, err = u.exchange(ctx, "tcp", m)
	}
	if err != nil {
		return nil, fmt.Errorf("ask upstream %s: %w", u.addr, err)
	}
	return r, nil
}

// exchange sends a query from a port of its own, and takes the answer that fits it.
func (u *upstream) exchange(ctx context.Context, network string, m *miekg.Msg) (*miekg.Msg, error) {
	conn, err := u.dial(ctx, network, u.addr.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	raw, err := m.Pack()
	if err != nil {
		return nil, err
	}
	if network == "tcp" {
		return overTCP(conn, raw, m)
	}
	if _, err := conn.Write(raw); err != nil {
		return nil, err
	}
	buf := make([]byte, miekg.MaxMsgSize)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		// what isn't the answer is somebody else's try to be it
		if r := new(miekg.Msg); r.Unpack(buf[:n]) == nil && fits(r, m) {
			return r, nil
		}
	}
}

func overTCP(conn net.Conn, raw []byte, m *miekg.Msg) (*miekg.Msg, error) {
	c := &miekg.Conn{Conn: stream{conn}}
	if _, err := c.Write(raw); err != nil {
		return nil, err
	}
	r, err := c.ReadMsg()
	if err != nil {
		return nil, err
	}
	if !fits(r, m) {
		return nil, errors.New("the answer is to another question")
	}
	return r, nil
}

// stream hides what else a connection can do, so that it is always taken for a stream.
type stream struct{ net.Conn }

func fits(r, m *miekg.Msg) bool {
	return r.Response && r.Id == m.Id && len(r.Question) == 1 && r.Question[0].Qtype == m.Question[0].Qtype &&
		r.Question[0].Qclass == m.Question[0].Qclass && strings.EqualFold(r.Question[0].Name, m.Question[0].Name)
}
