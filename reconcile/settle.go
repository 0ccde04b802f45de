package reconcile

import (
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// cache is an informer, as those who wait for it to show a write see it.
type cache interface {
	// shows says whether the cache is at least as new as a write.
	shows(w client.Written) bool
	// onProgress calls f whenever the cache has moved.
	onProgress(f func()) (stop func())
	synced() <-chan struct{}
	informer() any
}

// cached is an informer that the manager shares.
type cached[T apimachinery.Object] struct {
	*informer.Informer[T]
	namespace  string
	namespaced bool
}

func (c *cached[T]) synced() <-chan struct{} { return c.Synced() }
func (c *cached[T]) informer() any           { return c.Informer }

func (c *cached[T]) onProgress(f func()) func() {
	return c.Handle(informer.Handler[T]{Progress: func(int64) { f() }})
}

func (c *cached[T]) shows(w client.Written) bool {
	if c.namespaced && c.namespace != "" && !strings.HasPrefix(w.Key, c.namespace+"/") {
		return true // it never comes here
	}
	rev := informer.RevOf(w.ResourceVersion)
	if rev > 0 && c.Rev() >= rev {
		return true
	}
	o, ok := c.View(w.Key)
	switch {
	case w.Deleted && (!ok || w.UID != "" && o.GetUID() != w.UID || o.GetDeletionTimestamp() != nil):
		return true
	case !ok:
		return false
	}
	return o.GetResourceVersion() == w.ResourceVersion || rev > 0 && informer.RevOf(o.GetResourceVersion()) >= rev
}

// cachesOf are the caches that hold a resource.
func (m *Manager) cachesOf(name schema.GroupResource) []cache {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.byName[name])
}

// token is a write that a cache must show before its writer works again.
type token struct {
	written client.Written
	in      cache
	until   time.Time
}

// settling keeps the tokens of a controller's keys, and the keys that wait for them.
type settling struct {
	m     *Manager
	limit time.Duration
	again func(key string, late bool) // a parked key may be worked on

	mu     sync.Mutex
	tokens map[string][]token
	parked map[string]bool

	follow sync.Mutex // taken before mu and before a cache's own lock
	stops  map[cache]func()
}

func newSettling(m *Manager, again func(key string, late bool)) *settling {
	return &settling{m: m, limit: m.c.Settle, again: again, tokens: map[string][]token{}, parked: map[string]bool{}, stops: map[cache]func(){}}
}

// wrote notes a write that was made for a key.
func (s *settling) wrote(key string, w client.Written, now time.Time) {
	for _, c := range s.m.cachesOf(w.Resource) {
		s.begin(c)
		s.mu.Lock()
		s.tokens[key] = append(s.tokens[key], token{w, c, now.Add(s.limit)})
		s.mu.Unlock()
	}
}

// begin follows a cache, once.
func (s *settling) begin(c cache) {
	s.follow.Lock()
	defer s.follow.Unlock()
	if s.stops[c] == nil {
		s.stops[c] = c.onProgress(s.progress)
	}
}

// stop ends what began.
func (s *settling) stop() {
	s.follow.Lock()
	defer s.follow.Unlock()
	for c, stop := range s.stops {
		stop()
		delete(s.stops, c)
	}
}

// park says whether a key must wait, and until when at most. It is told by again when it need not any more.
func (s *settling) park(key string, now time.Time) (until time.Time, wait, late bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open, late := s.open(key, now)
	if len(open) == 0 {
		return until, false, late
	}
	s.parked[key] = true
	return open[0].until, true, false
}

// open drops the tokens that are settled or overdue, and returns the others.
func (s *settling) open(key string, now time.Time) (open []token, late bool) {
	for _, t := range s.tokens[key] {
		switch {
		case t.in.shows(t.written):
		case !now.Before(t.until):
			late = true
		default:
			open = append(open, t)
		}
	}
	if len(open) == 0 {
		delete(s.tokens, key)
		delete(s.parked, key)
	} else {
		s.tokens[key] = open
	}
	return open, late
}

// progress looks which parked keys can go on.
func (s *settling) progress() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for key := range s.parked {
		if open, late := s.open(key, now); len(open) == 0 {
			s.again(key, late)
		}
	}
}
