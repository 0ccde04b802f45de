package embedded

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/internal/wire"
)

// Watch implements storage.Backend. It watches all keys, so that every revision comes by and progress needs
// no asking; what is outside of the prefix is progress alone.
func (b *backend) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[storage.Batch, error] {
	return func(yield func(storage.Batch, error) bool) {
		p, err := b.pump(ctx, prefix, after)
		if err != nil {
			yield(storage.Batch{}, fmt.Errorf("etcd watch %s: %w", prefix, err))
			return
		}
		defer p.stop()
		if !yield(storage.Batch{Rev: after}, nil) {
			return
		}
		for {
			batches, err := p.next()
			for _, batch := range batches {
				if !yield(batch, nil) {
					return
				}
			}
			if err != nil {
				yield(storage.Batch{}, fmt.Errorf("etcd watch %s: %w", prefix, err))
				return
			}
		}
	}
}

// maxPumped is how many revisions a pump holds for a consumer that is slower than etcd. Beyond it etcd
// holds them, and is slow to catch up.
const maxPumped = 1 << 16

// pump takes events from etcd as they come. Etcd sets a watcher back by up to 100 ms as soon as its
// channel of 128 is full once; so somebody must always be there to take them.
type pump struct {
	b      *backend
	prefix string
	after  int64
	stream mvcc.WatchStream
	cancel context.CancelFunc

	mu      sync.Mutex
	queue   []storage.Batch
	err     error
	more    chan struct{} // signals that the queue is not empty, or err is set
	drained chan struct{} // signals that the queue was taken
}

func (b *backend) pump(ctx context.Context, prefix string, after int64) (*pump, error) {
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	defer b.leave()
	if first := b.etcd.KV().FirstRev(); after+1 < first {
		return nil, &storage.TooOldError{Rev: after, Oldest: first}
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &pump{
		b: b, prefix: prefix, after: after, cancel: cancel, stream: b.etcd.Watchable().NewWatchStream(),
		more: make(chan struct{}, 1), drained: make(chan struct{}, 1),
	}
	if _, err := p.stream.Watch(ctx, 0, []byte{0}, []byte{}, after+1); err != nil {
		cancel()
		p.stream.Close()
		return nil, err
	}
	b.pumps.Go(func() { p.run(ctx) })
	return p, nil
}

// stop ends the pump, in its own time: it is the member's to wait for it.
func (p *pump) stop() { p.cancel() }

func (p *pump) run(ctx context.Context) {
	defer p.stream.Close()
	for {
		select {
		case resp := <-p.stream.Chan():
			if err := p.take(resp); err != nil {
				p.fail(err)
				return
			}
		case <-ctx.Done():
			p.fail(ctx.Err())
			return
		case <-p.b.s.closing:
			p.fail(storage.ErrClosed)
			return
		}
		if !p.waitRoom(ctx) {
			p.fail(ctx.Err())
			return
		}
	}
}

// take puts the revisions of a response into the queue.
func (p *pump) take(resp mvcc.WatchResponse) error {
	if resp.CompactRevision != 0 {
		return &storage.TooOldError{Rev: p.after, Oldest: resp.CompactRevision}
	}
	if len(resp.Events) == 0 {
		return nil
	}
	last := resp.Events[len(resp.Events)-1].Kv.ModRevision
	batches := wire.Batches(p.own(resp.Events))
	if n := len(batches); n == 0 || batches[n-1].Rev < last {
		batches = append(batches, storage.Batch{Rev: last})
	}
	p.after = last
	p.mu.Lock()
	p.queue = append(p.queue, batches...)
	p.mu.Unlock()
	signal(p.more)
	return nil
}

// own returns the events under the prefix; all of them, uncopied, as a rule.
func (p *pump) own(events []*mvccpb.Event) []*mvccpb.Event {
	for i, ev := range events {
		if !p.owns(ev) {
			own := append([]*mvccpb.Event(nil), events[:i]...)
			for _, ev := range events[i+1:] {
				if p.owns(ev) {
					own = append(own, ev)
				}
			}
			return own
		}
	}
	return events
}

func (p *pump) owns(ev *mvccpb.Event) bool { return strings.HasPrefix(string(ev.Kv.Key), p.prefix) }

func (p *pump) fail(err error) {
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	signal(p.more)
}

// waitRoom waits while the queue is full; false if the watch ends meanwhile.
func (p *pump) waitRoom(ctx context.Context) bool {
	for {
		p.mu.Lock()
		full := len(p.queue) >= maxPumped
		p.mu.Unlock()
		if !full {
			return true
		}
		select {
		case <-p.drained:
		case <-ctx.Done():
			return false
		case <-p.b.s.closing:
			return true
		}
	}
}

// next returns all there is, waiting for something.
func (p *pump) next() ([]storage.Batch, error) {
	<-p.more
	p.mu.Lock()
	defer p.mu.Unlock()
	batches := p.queue
	p.queue = nil
	signal(p.drained)
	return batches, p.err
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
