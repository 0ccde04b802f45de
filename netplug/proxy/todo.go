package proxy

import (
	"context"
	"sync"
	"time"
)

// todo gathers the services that have changed. It holds each once.
type todo struct {
	ready chan struct{} // gets a token when there is something

	mu       sync.Mutex
	keys     map[string]struct{}
	since    time.Time // of the first of keys
	taken    int       // services taken but not finished
	begun    time.Time // since of the first of those
	told     uint64    // number of the last change
	finished uint64    // number of the last change that is in the kernel
	progress chan struct{}
}

func (t *todo) init() {
	t.ready, t.progress, t.keys = make(chan struct{}, 1), make(chan struct{}), map[string]struct{}{}
}

func (t *todo) add(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.keys) == 0 {
		t.since = time.Now()
	}
	t.told++
	t.keys[key] = struct{}{}
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

func (t *todo) take() (keys map[string]struct{}, number uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys, t.keys = t.keys, map[string]struct{}{}
	if t.taken == 0 {
		t.begun = t.since
	}
	t.taken += len(keys)
	return keys, t.told
}

// finish says that everything up to a change is in the kernel, and returns since when it waited.
func (t *todo) finish(number uint64) (since time.Time, services int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	since, services = t.begun, t.taken
	t.finished, t.taken = number, 0
	close(t.progress)
	t.progress = make(chan struct{})
	return since, services
}

func (t *todo) wait(ctx context.Context) error {
	t.mu.Lock()
	number := t.told
	for t.finished < number {
		progress := t.progress
		t.mu.Unlock()
		select {
		case <-progress:
		case <-ctx.Done():
			return ctx.Err()
		}
		t.mu.Lock()
	}
	t.mu.Unlock()
	return nil
}
