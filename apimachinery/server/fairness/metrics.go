package fairness

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const prefix = "apiserver_flowcontrol_"

// metrics are those that are counted as things happen; nil histograms are off. The others are read off when they are
// asked for, by a collector.
type metrics struct {
	on                                        bool
	wait, execution, length, estimated, watch *prometheus.HistogramVec
}

func newMetrics(on bool) *metrics {
	seconds := []float64{0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: buckets},
			append([]string{"priority_level", "flow_schema"}, labels...))
	}
	return &metrics{
		on:        on,
		wait:      histogram("request_wait_duration_seconds", "Time that requests waited for their seats.", seconds, "execute"),
		execution: histogram("request_execution_seconds", "Time that requests had their seats.", seconds, "type"),
		length: histogram("request_queue_length_after_enqueue", "Length of the queue that a request has joined.",
			[]float64{0, 10, 25, 50, 100, 250, 500, 1000}),
		estimated: histogram("work_estimated_seats", "Seats that requests were taken to need.", []float64{1, 2, 4, 8, 16, 32, 64, 100}),
		watch:     histogram("watch_count_samples", "Watches that writes were told to.", []float64{0, 1, 10, 100, 1000, 10000}),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	for _, h := range []*prometheus.HistogramVec{m.wait, m.execution, m.length, m.estimated, m.watch} {
		if err := r.Register(h); err != nil {
			return err
		}
	}
	return nil
}

// observers are the histograms of one flow, looked up once. The zero value is off.
type observers struct {
	wait, gaveUp, regular, watching, length, seats prometheus.Observer
}

func (m *metrics) observers(level, schema string) observers {
	if !m.on {
		return observers{}
	}
	return observers{
		wait: m.wait.WithLabelValues(level, schema, "true"), gaveUp: m.wait.WithLabelValues(level, schema, "false"),
		regular: m.execution.WithLabelValues(level, schema, "regular"), watching: m.execution.WithLabelValues(level, schema, "watch"),
		length: m.length.WithLabelValues(level, schema), seats: m.estimated.WithLabelValues(level, schema),
	}
}

func (o *observers) waited(d time.Duration, started bool) {
	switch {
	case o.wait == nil:
	case started:
		o.wait.Observe(d.Seconds())
	default:
		o.gaveUp.Observe(d.Seconds())
	}
}

func (o *observers) executed(d time.Duration, verb string) {
	switch {
	case o.regular == nil:
	case verb == "watch":
		o.watching.Observe(d.Seconds())
	default:
		o.regular.Observe(d.Seconds())
	}
}

func (o *observers) queued(length int) {
	if o.length != nil {
		o.length.Observe(float64(length))
	}
}

func (o *observers) estimated(seats int) {
	if o.seats != nil {
		o.seats.Observe(float64(seats))
	}
}

// collector reads off the levels what they are at.
type collector struct{ f *Fairness }

// Describe implements prometheus.Collector: what there is depends on the configuration.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	e := emitter{ch: ch, descs: map[string]*prometheus.Desc{}}
	for _, l := range c.f.levels {
		l.mu.Lock()
		l.queues.advance(max(c.f.now(), l.queues.last))
		e.level(l)
		e.flows(l)
		l.mu.Unlock()
	}
	e.gauge("seat_fair_frac", "Fraction of what it wants that each level gets, bounds aside.", c.f.fraction)
}

// emitter sends metrics.
type emitter struct {
	ch    chan<- prometheus.Metric
	descs map[string]*prometheus.Desc
}

func (e *emitter) desc(name, help string, labels []string) *prometheus.Desc {
	d := e.descs[name]
	if d == nil {
		d = prometheus.NewDesc(prefix+name, help, labels, nil)
		e.descs[name] = d
	}
	return d
}

func (e *emitter) gauge(name, help string, v float64, labels ...string) {
	names := []string{"priority_level", "flow_schema"}[:len(labels)]
	e.ch <- prometheus.MustNewConstMetric(e.desc(name, help, names), prometheus.GaugeValue, v, labels...)
}

func (e *emitter) counter(name, help string, v int64, labels ...string) {
	names := []string{"priority_level", "flow_schema", "reason"}[:len(labels)]
	e.ch <- prometheus.MustNewConstMetric(e.desc(name, help, names), prometheus.CounterValue, float64(v), labels...)
}

func (e *emitter) level(l *level) {
	d := &l.queues.demand
	for _, g := range []struct {
		name, help string
		v          float64
	}{
		{"nominal_limit_seats", "Seats of a level by its shares.", float64(l.limits.nominal)},
		{"lower_limit_seats", "Seats that a level always has.", float64(l.limits.lower)},
		{"upper_limit_seats", "Seats that a level may have at most.", float64(l.limits.upper)},
		{"current_limit_seats", "Seats that a level has now.", float64(l.queues.limit)},
		{"demand_seats_high_watermark", "Most seats that a level wanted in the last period.", d.watermark},
		{"demand_seats_average", "Seats that a level wanted in the last period, by time.", d.average},
		{"demand_seats_stdev", "Deviation of the seats that a level wanted in the last period.", d.deviation},
		{"demand_seats_smoothed", "Smoothed seats that a level wants.", d.smoothed},
		{"target_seats", "Seats that a level is to have.", l.target},
		{"current_r", "Virtual clock of a level.", l.queues.clock},
	} {
		e.gauge(g.name, g.help, g.v, l.name)
	}
}

// flows sends what is counted by schema.
func (e *emitter) flows(l *level) {
	type now struct{ waiting, inLine, running, seats int }
	at := map[*flow]now{}
	count := func(it *item) {
		n := at[it.flow]
		if it.running {
			n.running, n.seats = n.running+1, n.seats+it.width()
		} else {
			n.waiting, n.inLine = n.waiting+1, n.inLine+it.width()
		}
		at[it.flow] = n
	}
	for it := l.queues.first; it != nil; it = it.next {
		count(it)
	}
	for _, q := range l.queues.list {
		for _, it := range q.waiting {
			count(it)
		}
	}
	for name, f := range l.flows {
		n := at[f]
		e.gauge("current_inqueue_requests", "Requests that wait.", float64(n.waiting), l.name, name)
		e.gauge("current_inqueue_seats", "Seats that are waited for.", float64(n.inLine), l.name, name)
		e.gauge("current_executing_requests", "Requests that run.", float64(n.running), l.name, name)
		e.gauge("current_executing_seats", "Seats of requests that run.", float64(n.seats), l.name, name)
		e.counter("dispatched_requests_total", "Requests that were let in.", f.started, l.name, name)
		e.counter("request_dispatch_no_accommodation_total", "Times that a request's turn came without seats for it.", f.noRoom, l.name, name)
		const refused, why = "rejected_requests_total", "Requests that were refused."
		e.counter(refused, why, f.queueFull, l.name, name, "queue-full")
		e.counter(refused, why, f.levelFull, l.name, name, "concurrency-limit")
		e.counter(refused, why, f.late, l.name, name, "time-out")
		e.counter(refused, why, f.cancelled, l.name, name, "cancelled")
	}
}
