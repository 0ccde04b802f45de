package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server/fairness"
	"github.com/bedplate/bedplate/apimachinery/structural"
	"github.com/bedplate/bedplate/storage"
)

// Server is an API server. Its methods may be called concurrently.
type Server struct {
	c       Config
	guards  *storage.Table
	intern  interner
	types   structural.Types
	quick   *apimachinery.QuickDecoder
	flow    flow
	fair    *fairness.Fairness // nil: flow
	listed  listed
	metrics *metrics
	tracer  trace.Tracer // nil: off
	docs    documents
	specs   schemas

	mu    sync.RWMutex
	kinds map[*apimachinery.Resource]*kind

	ran   atomic.Bool
	ready chan struct{}
	addr  atomic.Pointer[net.Addr]
	life  context.Context // ends when Run begins to drain: watches end with it
	end   context.CancelFunc
	// leaving is closed when Run is to end: readyz fails from then on, though requests are taken until it drains.
	leaving chan struct{}
}

// New makes a server; it starts nothing.
func New(c Config) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure API server: %w", err)
	}
	s := &Server{
		c: c.withDefaults(), kinds: map[*apimachinery.Resource]*kind{},
		ready: make(chan struct{}), leaving: make(chan struct{}), quick: apimachinery.NewQuickDecoder(),
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.listed.limit, s.listed.keep = s.c.Limits.Messages, listedFor
	s.flow.mostReads, s.flow.mostWrites = int64(s.c.Limits.Reads), int64(s.c.Limits.Writes)
	var err error
	if s.metrics, err = newMetrics(s.c.Registerer); err != nil {
		return nil, fmt.Errorf("configure API server: register metrics: %w", err)
	}
	if s.c.Tracer != nil {
		s.tracer = s.c.Tracer.Tracer(tracerName)
	}
	if s.fair, err = newFairness(&s.c); err != nil {
		return nil, fmt.Errorf("configure API server: %w", err)
	}
	if s.guards, err = s.c.DB.Table(storage.Schema{Prefix: guardPrefix}); err != nil {
		return nil, fmt.Errorf("configure API server: %w", err)
	}
	for _, res := range s.c.Registry.All() {
		if _, err := s.kind(res); err != nil {
			return nil, fmt.Errorf("configure API server: %w", err)
		}
	}
	return s, nil
}

// As returns the door for code in this process that acts as u. Authorization, admission and validation are the
// same as over HTTPS.
func (s *Server) As(u apimachinery.User) apimachinery.Doer { return door{s, u} }

type door struct {
	s *Server
	u apimachinery.User
}

// Do implements apimachinery.Doer.
func (d door) Do(ctx context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	own := *r
	own.User, own.HTTP = d.u, nil
	ctx, told, err := d.s.recordedOwn(ctx, &own)
	if err != nil {
		return nil, err
	}
	return told.leave(d.s.serve(ctx, &own))
}

// Ready is closed once Run listens.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is where Run listens; nil before Ready.
func (s *Server) Addr() net.Addr {
	if a := s.addr.Load(); a != nil {
		return *a
	}
	return nil
}

// Table returns the table behind a resource, for readers in this process that want its bytes. It is to be read
// only: what is written past the server is not validated.
func (s *Server) Table(name schema.GroupResource) (*storage.Table, bool) {
	k, err := s.kindOf(name)
	if err != nil || k.table == nil {
		return nil, false
	}
	return k.table, true
}

// Object returns an entry of the table of a resource as an object of the view's Go type with its
// resourceVersion, decoded once and shared: it must not be changed.
func (s *Server) Object(gvr schema.GroupVersionResource, e *storage.Entry) (apimachinery.Object, error) {
	v, err := s.view(gvr)
	if err != nil {
		return nil, err
	}
	if !v.kind.viewed.Load() {
		v.kind.viewed.Store(true)
	}
	return v.object(e)
}

// Metadata returns the metadata of an entry of the table of a resource, with its resourceVersion. It is made once
// and shared: it must not be changed.
func (s *Server) Metadata(name schema.GroupResource, e *storage.Entry) (*metav1.PartialObjectMetadata, error) {
	k, err := s.kindOf(name)
	if err != nil {
		return nil, err
	}
	return k.partial(e)
}

// view finds what serves gvr; nil without an error if nothing does.
func (s *Server) view(gvr schema.GroupVersionResource) (*view, error) {
	for {
		f, ok := s.c.Registry.ForResource(gvr)
		if !ok {
			return nil, nil
		}
		k, err := s.kind(f.Resource)
		if errors.Is(err, errReplaced) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, v := range k.views {
			if v.found.View == f.View {
				return v, nil
			}
		}
		return nil, nil
	}
}

// errReplaced says that a resource has left the registry since it was looked up.
var errReplaced = errors.New("the resource has left the registry")

// kindOf finds the kind of a resource by its name.
func (s *Server) kindOf(name schema.GroupResource) (*kind, error) {
	for {
		res, ok := s.c.Registry.Resource(name)
		if !ok {
			return nil, fmt.Errorf("there is no resource %s", name)
		}
		if k, err := s.kind(res); !errors.Is(err, errReplaced) {
			return k, err
		}
	}
}

func (s *Server) kind(res *apimachinery.Resource) (*kind, error) {
	s.mu.RLock()
	k := s.kinds[res]
	s.mu.RUnlock()
	if k != nil {
		return k, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune() // which may make the kind, out of the one before
	if k := s.kinds[res]; k != nil {
		return k, nil
	}
	if now, ok := s.c.Registry.Resource(res.Name); !ok || now != res {
		return nil, errReplaced
	}
	k = s.newKind(res)
	k.life, k.retire = context.WithCancel(s.life)
	if err := k.open(s.c.DB); err != nil {
		return nil, err
	}
	s.kinds[res] = k
	return k, nil
}

// prune closes the tables of resources that have left the registry. The caller holds mu.
func (s *Server) prune() {
	for res, k := range s.kinds {
		if now, ok := s.c.Registry.Resource(res.Name); ok && now == res {
			continue
		}
		delete(s.kinds, res)
		if s.inherited(k) {
			continue
		}
		k.retire()
		if k.table != nil {
			s.c.DB.Drop(k.table)
		}
	}
}

// Run serves until ctx ends. From then on /readyz fails; after Limits.ShutdownDelay it stops taking requests, ends
// watches, waits for the requests under way and returns nil. A second Run is an error. The port is bound before Ready; if it is taken the error says so.
func (s *Server) Run(ctx context.Context) error {
	if s.ran.Swap(true) {
		return errors.New("run API server: it ran already")
	}
	defer s.end()
	l, err := s.listen()
	if err != nil {
		for _, l := range s.c.Also {
			_ = l.Close()
		}
		return fmt.Errorf("run API server: %w", err)
	}
	addr := l.Addr()
	s.addr.Store(&addr)
	h := s.httpServer()
	background, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { s.sweep(background) })
	wg.Go(func() { s.follow(background) })
	if s.fair != nil {
		wg.Go(func() { s.followFlow(background) })
		wg.Go(func() { s.adjustFlow(background) })
	}
	defer wg.Wait()
	defer cancel()

	listeners := append([]net.Listener{l}, s.c.Also...)
	served := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { served <- s.serveListener(h, l) }()
	}
	close(s.ready)
	select {
	case err = <-served:
		err = errors.Join(err, h.Close())
		for range listeners[1:] {
			<-served
		}
		return fmt.Errorf("run API server: %w", err)
	case <-ctx.Done():
	}
	close(s.leaving)
	if err = s.linger(served); err != nil {
		err = errors.Join(err, h.Close())
		for range listeners[1:] {
			<-served
		}
		return fmt.Errorf("run API server: %w", err)
	}
	s.end()
	err = s.shutdown(h)
	for range listeners {
		<-served
	}
	if err != nil {
		return fmt.Errorf("stop API server: %w", err)
	}
	return nil
}

// linger serves on for those who have yet to learn that the server is about to go.
func (s *Server) linger(served <-chan error) error {
	if s.c.Limits.ShutdownDelay == 0 {
		return nil
	}
	t := time.NewTimer(s.c.Limits.ShutdownDelay)
	defer t.Stop()
	select {
	case err := <-served:
		return err
	case <-t.C:
		return nil
	}
}

func (s *Server) isLeaving() error {
	select {
	case <-s.leaving:
		return errLeaving
	default:
		return nil
	}
}

var errLeaving = errors.New("the server is shutting down")

// shutdown waits for the requests under way, for as long as the limit says, and breaks what is left.
func (s *Server) shutdown(h *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.c.Limits.Drain)
	defer cancel()
	err := h.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.c.Log.Warn("requests were cut off", "after", s.c.Limits.Drain)
		return h.Close()
	}
	return err
}

// follow closes tables as resources leave the registry.
func (s *Server) follow(ctx context.Context) {
	for {
		_, changed := s.c.Registry.Version()
		s.mu.Lock()
		s.prune()
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) listen() (net.Listener, error) {
	if s.c.Listener != nil {
		return s.c.Listener, nil
	}
	return net.Listen("tcp", s.c.Listen)
}

func (s *Server) now() time.Time { return s.c.Now() }

func platform() string  { return runtime.GOOS + "/" + runtime.GOARCH }
func goVersion() string { return runtime.Version() }
