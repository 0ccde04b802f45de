package dns

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
)

// probeSuffix is what the names of probes end with. It must be a domain that nobody answers for, but one that stubs
// pass on, which they don't do with those that are reserved.
const probeSuffix = ".bedplate-loop-probe."

// How often upstreams that lead back are tried again; how long a probe waits; how often a flood of queries makes
// for new probes.
const (
	reprobe   = 30 * time.Second
	probeTime = time.Second
	probePace = 5 * time.Second
)

// probeToken is a label that nobody can guess.
func probeToken() string { return strings.ToLower(rand.Text()) }

// came says whether a name is that of a probe; its upstream leads back here and is left out.
func (f *forwarder) came(name string, log *slog.Logger) bool {
	token, ok := strings.CutSuffix(miekg.CanonicalName(name), probeSuffix)
	if !ok {
		return false
	}
	for _, u := range f.upstreams {
		if u.token == token && u.leadsBack() {
			log.Error("leave out an upstream that sends queries back to this server", "upstream", u.addr)
		}
	}
	return true
}

// watch probes all upstreams at first and whenever a flood of queries looks like a loop, and then and again those
// that lead back, until ctx ends.
func (f *forwarder) watch(ctx context.Context, log *slog.Logger) {
	f.probe(ctx, f.upstreams, log)
	close(f.probed)
	tick := time.NewTicker(reprobe)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			var loop []*upstream
			for _, u := range f.upstreams {
				if can, _ := u.usable(time.Time{}); !can {
					loop = append(loop, u)
				}
			}
			f.probe(ctx, loop, log)
		case <-f.suspect:
			f.probe(ctx, f.upstreams, log)
			select {
			case <-ctx.Done():
			case <-time.After(probePace):
			}
		}
	}
}

// probe asks each upstream for its own name. One that leads back is found while it is asked.
func (f *forwarder) probe(ctx context.Context, upstreams []*upstream, log *slog.Logger) {
	var wg sync.WaitGroup
	for _, u := range upstreams {
		wg.Go(func() {
			u.beginProbe()
			m := new(miekg.Msg)
			m.SetQuestion(u.token+probeSuffix, miekg.TypeHINFO)
			_, _ = u.ask(ctx, m, probeTime) // the answer doesn't matter, only whether the query comes here
			if u.endProbe() {
				log.Info("take an upstream back: it doesn't send queries back any more", "upstream", u.addr)
			}
		})
	}
	wg.Wait()
}

// own says whether an upstream is one of the sockets that are served.
func own(u netip.AddrPort, sockets []net.Addr) bool {
	for _, s := range sockets {
		at, err := netip.ParseAddrPort(s.String())
		if err != nil || at.Port() != u.Port() {
			continue
		}
		if a := at.Addr().Unmap(); a == u.Addr() || a.IsUnspecified() && u.Addr().IsLoopback() {
			return true
		}
	}
	return false
}
