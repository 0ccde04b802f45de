package audit

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are Kubernetes' own. The nil pointer is off.
type metrics struct {
	events, rejections prometheus.Counter
	errors             *prometheus.CounterVec
	levels             [4]prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	if r == nil {
		return nil, nil
	}
	levels := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "apiserver_audit_level_total", Help: "Requests by the level of the policy's rule for them.",
	}, []string{"level"})
	m := &metrics{
		events:     prometheus.NewCounter(prometheus.CounterOpts{Name: "apiserver_audit_event_total", Help: "Events made and handed to the backends."}),
		rejections: prometheus.NewCounter(prometheus.CounterOpts{Name: "apiserver_audit_requests_rejected_total", Help: "Requests refused because they could not be audited."}),
		errors:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_audit_error_total", Help: "Events that a backend could not keep."}, []string{"plugin"}),
	}
	for i, l := range levelNames {
		m.levels[i] = levels.WithLabelValues(string(l))
	}
	for _, c := range []prometheus.Collector{m.events, m.rejections, m.errors, levels} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) event() {
	if m != nil {
		m.events.Inc()
	}
}

func (m *metrics) rejected() {
	if m != nil {
		m.rejections.Inc()
	}
}

func (m *metrics) level(l int) {
	if m != nil {
		m.levels[l].Inc()
	}
}

func (m *metrics) lost(plugin string, n int) {
	if m != nil {
		m.errors.WithLabelValues(plugin).Add(float64(n))
	}
}
