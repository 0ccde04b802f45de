package scheduling

// hostset numbers the hosts and knows what is placed where, also on hosts that
// nobody has told of yet.
type hostset[I, H any] struct {
	byName  map[string]*host[I, H]
	byNum   Column[*host[I, H]] // nil: the number is free
	present Hosts
	placed  map[string]*placement[I, H] // by item key
}

// host is one host, or the name of one that items claim to be on.
type host[I, H any] struct {
	name  string
	n     int // -1: not told of yet
	obj   *H
	items []*placement[I, H]
}

type placement[I, H any] struct {
	key     string
	item    I
	on      *host[I, H]
	at      int  // in on.items
	assumed bool // our own decision, not yet confirmed
}

func newHostset[I, H any]() *hostset[I, H] {
	return &hostset[I, H]{byName: map[string]*host[I, H]{}, placed: map[string]*placement[I, H]{}}
}

// named returns the record of a name, making one when needed.
func (s *hostset[I, H]) named(name string) *host[I, H] {
	h := s.byName[name]
	if h == nil {
		h = &host[I, H]{name: name, n: -1}
		s.byName[name] = h
	}
	return h
}

// number gives h a number: the lowest that is free.
func (s *hostset[I, H]) number(h *host[I, H]) {
	h.n = s.present.firstFree()
	if h.n >= len(s.present)*64 {
		s.present = s.present.Grow(max(64, 2*h.n))
	}
	s.present.Add(h.n)
	*s.byNum.At(h.n) = h
}

// free takes h's number away and forgets h when nothing claims to be on it.
func (s *hostset[I, H]) free(h *host[I, H]) {
	s.present.Remove(h.n)
	s.byNum[h.n] = nil
	h.n, h.obj = -1, nil
	s.forget(h)
}

func (s *hostset[I, H]) forget(h *host[I, H]) {
	if h.n < 0 && len(h.items) == 0 {
		delete(s.byName, h.name)
	}
}

func (s *hostset[I, H]) put(p *placement[I, H]) {
	p.at = len(p.on.items)
	p.on.items = append(p.on.items, p)
	s.placed[p.key] = p
}

func (s *hostset[I, H]) take(p *placement[I, H]) {
	items := p.on.items
	last := len(items) - 1
	items[p.at] = items[last]
	items[p.at].at = p.at
	items[last] = nil
	p.on.items = items[:last]
	delete(s.placed, p.key)
	s.forget(p.on)
}

// changeLog remembers which hosts changed lately, so that a kept ranking can
// catch up. It holds a fixed number of entries.
type changeLog struct {
	ring [4096]int32
	next uint64
}

func (l *changeLog) add(n int) {
	l.ring[l.next%uint64(len(l.ring))] = int32(n)
	l.next++
}

// since adds the hosts that changed at or after position at to into; false: the
// log doesn't reach back that far.
func (l *changeLog) since(at uint64, into Hosts) bool {
	if l.next-at > uint64(len(l.ring)) {
		return false
	}
	for ; at < l.next; at++ {
		into.Add(int(l.ring[at%uint64(len(l.ring))]))
	}
	return true
}
