package dns

import (
	"context"
	"errors"
	"time"

	miekg "github.com/miekg/dns"
)

// What becomes of a query that no upstream answers.
var (
	errNoUpstream = errors.New("there is no upstream to ask")
	errBusy       = errors.New("as many queries as may be are at upstreams")
)

// forwarder asks upstreams.
type forwarder struct {
	upstreams []*upstream
	cache     *cache
	slots     chan struct{}
	timeout   time.Duration
	probed    chan struct{} // closed once it is known which upstreams lead back here
	suspect   chan struct{} // gets a token when there are too many queries, as a loop would make
}

// forwarded is a question, with what of a query goes along.
type forwarded struct {
	miekg.Question
	recurse, unproven, dnssec bool
}

func (f forwarded) key() cacheKey {
	return cacheKey{miekg.CanonicalName(f.Name), f.Qtype, f.dnssec, f.unproven}
}

// query is what an upstream is asked.
func (f forwarded) query() *miekg.Msg {
	m := new(miekg.Msg)
	m.Id = miekg.Id()
	m.RecursionDesired, m.CheckingDisabled = f.recurse, f.unproven
	m.Question = []miekg.Question{f.Question}
	m.SetEdns0(upstreamSize, f.dnssec)
	return m
}

// resolve answers a question from the cache, or by upstreams. The message is the caller's own; its header says what
// the upstream said, and its OPT record is off.
func (f *forwarder) resolve(ctx context.Context, q forwarded) (*miekg.Msg, error) {
	if len(f.upstreams) == 0 {
		return nil, errNoUpstream
	}
	if m := f.cache.get(q.key(), time.Now()); m != nil && q.recurse {
		inCaseOf(q.Name, m.Answer)
		return m, nil
	}
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		select {
		case f.suspect <- struct{}{}:
		default:
		}
		return nil, errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout*5/2)
	defer cancel()
	select {
	case <-f.probed:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	m, err := f.askAll(ctx, q)
	if err != nil {
		return nil, err
	}
	withoutOPT(m)
	if q.recurse {
		f.cache.put(q.key(), m, time.Now())
	}
	inCaseOf(q.Name, m.Answer)
	return m, nil
}

// askAll asks one upstream after the other, those that failed lately last. Of refusals it returns the last.
func (f *forwarder) askAll(ctx context.Context, q forwarded) (last *miekg.Msg, err error) {
	err = errNoUpstream
	for _, u := range f.order(time.Now()) {
		if ctx.Err() != nil {
			break
		}
		r, askErr := u.ask(ctx, q.query(), f.timeout)
		u.report(askErr == nil, time.Now())
		switch {
		case askErr != nil:
			if err = askErr; ctx.Err() != nil && last == nil {
				return nil, err
			}
		case r.Rcode == miekg.RcodeServerFailure || r.Rcode == miekg.RcodeRefused:
			last = r
		default:
			return r, nil
		}
	}
	if last != nil {
		return last, nil
	}
	return nil, err
}

func (f *forwarder) order(now time.Time) []*upstream {
	var good, bad []*upstream
	for _, u := range f.upstreams {
		switch can, should := u.usable(now); {
		case can && should:
			good = append(good, u)
		case can:
			bad = append(bad, u)
		}
	}
	return append(good, bad...)
}

func withoutOPT(m *miekg.Msg) {
	kept := m.Extra[:0]
	for _, rr := range m.Extra {
		if rr.Header().Rrtype != miekg.TypeOPT {
			kept = append(kept, rr)
		}
	}
	m.Extra = kept
}
