package bedplate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// layers are components that stand on each other: started bottom up, stopped top down. What ends by itself
// takes down the whole.
type layers struct {
	mu     sync.Mutex
	up     []*layer
	ended  chan struct{} // closed when a layer ends without being stopped, or all have been
	closed bool
}

type layer struct {
	name   string
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
}

func newLayers() *layers { return &layers{ended: make(chan struct{})} }

// start runs a component and waits until it is ready, has ended, or ctx is over. A nil ready is ready at once.
func (l *layers) start(ctx context.Context, name string, run func(context.Context) error, ready <-chan struct{}) error {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	one := &layer{name: name, cancel: cancel, ended: make(chan struct{})}
	l.mu.Lock()
	l.up = append(l.up, one)
	l.mu.Unlock()
	go func() {
		defer close(one.ended)
		one.err = run(own)
		if own.Err() == nil {
			one.err = failure(one)
			l.end()
		}
	}()
	if ready == nil {
		return nil
	}
	select {
	case <-ready:
		return nil
	case <-one.ended:
		return failure(one)
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", name, ctx.Err())
	}
}

// failure is why a layer ended that was not to.
func failure(one *layer) error {
	if one.err == nil {
		return fmt.Errorf("%s ended by itself", one.name)
	}
	return one.err
}

func (l *layers) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.ended)
	}
}

// alive is nil as long as a component runs that was started under a name.
func (l *layers) alive(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.up {
		if one.name != name {
			continue
		}
		select {
		case <-one.ended:
			return failure(one)
		default:
			return nil
		}
	}
	return fmt.Errorf("%s is not running", name)
}

// stop ends the components, the last first, each when the one above has ended, and returns their errors.
func (l *layers) stop() error {
	l.mu.Lock()
	up := l.up
	l.up = nil
	l.mu.Unlock()
	var errs []error
	for _, one := range slices.Backward(up) {
		one.cancel()
		<-one.ended
		if one.err != nil {
			errs = append(errs, one.err)
		}
	}
	l.end()
	return errors.Join(errs...)
}
