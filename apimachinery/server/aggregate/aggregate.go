// Package aggregate puts other servers' APIs behind this one's address, as Kubernetes' aggregation layer does: an
// APIService names a group and version, and the service of the server that has it.
//
// Requests for such a version are authenticated and authorized here, and then go on to the other server, over TLS
// with the client certificate of a front proxy, by which it believes the headers that say who asks (X-Remote-User,
// X-Remote-Group, X-Remote-Extra-). Watches and upgrades pass through; redirects don't.
//
// Each such server is asked for its discovery when its APIService, its Service or its endpoints change, every half
// minute while all is well, and with back-off while it isn't. What comes of it is the APIService's condition
// Available, without which its requests are answered with 503, and the freshness of its part of discovery. What this
// server has itself is registered as local APIServices.
package aggregate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/callout"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/storage"
)

// APIServices is the resource that an [Aggregator] follows. It must be in the registry of its server.
var APIServices = apiregistrationv1.SchemeGroupVersion.WithResource("apiservices")

// Config configures an [Aggregator]. Registry, Services and Certificate are needed.
type Config struct {
	// Registry is that of the server: what it has is registered.
	Registry *apimachinery.Registry
	// Services says where a service is reached.
	Services server.ServiceResolver
	// Certificate is the front proxy's, which the other servers believe.
	Certificate *tls.Certificate
	// Dial connects to what Services says. Nil: [callout.Guarded].
	Dial callout.Dial
	// Log hears of servers that can't be reached. Nil: off.
	Log *slog.Logger
	// Now is the clock of conditions. Nil: time.Now.
	Now func() time.Time
}

func (c *Config) validate() error {
	if c.Registry == nil || c.Services == nil || c.Certificate == nil {
		return errors.New("Registry, Services and Certificate must be set")
	}
	if c.Dial == nil {
		c.Dial = callout.Guarded()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Aggregator leads to other servers. Its methods may be called concurrently.
type Aggregator struct {
	c      Config
	ran    atomic.Bool
	synced chan struct{}
	server *server.Server // once it runs
	table  *storage.Table

	mu     sync.Mutex // of changes
	others atomic.Pointer[map[schema.GroupVersion]*extension]
	// generation counts changes of what others have.
	generation atomic.Uint64
	workers    sync.WaitGroup
}

// New makes an aggregator; it starts nothing.
func New(c Config) (*Aggregator, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure aggregation: %w", err)
	}
	a := &Aggregator{c: c, synced: make(chan struct{})}
	a.others.Store(&map[schema.GroupVersion]*extension{})
	return a, nil
}

// Synced is closed once all APIServices that there were are heeded.
func (a *Aggregator) Synced() <-chan struct{} { return a.synced }

// Handler is what serves a group and version that another server has; nil: this server serves it itself. It expects
// the user in the request's context ([apimachinery.WithUser]).
func (a *Aggregator) Handler(gv schema.GroupVersion) http.Handler {
	if x := (*a.others.Load())[gv]; x != nil {
		return x
	}
	return nil
}

var _ server.Proxy = (*Aggregator)(nil)

// retryAfter is when what failed is tried again.
const retryAfter = time.Second

// Run follows the APIServices of a server until ctx ends, and returns nil then. A second Run is an error.
func (a *Aggregator) Run(ctx context.Context, s *server.Server) error {
	if a.ran.Swap(true) {
		return errors.New("run aggregation: it ran already")
	}
	t, ok := s.Table(APIServices.GroupResource())
	if !ok {
		return fmt.Errorf("run aggregation: the server has no %s", APIServices.GroupResource())
	}
	a.server, a.table = s, t
	ctx, cancel := context.WithCancel(ctx)
	defer a.workers.Wait()
	defer cancel()
	a.workers.Go(func() { a.register(ctx) })
	for ctx.Err() == nil {
		err := a.follow(ctx)
		var tooOld *storage.TooOldError
		switch {
		case ctx.Err() != nil || errors.As(err, &tooOld):
		case errors.Is(err, storage.ErrClosed):
			return fmt.Errorf("run aggregation: %w", err)
		default:
			a.c.Log.Warn("APIServices are read again", "err", err)
			wait(ctx, nil, retryAfter)
		}
	}
	return nil
}

// wait waits for a while, or until it is woken.
func wait(ctx context.Context, wake <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// follow takes in what is there, and then every change.
func (a *Aggregator) follow(ctx context.Context) error {
	snap, err := a.table.Snapshot(ctx, 0, false)
	if err != nil {
		return err
	}
	w, err := a.table.Watch(snap.Rev(), storage.Filter{})
	if err != nil {
		return err
	}
	defer w.Close()
	seen := map[string]bool{}
	for e := range snap.All(storage.Filter{}, "") {
		seen[e.Key] = true
		a.take(ctx, e.Key, e)
	}
	for _, x := range *a.others.Load() {
		if !seen[x.name] {
			a.take(ctx, x.name, nil)
		}
	}
	select {
	case <-a.synced:
	default:
		close(a.synced)
	}
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, ev := range events {
			switch {
			case ev.New != nil:
				a.take(ctx, ev.New.Key, ev.New)
			case ev.Old != nil && ev.Corrupt == nil:
				a.take(ctx, ev.Old.Key, nil)
			}
		}
	}
}

// take takes in an APIService as it is now; nil: it is gone.
func (a *Aggregator) take(ctx context.Context, name string, e *storage.Entry) {
	var s *apiregistrationv1.APIService
	if e != nil {
		o, err := a.server.Object(APIServices, e)
		if err != nil {
			a.c.Log.Error("APIService can't be read", "name", name, "err", err)
			return
		}
		s = o.(*apiregistrationv1.APIService)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	before := *a.others.Load()
	var was *extension
	for _, x := range before {
		if x.name == name {
			was = x
		}
	}
	if s != nil && s.Spec.Service != nil && was != nil && was.serves(s) {
		return // a change of its status, or of its metadata
	}
	if was == nil && (s == nil || s.Spec.Service == nil) {
		return
	}
	after := maps.Clone(before)
	if was != nil {
		delete(after, was.gv)
		was.stop()
	}
	if s != nil && s.Spec.Service != nil {
		x := a.extension(ctx, s)
		after[x.gv] = x
		a.workers.Go(x.run)
	}
	a.others.Store(&after)
	a.generation.Add(1)
}
