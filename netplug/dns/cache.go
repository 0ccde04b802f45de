package dns

import (
	"container/list"
	"strings"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
)

// maxCached is the size in bytes of the largest answer that is remembered.
const maxCached = 4096

// cacheKey is all of a question that changes its answer.
type cacheKey struct {
	name     string // in lower case
	typ      uint16
	dnssec   bool
	unproven bool // checking disabled
}

// cache remembers answers of upstreams, as bytes, until they are too old or others are wanted more.
type cache struct {
	most  int
	limit time.Duration

	mu      sync.Mutex
	entries map[cacheKey]*list.Element
	order   *list.List // the one used last in front
}

type cached struct {
	key        cacheKey
	raw        []byte
	since, end time.Time
}

func newCache(most int, limit time.Duration) *cache {
	return &cache{most: most, limit: limit, entries: map[cacheKey]*list.Element{}, order: list.New()}
}

// get returns the caller's own copy of an answer, with what is left of its TTLs; nil if there is none.
func (c *cache) get(k cacheKey, now time.Time) *miekg.Msg {
	raw, age := c.raw(k, now)
	if raw == nil {
		return nil
	}
	m := new(miekg.Msg)
	if m.Unpack(raw) != nil {
		return nil
	}
	for _, section := range [][]miekg.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != miekg.TypeOPT {
				h.Ttl -= min(h.Ttl, age)
			}
		}
	}
	return m
}

func (c *cache) raw(k cacheKey, now time.Time) (raw []byte, age uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.entries[k]
	if !ok {
		return nil, 0
	}
	e := at.Value.(*cached)
	if !now.Before(e.end) {
		c.remove(at)
		return nil, 0
	}
	c.order.MoveToFront(at)
	return e.raw, uint32(now.Sub(e.since) / time.Second)
}

// put remembers an answer that may be.
func (c *cache) put(k cacheKey, m *miekg.Msg, now time.Time) {
	life := min(lifetime(m), c.limit)
	if life <= 0 || c.most <= 0 {
		return
	}
	raw, err := m.Pack()
	if err != nil || len(raw) > maxCached {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.entries[k]; ok {
		c.remove(at)
	}
	c.entries[k] = c.order.PushFront(&cached{key: k, raw: raw, since: now, end: now.Add(life)})
	for len(c.entries) > c.most {
		c.remove(c.order.Back())
	}
}

func (c *cache) remove(at *list.Element) {
	delete(c.entries, c.order.Remove(at).(*cached).key)
}

// lifetime is how long an answer holds: as long as its records do, and one that says no as long as the zone's SOA
// says (RFC 2308). 0: it isn't to be remembered.
func lifetime(m *miekg.Msg) time.Duration {
	if m.Truncated || m.Rcode != miekg.RcodeSuccess && m.Rcode != miekg.RcodeNameError {
		return 0
	}
	least, found := uint32(1<<31), false
	for _, rr := range m.Answer {
		least, found = min(least, rr.Header().Ttl), true
	}
	if !answers(m) {
		found = false
		for _, rr := range m.Ns {
			if soa, ok := rr.(*miekg.SOA); ok {
				least, found = min(least, soa.Hdr.Ttl, soa.Minttl), true
			}
		}
	}
	if !found {
		return 0
	}
	return time.Duration(least) * time.Second
}

// answers says whether a message has what was asked for, rather than only aliases that lead nowhere.
func answers(m *miekg.Msg) bool {
	if m.Rcode != miekg.RcodeSuccess || len(m.Question) != 1 {
		return false
	}
	want := m.Question[0].Qtype
	for _, rr := range m.Answer {
		if want == miekg.TypeANY || rr.Header().Rrtype == want {
			return true
		}
	}
	return false
}

// inCaseOf gives the records of a name the case in which it was asked for.
func inCaseOf(name string, rrs []miekg.RR) {
	for _, rr := range rrs {
		if h := rr.Header(); strings.EqualFold(h.Name, name) {
			h.Name = name
		}
	}
}
