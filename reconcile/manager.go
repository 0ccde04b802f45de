package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile/events"
	"github.com/bedplate/bedplate/reconcile/informer"
	"github.com/bedplate/bedplate/reconcile/leader"
	"github.com/bedplate/bedplate/storage"
)

// Config configures a manager. Client must be set.
type Config struct {
	Client *client.Client
	// Tables are those of the server that Client speaks to, if that is in this process: informers then follow
	// them, instead of lists and watches. Only controllers that may read everything should be given them.
	Tables informer.Tables
	// Namespace restricts informers of namespaced kinds to one namespace. Default: all. It can't be had with Tables.
	Namespace string
	// Name says who writes: it is the component of events, by default "bedplate", and what the manager's client
	// writes has it as field manager, unless Client has one already (see [client.Client.WithFieldManager]); empty:
	// the user agent's first word, as ever.
	Name string
	// Lead makes the manager take part in an election: controllers work while it is won. nil: no election. Its
	// Client and Log may be left out.
	Lead *leader.Config
	// Settle is how long a key waits at most for the cache to show what its last run wrote. Default 5 s.
	Settle time.Duration
	// Metrics are registered there; nil: off.
	Metrics prometheus.Registerer
	// Log hears of failures. nil: off.
	Log *slog.Logger
}

func (c *Config) validate() error {
	if c.Client == nil {
		return errors.New("Client must be set")
	}
	if c.Tables != nil && c.Namespace != "" {
		return errors.New("Tables show every namespace: leave Namespace empty, or Tables out")
	}
	if c.Settle < 0 {
		return errors.New("Settle must not be negative")
	}
	if c.Settle == 0 {
		c.Settle = 5 * time.Second
	}
	if errs := metavalidation.ValidateFieldManager(c.Name, field.NewPath("Name")); len(errs) > 0 {
		return errs.ToAggregate()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Manager runs controllers and what they share. Everything may be added before Run or while it runs.
type Manager struct {
	*shared
	client *client.Client
	name   string
	record *events.Recorder // guarded by mu
}

// shared is what a manager and those of [Manager.As] have in common.
type shared struct {
	c       Config
	elector *leader.Elector
	metrics *metrics

	mu     sync.Mutex
	caches map[cacheKey]cache
	byName map[schema.GroupResource][]cache
	tasks  []*task
	always *group // while it runs
	led    *group // while it leads
	began  bool
}

// task is something that runs with the manager.
type task struct {
	name string
	led  bool
	run  func(context.Context) error
}

type cacheKey struct {
	t        reflect.Type
	resource schema.GroupVersionResource
}

// New returns a manager, which does nothing before Run.
func New(c Config) (*Manager, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure the manager: %w", err)
	}
	m := &Manager{
		shared: &shared{c: c, caches: map[cacheKey]cache{}, byName: map[schema.GroupResource][]cache{}},
		client: named(c.Client, c.Name), name: cmp.Or(c.Name, "bedplate"),
	}
	var err error
	if m.metrics, err = newMetrics(c.Metrics); err != nil {
		return nil, fmt.Errorf("configure the manager: %w", err)
	}
	if c.Lead != nil {
		lead := *c.Lead
		if lead.Client == nil {
			lead.Client = m.client
		}
		if lead.Log == nil {
			lead.Log = c.Log
		}
		if m.elector, err = leader.New(lead); err != nil {
			return nil, fmt.Errorf("configure the manager: %w", err)
		}
	}
	return m, nil
}

// As returns the same manager for controllers that write through another client, and whose events and fields another
// name has, as [Config.Name] says: so each can have an identity of its own that may do what it needs and no more, while
// all share the informers.
func (m *Manager) As(c *client.Client, name string) *Manager {
	return &Manager{shared: m.shared, client: named(c, name), name: name}
}

// named is a client that writes in a name, its own if it has one.
func named(c *client.Client, name string) *client.Client {
	if name == "" || c.FieldManager() != "" {
		return c
	}
	return c.WithFieldManager(name)
}

// Client is what controllers write through. Calls under a Reconcile's context carry the leader's fence.
func (m *Manager) Client() *client.Client { return m.client }

// Log is the manager's logger, never nil.
func (m *Manager) Log() *slog.Logger { return m.c.Log }

// Local says whether informers follow the tables of a server in this process: their revisions are then those of the
// whole store, so that to wait for any write's revision takes no time.
func (m *Manager) Local() bool { return m.c.Tables != nil }

// Events returns the recorder that writes events in the manager's name.
func (m *Manager) Events() (*events.Recorder, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.record != nil {
		return m.record, nil
	}
	r, err := events.New(events.Config{Client: m.client, Component: m.name, Log: m.c.Log})
	if err != nil {
		return nil, err
	}
	m.record = r
	m.add(&task{name: "events of " + m.name, run: r.Run})
	return r, nil
}

// Go adds something else to run. run must return when its context ends; an error ends the manager. led tasks run
// while the manager leads, or always if there is no election.
func (m *Manager) Go(name string, led bool, run func(context.Context) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(&task{name: name, led: led, run: run})
}

// add adds a task, and starts it if it is its time. The caller holds mu.
func (m *Manager) add(t *task) {
	m.tasks = append(m.tasks, t)
	m.start()
}

// start starts what can run, and takes it off the list. The caller holds mu.
func (m *Manager) start() {
	m.tasks = slices.DeleteFunc(m.tasks, func(t *task) bool {
		g := m.always
		if t.led {
			g = m.led
		}
		if g != nil {
			g.run(t)
		}
		return g != nil
	})
}

// Run runs everything until ctx ends, and then returns nil once all has ended. It returns the first error of a
// controller or task, and leader.ErrLost if the lease was lost: start anew, in a new manager. It may be called once.
func (m *Manager) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g := &group{ctx: ctx, fail: cancel}
	m.mu.Lock()
	if m.began {
		m.mu.Unlock()
		return errors.New("run the manager: it runs already, or has run")
	}
	m.began, m.always = true, g
	if m.elector != nil {
		g.run(&task{name: "leader election", run: m.elect})
	} else {
		m.led = g
	}
	m.start()
	m.mu.Unlock()
	<-ctx.Done()
	m.mu.Lock()
	m.always, m.led = nil, nil
	m.mu.Unlock()
	g.wg.Wait()
	return g.err
}

// elect runs the led tasks while the lease is held.
func (m *Manager) elect(ctx context.Context) error {
	return m.elector.Run(ctx, func(ctx context.Context, fence string) error {
		ctx, cancel := context.WithCancelCause(client.WithScope(ctx, client.Scope{Fence: fence}))
		defer cancel(nil)
		g := &group{ctx: ctx, fail: cancel}
		m.mu.Lock()
		if m.always != nil {
			m.led = g
			m.start()
		}
		m.mu.Unlock()
		<-ctx.Done()
		m.mu.Lock()
		m.led = nil
		m.mu.Unlock()
		g.wg.Wait()
		return g.err
	})
}

// group is tasks that end together: when ctx ends, or the first fails.
type group struct {
	ctx  context.Context
	fail context.CancelCauseFunc
	wg   sync.WaitGroup
	once sync.Once
	err  error // good after wg
}

func (g *group) run(t *task) {
	g.wg.Go(func() {
		if err := t.run(g.ctx); err != nil {
			g.once.Do(func() {
				g.err = fmt.Errorf("%s: %w", t.name, err)
				g.fail(g.err)
			})
		}
	})
}

// Informer returns the manager's informer of T's objects, which all its users share. It runs with the manager.
func Informer[T apimachinery.Object](m *Manager) (*informer.Informer[T], error) {
	return InformerOf(m, client.For[T](m.c.Client))
}

// InformerOf is [Informer] of what r is the door to, such as the metadata of any resource.
func InformerOf[T apimachinery.Object](m *Manager, r client.Resource[T]) (*informer.Informer[T], error) {
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("make an informer: %w", err)
	}
	key := cacheKey{reflect.TypeFor[T](), r.GroupVersionResource()}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, ok := m.caches[key]; ok {
		return c.(*cached[T]).Informer, nil
	}
	i, err := newInformer(m, r)
	if err != nil {
		return nil, err
	}
	if err := i.AddIndex(ByController, controllerUID[T]); err != nil {
		return nil, err
	}
	c := &cached[T]{Informer: i, namespace: m.c.Namespace, namespaced: r.Namespaced()}
	m.caches[key] = c
	m.byName[r.Name()] = append(m.byName[r.Name()], c)
	m.add(&task{name: "informer of " + r.Name().String(), run: func(ctx context.Context) error {
		return m.runInformer(ctx, key, r.Name(), i.Run)
	}})
	return i, nil
}

// runInformer forgets an informer whose resource is no longer served.
func (m *Manager) runInformer(ctx context.Context, key cacheKey, name schema.GroupResource, run func(context.Context) error) error {
	err := run(ctx)
	if !errors.Is(err, storage.ErrClosed) {
		return err
	}
	m.c.Log.Info("the resource is no longer served", "resource", name.String())
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.caches[key]
	delete(m.caches, key)
	m.byName[name] = slices.DeleteFunc(m.byName[name], func(have cache) bool { return have == c })
	return nil
}

func newInformer[T apimachinery.Object](m *Manager, r client.Resource[T]) (*informer.Informer[T], error) {
	if m.c.Tables != nil {
		return informer.Of(m.c.Tables, r, m.c.Log)
	}
	c := informer.Config[T]{Log: m.c.Log}
	if r.Namespaced() {
		c.Namespace = m.c.Namespace
	}
	return informer.New(r, c)
}
