package scheduling

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
)

// Config is what an [Engine] is made of.
type Config[I, H any] struct {
	// Key identifies an item, over all its changes. Required.
	Key func(I) string
	// Plugins in the order in which they filter. The cheap and the telling first:
	// a host counts as refused by the first that refuses it.
	Plugins []Plugin[I, H]
	// Rand breaks ties between equally good hosts; nil: the host with the lowest
	// number wins.
	Rand *rand.Rand
	// Classes is how many classes of items keep their ranking of hosts; the one
	// not used for longest goes first. 0: 32; negative: none.
	Classes int
	// Reasons asks for [Unfit] errors that carry the reasons, at the price of one
	// Explain per refused host.
	Reasons bool
}

func (c *Config[I, H]) validate() error {
	if c.Key == nil {
		return errors.New("scheduling: Config.Key is nil")
	}
	for i, p := range c.Plugins {
		if p.Columns == nil && p.Filter == nil && p.Score == nil {
			return fmt.Errorf("scheduling: Config.Plugins[%d] is empty", i)
		}
		if p.Columns != nil && !reflect.TypeOf(p.Columns).Comparable() {
			return fmt.Errorf("scheduling: Config.Plugins[%d]: its columns can't be compared", i)
		}
		if p.Weight < 0 {
			return fmt.Errorf("scheduling: Config.Plugins[%d]: weight %d is negative", i, p.Weight)
		}
	}
	return nil
}

// Engine knows the hosts and what is placed on them, and says where an item
// should go. It is a pure state: no clock, goroutine or I/O. It must not be used
// concurrently.
type Engine[I, H any] struct {
	key     func(I) string
	filters []filter[I]
	scores  []score[I]
	columns []Columns[I, H]
	rand    *rand.Rand
	reasons bool

	hosts   *hostset[I, H]
	changes changeLog
	kept    kept
	scratch ranking
	work    workspace
}

type filter[I any] struct {
	Filter[I]
	skip  Skipper[I]
	local Local[I]
	why   Explainer[I]
}

type score[I any] struct {
	Score[I]
	skip   Skipper[I]
	local  Local[I]
	scaler Scaler
	weight int64
}

// NewEngine returns an engine without hosts.
func NewEngine[I, H any](c Config[I, H]) (*Engine[I, H], error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Classes == 0 {
		c.Classes = 32
	}
	e := &Engine[I, H]{key: c.Key, rand: c.Rand, reasons: c.Reasons, hosts: newHostset[I, H](), kept: newKept(c.Classes)}
	for _, p := range c.Plugins {
		e.install(p)
	}
	return e, nil
}

// install takes a plugin apart into what it offers.
func (e *Engine[I, H]) install(p Plugin[I, H]) {
	if p.Columns != nil && !slices.Contains(e.columns, p.Columns) {
		e.columns = append(e.columns, p.Columns)
	}
	if p.Filter != nil {
		f := filter[I]{Filter: p.Filter}
		f.skip, _ = p.Filter.(Skipper[I])
		f.local, _ = p.Filter.(Local[I])
		f.why, _ = p.Filter.(Explainer[I])
		e.filters = append(e.filters, f)
	}
	if p.Score != nil {
		s := score[I]{Score: p.Score, weight: max(p.Weight, 1)}
		s.skip, _ = p.Score.(Skipper[I])
		s.local, _ = p.Score.(Local[I])
		s.scaler, _ = p.Score.(Scaler)
		e.scores = append(e.scores, s)
	}
}

// SetHost adds or changes a host, and returns what it was before, if anything.
func (e *Engine[I, H]) SetHost(name string, obj *H) (old *H) {
	h := e.hosts.named(name)
	old, fresh := h.obj, h.n < 0
	if fresh {
		e.hosts.number(h)
	}
	h.obj = obj
	for _, c := range e.columns {
		c.Host(h.n, obj)
	}
	if fresh {
		for _, p := range h.items {
			e.tell(p, +1)
		}
	}
	e.changes.add(h.n)
	return old
}

// RemoveHost takes a host away and returns what it was. Items on it stay on its
// name, and count again when it comes back.
func (e *Engine[I, H]) RemoveHost(name string) (old *H) {
	h := e.hosts.byName[name]
	if h == nil || h.n < 0 {
		return nil
	}
	for _, p := range h.items {
		e.tell(p, -1)
	}
	for _, c := range e.columns {
		c.Host(h.n, nil)
	}
	e.changes.add(h.n)
	old = h.obj
	e.hosts.free(h)
	return old
}

// Place puts an item on a host, which needn't be known yet; from wherever it was
// before. A placement that is assumed is one's own decision that may still fail.
func (e *Engine[I, H]) Place(item I, hostName string, assumed bool) {
	key := e.key(item)
	e.Unplace(key)
	p := &placement[I, H]{key: key, item: item, on: e.hosts.named(hostName), assumed: assumed}
	e.hosts.put(p)
	if p.on.n >= 0 {
		e.tell(p, +1)
		e.changes.add(p.on.n)
	}
}

// Unplace takes an item off its host and returns what was placed and where; ok is
// false when it wasn't placed.
func (e *Engine[I, H]) Unplace(key string) (item I, hostName string, ok bool) {
	p := e.hosts.placed[key]
	if p == nil {
		return item, "", false
	}
	if p.on.n >= 0 {
		e.tell(p, -1)
		e.changes.add(p.on.n)
	}
	e.hosts.take(p)
	return p.item, p.on.name, true
}

// Placed says where an item is, and whether that is only assumed.
func (e *Engine[I, H]) Placed(key string) (item I, hostName string, assumed, ok bool) {
	p := e.hosts.placed[key]
	if p == nil {
		return item, "", false, false
	}
	return p.item, p.on.name, p.assumed, true
}

// Confirm makes an assumed placement a fact.
func (e *Engine[I, H]) Confirm(key string) {
	if p := e.hosts.placed[key]; p != nil {
		p.assumed = false
	}
}

// Host returns a host by name, or nil.
func (e *Engine[I, H]) Host(name string) *H {
	if h := e.hosts.byName[name]; h != nil {
		return h.obj
	}
	return nil
}

// Hosts counts the hosts.
func (e *Engine[I, H]) Hosts() int { return e.hosts.present.Len() }

func (e *Engine[I, H]) tell(p *placement[I, H], by int) {
	for _, c := range e.columns {
		c.Placed(p.on.n, p.item, by)
	}
}

// Schedule returns the best host for an item, and changes nothing: [Engine.Place]
// is the caller's next step. The error is an [*Unfit] when no host will do, or
// what a plugin returned.
func (e *Engine[I, H]) Schedule(ctx context.Context, item I) (string, error) {
	r, err := e.rank(ctx, item)
	if err != nil {
		return "", err
	}
	best := r.best()
	if best < 0 {
		return "", e.unfit(item, r)
	}
	return e.hosts.byNum[best].name, nil
}

// Rank returns all hosts that will do, the best first.
func (e *Engine[I, H]) Rank(ctx context.Context, item I) ([]Ranked, error) {
	r, err := e.rank(ctx, item)
	if err != nil {
		return nil, err
	}
	order := slices.Collect(r.fit.All())
	slices.SortFunc(order, func(a, b int) int {
		if r.better(a, b) {
			return -1
		}
		return 1
	})
	ranked := make([]Ranked, len(order))
	for i, n := range order {
		ranked[i] = Ranked{Host: e.hosts.byNum[n].name, Score: r.total[n]}
	}
	return ranked, nil
}

// Fits asks the filters about one host as it is now: whether item, which may be
// placed there already, would be let in if it weren't. Who makes a decision true
// asks this last, as the state may have changed since Schedule.
func (e *Engine[I, H]) Fits(ctx context.Context, item I, hostName string) (bool, error) {
	h := e.hosts.byName[hostName]
	if h == nil || h.n < 0 {
		return false, nil
	}
	if p := e.hosts.placed[e.key(item)]; p != nil && p.on == h {
		e.tell(p, -1)
		defer e.tell(p, +1)
	}
	one := make(Hosts, len(e.hosts.present))
	one.Add(h.n)
	for _, i := range e.planFor(item).filters {
		if err := e.filters[i].Filter.Filter(ctx, item, one); err != nil {
			return false, fmt.Errorf("filter %s: %w", e.filters[i].Name(), err)
		}
	}
	return one.Has(h.n), nil
}

// Explain says of each host that won't do why it won't, in the order of the
// hosts' numbers. A filter that explains nothing is named instead.
func (e *Engine[I, H]) Explain(ctx context.Context, item I) ([]Refusal, error) {
	r, err := e.rank(ctx, item)
	if err != nil {
		return nil, err
	}
	var refusals []Refusal
	for n := range e.hosts.present.All() {
		if !r.fit.Has(n) {
			f := &e.filters[r.by[n]]
			refusals = append(refusals, Refusal{Host: e.hosts.byNum[n].name, Plugin: f.Name(), Reasons: f.explain(item, n)})
		}
	}
	return refusals, nil
}

func (f *filter[I]) explain(item I, n int) []string {
	if f.why != nil {
		if reasons := f.why.Explain(item, n); len(reasons) > 0 {
			return reasons
		}
	}
	return []string{"refused by " + f.Name()}
}

// unfit counts who refused what.
func (e *Engine[I, H]) unfit(item I, r *ranking) *Unfit {
	u := &Unfit{}
	if e.reasons {
		u.Reasons = map[string]int{}
	}
	counts := make([]int, len(e.filters))
	for n := range e.hosts.present.All() {
		u.Hosts++
		counts[r.by[n]]++
		if e.reasons {
			for _, reason := range e.filters[r.by[n]].explain(item, n) {
				u.Reasons[reason]++
			}
		}
	}
	for i, c := range counts {
		if c > 0 {
			u.Rejected = append(u.Rejected, Rejected{Plugin: e.filters[i].Name(), Hosts: c})
		}
	}
	return u
}
