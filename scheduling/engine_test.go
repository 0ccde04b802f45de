package scheduling

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// box is a host of the tests, and load an item.
type box struct{ Slots, Zone int64 }
type load struct {
	Name string
	Size int64
	Zone int64 // 0: any
	On   string
}

// room filters by free slots and likes the emptiest; local.
type room struct{ slots, used Column[int64] }

func (p *room) Name() string { return "room" }
func (p *room) Host(n int, b *box) {
	if b == nil {
		b = &box{}
	}
	*p.slots.At(n) = b.Slots
}
func (p *room) Placed(n int, l *load, by int) { *p.used.At(n) += int64(by) * l.Size }
func (p *room) free(n int) int64              { return p.slots.Get(n) - p.used.Get(n) }
func (p *room) Filter(_ context.Context, l *load, hosts Hosts) error {
	for n := range hosts.All() {
		if p.free(n) < l.Size {
			hosts.Remove(n)
		}
	}
	return nil
}
func (p *room) Explain(l *load, n int) []string {
	if p.free(n) < l.Size {
		return []string{"too small"}
	}
	return nil
}
func (p *room) Score(_ context.Context, _ *load, hosts Hosts, score []int64) error {
	for n := range hosts.All() {
		score[n] = min(p.free(n), MaxScore)
	}
	return nil
}
func (p *room) Class(key []byte, l *load) ([]byte, bool) {
	return binary.AppendVarint(key, l.Size), true
}
func (p *room) Hint(l *load, e Event[*load, box]) bool {
	return e.Kind == ItemUnplaced || e.Kind == HostAdded || e.Kind == HostChanged
}

// crowd scores by how much is placed, the least first, scaled over those that fit.
type crowd struct{ used Column[int64] }

func (p *crowd) Name() string                  { return "crowd" }
func (p *crowd) Host(int, *box)                {}
func (p *crowd) Placed(n int, l *load, by int) { *p.used.At(n) += int64(by) * l.Size }
func (p *crowd) Score(_ context.Context, _ *load, hosts Hosts, score []int64) error {
	for n := range hosts.All() {
		score[n] = p.used.Get(n)
	}
	return nil
}
func (p *crowd) Scale(hosts Hosts, score []int64, low, high int64) {
	for n := range hosts.All() {
		if high == low {
			score[n] = MaxScore
			continue
		}
		score[n] = MaxScore * (high - score[n]) / (high - low)
	}
}
func (p *crowd) Class(key []byte, _ *load) ([]byte, bool) { return key, true }

// zones filters by zone, and skips items that want none; not local.
type zones struct{ zone Column[int64] }

func (p *zones) Name() string { return "zones" }
func (p *zones) Host(n int, b *box) {
	if b == nil {
		b = &box{}
	}
	*p.zone.At(n) = b.Zone
}
func (p *zones) Placed(int, *load, int) {}
func (p *zones) Skip(l *load) bool      { return l.Zone == 0 }
func (p *zones) Filter(_ context.Context, l *load, hosts Hosts) error {
	if l.Zone < 0 {
		return errors.New("no such zone")
	}
	for n := range hosts.All() {
		if p.zone.Get(n) != l.Zone {
			hosts.Remove(n)
		}
	}
	return nil
}

func testConfig() Config[*load, box] {
	r, c, z := &room{}, &crowd{}, &zones{}
	return Config[*load, box]{
		Key: func(l *load) string { return l.Name },
		Plugins: []Plugin[*load, box]{
			{Columns: z, Filter: z},
			{Columns: r, Filter: r, Score: r},
			{Columns: c, Score: c, Weight: 2},
			{Columns: r, Score: r, Weight: 3}, // the same columns again: told once
		},
	}
}

func newTestEngine(t testing.TB, change func(*Config[*load, box])) *Engine[*load, box] {
	t.Helper()
	c := testConfig()
	if change != nil {
		change(&c)
	}
	e, err := NewEngine(c)
	require.NoError(t, err)
	return e
}

// TestKeptRanking compares an engine that keeps rankings with one that asks every
// plugin about every host every time, through random histories.
func TestKeptRanking(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			keeps := newTestEngine(t, func(c *Config[*load, box]) { c.Classes = 3 })
			fresh := newTestEngine(t, func(c *Config[*load, box]) { c.Classes = -1 })
			both := []*Engine[*load, box]{keeps, fresh}
			hostCount := 1 + r.IntN(200)
			for i := range 400 {
				name := fmt.Sprintf("box-%d", r.IntN(hostCount))
				switch k := r.IntN(20); {
				case i < 10 || k < 3:
					b := &box{Slots: r.Int64N(30), Zone: r.Int64N(3)}
					for _, e := range both {
						e.SetHost(name, b)
					}
				case k < 4:
					for _, e := range both {
						e.RemoveHost(name)
					}
				case k < 8:
					key := fmt.Sprintf("load-%d", r.IntN(i))
					for _, e := range both {
						e.Unplace(key)
					}
				case k < 9:
					l := &load{Name: fmt.Sprintf("load-%d", i), Size: r.Int64N(4)}
					for _, e := range both {
						e.Place(l, name, false)
					}
				default:
					l := &load{Name: fmt.Sprintf("load-%d", i), Size: r.Int64N(5), Zone: r.Int64N(2)}
					sameAnswer(t, l, keeps, fresh)
				}
			}
		})
	}
}

// sameAnswer schedules an item on both engines.
func sameAnswer(t *testing.T, l *load, a, b *Engine[*load, box]) {
	t.Helper()
	gotRank, err := a.Rank(t.Context(), l)
	require.NoError(t, err)
	wantRank, err := b.Rank(t.Context(), l)
	require.NoError(t, err)
	require.Equal(t, wantRank, gotRank)
	gotWhy, err := a.Explain(t.Context(), l)
	require.NoError(t, err)
	wantWhy, err := b.Explain(t.Context(), l)
	require.NoError(t, err)
	require.Equal(t, wantWhy, gotWhy)
	got, errA := a.Schedule(t.Context(), l)
	want, errB := b.Schedule(t.Context(), l)
	require.Equal(t, errB, errA)
	require.Equal(t, want, got)
	if errA != nil {
		unfit, ok := errors.AsType[*Unfit](errA)
		require.True(t, ok, "%v", errA)
		require.Empty(t, gotRank)
		require.Equal(t, unfit.Hosts, a.Hosts())
		require.Len(t, gotWhy, unfit.Hosts)
		return
	}
	require.Equal(t, gotRank[0].Host, got)
	a.Place(l, got, true)
	b.Place(l, got, true)
}

func TestScheduleOrder(t *testing.T) {
	e := newTestEngine(t, nil)
	e.SetHost("a", &box{Slots: 4, Zone: 1})
	e.SetHost("b", &box{Slots: 8, Zone: 1})
	e.SetHost("c", &box{Slots: 8, Zone: 2})
	var got []string
	for i := range 6 {
		l := &load{Name: fmt.Sprint(i), Size: 2}
		host, err := e.Schedule(t.Context(), l)
		require.NoError(t, err)
		e.Place(l, host, true)
		got = append(got, host)
	}
	require.Equal(t, []string{"b", "c", "a", "b", "c", "a"}, got)
}

func TestUnfit(t *testing.T) {
	e := newTestEngine(t, func(c *Config[*load, box]) { c.Reasons = true })
	_, err := e.Schedule(t.Context(), &load{Name: "x", Size: 1})
	require.EqualError(t, err, "no hosts to schedule on")

	e.SetHost("a", &box{Slots: 1, Zone: 1})
	e.SetHost("b", &box{Slots: 1, Zone: 2})
	e.SetHost("c", &box{Slots: 9, Zone: 2})
	_, err = e.Schedule(t.Context(), &load{Name: "x", Size: 5, Zone: 1})
	require.EqualError(t, err, "0/3 hosts fit: 2 refused by zones, 1 refused by room")
	unfit, ok := errors.AsType[*Unfit](err)
	require.True(t, ok)
	require.Equal(t, []string{"1 too small", "2 refused by zones"}, unfit.Histogram())
	require.Equal(t, []string{"zones", "room"}, unfit.Plugins())

	why, err := e.Explain(t.Context(), &load{Name: "x", Size: 5, Zone: 1})
	require.NoError(t, err)
	require.Equal(t, []Refusal{
		{Host: "a", Plugin: "room", Reasons: []string{"too small"}},
		{Host: "b", Plugin: "zones", Reasons: []string{"refused by zones"}},
		{Host: "c", Plugin: "zones", Reasons: []string{"refused by zones"}},
	}, why)
}

// Fits judges an item as if it weren't where it is.
func TestFits(t *testing.T) {
	e := newTestEngine(t, nil)
	e.SetHost("a", &box{Slots: 4, Zone: 1})
	x := &load{Name: "x", Size: 3}
	fits := func(l *load, host string) bool {
		ok, err := e.Fits(t.Context(), l, host)
		require.NoError(t, err)
		return ok
	}
	require.True(t, fits(x, "a"))
	require.False(t, fits(x, "b"))
	e.Place(x, "a", true)
	require.True(t, fits(x, "a"))
	require.False(t, fits(&load{Name: "y", Size: 3}, "a"))
	e.Place(&load{Name: "z", Size: 2}, "a", false)
	require.False(t, fits(x, "a"), "z came in between")
	require.False(t, fits(&load{Name: "w", Zone: 2}, "a"))
	_, err := e.Fits(t.Context(), &load{Name: "w", Zone: -1}, "a")
	require.EqualError(t, err, "filter zones: no such zone")
}

func TestPluginError(t *testing.T) {
	e := newTestEngine(t, nil)
	e.SetHost("a", &box{Slots: 4})
	_, err := e.Schedule(t.Context(), &load{Name: "x", Zone: -1})
	require.EqualError(t, err, "filter zones: no such zone")
	host, err := e.Schedule(t.Context(), &load{Name: "x", Size: 1})
	require.NoError(t, err)
	require.Equal(t, "a", host)
}

// Items may be on hosts that nobody has told of, and stay there when a host goes
// and comes back.
func TestPlacedOnUnknownHost(t *testing.T) {
	e := newTestEngine(t, nil)
	e.Place(&load{Name: "x", Size: 3}, "a", false)
	e.SetHost("b", &box{Slots: 4})
	e.SetHost("a", &box{Slots: 4})
	free := func() map[string]int64 {
		ranked, err := e.Rank(t.Context(), &load{Name: "y"})
		require.NoError(t, err)
		m := map[string]int64{}
		for _, r := range ranked {
			m[r.Host] = r.Score
		}
		return m
	}
	require.Equal(t, map[string]int64{"a": 4 * 1, "b": 4*4 + 200}, free())
	e.RemoveHost("a")
	e.SetHost("c", &box{Slots: 2}) // takes a's number
	require.Equal(t, map[string]int64{"b": 4*4 + 200, "c": 4*2 + 200}, free())
	e.SetHost("a", &box{Slots: 5})
	require.Equal(t, map[string]int64{"a": 4 * 2, "b": 4*4 + 200, "c": 4*2 + 200}, free())
	item, host, ok := e.Unplace("x")
	require.True(t, ok)
	require.Equal(t, "a", host)
	require.Equal(t, "x", item.Name)
	_, _, ok = e.Unplace("x")
	require.False(t, ok)
}

// Nothing is left behind of hosts and items that came and went.
func TestEngineForgets(t *testing.T) {
	e := newTestEngine(t, nil)
	for i := range 1000 {
		name := fmt.Sprint("host-", i)
		e.SetHost(name, &box{Slots: 1})
		e.Place(&load{Name: name, Size: 1}, name, false)
		e.RemoveHost(name)
		e.Unplace(name)
	}
	require.Empty(t, e.hosts.byName)
	require.Empty(t, e.hosts.placed)
	require.Len(t, e.hosts.present, 1, "numbers are reused")
}

// With a source of randomness, equals are all chosen, and the seed decides which.
func TestTies(t *testing.T) {
	pick := func(seed uint64) (picked []string) {
		e := newTestEngine(t, func(c *Config[*load, box]) { c.Rand = rand.New(rand.NewPCG(seed, 0)) })
		for i := range 4 {
			e.SetHost(fmt.Sprint(i), &box{Slots: 4})
		}
		for i := range 40 {
			l := &load{Name: fmt.Sprint("l", i)}
			host, err := e.Schedule(t.Context(), l)
			require.NoError(t, err)
			e.Place(l, host, true)
			picked = append(picked, host)
		}
		return picked
	}
	require.Equal(t, pick(1), pick(1))
	require.NotEqual(t, pick(1), pick(2))
	got := pick(3)
	slices.Sort(got)
	require.Len(t, slices.Compact(got), 4)
}

func TestEngineConfig(t *testing.T) {
	for want, c := range map[string]Config[*load, box]{
		"scheduling: Config.Key is nil":                                {},
		"scheduling: Config.Plugins[0] is empty":                       {Key: testConfig().Key, Plugins: make([]Plugin[*load, box], 1)},
		"scheduling: Config.Plugins[0]: weight -1 is negative":         {Key: testConfig().Key, Plugins: []Plugin[*load, box]{{Filter: &room{}, Weight: -1}}},
		"scheduling: Config.Plugins[0]: its columns can't be compared": {Key: testConfig().Key, Plugins: []Plugin[*load, box]{{Columns: uncomparable{}}}},
	} {
		_, err := NewEngine(c)
		require.EqualError(t, err, want)
	}
}

type uncomparable []int

func (uncomparable) Host(int, *box)         {}
func (uncomparable) Placed(int, *load, int) {}

func TestCancelled(t *testing.T) {
	e := newTestEngine(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := e.Schedule(ctx, &load{})
	require.ErrorIs(t, err, context.Canceled)
}
