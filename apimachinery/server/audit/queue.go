package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// Mode is how a backend is driven, as Kubernetes names it.
type Mode string

// The modes.
const (
	// Batch buffers events and writes many at a time, after the request. When the buffer is full, events are lost.
	Batch Mode = "batch"
	// Blocking writes each event while the request waits. One that cannot be written is lost.
	Blocking Mode = "blocking"
	// BlockingStrict is Blocking, and refuses requests whose RequestReceived cannot be written.
	BlockingStrict Mode = "blocking-strict"
)

// Delivery is how a backend is driven. What is zero takes the backend's default.
type Delivery struct {
	Mode Mode
	// The rest is for the mode Batch. Buffer is how many events may wait, 10,000. A batch is written when it has
	// BatchSize events, or the first of them has waited for BatchWait, 30 s.
	Buffer, BatchSize int
	BatchWait         time.Duration
	// Throttle is the most batches a second, with Burst of them at once: 10 and 15 of a webhook, unlimited else.
	Throttle float64
	Burst    int
}

// Truncate bounds what a backend is given. The zero value is off.
type Truncate struct {
	Enabled bool
	// EventSize is the longest event in bytes, 100 KiB: one that is longer loses its objects and is annotated with
	// audit.k8s.io/truncated; if it is too long even so it is lost. BatchSize is that of a batch, 10 MiB: one that is
	// longer is split.
	EventSize, BatchSize int
}

const truncated = "audit.k8s.io/truncated"

// queue drives a sink.
type queue struct {
	Sink
	metrics *metrics
	log     *slog.Logger
	limit   *rate.Limiter
	buffer  chan *auditv1.Event
	one     sync.Mutex // blocking writes
	closing sync.RWMutex
	closed  bool
	slots   chan struct{} // of batches being written at once; nil: one after the other
}

func newQueue(s Sink, m *metrics, log *slog.Logger) (*queue, error) {
	d, t := &s.Delivery, &s.Truncate
	switch {
	case s.Name == "" || s.Write == nil:
		return nil, errors.New("a sink needs a name and Write")
	case d.Mode != Batch && d.Mode != Blocking && d.Mode != BlockingStrict:
		return nil, fmt.Errorf("the mode %q is none of batch, blocking, blocking-strict", d.Mode)
	case d.Buffer < 0 || d.BatchSize < 0 || d.BatchWait < 0 || d.Throttle < 0 || d.Burst < 0 || t.EventSize < 0 || t.BatchSize < 0:
		return nil, errors.New("a bound is negative")
	}
	d.Buffer, d.BatchSize = or(d.Buffer, 10_000), or(d.BatchSize, 1)
	d.BatchWait, d.Burst = or(d.BatchWait, 30*time.Second), or(d.Burst, 1)
	t.EventSize, t.BatchSize = or(t.EventSize, 100<<10), or(t.BatchSize, 10<<20)
	q := &queue{Sink: s, metrics: m, log: log}
	if d.Mode == Batch {
		q.buffer = make(chan *auditv1.Event, d.Buffer)
		if d.Throttle > 0 {
			q.limit, q.slots = rate.NewLimiter(rate.Limit(d.Throttle), d.Burst), make(chan struct{}, d.Burst)
		}
	}
	return q, nil
}

func or[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

var (
	errFull = errors.New("the buffer is full")
	errDone = errors.New("the audit has ended")
)

// take keeps an event, or has it kept.
func (q *queue) take(ev *auditv1.Event) error {
	if q.buffer == nil {
		q.one.Lock()
		defer q.one.Unlock()
		return q.write(context.Background(), []*auditv1.Event{ev})
	}
	q.closing.RLock()
	defer q.closing.RUnlock()
	if q.closed {
		return q.lost(errDone, ev)
	}
	select {
	case q.buffer <- ev:
		return nil
	default:
		return q.lost(errFull, ev)
	}
}

// lost tells that events are lost.
func (q *queue) lost(err error, events ...*auditv1.Event) error {
	q.metrics.lost(q.Name, len(events))
	q.log.Error("audit events are lost", "backend", q.Name, "events", len(events), "first", events[0].AuditID, "err", err)
	return err
}

// run writes batches until ctx ends and the buffer is empty.
func (q *queue) run(ctx context.Context) {
	if q.buffer == nil {
		<-ctx.Done()
		return
	}
	writing, stop := outlive(ctx, drain)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	done := ctx.Done()
	for {
		batch, more := q.collect(done)
		if len(batch) > 0 {
			q.send(writing, batch, &wg)
		}
		if !more {
			return
		}
		if done != nil && ctx.Err() != nil {
			q.closing.Lock()
			q.closed = true
			q.closing.Unlock()
			close(q.buffer)
			done = nil
		}
	}
}

// drain is how long events that are left at the end may take to be written.
const drain = 10 * time.Second

// outlive returns a context that ends some time after ctx, or when stop is called.
func outlive(ctx context.Context, by time.Duration) (_ context.Context, stop func()) {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	undo := context.AfterFunc(ctx, func() { time.AfterFunc(by, cancel) })
	return own, func() {
		undo()
		cancel()
	}
}

// collect gathers a batch; more is false once the buffer is closed and empty.
func (q *queue) collect(done <-chan struct{}) (batch []*auditv1.Event, more bool) {
	var late <-chan time.Time
	for len(batch) < q.Delivery.BatchSize {
		select {
		case ev, ok := <-q.buffer:
			if !ok {
				return batch, false
			}
			if late == nil && q.Delivery.BatchSize > 1 {
				late = time.After(q.Delivery.BatchWait)
			}
			batch = append(batch, ev)
		case <-late:
			return batch, true
		case <-done:
			return batch, true
		}
	}
	return batch, true
}

// send writes a batch; a throttled sink gets the next while it works on this one, a burst of them at most.
func (q *queue) send(ctx context.Context, batch []*auditv1.Event, wg *sync.WaitGroup) {
	if q.slots == nil {
		_ = q.write(ctx, batch) // told of already
		return
	}
	_ = q.limit.Wait(ctx) // if that ends, so does the writing
	q.slots <- struct{}{}
	wg.Go(func() {
		defer func() { <-q.slots }()
		_ = q.write(ctx, batch)
	})
}

// write writes events, truncated and split as wanted.
func (q *queue) write(ctx context.Context, events []*auditv1.Event) error {
	parts, err := q.parts(events)
	for _, part := range parts {
		if werr := q.Write(ctx, part); werr != nil {
			err = errors.Join(err, q.lost(werr, part...))
		}
	}
	return err
}

var errLong = errors.New("the event is too long even without its objects")

func (q *queue) parts(events []*auditv1.Event) (parts [][]*auditv1.Event, err error) {
	if !q.Truncate.Enabled {
		return [][]*auditv1.Event{events}, nil
	}
	var part []*auditv1.Event
	size := 0
	for _, ev := range events {
		n := sizeOf(ev)
		if n > q.Truncate.EventSize && (ev.RequestObject != nil || ev.ResponseObject != nil) {
			ev = cut(ev)
			n = sizeOf(ev)
		}
		if n > q.Truncate.EventSize {
			err = errors.Join(err, q.lost(errLong, ev))
			continue
		}
		if len(part) > 0 && size+n > q.Truncate.BatchSize {
			parts, part, size = append(parts, part), nil, 0
		}
		part, size = append(part, ev), size+n
	}
	if len(part) > 0 {
		parts = append(parts, part)
	}
	return parts, err
}

func sizeOf(ev *auditv1.Event) int {
	raw, err := line(ev)
	if err != nil {
		return 0 // its backend will tell
	}
	return len(raw)
}

// cut is an event without its objects.
func cut(ev *auditv1.Event) *auditv1.Event {
	out := *ev
	out.RequestObject, out.ResponseObject = nil, nil
	out.Annotations = map[string]string{truncated: "true"}
	for k, v := range ev.Annotations {
		out.Annotations[k] = v
	}
	return &out
}
