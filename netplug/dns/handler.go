package dns

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"

	miekg "github.com/miekg/dns"
)

var _ miekg.Handler = (*Server)(nil)

// mostAliases is how many aliases are followed for one question.
const mostAliases = 8

// ServeDNS answers one query. It is there for the sockets' sake.
func (s *Server) ServeDNS(w miekg.ResponseWriter, q *miekg.Msg) {
	m := s.reply(s.life, q)
	size := miekg.MaxMsgSize
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size = s.sizeOf(q)
	}
	raw, err := fit(m, size)
	if err == nil {
		_, err = w.Write(raw)
	}
	if err != nil {
		s.c.Log.Debug("answer a query", "client", w.RemoteAddr(), "err", err)
	}
}

// fit makes bytes of a message, and leaves out what is too much for size, and says so in it. Names are shortened
// only where there are many, or where that is needed: it costs more than it saves in a small message.
func fit(m *miekg.Msg, size int) ([]byte, error) {
	m.Compress = len(m.Answer) > 2
	raw, err := m.Pack()
	if err == nil && len(raw) <= size {
		return raw, nil
	}
	if err == nil {
		m.Truncate(size) // shortens names first
		if raw, err = m.Pack(); err == nil {
			return raw, nil
		}
	}
	// an upstream has sent what can be read but not written
	m.Rcode, m.Answer, m.Ns, m.Extra = miekg.RcodeServerFailure, nil, nil, nil
	return m.Pack()
}

// sizeOf is the size of the answer that a client takes over UDP.
func (s *Server) sizeOf(q *miekg.Msg) int {
	opt := q.IsEdns0()
	if opt == nil {
		return miekg.MinMsgSize
	}
	return min(max(int(opt.UDPSize()), miekg.MinMsgSize), s.c.UDPSize)
}

// reply answers a query, whatever it is.
func (s *Server) reply(ctx context.Context, q *miekg.Msg) *miekg.Msg {
	m := new(miekg.Msg)
	m.SetReply(q)
	m.RecursionAvailable = len(s.forward.upstreams) > 0
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(uint16(s.c.UDPSize), opt.Do())
		if opt.Version() != 0 {
			m.Rcode = miekg.RcodeBadVers
			return m
		}
	}
	switch {
	case len(q.Question) != 1:
		m.Rcode = miekg.RcodeFormatError
	case q.Opcode != miekg.OpcodeQuery:
		m.Rcode = miekg.RcodeNotImplemented
	case q.Question[0].Qclass != miekg.ClassINET || transfer(q.Question[0].Qtype):
		m.Rcode = miekg.RcodeRefused
	case s.forward.came(q.Question[0].Name, s.c.Log):
		m.Rcode = miekg.RcodeRefused
	case !s.known.Load():
		m.Rcode = miekg.RcodeServerFailure
	default:
		s.resolve(ctx, q, m)
	}
	return m
}

// transfer says whether a type is of queries about queries.
func transfer(t uint16) bool {
	return t == miekg.TypeAXFR || t == miekg.TypeIXFR || t == miekg.TypeMAILA || t == miekg.TypeMAILB || t == miekg.TypeOPT || t == miekg.TypeTSIG || t == miekg.TypeTKEY
}

// resolve answers from the index, and from upstreams what isn't the cluster's or where an alias leads out of it.
func (s *Server) resolve(ctx context.Context, q, m *miekg.Msg) {
	ask := q.Question[0]
	for hop := range mostAliases {
		a, owned := s.index.Answer(ask)
		if !owned {
			s.forwardTo(ctx, q, ask, m)
			return
		}
		m.Authoritative = m.Authoritative || hop == 0
		m.Rcode = a.Rcode
		shuffle(a.Answer)
		m.Answer, m.Ns = append(m.Answer, a.Answer...), a.Authority
		m.Extra = append(a.Extra, m.Extra...)
		if a.Follow == "" {
			return
		}
		ask.Name = a.Follow
	}
	m.Rcode = miekg.RcodeServerFailure
}

// forwardTo adds what upstreams say.
func (s *Server) forwardTo(ctx context.Context, q *miekg.Msg, ask miekg.Question, m *miekg.Msg) {
	f := forwarded{Question: ask, recurse: q.RecursionDesired || len(m.Answer) > 0, unproven: q.CheckingDisabled}
	if opt := q.IsEdns0(); opt != nil {
		f.dnssec = opt.Do()
	}
	r, err := s.forward.resolve(ctx, f)
	if err != nil {
		m.Rcode = miekg.RcodeServerFailure
		if errors.Is(err, errNoUpstream) && len(s.forward.upstreams) == 0 {
			m.Rcode = miekg.RcodeRefused
			return
		}
		s.c.Log.Debug("forward a query", "name", ask.Name, "type", miekg.TypeToString[ask.Qtype], "err", err)
		return
	}
	m.Rcode, m.AuthenticatedData = r.Rcode, r.AuthenticatedData && len(m.Answer) == 0
	m.Answer, m.Ns = append(m.Answer, r.Answer...), r.Ns
	m.Extra = append(r.Extra, m.Extra...)
}

// shuffle puts the records of a name into a random order, so that its addresses share the load.
func shuffle(rrs []miekg.RR) {
	if len(rrs) > 1 {
		rand.Shuffle(len(rrs), func(i, j int) { rrs[i], rrs[j] = rrs[j], rrs[i] })
	}
}
