package scheduling

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// SchedulerConfig is what a [Scheduler] is made of.
type SchedulerConfig[I, H any] struct {
	CycleConfig[I, H]
	// Bind makes a decision true, outside: it tells the item's owner, or the
	// host. It is called concurrently, but for one host one call at a time, in
	// the order of the decisions. An error makes the item be tried again; see
	// [ErrStale]. Required.
	Bind func(ctx context.Context, item I, host string) error
	// Bindings is how many calls of Bind may be under way at once. 0: 16.
	Bindings int
	// Ahead is how many decisions may be waiting for or in Bind before scheduling
	// pauses. 0: four times Bindings.
	Ahead int
	// BindTimeout bounds each call of Bind. 0: 30 s.
	BindTimeout time.Duration
	// Bound is told of each item that was bound; nil: nobody is. It is called
	// where Bind was and should return soon.
	Bound func(item I, host string)
	// Failed is told of each item that found no host (the error is an [*Unfit])
	// or couldn't be scheduled or bound; nil: nobody is. It holds up scheduling
	// or binding until it returns. It may call the scheduler's methods.
	Failed func(item I, err error)
	// Log takes one line for each fault, none for what is normal; nil: off.
	Log *slog.Logger
}

// Scheduler drives a [Cycle]. Its methods may be called concurrently, before and
// while Run runs.
type Scheduler[I, H any] struct {
	c     SchedulerConfig[I, H]
	mu    sync.Mutex
	cycle *Cycle[I, H]
	ran   bool
	wake  chan struct{}
}

// New returns a scheduler that does nothing until Run.
func New[I, H any](c SchedulerConfig[I, H]) (*Scheduler[I, H], error) {
	if c.Bind == nil {
		return nil, errors.New("scheduling: SchedulerConfig.Bind is nil")
	}
	if c.Bindings < 0 || c.Ahead < 0 || c.BindTimeout < 0 {
		return nil, errors.New("scheduling: SchedulerConfig: a limit or timeout is negative")
	}
	setDefault(&c.Bindings, 16)
	setDefault(&c.Ahead, 4*c.Bindings)
	setDefault(&c.BindTimeout, 30*time.Second)
	if c.Bound == nil {
		c.Bound = func(I, string) {}
	}
	if c.Failed == nil {
		c.Failed = func(I, error) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	cycle, err := NewCycle(c.CycleConfig)
	if err != nil {
		return nil, err
	}
	return &Scheduler[I, H]{c: c, cycle: cycle, wake: make(chan struct{}, 1)}, nil
}

// SetHost adds or changes a host; see [Cycle.SetHost].
func (s *Scheduler[I, H]) SetHost(name string, h *H) {
	s.locked(func(now time.Time) { s.cycle.SetHost(name, h, now) })
}

// RemoveHost takes a host away.
func (s *Scheduler[I, H]) RemoveHost(name string) {
	s.locked(func(now time.Time) { s.cycle.RemoveHost(name, now) })
}

// SetItem adds or changes an item; see [Cycle.SetItem]. The error wraps [ErrFull].
func (s *Scheduler[I, H]) SetItem(item I) (err error) {
	s.locked(func(now time.Time) { err = s.cycle.SetItem(item, now) })
	return err
}

// RemoveItem forgets an item.
func (s *Scheduler[I, H]) RemoveItem(key string) {
	s.locked(func(now time.Time) { s.cycle.RemoveItem(key, now) })
}

// Tell wakes items that wait for something outside; see [Cycle.Tell].
func (s *Scheduler[I, H]) Tell(source string) {
	s.locked(func(now time.Time) { s.cycle.Tell(source, now) })
}

// Explain says why hosts won't do for an item, as things are now.
func (s *Scheduler[I, H]) Explain(ctx context.Context, item I) ([]Refusal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cycle.Engine().Explain(ctx, item)
}

// Fits says whether a decision still holds, as things are now: see [Engine.Fits].
// Every change that was told before the call has been heeded.
func (s *Scheduler[I, H]) Fits(ctx context.Context, item I, host string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cycle.Engine().Fits(ctx, item, host)
}

// Len counts the items that wait.
func (s *Scheduler[I, H]) Len() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cycle.Len()
}

// locked changes the cycle's state and lets Run look again.
func (s *Scheduler[I, H]) locked(change func(now time.Time)) {
	s.mu.Lock()
	change(time.Now())
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run schedules until ctx ends, and returns when every call of Bind has. What
// was decided and not yet bound is then neither; whoever starts anew learns of
// it from the items themselves. A second Run is an error.
func (s *Scheduler[I, H]) Run(ctx context.Context) error {
	s.mu.Lock()
	ran := s.ran
	s.ran = true
	s.mu.Unlock()
	if ran {
		return errors.New("scheduling: Run was called before")
	}
	b := newBinder(s.c.Bindings, s.c.Ahead, s.bind)
	var workers sync.WaitGroup
	for range s.c.Bindings {
		workers.Go(func() { b.work(ctx) })
	}
	defer workers.Wait()
	for ctx.Err() == nil {
		d, wait, ok := s.next(ctx)
		switch {
		case !ok:
			s.idle(ctx, wait)
		case d.Err == nil:
			b.submit(ctx, d)
		case ctx.Err() == nil:
			s.failed(d.Item, d.Err)
		}
	}
	return nil
}

// next makes one step, or says how long to wait for the next; a negative wait
// has no end.
func (s *Scheduler[I, H]) next(ctx context.Context) (d Decision[I], wait time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if d, ok = s.cycle.Next(ctx, now); ok {
		return d, 0, true
	}
	if at, some := s.cycle.Wake(); some {
		return d, max(at.Sub(now), 0), false
	}
	return d, -1, false
}

func (s *Scheduler[I, H]) idle(ctx context.Context, wait time.Duration) {
	var timer <-chan time.Time
	if wait >= 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
	case <-s.wake:
	case <-timer:
	}
}

// bind carries one decision out and reports on it.
func (s *Scheduler[I, H]) bind(ctx context.Context, d Decision[I]) {
	limited, cancel := context.WithTimeout(ctx, s.c.BindTimeout)
	err := s.c.Bind(limited, d.Item, d.Host)
	cancel()
	s.locked(func(now time.Time) { s.cycle.Bound(d, err, now) })
	if err == nil {
		s.c.Bound(d.Item, d.Host)
		return
	}
	if ctx.Err() == nil {
		s.failed(d.Item, fmt.Errorf("bind to %s: %w", d.Host, err))
	}
}

func (s *Scheduler[I, H]) failed(item I, err error) {
	if _, unfit := errors.AsType[*Unfit](err); !unfit && !errors.Is(err, ErrStale) {
		s.c.Log.Error("item not scheduled", "item", s.c.Key(item), "err", err)
	}
	s.c.Failed(item, err)
}
