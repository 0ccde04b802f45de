package fairness

import (
	"errors"
	"sync"
	"time"
)

// Work is what a request is taken to cost.
type Work struct {
	// Seats are those that it has while it runs, at least 1. Final are those that it keeps for Extra after its end, for
	// what it sets off. It has the larger number of them all the time.
	Seats, Final int
	Extra        time.Duration
}

// Estimate bounds what requests are taken to cost. Zero fields take the default.
type Estimate struct {
	// Bytes of a list are one seat: 100,000. A list takes no more than Most bytes at a time: 1,000,000.
	Bytes, Most int64
	// Watches that are told of a write are one seat, for Event after its end: 30, and 5 ms. Kubernetes counts 10; its events
	// cost three times as much. Fewer watches than that are not counted. A write takes at most Final seats: 10.
	Watches, Final int
	Event          time.Duration
}

func (e *Estimate) validate() error {
	if e.Bytes < 0 || e.Most < 0 || e.Watches < 0 || e.Final < 0 || e.Event < 0 {
		return errors.New("an estimate is negative")
	}
	return nil
}

func (e Estimate) withDefaults() Estimate {
	or := func(n, d int64) int64 {
		if n == 0 {
			return d
		}
		return n
	}
	return Estimate{
		Bytes: or(e.Bytes, 100_000), Most: or(e.Most, 1_000_000), Watches: int(or(int64(e.Watches), 30)),
		Final: int(or(int64(e.Final), 10)), Event: time.Duration(or(int64(e.Event), int64(5*time.Millisecond))),
	}
}

// Reads is the cost of a list, or of the beginning of a watch, that sends so many bytes.
func (f *Fairness) Reads(bytes int64, most int) Work {
	e := &f.c.Estimate
	seats := (min(bytes, e.Most) + e.Bytes - 1) / e.Bytes
	return Work{Seats: max(1, min(int(seats), most))}
}

// Writes is the cost of a write that so many watches are told of.
func (f *Fairness) Writes(watches, most int) Work {
	e := &f.c.Estimate
	if watches < e.Watches {
		return Work{Seats: 1}
	}
	final := (watches + e.Watches - 1) / e.Watches
	total := time.Duration(final) * e.Event
	final = min(final, max(1, min(most, e.Final)))
	return Work{Seats: 1, Final: final, Extra: total / time.Duration(final)}
}

// watched is what a watch is about; an empty namespace or name is any.
type watched struct{ group, resource, namespace, name string }

// watches counts those under way.
type watches struct {
	mu sync.RWMutex
	of map[watched]int
}

// Watch counts a watch until forget is called, once.
func (f *Fairness) Watch(group, resource, namespace, name string) (forget func()) {
	w := watched{group, resource, namespace, name}
	f.watches.add(w, 1)
	return sync.OnceFunc(func() { f.watches.add(w, -1) })
}

func (w *watches) add(k watched, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of[k] += n; w.of[k] == 0 {
		delete(w.of, k)
	}
}

// Watching is how many watches are told of a write to an object.
func (f *Fairness) Watching(group, resource, namespace, name string) int {
	w := &f.watches
	w.mu.RLock()
	defer w.mu.RUnlock()
	if len(w.of) == 0 {
		return 0
	}
	n := w.of[watched{group, resource, "", ""}]
	if namespace != "" {
		n += w.of[watched{group, resource, namespace, ""}]
	}
	if name != "" {
		n += w.of[watched{group, resource, namespace, name}]
		if namespace != "" {
			n += w.of[watched{group, resource, "", name}]
		}
	}
	return n
}
