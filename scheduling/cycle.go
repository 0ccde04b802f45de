package scheduling

import (
	"context"
	"errors"
	"slices"
	"time"
)

// ErrStale marks a failure to bind, by wrapping, that only says that the decision
// was made on a state that is no longer true. The item is scheduled again at
// once, without back-off, as the state should be newer by then.
var ErrStale = errors.New("decided on a state that has changed since")

// CycleConfig is what a [Cycle] is made of.
type CycleConfig[I, H any] struct {
	Config[I, H]
	// HostOf returns the name of the host that an item is on, "" while it waits
	// for one. Required.
	HostOf func(I) string
	// Priority, Gated, BackOff, MaxBackOff, Patience, Limit: see QueueConfig.
	Priority   func(I) int64
	Gated      func(I) bool
	BackOff    time.Duration
	MaxBackOff time.Duration
	Patience   time.Duration
	Limit      int
	// EqualItem and EqualHost report whether a change can't matter to any plugin;
	// it is then not even looked at. nil: every change may.
	EqualItem func(old, new I) bool
	EqualHost func(old, new *H) bool
}

// Cycle is a scheduler as pure steps: what is told to it changes the state, and
// Next decides where one item goes. Time is handed in. It must not be used
// concurrently; [Scheduler] does the locking, waiting and binding.
//
// It learns of hosts and items by level, not by edge: SetHost and SetItem give
// the newest value, and may be repeated.
type Cycle[I, H any] struct {
	engine    *Engine[I, H]
	queue     *Queue[I, Event[I, H]]
	key       func(I) string
	hostOf    func(I) string
	equalItem func(old, new I) bool
	equalHost func(old, new *H) bool
	hinters   map[string][]Hinter[I, H]
	hintless  map[string]bool
}

// Decision is the outcome of one step.
type Decision[I any] struct {
	Item   I
	Host   string // "" when Err is set
	Err    error  // *Unfit, or what a plugin returned
	ticket Ticket[I]
}

// NewCycle returns a cycle that knows no hosts and no items.
func NewCycle[I, H any](c CycleConfig[I, H]) (*Cycle[I, H], error) {
	if c.HostOf == nil {
		return nil, errors.New("scheduling: CycleConfig.HostOf is nil")
	}
	engine, err := NewEngine(c.Config)
	if err != nil {
		return nil, err
	}
	cy := &Cycle[I, H]{engine: engine, key: c.Key, hostOf: c.HostOf, equalItem: c.EqualItem, equalHost: c.EqualHost}
	if cy.equalItem == nil {
		cy.equalItem = func(I, I) bool { return false }
	}
	if cy.equalHost == nil {
		cy.equalHost = func(*H, *H) bool { return false }
	}
	cy.gatherHinters(c.Plugins)
	cy.queue, err = NewQueue(QueueConfig[I, Event[I, H]]{
		Key: c.Key, Priority: c.Priority, Gated: c.Gated, Equal: c.EqualItem, Concerns: cy.concerns,
		BackOff: c.BackOff, MaxBackOff: c.MaxBackOff, Patience: c.Patience, Limit: c.Limit,
	})
	return cy, err
}

func (c *Cycle[I, H]) gatherHinters(plugins []Plugin[I, H]) {
	c.hinters, c.hintless = map[string][]Hinter[I, H]{}, map[string]bool{}
	for _, p := range plugins {
		if p.Filter == nil {
			continue
		}
		name := p.Filter.Name()
		if h, ok := p.Filter.(Hinter[I, H]); ok {
			c.hinters[name] = append(c.hinters[name], h)
		} else {
			c.hintless[name] = true
		}
	}
}

// concerns asks those who refused the item. An item that was refused for lack of
// any host waits for one.
func (c *Cycle[I, H]) concerns(item I, refusedBy []string, e Event[I, H]) bool {
	if len(refusedBy) == 0 {
		return e.Kind == HostAdded || e.Kind == HostChanged
	}
	for _, name := range refusedBy {
		if c.hintless[name] {
			return true
		}
		for _, h := range c.hinters[name] {
			if h.Hint(item, e) {
				return true
			}
		}
	}
	return false
}

// SetHost adds or changes a host.
func (c *Cycle[I, H]) SetHost(name string, h *H, now time.Time) {
	old := c.engine.Host(name)
	if old != nil && c.equalHost(old, h) {
		return
	}
	c.engine.SetHost(name, h)
	kind := HostAdded
	if old != nil {
		kind = HostChanged
	}
	c.queue.Event(Event[I, H]{Kind: kind, Host: name, Old: old, New: h}, now)
}

// RemoveHost takes a host away.
func (c *Cycle[I, H]) RemoveHost(name string, now time.Time) {
	if old := c.engine.RemoveHost(name); old != nil {
		c.queue.Event(Event[I, H]{Kind: HostRemoved, Host: name, Old: old}, now)
	}
}

// SetItem adds an item or changes it: one that waits for a host, or one that is
// on a host already, put there by whomsoever. The error wraps [ErrFull].
func (c *Cycle[I, H]) SetItem(item I, now time.Time) error {
	key, host := c.key(item), c.hostOf(item)
	old, on, assumed, placed := c.engine.Placed(key)
	switch {
	case host == "" && placed && assumed:
		// Its binding is under way, or done and not seen yet. The queue, if it
		// still holds the item, should retry the newest form.
		if c.queue.waiting[key] == nil {
			return nil
		}
		return c.queue.Set(item, now)
	case host == "":
		if placed {
			c.unplace(key, now)
		}
		return c.queue.Set(item, now)
	case placed && on == host && c.equalItem(old, item):
		c.queue.Delete(key)
		c.engine.Confirm(key)
	default:
		c.queue.Delete(key)
		if placed {
			c.unplace(key, now)
		}
		c.place(item, host, false, now)
	}
	return nil
}

// RemoveItem forgets an item, wherever it is.
func (c *Cycle[I, H]) RemoveItem(key string, now time.Time) {
	c.queue.Delete(key)
	c.unplace(key, now)
}

// Tell makes items that are unfit wait no longer for something that the engine
// doesn't know itself; plugins recognise it by source.
func (c *Cycle[I, H]) Tell(source string, now time.Time) {
	c.queue.Event(Event[I, H]{Kind: Outside, Source: source}, now)
}

func (c *Cycle[I, H]) place(item I, host string, assumed bool, now time.Time) {
	c.engine.Place(item, host, assumed)
	c.queue.Event(Event[I, H]{Kind: ItemPlaced, Host: host, Item: item}, now)
}

func (c *Cycle[I, H]) unplace(key string, now time.Time) {
	if item, host, ok := c.engine.Unplace(key); ok {
		c.queue.Event(Event[I, H]{Kind: ItemUnplaced, Host: host, Item: item}, now)
	}
}

// Next takes the first item that may be scheduled, decides, and assumes the
// placement. ok is false when no item is active. A decision with a host must be
// reported on with [Cycle.Bound]; one with an error has been dealt with.
func (c *Cycle[I, H]) Next(ctx context.Context, now time.Time) (d Decision[I], ok bool) {
	t, ok := c.queue.Pop(now)
	if !ok {
		return d, false
	}
	d = Decision[I]{Item: t.Item, ticket: t}
	d.Host, d.Err = c.engine.Schedule(ctx, t.Item)
	if d.Err == nil {
		c.place(t.Item, d.Host, true, now)
		return d, true
	}
	if unfit, is := errors.AsType[*Unfit](d.Err); is {
		c.queue.Unfit(t, slices.Clone(unfit.Plugins()), now)
	} else {
		c.queue.Failed(t, now)
	}
	return d, true
}

// Bound reports how the binding that was decided on went: with nil the item
// stays where it was assumed to be; with an error it is taken off and backs off,
// or, with [ErrStale], is scheduled again at once.
func (c *Cycle[I, H]) Bound(d Decision[I], err error, now time.Time) {
	if !c.queue.Live(d.ticket) {
		return // deleted, or seen on a host, meanwhile
	}
	if err == nil {
		c.queue.Done(d.ticket)
		return
	}
	if _, _, assumed, ok := c.engine.Placed(c.key(d.Item)); ok && assumed {
		c.unplace(c.key(d.Item), now)
	}
	if errors.Is(err, ErrStale) {
		c.queue.Stale(d.ticket, now)
	} else {
		c.queue.Failed(d.ticket, now)
	}
}

// Wake returns when Next will find an item without anything being told before;
// ok is false when never.
func (c *Cycle[I, H]) Wake() (at time.Time, ok bool) { return c.queue.Next() }

// Len counts the items that wait.
func (c *Cycle[I, H]) Len() Counts { return c.queue.Len() }

// Engine gives the state that decisions are made on, for questions about it.
func (c *Cycle[I, H]) Engine() *Engine[I, H] { return c.engine }
