package scheduling

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func cycleConfig() CycleConfig[*load, box] {
	return CycleConfig[*load, box]{
		Config:    testConfig(),
		HostOf:    func(l *load) string { return l.On },
		EqualItem: func(a, b *load) bool { return a.Size == b.Size && a.Zone == b.Zone },
		EqualHost: func(a, b *box) bool { return *a == *b },
	}
}

func newTestCycle(t *testing.T) *Cycle[*load, box] {
	t.Helper()
	c, err := NewCycle(cycleConfig())
	require.NoError(t, err)
	return c
}

var epoch = time.Unix(1000, 0)

func TestCycleBindsAndConfirms(t *testing.T) {
	c := newTestCycle(t)
	c.SetHost("a", &box{Slots: 2}, epoch)
	require.NoError(t, c.SetItem(&load{Name: "x", Size: 2}, epoch))
	d, ok := c.Next(t.Context(), epoch)
	require.True(t, ok)
	require.NoError(t, d.Err)
	require.Equal(t, "a", d.Host)
	_, host, assumed, ok := c.Engine().Placed("x")
	require.True(t, ok && assumed && host == "a")

	// Its own news, old or repeated, don't bring it back into the queue.
	require.NoError(t, c.SetItem(&load{Name: "x", Size: 2}, epoch))
	c.Bound(d, nil, epoch)
	require.NoError(t, c.SetItem(&load{Name: "x", Size: 2}, epoch))
	require.Equal(t, Counts{}, c.Len())
	require.NoError(t, c.SetItem(&load{Name: "x", Size: 2, On: "a"}, epoch))
	_, _, assumed, ok = c.Engine().Placed("x")
	require.True(t, ok && !assumed)

	require.NoError(t, c.SetItem(&load{Name: "y", Size: 1}, epoch))
	d, _ = c.Next(t.Context(), epoch)
	require.EqualError(t, d.Err, "0/1 hosts fit: 1 refused by room")
	require.Equal(t, Counts{Unfit: 1}, c.Len())
	c.RemoveItem("x", epoch)
	d, ok = c.Next(t.Context(), epoch.Add(time.Second))
	require.True(t, ok)
	require.Equal(t, "a", d.Host)
}

func TestCycleFailedBinding(t *testing.T) {
	c := newTestCycle(t)
	c.SetHost("a", &box{Slots: 2}, epoch)
	require.NoError(t, c.SetItem(&load{Name: "x", Size: 2}, epoch))
	d, _ := c.Next(t.Context(), epoch)
	c.Bound(d, errors.New("refused"), epoch)
	_, _, _, placed := c.Engine().Placed("x")
	require.False(t, placed)
	require.Equal(t, Counts{BackingOff: 1}, c.Len())

	d, ok := c.Next(t.Context(), epoch.Add(time.Second))
	require.True(t, ok)
	c.Bound(d, fmt.Errorf("node changed: %w", ErrStale), epoch.Add(time.Second))
	require.Equal(t, Counts{Active: 1}, c.Len())
}

// What comes to be known while a binding is under way counts more than its result.
func TestCycleNewsDuringBinding(t *testing.T) {
	start := func() (*Cycle[*load, box], Decision[*load]) {
		c := newTestCycle(t)
		c.SetHost("a", &box{Slots: 2}, epoch)
		c.SetHost("b", &box{Slots: 1}, epoch)
		require.NoError(t, c.SetItem(&load{Name: "x", Size: 1}, epoch))
		d, _ := c.Next(t.Context(), epoch)
		require.Equal(t, "a", d.Host)
		return c, d
	}
	failed := errors.New("timed out")

	c, d := start() // it was bound after all
	require.NoError(t, c.SetItem(&load{Name: "x", Size: 1, On: "a"}, epoch))
	c.Bound(d, failed, epoch)
	_, host, assumed, ok := c.Engine().Placed("x")
	require.True(t, ok && !assumed && host == "a")
	require.Equal(t, Counts{}, c.Len())

	c, d = start() // somebody else bound it elsewhere
	require.NoError(t, c.SetItem(&load{Name: "x", Size: 1, On: "b"}, epoch))
	c.Bound(d, failed, epoch)
	_, host, _, _ = c.Engine().Placed("x")
	require.Equal(t, "b", host)
	require.Equal(t, Counts{}, c.Len())

	c, d = start() // it was deleted
	c.RemoveItem("x", epoch)
	c.Bound(d, failed, epoch)
	require.Equal(t, Counts{}, c.Len())

	c, d = start() // deleted, made anew, and decided on again
	c.RemoveItem("x", epoch)
	require.NoError(t, c.SetItem(&load{Name: "x", Size: 2}, epoch))
	d2, _ := c.Next(t.Context(), epoch)
	c.Bound(d, failed, epoch)
	_, _, assumed, ok = c.Engine().Placed("x")
	require.True(t, ok && assumed, "the new one's decision stands")
	c.Bound(d2, nil, epoch)

	c, d = start() // it changed
	require.NoError(t, c.SetItem(&load{Name: "x", Size: 2}, epoch))
	c.Bound(d, failed, epoch)
	d, ok = c.Next(t.Context(), epoch.Add(time.Second))
	require.True(t, ok)
	require.Equal(t, int64(2), d.Item.Size)
}

func TestCycleHints(t *testing.T) {
	refuse := func(c *Cycle[*load, box]) {
		d, ok := c.Next(t.Context(), epoch)
		require.True(t, ok)
		require.Error(t, d.Err)
		require.Equal(t, Counts{Unfit: 1}, c.Len())
	}
	for name, tc := range map[string]struct {
		item  load
		event func(*Cycle[*load, box])
		moves bool
	}{
		"room freed":               {load{Size: 9}, func(c *Cycle[*load, box]) { c.RemoveItem("other", epoch) }, true},
		"host grows":               {load{Size: 9}, func(c *Cycle[*load, box]) { c.SetHost("a", &box{Slots: 9}, epoch) }, true},
		"host says the same":       {load{Size: 9}, func(c *Cycle[*load, box]) { c.SetHost("a", &box{Slots: 5}, epoch) }, false},
		"something placed":         {load{Size: 9}, func(c *Cycle[*load, box]) { _ = c.SetItem(&load{Name: "z", On: "a"}, epoch) }, false},
		"something outside":        {load{Size: 9}, func(c *Cycle[*load, box]) { c.Tell("volumes", epoch) }, false},
		"host goes":                {load{Size: 9}, func(c *Cycle[*load, box]) { c.RemoveHost("a", epoch) }, false},
		"placed, plugin no hinter": {load{Zone: 7}, func(c *Cycle[*load, box]) { _ = c.SetItem(&load{Name: "z", On: "a"}, epoch) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTestCycle(t)
			c.SetHost("a", &box{Slots: 5}, epoch)
			require.NoError(t, c.SetItem(&load{Name: "other", Size: 1, On: "a"}, epoch))
			tc.item.Name = "x"
			require.NoError(t, c.SetItem(&tc.item, epoch))
			refuse(c)
			tc.event(c)
			require.Equal(t, tc.moves, c.Len().Unfit == 0)
		})
	}
	// Without any host it waits for one.
	c := newTestCycle(t)
	require.NoError(t, c.SetItem(&load{Name: "x"}, epoch))
	refuse(c)
	c.SetHost("a", &box{}, epoch)
	require.Equal(t, Counts{BackingOff: 1}, c.Len())
}

// TestTwoCycles lets two schedulers decide on one world whose owner refuses what
// doesn't fit, in random interleavings: nothing is overcommitted, nothing is
// bound twice, and everything that fits ends up on a host.
func TestTwoCycles(t *testing.T) {
	for seed := range uint64(60) {
		w := newWorld(t, seed)
		for step := 0; !w.settled(); step++ {
			require.Less(t, step, 100_000, "seed %d: it doesn't settle", seed)
			w.step()
		}
		w.verify(seed)
	}
}

// world owns the truth, and tells both cycles of it late and in pieces.
type world struct {
	t      *testing.T
	r      *rand.Rand
	now    time.Time
	slots  map[string]int64
	truth  map[string]*load // by name
	rev    map[string]int   // how often anything was bound to a host
	cycles [2]*Cycle[*load, box]
	news   [2][]*load
	seen   [2]map[string]int // rev of each host, as told
	flying [2][]flight
}

type flight struct {
	d   Decision[*load]
	rev int
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, r: rand.New(rand.NewPCG(seed, 4)), now: epoch, slots: map[string]int64{}, truth: map[string]*load{}, rev: map[string]int{}}
	for i := range w.cycles {
		w.cycles[i], w.seen[i] = newTestCycle(t), map[string]int{}
	}
	for i := range 3 {
		name := fmt.Sprint("box-", i)
		w.slots[name] = 4
		for _, c := range w.cycles {
			c.SetHost(name, &box{Slots: 4}, w.now)
		}
	}
	for i := range 12 {
		l := &load{Name: fmt.Sprint("load-", i), Size: 1}
		w.truth[l.Name] = l
		for _, c := range w.cycles {
			require.NoError(t, c.SetItem(l, w.now))
		}
	}
	return w
}

func (w *world) step() {
	i := w.r.IntN(2)
	switch w.r.IntN(4) {
	case 0:
		w.now = w.now.Add(time.Duration(w.r.IntN(500)) * time.Millisecond)
		if d, ok := w.cycles[i].Next(w.t.Context(), w.now); ok && d.Err == nil {
			w.flying[i] = append(w.flying[i], flight{d: d, rev: w.seen[i][d.Host]})
		}
	case 1, 2:
		if len(w.flying[i]) > 0 {
			w.land(i, w.r.IntN(len(w.flying[i])))
		}
	default:
		if len(w.news[i]) > 0 {
			l := w.news[i][0]
			w.news[i] = w.news[i][1:]
			w.seen[i][l.On]++
			require.NoError(w.t, w.cycles[i].SetItem(l, w.now))
		}
	}
}

// land carries out a binding: refused when the item is on a host, and when more
// was bound to the host than the cycle knew of.
func (w *world) land(i, at int) {
	f := w.flying[i][at]
	w.flying[i] = append(w.flying[i][:at:at], w.flying[i][at+1:]...)
	if w.truth[f.d.Item.Name].On != "" || w.rev[f.d.Host] != f.rev {
		w.cycles[i].Bound(f.d, ErrStale, w.now)
		return
	}
	bound := *f.d.Item
	bound.On = f.d.Host
	w.truth[bound.Name] = &bound
	w.rev[bound.On]++
	w.cycles[i].Bound(f.d, nil, w.now)
	for k := range w.news {
		w.news[k] = append(w.news[k], &bound)
	}
}

func (w *world) settled() bool {
	for i := range w.cycles {
		if len(w.news[i]) > 0 || len(w.flying[i]) > 0 || w.cycles[i].Len() != (Counts{}) {
			return false
		}
	}
	return true
}

func (w *world) verify(seed uint64) {
	used := map[string]int64{}
	for _, l := range w.truth {
		require.NotEmpty(w.t, l.On, "seed %d", seed)
		used[l.On] += l.Size
	}
	for name, slots := range w.slots {
		require.LessOrEqual(w.t, used[name], slots, "seed %d: %s is overcommitted", seed, name)
	}
}
