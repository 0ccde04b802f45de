package queue

import (
	"context"
	"sync"
	"time"
)

// Blocking is a [Queue] behind a lock, with the machine's clock: workers wait in [Blocking.Next] for what others
// add. All methods may be called concurrently.
type Blocking[K comparable] struct {
	mu   sync.Mutex
	q    *Queue[K]
	wake chan struct{} // one token: look again
	m    Metrics
}

// Metrics are the counters of a queue since it was made, and its present size.
type Metrics struct {
	Adds, Retries, Taken, Done uint64
	// Ready keys wait for a worker; Known ones are also delayed, in work, or remembered for their failures.
	Ready, Known int
	// Waited and Worked sum up the time of all keys, ready and in work.
	Waited, Worked time.Duration
}

// NewBlocking returns an empty queue.
func NewBlocking[K comparable](c Config) *Blocking[K] {
	return &Blocking[K]{q: New[K](c), wake: make(chan struct{}, 1)}
}

// Add is [Queue.Add], now.
func (b *Blocking[K]) Add(key K, priority int) {
	b.mu.Lock()
	b.q.Add(time.Now(), key, priority)
	b.m.Adds++
	b.mu.Unlock()
	b.signal()
}

// AddAfter is [Queue.AddAfter], from now.
func (b *Blocking[K]) AddAfter(key K, priority int, d time.Duration) {
	b.mu.Lock()
	b.q.AddAfter(time.Now(), key, priority, d)
	b.m.Adds++
	b.mu.Unlock()
	b.signal()
}

// Retry is [Queue.Retry], now.
func (b *Blocking[K]) Retry(key K, priority int) time.Duration {
	b.mu.Lock()
	defer b.signal()
	defer b.mu.Unlock()
	b.m.Retries++
	return b.q.Retry(time.Now(), key, priority)
}

// Forget is [Queue.Forget].
func (b *Blocking[K]) Forget(key K) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.q.Forget(key)
}

// Done is [Queue.Done], now; worked is how long it took.
func (b *Blocking[K]) Done(key K, worked time.Duration) {
	b.mu.Lock()
	b.q.Done(time.Now(), key)
	b.m.Done++
	b.m.Worked += worked
	b.mu.Unlock()
	b.signal()
}

// Next waits for a key and hands it out. It returns ctx's error when that ends.
func (b *Blocking[K]) Next(ctx context.Context) (K, error) {
	for {
		key, ok, more, due := b.take()
		if ok {
			if more {
				b.signal()
			}
			return key, nil
		}
		if err := b.sleep(ctx, due); err != nil {
			return key, err
		}
	}
}

func (b *Blocking[K]) take() (key K, ok, more bool, due time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	key, waited, ok := b.q.Next(now)
	if ok {
		b.m.Taken++
		b.m.Waited += waited
	}
	due, delayed := b.q.Due()
	return key, ok, delayed || b.q.Len() > 0, due
}

// sleep waits until somebody signals or due has come; a zero due never comes.
func (b *Blocking[K]) sleep(ctx context.Context, due time.Time) error {
	var timer <-chan time.Time
	if !due.IsZero() {
		t := time.NewTimer(time.Until(due))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		b.signal()
		return context.Cause(ctx)
	case <-b.wake:
	case <-timer:
	}
	return nil
}

func (b *Blocking[K]) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Metrics returns the queue's counters.
func (b *Blocking[K]) Metrics() Metrics {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.m
	m.Ready, m.Known = b.q.Len(), b.q.Keys()
	return m
}
