package scheduling

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// thing is an item of the queue's tests; an event is the name of what happened.
type thing struct {
	name  string
	prio  int64
	gated bool
	rev   int
}

// clockedQueue is a queue at a time that the test moves.
type clockedQueue struct {
	*Queue[thing, string]
	t   *testing.T
	now time.Time
}

func newClockedQueue(t *testing.T, change func(*QueueConfig[thing, string])) *clockedQueue {
	c := QueueConfig[thing, string]{
		Key:      func(x thing) string { return x.name },
		Priority: func(x thing) int64 { return x.prio },
		Gated:    func(x thing) bool { return x.gated },
		Equal:    func(a, b thing) bool { a.rev, b.rev = 0, 0; return a == b },
		Concerns: func(_ thing, by []string, e string) bool { return slices.Contains(by, e) },
	}
	if change != nil {
		change(&c)
	}
	q, err := NewQueue(c)
	require.NoError(t, err)
	return &clockedQueue{Queue: q, t: t, now: time.Unix(1000, 0)}
}

func (q *clockedQueue) set(things ...thing) {
	for _, x := range things {
		require.NoError(q.t, q.Set(x, q.now))
	}
}

func (q *clockedQueue) after(d time.Duration) { q.now = q.now.Add(d) }

func (q *clockedQueue) pop() Ticket[thing] {
	q.t.Helper()
	t, ok := q.Pop(q.now)
	require.True(q.t, ok, "nothing is active: %+v", q.Len())
	return t
}

// wait says how long until something becomes active by itself.
func (q *clockedQueue) wait() time.Duration {
	at, ok := q.Next()
	if !ok {
		return -1
	}
	return at.Sub(q.now)
}

func TestQueueOrder(t *testing.T) {
	q := newClockedQueue(t, nil)
	q.set(thing{name: "old"}, thing{name: "later"}, thing{name: "urgent", prio: 9})
	q.after(time.Second)
	q.set(thing{name: "urgent too", prio: 9}, thing{name: "new"})
	q.set(thing{name: "later", prio: 1}) // a change counts at once
	var got []string
	for q.Len().Active > 0 {
		x := q.pop()
		got = append(got, x.Item.name)
		q.Done(x)
	}
	require.Equal(t, []string{"urgent", "urgent too", "later", "old", "new"}, got)
	require.Equal(t, Counts{}, q.Len())
}

func TestBackOff(t *testing.T) {
	q := newClockedQueue(t, nil)
	q.set(thing{name: "x"})
	for i, want := range []int{1, 2, 4, 8, 10, 10} {
		q.Failed(q.pop(), q.now)
		require.Equal(t, time.Duration(want)*time.Second, q.wait(), "failure %d", i+1)
		q.after(q.wait() - 1)
		_, ok := q.Pop(q.now)
		require.False(t, ok)
		q.after(1)
	}
	q.Done(q.pop())
	q.set(thing{name: "x"})
	q.Failed(q.pop(), q.now)
	require.Equal(t, time.Second, q.wait(), "an item that got a host starts anew")
}

func TestUnfitWaitsForEvents(t *testing.T) {
	q := newClockedQueue(t, nil)
	q.set(thing{name: "x"})
	q.Unfit(q.pop(), []string{"room"}, q.now)
	q.Event("weather", q.now)
	require.Equal(t, Counts{Unfit: 1}, q.Len())
	q.Event("room", q.now)
	require.Equal(t, Counts{BackingOff: 1}, q.Len(), "an event doesn't cut back-off short")
	q.after(time.Second)
	q.Unfit(q.pop(), []string{"room"}, q.now)
	q.after(time.Minute)
	q.Event("room", q.now)
	require.Equal(t, Counts{Active: 1}, q.Len(), "back-off is long over")
	q.Unfit(q.pop(), []string{"room"}, q.now)
	require.Equal(t, 5*time.Minute, q.wait())
	q.after(5 * time.Minute)
	q.pop() // patience has ended
}

// An event between Pop and Unfit isn't lost, even when it has left the log.
func TestEventInFlight(t *testing.T) {
	for _, events := range []int{0, 1, 2000} {
		q := newClockedQueue(t, nil)
		q.set(thing{name: "x"})
		x := q.pop()
		for range events {
			q.Event("weather", q.now)
		}
		if events == 1 {
			q.Event("room", q.now)
		}
		q.Unfit(x, []string{"room"}, q.now)
		want := Counts{Unfit: 1}
		if events > 0 {
			want = Counts{BackingOff: 1}
		}
		require.Equal(t, want, q.Len(), "%d events", events)
	}
}

func TestChangeOfAnItem(t *testing.T) {
	q := newClockedQueue(t, nil)
	q.set(thing{name: "x"})
	q.Unfit(q.pop(), []string{"room"}, q.now)
	q.set(thing{name: "x", rev: 7})
	require.Equal(t, Counts{Unfit: 1}, q.Len(), "it changed in nothing that matters")
	q.set(thing{name: "x", prio: 1})
	require.Equal(t, Counts{BackingOff: 1}, q.Len())
	q.after(time.Second)
	x := q.pop()
	require.Equal(t, int64(1), x.Item.prio)
	q.set(thing{name: "x", prio: 2}) // while it is in flight
	q.Unfit(x, []string{"room"}, q.now)
	require.Equal(t, Counts{BackingOff: 1}, q.Len())
	q.after(2 * time.Second)
	require.Equal(t, int64(2), q.pop().Item.prio)
}

func TestGated(t *testing.T) {
	q := newClockedQueue(t, nil)
	q.set(thing{name: "x", gated: true})
	require.Equal(t, Counts{Gated: 1}, q.Len())
	require.Equal(t, time.Duration(-1), q.wait())
	q.Event("room", q.now)
	require.Equal(t, Counts{Gated: 1}, q.Len())
	q.set(thing{name: "x"})
	require.Equal(t, Counts{Active: 1}, q.Len())
	x := q.pop()
	q.set(thing{name: "x", gated: true})
	q.Stale(x, q.now)
	require.Equal(t, Counts{Gated: 1}, q.Len())
}

func TestStaleRetriesAtOnce(t *testing.T) {
	q := newClockedQueue(t, nil)
	q.set(thing{name: "x"})
	for range 5 {
		q.Stale(q.pop(), q.now)
		require.Equal(t, Counts{Active: 1}, q.Len())
	}
	q.Stale(q.pop(), q.now)
	require.Equal(t, time.Second, q.wait())
}

// A ticket of an item that was deleted, and perhaps added anew, does nothing.
func TestDeletedInFlight(t *testing.T) {
	q := newClockedQueue(t, nil)
	q.set(thing{name: "x"})
	x := q.pop()
	q.Delete("x")
	q.Failed(x, q.now)
	require.Equal(t, Counts{}, q.Len())
	q.set(thing{name: "x", prio: 5})
	q.Done(x)
	q.Unfit(x, nil, q.now)
	q.Stale(x, q.now)
	require.Equal(t, Counts{Active: 1}, q.Len())
	require.Equal(t, int64(5), q.pop().Item.prio)
}

func TestQueueLimit(t *testing.T) {
	q := newClockedQueue(t, func(c *QueueConfig[thing, string]) { c.Limit = 2 })
	q.set(thing{name: "a"}, thing{name: "b"})
	require.ErrorIs(t, q.Set(thing{name: "c"}, q.now), ErrFull)
	q.set(thing{name: "b", prio: 1})
	q.Delete("a")
	q.set(thing{name: "c"})
}

func TestQueueConfig(t *testing.T) {
	_, err := NewQueue(QueueConfig[thing, string]{})
	require.EqualError(t, err, "scheduling: QueueConfig.Key is nil")
	_, err = NewQueue(QueueConfig[thing, string]{Key: func(thing) string { return "" }, BackOff: -1})
	require.EqualError(t, err, "scheduling: QueueConfig: a duration or limit is negative")
}

// TestQueueModel drives a queue through random histories beside the simplest
// model: no item is ever lost or in two places, and popped items come in order.
func TestQueueModel(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 3))
		q := newClockedQueue(t, nil)
		known, flying := map[string]bool{}, map[string]Ticket[thing]{}
		for range 500 {
			name := fmt.Sprint(r.IntN(12))
			switch r.IntN(8) {
			case 0, 1:
				q.set(thing{name: name, prio: r.Int64N(3), gated: r.IntN(6) == 0})
				known[name] = true
			case 2:
				q.Delete(name)
				delete(known, name)
				delete(flying, name)
			case 3:
				q.Event([]string{"a", "b"}[r.IntN(2)], q.now)
			case 4:
				q.after(time.Duration(r.IntN(4000)) * time.Millisecond)
			case 5:
				if x, ok := q.Pop(q.now); ok {
					require.True(t, known[x.Item.name])
					require.NotContains(t, flying, x.Item.name, "popped twice")
					for _, w := range q.active.elems {
						require.LessOrEqual(t, w.priority, x.w.priority)
					}
					flying[x.Item.name] = x
				}
			default:
				report(q, r, known, flying)
			}
			c := q.Len()
			require.Equal(t, len(known), c.Active+c.BackingOff+c.Unfit+c.Gated+c.InFlight, "seed %d: %+v", seed, c)
			require.Equal(t, len(flying), c.InFlight, "seed %d", seed)
		}
	}
}

// report ends one flight.
func report(q *clockedQueue, r *rand.Rand, known map[string]bool, flying map[string]Ticket[thing]) {
	for name, x := range flying {
		delete(flying, name)
		switch r.IntN(4) {
		case 0:
			q.Done(x)
			delete(known, name)
		case 1:
			q.Unfit(x, strings.Split("a,b", ",")[:1+r.IntN(2)], q.now)
		case 2:
			q.Failed(x, q.now)
		default:
			q.Stale(x, q.now)
		}
		return
	}
}
