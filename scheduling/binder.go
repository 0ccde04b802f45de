package scheduling

import (
	"context"
	"sync"
)

// binder carries decisions out with a fixed number of workers: those for one host
// one after another, in order; those for different hosts side by side.
type binder[I any] struct {
	bind  func(context.Context, Decision[I])
	room  chan struct{} // one element for each decision that isn't done
	ready chan string   // hosts with decisions that no worker is at; never more than there is room

	mu     sync.Mutex
	byHost map[string][]Decision[I] // an entry, perhaps empty, while the host is ready or worked at
}

func newBinder[I any](workers, ahead int, bind func(context.Context, Decision[I])) *binder[I] {
	ahead = max(ahead, workers)
	return &binder[I]{
		bind:   bind,
		room:   make(chan struct{}, ahead),
		ready:  make(chan string, ahead),
		byHost: map[string][]Decision[I]{},
	}
}

// submit waits for room; it drops the decision when ctx ends first.
func (b *binder[I]) submit(ctx context.Context, d Decision[I]) {
	select {
	case b.room <- struct{}{}:
	case <-ctx.Done():
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	line, busy := b.byHost[d.Host]
	b.byHost[d.Host] = append(line, d)
	if !busy {
		b.ready <- d.Host
	}
}

// work binds until ctx ends.
func (b *binder[I]) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case host := <-b.ready:
			if ctx.Err() == nil {
				b.bind(ctx, b.first(host))
				b.next(host)
			}
		}
	}
}

func (b *binder[I]) first(host string) Decision[I] {
	b.mu.Lock()
	defer b.mu.Unlock()
	line := b.byHost[host]
	b.byHost[host] = line[1:]
	return line[0]
}

// next lets the host's line go on, or ends it.
func (b *binder[I]) next(host string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	<-b.room
	if len(b.byHost[host]) > 0 {
		b.ready <- host
		return
	}
	delete(b.byHost, host)
}
