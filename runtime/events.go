//go:build linux

package runtime

import "context"

// eventBuffer is how many events a subscriber may lag behind.
const eventBuffer = 256

type subscription struct{ ch chan Event }

// Events returns what happens to containers from now on. The channel is closed when ctx
// ends, when the Runtime is closed, and when the reader lags 256 events behind: then call
// Events again, and Containers to learn what was missed.
func (r *Runtime) Events(ctx context.Context) <-chan Event {
	s := &subscription{ch: make(chan Event, eventBuffer)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		close(s.ch)
		return s.ch
	}
	r.events[s] = struct{}{}
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.unsubscribe(s)
	})
	return s.ch
}

// unsubscribe is called under mu.
func (r *Runtime) unsubscribe(s *subscription) {
	if _, ok := r.events[s]; ok {
		delete(r.events, s)
		close(s.ch)
	}
}

// publish is called under mu.
func (r *Runtime) publish(t EventType, c *container) {
	for s := range r.events {
		select {
		case s.ch <- Event{Type: t, Status: c.status}:
		default:
			r.unsubscribe(s)
		}
	}
}
