package policy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are Kubernetes' own of one kind of policies. The nil pointer is off.
type metrics struct {
	checks *prometheus.CounterVec
	took   *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer, kind string, labels ...string) (*metrics, error) {
	if r == nil {
		return nil, nil
	}
	prefix := "apiserver_" + kind + "_admission_policy_"
	m := &metrics{
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "check_total", Help: "Checks by policy and binding, and what came of them."}, labels),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "check_duration_seconds", Help: "Time that checks took, by policy and binding.",
			Buckets: []float64{0.0000005, 0.001, 0.01, 0.1, 1.0},
		}, labels),
	}
	if err := r.Register(m.checks); err != nil {
		return nil, err
	}
	return m, r.Register(m.took)
}

func (m *metrics) observe(took time.Duration, labels ...string) {
	if m != nil {
		m.checks.WithLabelValues(labels...).Inc()
		m.took.WithLabelValues(labels...).Observe(took.Seconds())
	}
}
