package care

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bedplate/bedplate/storage"
)

// maxResources bounds the resources that are told apart; further ones count as "other".
const maxResources = 1_000

// requestMetrics are those of Kubernetes' storage layer.
type requestMetrics struct {
	duration                 *prometheus.HistogramVec
	requests, errors, events *prometheus.CounterVec

	mu    sync.Mutex
	names map[string]resource
}

type resource struct{ group, name string }

// Measure returns the backend with its requests measured under Kubernetes' names: etcd_request_duration_seconds,
// etcd_requests_total and etcd_request_errors_total by operation, group and resource, and
// apiserver_storage_events_received_total by group and resource. Operations are get (a revision), list, listStream, create,
// update, delete, and txn for a transaction over several resources; a condition that does not hold is no error.
// Group and resource are read off the key, as Kubernetes lays keys out: /registry/<resource>/… or
// /registry/<group with a dot>/<resource>/….
//
// What the backend offers beside storage.Backend (storage.Leaser, storage.Streamer, Compacter) the result offers, too. A nil
// registerer measures nothing: the backend itself comes back.
func Measure(b storage.Backend, r prometheus.Registerer) (storage.Backend, error) {
	if r == nil {
		return b, nil
	}
	labels := []string{"operation", "group", "resource"}
	m := &requestMetrics{
		names: map[string]resource{},
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "etcd_request_duration_seconds",
			Help: "Etcd request latency in seconds for each operation and object type.",
			Buckets: []float64{
				.005, .025, .05, .1, .2, .4, .6, .8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
			},
		}, labels),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcd_requests_total", Help: "Etcd request counts for each operation and object type.",
		}, labels),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcd_request_errors_total", Help: "Etcd failed request counts for each operation and object type.",
		}, labels),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_storage_events_received_total", Help: "Number of etcd events received split by kind.",
		}, labels[1:]),
	}
	if err := register(r, m.duration, m.requests, m.errors, m.events); err != nil {
		return nil, err
	}
	return with(&measured{b, m}, b), nil
}

// with adds what the backend offers beside.
func with(m *measured, b storage.Backend) storage.Backend {
	l, leases := b.(storage.Leaser)
	c, compacts := b.(Compacter)
	ml := measuredLeaser{l, m.m}
	switch {
	case leases && compacts:
		return struct {
			*measured
			measuredLeaser
			Compacter
		}{m, ml, c}
	case leases:
		return struct {
			*measured
			measuredLeaser
		}{m, ml}
	case compacts:
		return struct {
			*measured
			Compacter
		}{m, c}
	}
	return m
}

type measured struct {
	b storage.Backend
	m *requestMetrics
}

// Range implements storage.Backend.
func (b *measured) Range(ctx context.Context, r storage.Range) (storage.Page, error) {
	begin := time.Now()
	page, err := b.b.Range(ctx, r)
	b.m.count("list", b.m.resource(r.Prefix), begin, err)
	return page, err
}

// Stream implements storage.Streamer, if the backend does; it counts as one list, with the time of its reader in it.
func (b *measured) Stream(ctx context.Context, r storage.Range) iter.Seq2[storage.Page, error] {
	return func(yield func(storage.Page, error) bool) {
		s, ok := b.b.(storage.Streamer)
		if !ok {
			yield(storage.Page{}, errors.ErrUnsupported)
			return
		}
		begin := time.Now()
		var failed error
		for page, err := range s.Stream(ctx, r) {
			if failed = err; !yield(page, err) {
				break
			}
		}
		if !errors.Is(failed, errors.ErrUnsupported) {
			b.m.count("listStream", b.m.resource(r.Prefix), begin, failed)
		}
	}
}

// Revision implements storage.Backend.
func (b *measured) Revision(ctx context.Context) (int64, error) {
	begin := time.Now()
	rev, err := b.b.Revision(ctx)
	b.m.count("get", resource{}, begin, err)
	return rev, err
}

// Commit implements storage.Backend.
func (b *measured) Commit(ctx context.Context, t storage.Txn) (int64, error) {
	operation, of := b.m.describe(t)
	begin := time.Now()
	rev, err := b.b.Commit(ctx, t)
	b.m.count(operation, of, begin, err)
	return rev, err
}

// Watch implements storage.Backend.
func (b *measured) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[storage.Batch, error] {
	return func(yield func(storage.Batch, error) bool) {
		for batch, err := range b.b.Watch(ctx, prefix, after) {
			for _, kv := range batch.Events {
				of := b.m.resource(kv.Key)
				b.m.events.WithLabelValues(of.group, of.name).Inc()
			}
			if !yield(batch, err) {
				return
			}
		}
	}
}

type measuredLeaser struct {
	l storage.Leaser
	m *requestMetrics
}

var leases = resource{name: "lease"}

// Grant implements storage.Leaser.
func (l measuredLeaser) Grant(ctx context.Context, ttl time.Duration) (storage.Lease, error) {
	begin := time.Now()
	lease, err := l.l.Grant(ctx, ttl)
	l.m.count("leaseGrant", leases, begin, err)
	return lease, err
}

// KeepAlive implements storage.Leaser.
func (l measuredLeaser) KeepAlive(ctx context.Context, lease int64) (time.Duration, error) {
	begin := time.Now()
	ttl, err := l.l.KeepAlive(ctx, lease)
	l.m.count("leaseKeepAlive", leases, begin, err)
	return ttl, err
}

// Revoke implements storage.Leaser.
func (l measuredLeaser) Revoke(ctx context.Context, lease int64) error {
	begin := time.Now()
	err := l.l.Revoke(ctx, lease)
	l.m.count("leaseRevoke", leases, begin, err)
	return err
}

func (m *requestMetrics) count(operation string, of resource, begin time.Time, err error) {
	m.duration.WithLabelValues(operation, of.group, of.name).Observe(time.Since(begin).Seconds())
	m.requests.WithLabelValues(operation, of.group, of.name).Inc()
	if err != nil && !errors.Is(err, storage.ErrConflict) {
		m.errors.WithLabelValues(operation, of.group, of.name).Inc()
	}
}

// describe tells what a transaction does: the operation on the resource of its first write, or txn if it writes
// to another resource as well.
func (m *requestMetrics) describe(t storage.Txn) (string, resource) {
	if len(t.Then) == 0 {
		return "txn", resource{}
	}
	first := t.Then[0]
	of := m.resource(first.Key)
	for _, op := range t.Then[1:] {
		if m.resource(op.Key) != of {
			return "txn", resource{}
		}
	}
	if first.Value == nil {
		return "delete", of
	}
	for _, c := range t.If {
		if c.Key == first.Key && c.Rev == 0 {
			return "create", of
		}
	}
	return "update", of
}

// resource reads the resource off a key.
func (m *requestMetrics) resource(key string) resource {
	_, rest, _ := strings.Cut(strings.TrimPrefix(key, "/"), "/")
	first, more, _ := strings.Cut(rest, "/")
	r := resource{name: first}
	if strings.Contains(first, ".") {
		second, _, _ := strings.Cut(more, "/")
		r = resource{group: first, name: second}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	name := r.group + "/" + r.name
	if known, ok := m.names[name]; ok {
		return known
	}
	if len(m.names) >= maxResources {
		return resource{name: "other"}
	}
	r.group, r.name = strings.Clone(r.group), strings.Clone(r.name)
	m.names[strings.Clone(name)] = r
	return r
}
