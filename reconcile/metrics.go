package reconcile

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bedplate/bedplate/reconcile/queue"
)

// counts are what a controller has done.
type counts struct {
	success, requeued, failed, unsettled atomic.Uint64
}

func (c *counts) done(r Result, err error) {
	switch {
	case err != nil:
		c.failed.Add(1)
	case r.After > 0 || r.Again:
		c.requeued.Add(1)
	default:
		c.success.Add(1)
	}
}

// measured is a controller, as metrics see it.
type measured interface {
	measure() (queue.Metrics, *counts)
}

func (c *controller[T]) measure() (queue.Metrics, *counts) { return c.queue.Metrics(), &c.counts }

// metrics collects the numbers of all controllers when somebody asks.
type metrics struct {
	mu          sync.Mutex
	controllers map[string]measured
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{controllers: map[string]measured{}}
	if r == nil {
		return m, nil
	}
	return m, r.Register(m)
}

func (m *metrics) add(name string, c measured) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.controllers[name]; taken {
		return errors.New("the name is taken: give it another")
	}
	m.controllers[name] = c
	return nil
}

func (m *metrics) remove(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.controllers, name)
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"name"}, labels...), nil)
}

// The descriptions are made anew each time, so that nothing is global.
type descriptions struct {
	depth, adds, retries, waited, worked, results, unsettled *prometheus.Desc
}

func describeAll() descriptions {
	return descriptions{
		depth:     describe("workqueue_depth", "Keys that wait for a worker."),
		adds:      describe("workqueue_adds_total", "Keys added."),
		retries:   describe("workqueue_retries_total", "Keys added again after an error."),
		waited:    describe("workqueue_queue_duration_seconds", "How long keys waited for a worker."),
		worked:    describe("workqueue_work_duration_seconds", "How long keys were worked on."),
		results:   describe("controller_reconcile_total", "Objects worked on.", "result"),
		unsettled: describe("controller_unsettled_total", "Objects worked on although the cache did not show an own write in time."),
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	d := describeAll()
	for _, each := range []*prometheus.Desc{d.depth, d.adds, d.retries, d.waited, d.worked, d.results, d.unsettled} {
		out <- each
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := describeAll()
	for name, c := range m.controllers {
		q, n := c.measure()
		send := func(desc *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(desc, t, v, append([]string{name}, labels...)...)
		}
		send(d.depth, prometheus.GaugeValue, float64(q.Ready))
		send(d.adds, prometheus.CounterValue, float64(q.Adds))
		send(d.retries, prometheus.CounterValue, float64(q.Retries))
		out <- prometheus.MustNewConstSummary(d.waited, q.Taken, q.Waited.Seconds(), nil, name)
		out <- prometheus.MustNewConstSummary(d.worked, q.Done, q.Worked.Seconds(), nil, name)
		send(d.results, prometheus.CounterValue, float64(n.success.Load()), "success")
		send(d.results, prometheus.CounterValue, float64(n.requeued.Load()), "requeue_after")
		send(d.results, prometheus.CounterValue, float64(n.failed.Load()), "error")
		send(d.unsettled, prometheus.CounterValue, float64(n.unsettled.Load()))
	}
}
