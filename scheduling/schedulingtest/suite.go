// Package schedulingtest is the suite that every plugin of a scheduler should
// pass: it drives a plugin through random hosts, items and placements and checks
// what package scheduling takes for granted of it.
package schedulingtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bedplate/bedplate/scheduling"
)

// Subject is a plugin under test, and what it is to be tested with.
type Subject[I, H any] struct {
	// New returns the plugin anew, without state. Its Columns may be nil.
	New func() scheduling.Plugin[I, H]
	// Host makes a host. Few different properties make for more coincidences.
	Host func(r *rand.Rand, name string) *H
	// Item makes an item.
	Item func(r *rand.Rand, name string) I
	// Runs is how many random histories are tried; 0: 30. Steps is how many
	// changes each has; 0: 60.
	Runs, Steps int
}

// Run checks, after each change of a random history, that
//
//   - Explain gives reasons for exactly the hosts that Filter clears;
//   - Filter sets no bits, and its answer for a host doesn't depend on the others;
//   - the state equals that of a new plugin that is told of the same hosts and
//     placements in another order and under other numbers;
//   - scores are between 0 and scheduling.MaxScore, after Scale where there is one;
//   - a plugin that skips an item would not have cleared any host for it;
//   - a plugin that is Local gives items of one class one answer, and changes its
//     answer for no host but the one that a placement touches.
//
// A failure names the seed of its history, which is always the same.
func Run[I, H any](t *testing.T, s Subject[I, H]) {
	t.Helper()
	runs, steps := s.Runs, s.Steps
	if runs == 0 {
		runs = 30
	}
	if steps == 0 {
		steps = 60
	}
	for seed := range uint64(runs) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { live(t, s, seed, steps) })
	}
}

// live drives a new plugin through the history of one seed.
func live[I, H any](t tb, s Subject[I, H], seed uint64, steps int) {
	t.Helper()
	h := &history[I, H]{tb: t, s: s, r: rand.New(rand.NewPCG(seed, 1)), hosts: map[string]*H{}}
	h.grown = newDriven(s.New())
	for range steps {
		h.step()
		h.check()
	}
	h.unwind()
	h.check()
}

// history is the world that a plugin is told of.
type history[I, H any] struct {
	tb
	s      Subject[I, H]
	r      *rand.Rand
	grown  *driven[I, H]
	hosts  map[string]*H
	placed []placed[I]
	made   int
}

type placed[I any] struct {
	item I
	host string
}

func (h *history[I, H]) names() []string {
	names := make([]string, 0, len(h.hosts))
	for name := range h.hosts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (h *history[I, H]) newItem() I {
	h.made++
	return h.s.Item(h.r, fmt.Sprintf("item-%d", h.made))
}

// step makes one random change.
func (h *history[I, H]) step() {
	names := h.names()
	switch k := h.r.IntN(10); {
	case k < 2 || len(names) == 0:
		h.setHost(fmt.Sprintf("host-%d", h.r.IntN(12)))
	case k < 3:
		h.setHost(names[h.r.IntN(len(names))])
	case k < 4:
		h.removeHost(names[h.r.IntN(len(names))])
	case k < 8 || len(h.placed) == 0:
		h.place(names[h.r.IntN(len(names))])
	default:
		h.unplace(h.r.IntN(len(h.placed)))
	}
}

func (h *history[I, H]) setHost(name string) {
	obj := h.s.Host(h.r, name)
	h.hosts[name] = obj
	h.grown.host(name, obj)
}

func (h *history[I, H]) removeHost(name string) {
	for i := len(h.placed) - 1; i >= 0; i-- {
		if h.placed[i].host == name {
			h.unplace(i)
		}
	}
	delete(h.hosts, name)
	h.grown.gone(name)
}

// place puts a new item on a host, and checks the claim to be Local.
func (h *history[I, H]) place(host string) {
	watched, local := h.newItem(), false
	if local = h.grown.isLocal(watched); !local {
		h.put(host)
		return
	}
	before := h.grown.answer(h.tb, watched)
	h.put(host)
	after := h.grown.answer(h.tb, watched)
	for name, was := range before {
		if is := after[name]; name != host && was != is {
			h.Fatalf("not local: placing an item on %s changed the answer for %s from %+v to %+v", host, name, was, is)
		}
	}
}

func (h *history[I, H]) put(host string) {
	p := placed[I]{item: h.newItem(), host: host}
	h.placed = append(h.placed, p)
	h.grown.place(p, +1)
}

func (h *history[I, H]) unplace(i int) {
	p := h.placed[i]
	h.placed = slices.Delete(h.placed, i, i+1)
	h.grown.place(p, -1)
}

// unwind takes all items off.
func (h *history[I, H]) unwind() {
	for len(h.placed) > 0 {
		h.unplace(h.r.IntN(len(h.placed)))
	}
}

// rebuilt tells a new plugin of the same world, in another order.
func (h *history[I, H]) rebuilt() *driven[I, H] {
	d := newDriven(h.s.New())
	names := h.names()
	h.r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names {
		d.host(name, h.hosts[name])
	}
	for _, i := range h.r.Perm(len(h.placed)) {
		d.place(h.placed[i], +1)
	}
	return d
}

// check compares the plugin that has lived through it all with a rebuilt one.
func (h *history[I, H]) check() {
	h.Helper()
	fresh := h.rebuilt()
	byClass := map[string]map[string]answer{}
	for range 3 {
		item := h.newItem()
		got, want := h.grown.answer(h.tb, item), fresh.answer(h.tb, item)
		for name := range want {
			if got[name] != want[name] {
				h.Fatalf("host %s: after deltas %+v, rebuilt from scratch %+v", name, got[name], want[name])
			}
		}
		h.grown.checkSubset(h.tb, h.r, item, got)
		if class, ok := h.grown.class(item); ok {
			if twin := byClass[class]; twin != nil && !equal(twin, got) {
				h.Fatalf("not local: two items of class %q get different answers: %+v and %+v", class, twin, got)
			}
			byClass[class] = got
		}
	}
}

func equal(a, b map[string]answer) bool {
	for name := range a {
		if a[name] != b[name] {
			return false
		}
	}
	return true
}

// answer is what a plugin says of one host; Score only where it fits.
type answer struct {
	Fits    bool
	Reasons string
	Score   int64
}

func join(reasons []string) string { return strings.Join(reasons, "; ") }
