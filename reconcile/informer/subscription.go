package informer

import (
	"context"
	"iter"
	"sync"

	"github.com/bedplate/bedplate/apimachinery"
)

// Subscription is a queue of changes for one slow reader. Changes of one object that the reader has not taken yet
// become one, from the state that it knew last to the newest; so the queue never holds more than one per object,
// and nothing is lost.
type Subscription[T apimachinery.Object] struct {
	stop func()

	mu      sync.Mutex
	pending map[string]*Change[T]
	order   []string
	rev     int64
	ready   chan struct{} // holds one token while there is something to take, or rev moved
}

// Subscribe begins a subscription, with every present object as added. Close ends it.
func (i *Informer[T]) Subscribe() *Subscription[T] {
	s := &Subscription[T]{pending: map[string]*Change[T]{}, ready: make(chan struct{}, 1)}
	s.stop = i.Handle(Handler[T]{Change: s.add, Progress: s.progress})
	return s
}

// Close ends the subscription. What is queued can still be taken.
func (s *Subscription[T]) Close() { s.stop() }

// Ready gets a token when there may be something to take, or when Rev has moved.
func (s *Subscription[T]) Ready() <-chan struct{} { return s.ready }

// Rev is the revision up to which all changes have been queued.
func (s *Subscription[T]) Rev() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rev
}

// Take returns the next change, if there is one, without waiting.
func (s *Subscription[T]) Take() (Change[T], bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.order) > 0 {
		key := s.order[0]
		c, ok := s.pending[key]
		if !ok {
			s.order = s.order[1:]
			continue
		}
		if !c.Added && !c.Deleted && c.Old.GetUID() != c.New.GetUID() {
			s.pending[key] = &Change[T]{Key: key, New: c.New, Added: true}
			return Change[T]{Key: key, Old: c.Old, Deleted: true}, true
		}
		s.order = s.order[1:]
		delete(s.pending, key)
		return *c, true
	}
	s.order = nil
	return Change[T]{}, false
}

// Next waits for the next change. It returns ctx's error when that ends.
func (s *Subscription[T]) Next(ctx context.Context) (Change[T], error) {
	for {
		if c, ok := s.Take(); ok {
			return c, nil
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return Change[T]{}, context.Cause(ctx)
		}
	}
}

// All yields changes until ctx ends or the loop is left.
func (s *Subscription[T]) All(ctx context.Context) iter.Seq[Change[T]] {
	return func(yield func(Change[T]) bool) {
		for {
			c, err := s.Next(ctx)
			if err != nil || !yield(c) {
				return
			}
		}
	}
}

func (s *Subscription[T]) add(c Change[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.pending[c.Key]
	switch {
	case !ok:
		s.pending[c.Key] = &c
		s.order = append(s.order, c.Key)
	case p.Added && c.Deleted:
		delete(s.pending, c.Key) // the reader never knew it
		s.drop(c.Key)
	default:
		p.New, p.Deleted = c.New, c.Deleted
	}
	s.signal()
}

// drop takes a key out of the order, so that it stands there once.
func (s *Subscription[T]) drop(key string) {
	for n, k := range s.order {
		if k == key {
			s.order = append(s.order[:n:n], s.order[n+1:]...)
			return
		}
	}
}

func (s *Subscription[T]) progress(rev int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rev = rev
	s.signal()
}

func (s *Subscription[T]) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}
