package crd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/callout"
	"github.com/bedplate/bedplate/apimachinery/cel"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/storage"
)

// Definitions is the resource that a [Controller] follows. It must be in the registry of its server.
var Definitions = apiext.SchemeGroupVersion.WithResource("customresourcedefinitions")

// Config configures a [Controller]. Registry is needed.
type Config struct {
	// Registry is that of the server. What is defined is added to it, and leaves it again.
	Registry *apimachinery.Registry
	// Services says where webhooks are that are named by a service. Nil: those can't be asked.
	Services server.ServiceResolver
	// Dial connects to what Services says. Nil: directly.
	Dial callout.Dial
	// Convert has Go functions that convert kinds among their versions, whatever the strategy that their definition
	// names.
	Convert map[schema.GroupKind]Convert
	// Log hears of definitions that can't be served, and of what is tried again. Nil: off.
	Log *slog.Logger
	// Now is the clock for the times in conditions. Nil: time.Now.
	Now func() time.Time
}

func (c *Config) validate() error {
	if c.Registry == nil {
		return errors.New("no Registry: give that of the server")
	}
	return nil
}

// Controller makes a server serve what definitions define. Its methods may be called concurrently.
type Controller struct {
	c        Config
	language *cel.Environment
	ran      atomic.Bool
	synced   chan struct{}

	server atomic.Pointer[server.Server]
	table  atomic.Pointer[storage.Table]

	mu    sync.Mutex
	known map[string]*known
	moved chan struct{} // closed when known has changed

	cleaners sync.WaitGroup
}

// New makes a controller; it starts nothing.
func New(c Config) (*Controller, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure custom resources: %w", err)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Controller{
		c: c, language: cel.New(), synced: make(chan struct{}), known: map[string]*known{}, moved: make(chan struct{}),
	}, nil
}

// Synced is closed once everything that was established before Run is served.
func (c *Controller) Synced() <-chan struct{} { return c.synced }

// retryAfter is when a status that could not be written is tried again.
const retryAfter = time.Second

// Run follows the definitions of a server until ctx ends, and returns nil then. A second Run is an error.
func (c *Controller) Run(ctx context.Context, s *server.Server) error {
	if c.ran.Swap(true) {
		return errors.New("run custom resources: it ran already")
	}
	t, ok := s.Table(Definitions.GroupResource())
	if !ok {
		return fmt.Errorf("run custom resources: the server has no %s", Definitions.GroupResource())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer c.cleaners.Wait()
	defer cancel()
	c.server.Store(s)
	c.table.Store(t)
	for ctx.Err() == nil {
		err := c.follow(ctx, t)
		var tooOld *storage.TooOldError
		switch {
		case ctx.Err() != nil || errors.As(err, &tooOld):
		case errors.Is(err, storage.ErrClosed):
			return fmt.Errorf("run custom resources: %w", err)
		default:
			c.c.Log.Warn("definitions are read again", "err", err)
			wait(ctx, retryAfter)
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// follow takes in what is there, and then every change.
func (c *Controller) follow(ctx context.Context, t *storage.Table) error {
	snap, err := t.Snapshot(ctx, 0, false)
	if err != nil {
		return err
	}
	w, err := t.Watch(snap.Rev(), storage.Filter{})
	if err != nil {
		return err
	}
	defer w.Close()
	retry := c.takeAll(ctx, snap)
	select {
	case <-c.synced:
	default:
		close(c.synced)
	}
	for {
		events, err := c.next(ctx, w, retry)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			retry = c.again(ctx, retry)
			continue
		}
		for _, ev := range events {
			if name := c.take(ctx, ev); name != "" {
				retry = append(retry, name)
			}
		}
	}
}

// next waits for events, not for long if there is something to be tried again.
func (c *Controller) next(ctx context.Context, w *storage.Watcher, retry []string) ([]storage.Event, error) {
	if len(retry) == 0 {
		return w.Next(ctx)
	}
	soon, cancel := context.WithTimeout(ctx, retryAfter)
	defer cancel()
	events, err := w.Next(soon)
	if err != nil && ctx.Err() == nil && soon.Err() != nil {
		return nil, nil
	}
	return events, err
}

// Await returns once it is clear whether the newest definition of a resource is served: for server.Config.Await.
func (c *Controller) Await(ctx context.Context, gvr schema.GroupVersionResource) {
	t := c.table.Load()
	if t == nil || gvr.Group == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, awaitAtMost)
	defer cancel()
	snap, err := t.Snapshot(ctx, 0, false)
	if err != nil {
		return
	}
	name := gvr.Resource + "." + gvr.Group
	e, ok := snap.Get(name)
	if !ok {
		return
	}
	for {
		c.mu.Lock()
		k, moved := c.known[name], c.moved
		clear := k != nil && k.rev >= e.Rev && k.settled
		c.mu.Unlock()
		if clear {
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}

// awaitAtMost bounds how long a request waits for its resource to be served.
const awaitAtMost = 2 * time.Second

// now is the time for conditions, which have whole seconds.
func (c *Controller) now() metav1.Time { return metav1.Unix(c.c.Now().Unix(), 0) }
