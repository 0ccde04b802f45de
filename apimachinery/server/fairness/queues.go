package fairness

import (
	"container/heap"
	"math"
	"slices"
	"time"
)

// expected is how long a request is taken to last before it is known.
const expected = 3 * time.Millisecond

// verdict is what becomes of a request that arrives.
type verdict int

const (
	starts verdict = iota
	waits
	queueFull
	levelFull // where nothing waits
)

// item is a request at a level.
type item struct {
	Work
	flow             *flow
	queue            *queue // nil where the level has none
	arrived, started time.Duration
	running          bool
	start            chan struct{} // closed when one that waited starts; nil for one that need not wait
	prev, next       *item         // among those that run
	what             *Request
	place            *Place
}

// work is what an item is taken to cost, in seat seconds.
func (i *item) work() float64 {
	return float64(i.Seats)*expected.Seconds() + float64(i.Final)*i.Extra.Seconds()
}

// width is how many seats an item has from its start.
func (i *item) width() int { return max(i.Seats, i.Final) }

// queue is one of a level's.
type queue struct {
	index   int
	waiting []*item
	// next is when, by the virtual clock, the next of the queue may start.
	next     float64
	running  int
	seats    int     // of those that run
	expected float64 // the work of those that wait
}

func (q *queue) idle() bool { return len(q.waiting) == 0 && q.running == 0 }

// load is the work before one who joins the queue.
func (q *queue) load() float64 { return q.expected + float64(q.seats)*expected.Seconds() }

// held are seats that are given back at some time.
type held struct {
	until time.Duration
	seats int
}

type heldSeats []held

func (h heldSeats) Len() int           { return len(h) }
func (h heldSeats) Less(i, j int) bool { return h[i].until < h[j].until }
func (h heldSeats) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *heldSeats) Push(x any)        { *h = append(*h, x.(held)) }
func (h *heldSeats) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// queues are the seats of a level and those who wait for them. It has no clock: time is handed in, and doesn't go back.
type queues struct {
	exempt bool // nothing is counted against a limit
	limit  int
	deck   int // how many queues are dealt from; there may be more for a while after they were reduced; 0: nobody waits
	hand   int
	length int
	list   []*queue

	clock     float64 // virtual time, in seat seconds of one queue
	last      time.Duration
	active    int // queues that are not idle
	requested int // seats of all that run or wait in queues
	inUse     int // seats, those that are held longer included
	running   int
	waiting   int
	inLine    int // seats that are waited for
	turn      int // the queue that was served last
	later     heldSeats
	first     *item // of those that run
	demand    demand
}

// shape sets how many queues there are, how many a flow has, and how long each may be.
func (s *queues) shape(deck, hand, length int) {
	s.deck, s.hand, s.length = deck, hand, length
	for len(s.list) < deck {
		s.list = append(s.list, &queue{index: len(s.list)})
	}
	s.trim()
}

// trim lets queues go that are not dealt from any more.
func (s *queues) trim() {
	for n := len(s.list); n > s.deck && s.list[n-1].idle(); n-- {
		s.list[n-1] = nil
		s.list = s.list[:n-1]
	}
}

// advance brings the virtual clock to a time: it goes by the seats that each busy queue gets.
func (s *queues) advance(now time.Duration) {
	if dt := (now - s.last).Seconds(); dt > 0 {
		if s.active > 0 {
			s.clock += dt * float64(min(s.requested, max(s.limit, 1))) / float64(s.active)
		}
		s.last = now
	}
	for len(s.later) > 0 && s.later[0].until <= now {
		s.inUse -= heap.Pop(&s.later).(held).seats
	}
}

// arrive takes a request in.
func (s *queues) arrive(now time.Duration, it *item, hash uint64) verdict {
	s.dispatch(now) // seats that were held may be free by now
	it.arrived = now
	switch {
	case s.exempt || s.deck == 0 && s.fits(it):
		s.begin(now, it)
		return starts
	case s.deck == 0:
		return levelFull
	}
	q := s.choose(hash)
	if len(q.waiting) >= s.length && s.inUse >= s.limit {
		return queueFull
	}
	if q.idle() {
		s.active++
		q.next = s.clock
	}
	it.queue = q
	s.requested += it.width()
	if s.waiting == 0 && s.fits(it) {
		s.begin(now, it)
		return starts
	}
	q.waiting = append(q.waiting, it)
	q.expected += it.work()
	s.waiting++
	s.inLine += it.width()
	s.note(now)
	s.dispatch(now)
	if it.running {
		return starts
	}
	return waits
}

// choose picks the queue of a flow's hand that has the least to do.
func (s *queues) choose(hash uint64) *queue {
	var hand [maxHand]int
	n := deal(hash, s.deck, s.hand, &hand)
	best := s.list[hand[0]]
	for _, card := range hand[1:n] {
		if best.load() == 0 {
			break
		}
		if q := s.list[card]; q.load() < best.load() {
			best = q
		}
	}
	return best
}

// fits says whether there are seats; one who wants more than there are at all goes alone.
func (s *queues) fits(it *item) bool {
	if it.width() > s.limit {
		return s.inUse == 0
	}
	return s.inUse+it.width() <= s.limit
}

// begin gives an item its seats.
func (s *queues) begin(now time.Duration, it *item) {
	it.started, it.running = now, true
	s.inUse += it.width()
	s.running++
	if q := it.queue; q != nil {
		q.next += it.work()
		q.running++
		q.seats += it.width()
	}
	if it.next = s.first; it.next != nil {
		it.next.prev = it
	}
	s.first = it
	s.note(now)
	if it.start != nil {
		close(it.start)
	}
}

// note tells of the seats that are wanted.
func (s *queues) note(now time.Duration) { s.demand.set(now, float64(s.inUse+s.inLine)) }

// dispatch starts who waits, as far as there are seats. blocked says that somebody's turn has come without room for them.
func (s *queues) dispatch(now time.Duration) (blocked *item) {
	s.advance(now)
	for s.waiting > 0 {
		q := s.turnOf()
		it := q.waiting[0]
		if !s.fits(it) {
			return it
		}
		s.turn = q.index
		s.remove(q, 0)
		s.begin(now, it)
	}
	return nil
}

// turnOf is the queue whose first would be done first by the virtual clock; of equals, the one after the last served.
func (s *queues) turnOf() *queue {
	var best *queue
	least := math.Inf(1)
	for i := range s.list {
		q := s.list[(s.turn+1+i)%len(s.list)]
		if len(q.waiting) == 0 {
			continue
		}
		if end := q.next + q.waiting[0].work(); end < least {
			best, least = q, end
		}
	}
	return best
}

func (s *queues) remove(q *queue, at int) {
	it := q.waiting[at]
	q.waiting = slices.Delete(q.waiting, at, at+1)
	if q.expected -= it.work(); len(q.waiting) == 0 {
		q.expected = 0 // no remainders
	}
	s.waiting--
	s.inLine -= it.width()
}

// leave takes back one who waits; false if it runs already.
func (s *queues) leave(now time.Duration, it *item) bool {
	if it.running {
		return false
	}
	s.advance(now)
	s.remove(it.queue, slices.Index(it.queue.waiting, it))
	s.left(it)
	s.note(now)
	s.dispatch(now)
	return true
}

// left counts an item out of its queue.
func (s *queues) left(it *item) {
	s.requested -= it.width()
	if it.queue.idle() {
		s.active--
		s.trim()
	}
}

// finish takes an item's seats back, now or later, and gives them to who waits.
func (s *queues) finish(now time.Duration, it *item) (blocked *item) {
	s.advance(now)
	s.running--
	if q := it.queue; q != nil {
		q.next -= float64(it.Seats) * (expected - (now - it.started)).Seconds()
		q.running--
		q.seats -= it.width()
		s.left(it)
	}
	if it.prev != nil {
		it.prev.next = it.next
	} else {
		s.first = it.next
	}
	if it.next != nil {
		it.next.prev = it.prev
	}
	it.prev, it.next = nil, nil
	if it.Extra > 0 {
		heap.Push(&s.later, held{now + it.Extra, it.width()})
	} else {
		s.inUse -= it.width()
	}
	s.note(now)
	return s.dispatch(now)
}

// wakeAt is when seats that are held are given back to somebody who waits; 0 if nobody does.
func (s *queues) wakeAt() time.Duration {
	if s.waiting == 0 || len(s.later) == 0 {
		return 0
	}
	return s.later[0].until
}

// period ends a period of the demand.
func (s *queues) period(now time.Duration) {
	s.advance(now)
	s.note(now)
	s.demand.period(now)
}

func (s *queues) idle() bool { return s.running == 0 && s.waiting == 0 && len(s.later) == 0 }
