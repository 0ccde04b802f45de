package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile/informer"
	"github.com/bedplate/bedplate/reconcile/queue"
)

// Result says when to come again, beside when something changes. The zero value: not at all.
type Result struct {
	// After is how long from now the object is to be worked on again, at the latest. 0: only after changes.
	After time.Duration
	// Again brings the object back after a back-off that grows, as an error does, but nothing is wrong: something
	// that can't be watched is waited for.
	Again bool
}

// Controller says how to work on the objects of one kind. Reconcile must be set.
type Controller[T apimachinery.Object] struct {
	// Name is in logs and metrics. Default: the resource's.
	Name string
	// Reconcile is called with an object that may need work; it is the function's own copy. It is not called for
	// two states of one object at a time. An error brings the object back, ever later; see also [Terminal].
	Reconcile func(ctx context.Context, o T) (Result, error)
	// Wants says whether an object, as it is now, may need work; nil: each may. One that isn't wanted costs next to
	// nothing: Reconcile is not called for it, when it changes, when a watch tells of it, or when it was to come back.
	// The object is shared: nobody may change it. Wants is called often, and for many objects in a row while their
	// cache waits, so it must be quick and read caches alone. It may depend on other things than the object if those
	// are watched, and their watch's function names the object when that makes it wanted. An object that stops being
	// wanted is not worked on for that: if there is something to undo, it is wanted until that is done.
	Wants func(o T) bool
	// Gone is called with the key of an object that is no more, wanted or not. nil: nothing is to be done. It may be called
	// more than once, and not at all for an object that went while no controller ran: use a finalizer for that.
	Gone func(ctx context.Context, key string) error
	// Watches are other things whose changes make objects need work.
	Watches []Watch
	// Workers is how many objects are worked on at once. Default 2.
	Workers int
	// Everywhere makes it work without leading, in every process.
	Everywhere bool
	// Queue says how failures are retried. Default: from 5 ms to 1,000 s.
	Queue queue.Config
}

// priorities of keys
const (
	initialPriority = -1
	changePriority  = 0
)

// terminal is what [Terminal] marks.
type terminal struct{ error }

// Unwrap returns the marked error.
func (t terminal) Unwrap() error { return t.error }

// Terminal marks an error that trying again won't help: the object is worked on again when something changes.
func Terminal(err error) error {
	if err == nil {
		return nil
	}
	return terminal{err}
}

// Add adds a controller to a manager. Several may work on one kind.
func Add[T apimachinery.Object](m *Manager, c Controller[T]) error {
	r := client.For[T](m.c.Client)
	if c.Name == "" {
		c.Name = r.Name().Resource
	}
	if c.Name == "" {
		c.Name = fmt.Sprintf("%T", *new(T))
	}
	if err := add(m, c, r); err != nil {
		return fmt.Errorf("add controller %q: %w", c.Name, err)
	}
	return nil
}

func add[T apimachinery.Object](m *Manager, c Controller[T], r client.Resource[T]) error {
	switch {
	case c.Reconcile == nil:
		return errors.New("Reconcile must be set")
	case c.Workers < 0:
		return errors.New("Workers must not be negative")
	case c.Workers == 0:
		c.Workers = 2
	}
	i, err := InformerOf(m, r)
	if err != nil {
		return err
	}
	run := &controller[T]{
		Controller: c, m: m, informer: i, queue: queue.NewBlocking[string](c.Queue),
		log: m.c.Log.With("controller", c.Name),
	}
	run.settling = newSettling(m, run.unpark)
	of := target{r.New().GetObjectKind().GroupVersionKind(), r.Namespaced()}
	run.sources = append(run.sources, &source{cache: m.cacheOf(i), begin: run.begin})
	for _, w := range c.Watches {
		s, err := w.open(m, of)
		if err != nil {
			return err
		}
		run.sources = append(run.sources, s)
	}
	if err := m.metrics.add(c.Name, run); err != nil {
		return err
	}
	m.Go("controller "+c.Name, !c.Everywhere, run.run)
	return nil
}

// controller is a Controller at work.
type controller[T apimachinery.Object] struct {
	Controller[T]
	m        *Manager
	informer *informer.Informer[T]
	queue    *queue.Blocking[string]
	sources  []*source
	settling *settling
	counts   counts
	log      *slog.Logger
}

// run works until ctx ends. It begins once all caches are there.
func (c *controller[T]) run(ctx context.Context) error {
	defer c.m.metrics.remove(c.Name)
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, s := range c.sources {
		stop := s.begin(ctx, c.enqueue)
		defer stop()
	}
	for _, s := range c.sources {
		if s.cache == nil {
			continue
		}
		select {
		case <-s.cache.synced():
		case <-ctx.Done():
			return nil
		}
	}
	defer c.settling.stop()
	for range c.Workers {
		wg.Go(func() { c.work(ctx) })
	}
	wg.Wait()
	return nil
}

// begin tells of the controller's own objects. One that has just ceased to be wanted comes once more, so that what
// step keeps of it is settled.
func (c *controller[T]) begin(_ context.Context, add func(key string, initial bool)) (stop func()) {
	return handle(c.informer, func(ch informer.Change[T], initial bool) {
		if ch.Deleted || c.wants(ch.New) || !ch.Added && c.wants(ch.Old) {
			add(ch.Key, initial)
		}
	})
}

func (c *controller[T]) wants(o T) bool { return c.Wants == nil || c.Wants(o) }

func (c *controller[T]) enqueue(key string, initial bool) {
	if initial {
		c.queue.Add(key, initialPriority)
	} else {
		c.queue.Add(key, changePriority)
	}
}

func (c *controller[T]) unpark(key string, late bool) {
	if late {
		c.counts.unsettled.Add(1)
	}
	c.queue.Add(key, changePriority)
}

func (c *controller[T]) work(ctx context.Context) {
	for {
		key, err := c.queue.Next(ctx)
		if err != nil {
			return
		}
		begun := time.Now()
		c.step(ctx, key, begun)
		c.queue.Done(key, time.Since(begun))
	}
}

// step works on a key, unless the cache is older than what was written for it.
func (c *controller[T]) step(ctx context.Context, key string, now time.Time) {
	until, wait, late := c.settling.park(key, now)
	if late {
		c.counts.unsettled.Add(1)
		c.log.Warn("work on a cache that does not show an own write yet", "key", key)
	}
	if wait {
		c.queue.AddAfter(key, changePriority, until.Sub(now))
		return
	}
	result, err := c.reconcile(ctx, key)
	c.counts.done(result, err)
	var end terminal
	switch {
	case err == nil && result.Again:
		c.queue.Retry(key, changePriority)
	case err == nil && result.After > 0:
		c.queue.Forget(key)
		c.queue.AddAfter(key, changePriority, result.After)
	case err == nil:
		c.queue.Forget(key)
	case errors.As(err, &end):
		c.queue.Forget(key)
		c.log.Error("give up until something changes", "key", key, "err", err)
	case ctx.Err() != nil:
	default:
		in := c.queue.Retry(key, changePriority)
		level := slog.LevelError
		if apierrors.IsConflict(err) {
			level = slog.LevelDebug // somebody else wrote: nothing is wrong
		}
		c.log.Log(ctx, level, "try again", "key", key, "in", in, "err", err)
	}
}

// reconcile calls the user's function; a panic in it is an error of this key.
func (c *controller[T]) reconcile(ctx context.Context, key string) (result Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	ctx = client.WithScope(ctx, client.Scope{
		Fence: client.FenceOf(ctx),
		Wrote: func(w client.Written) { c.settling.wrote(key, w, time.Now()) },
	})
	shared, ok := c.informer.View(key)
	switch {
	case ok && !c.wants(shared):
	case ok:
		return c.Reconcile(ctx, shared.DeepCopyObject().(T))
	case c.Gone != nil:
		return Result{}, c.Gone(ctx, key)
	}
	return Result{}, nil
}
