package dns

import (
	"net/netip"
	"strings"

	miekg "github.com/miekg/dns"
)

// Answer is what the index has to say to a question. The records are the caller's own.
type Answer struct {
	// Rcode is miekg/dns' RcodeSuccess or RcodeNameError.
	Rcode int
	// Answer, Authority and Extra are the sections of the reply, in a fixed order.
	Answer, Authority, Extra []miekg.RR
	// Follow is the name that the last record, a CNAME, leads to: the answer goes on there. "" if there is none.
	Follow string
}

// versionTTL is that of dns-version, which doesn't change.
const versionTTL = 28800

// record is all that is known of one name.
type record struct {
	exists bool
	apex   bool
	ttl    uint32
	addrs  []netip.Addr
	srv    []target
	cname  string
	text   string
	ptr    []string
}

// target is where an SRV record leads.
type target struct {
	name string
	port uint16
	addr netip.Addr
}

// Answer answers a question of class IN; owned is false if the name is none of the cluster's, so that somebody else
// is to be asked. Records are in the order of the API's objects: a server shuffles them.
func (x *Index) Answer(q miekg.Question) (a Answer, owned bool) {
	name := miekg.CanonicalName(q.Name)
	x.mu.RLock()
	defer x.mu.RUnlock()
	r, zone, owned := x.find(name, q.Qtype)
	if !owned {
		return Answer{}, false
	}
	if !r.exists {
		return Answer{Rcode: miekg.RcodeNameError, Authority: []miekg.RR{x.soa(zone)}}, true
	}
	x.render(&a, q, zone, r)
	if len(a.Answer) == 0 {
		a.Authority = []miekg.RR{x.soa(zone)}
	}
	return a, true
}

// find finds a name's record and the zone that it is in.
func (x *Index) find(name string, qtype uint16) (r record, zone string, owned bool) {
	if miekg.IsSubDomain(x.c.Domain, name) {
		labels := miekg.SplitDomainName(name)
		labels = labels[:len(labels)-miekg.CountLabel(x.c.Domain)]
		r = x.lookup(labels)
		if r.ttl == 0 {
			r.ttl = x.ttl
		}
		return r, x.c.Domain, true
	}
	rev, ok := parseReverse(name)
	if !ok {
		return r, "", false
	}
	r.ttl = x.ttl
	if rev.exact() {
		r.ptr = x.reverse(rev.addr)
		r.exists = len(r.ptr) > 0
	}
	zone, owned = x.zoneOf(rev)
	if !owned {
		return r, rev.zone(rev.bits), r.exists && qtype == miekg.TypePTR
	}
	r.exists = r.exists || rev.valid && !rev.exact()
	r.apex = name == zone
	return r, zone, true
}

func (x *Index) render(a *Answer, q miekg.Question, zone string, r record) {
	add := func(rr miekg.RR) { a.Answer = append(a.Answer, rr) }
	switch {
	case r.cname != "" && q.Qtype != miekg.TypeANY:
		add(&miekg.CNAME{Hdr: header(q.Name, miekg.TypeCNAME, r.ttl), Target: r.cname})
		if q.Qtype != miekg.TypeCNAME {
			a.Follow = r.cname
		}
	case q.Qtype == miekg.TypeA || q.Qtype == miekg.TypeAAAA:
		for _, addr := range r.addrs {
			if rr := address(q.Name, addr, r.ttl); rr.Header().Rrtype == q.Qtype {
				add(rr)
			}
		}
	case q.Qtype == miekg.TypeSRV:
		x.renderSRV(a, q.Name, r)
	case q.Qtype == miekg.TypeTXT && r.text != "":
		add(&miekg.TXT{Hdr: header(q.Name, miekg.TypeTXT, r.ttl), Txt: []string{r.text}})
	case q.Qtype == miekg.TypePTR:
		for _, name := range r.ptr {
			add(&miekg.PTR{Hdr: header(q.Name, miekg.TypePTR, r.ttl), Ptr: name})
		}
	case q.Qtype == miekg.TypeSOA && r.apex:
		soa := x.soa(zone)
		soa.Header().Name = q.Name
		add(soa)
	case q.Qtype == miekg.TypeNS && r.apex:
		add(&miekg.NS{Hdr: header(q.Name, miekg.TypeNS, r.ttl), Ns: x.nameserver()})
		for _, addr := range x.c.Addresses {
			a.Extra = append(a.Extra, address(x.nameserver(), addr, r.ttl))
		}
	case q.Qtype == miekg.TypeANY: // RFC 8482
		add(&miekg.HINFO{Hdr: header(q.Name, miekg.TypeHINFO, r.ttl), Cpu: "RFC8482"})
	}
}

// renderSRV makes the records of targets, and of their addresses beside them.
func (x *Index) renderSRV(a *Answer, owner string, r record) {
	type at struct {
		name string
		port uint16
	}
	places, hosts := map[at]bool{}, map[netip.Addr]string{}
	for _, t := range r.srv {
		if p := (at{t.name, t.port}); !places[p] {
			places[p] = true
			a.Answer = append(a.Answer, &miekg.SRV{Hdr: header(owner, miekg.TypeSRV, r.ttl), Port: t.port, Target: t.name})
		}
		if hosts[t.addr] != t.name && t.addr.IsValid() {
			hosts[t.addr] = t.name
			a.Extra = append(a.Extra, address(t.name, t.addr, r.ttl))
		}
	}
	for _, rr := range a.Answer {
		rr.(*miekg.SRV).Weight = uint16(max(1, 100/len(a.Answer)))
	}
}

func header(name string, t uint16, ttl uint32) miekg.RR_Header {
	return miekg.RR_Header{Name: name, Rrtype: t, Class: miekg.ClassINET, Ttl: ttl}
}

func address(name string, a netip.Addr, ttl uint32) miekg.RR {
	if a.Is4() {
		return &miekg.A{Hdr: header(name, miekg.TypeA, ttl), A: a.AsSlice()}
	}
	return &miekg.AAAA{Hdr: header(name, miekg.TypeAAAA, ttl), AAAA: a.AsSlice()}
}

func (x *Index) nameserver() string { return "ns.dns." + x.c.Domain }

// soa is a zone's start of authority; its serial counts the changes that the index was told of.
func (x *Index) soa(zone string) miekg.RR {
	return &miekg.SOA{
		Hdr: header(zone, miekg.TypeSOA, x.ttl), Ns: x.nameserver(), Mbox: "hostmaster." + x.c.Domain,
		Serial: x.serial, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: x.ttl,
	}
}

// name puts labels in front of the cluster's domain.
func (x *Index) name(labels ...string) string { return strings.Join(append(labels, x.c.Domain), ".") }
