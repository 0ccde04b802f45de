package care

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// keeperMetrics is what a Keeper tells.
type keeperMetrics struct {
	size    prometheus.Gauge
	actions *prometheus.CounterVec
	defrag  prometheus.Histogram
}

func newKeeperMetrics(r prometheus.Registerer) (*keeperMetrics, error) {
	m := &keeperMetrics{
		size: prometheus.NewGauge(prometheus.GaugeOpts{
			Name:        "apiserver_storage_size_bytes",
			Help:        "Size of the storage database file physically allocated in bytes.",
			ConstLabels: prometheus.Labels{"storage_cluster_id": "etcd-0"},
		}),
		actions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bedplate_etcd_care_actions_total",
			Help: "What was done to keep etcd well, by action and result.",
		}, []string{"action", "result"}),
		defrag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "bedplate_etcd_care_defragment_duration_seconds",
			Help:    "How long a member was defragmented.",
			Buckets: []float64{.01, .05, .1, .5, 1, 2, 5, 10, 30, 60, 120},
		}),
	}
	return m, register(r, m.size, m.actions, m.defrag)
}

// register takes all or none; a nil registerer takes none.
func register(r prometheus.Registerer, all ...prometheus.Collector) error {
	if r == nil {
		return nil
	}
	for i, c := range all {
		if err := r.Register(c); err != nil {
			for _, before := range all[:i] {
				r.Unregister(before)
			}
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

func (m *keeperMetrics) count(k kind, err error, took time.Duration) {
	result := "success"
	if err != nil {
		result = "error"
	}
	m.actions.WithLabelValues(strings.ReplaceAll(k.String(), " ", "_"), result).Inc()
	if k == defragment && err == nil {
		m.defrag.Observe(took.Seconds())
	}
}

// EtcdMetrics hands out etcd's own metrics (etcd_…) and nothing else. Etcd's packages count in
// prometheus.DefaultGatherer, which is one for the whole process: two members in one process count together,
// and the sizes told are those of one of them. A process without an etcd member has only a client's. Serve them
// beside a registry of one's own with prometheus.Gatherers.
func EtcdMetrics() prometheus.Gatherer { return prometheus.GathererFunc(etcdMetrics) }

func etcdMetrics() ([]*dto.MetricFamily, error) {
	all, err := prometheus.DefaultGatherer.Gather()
	var own []*dto.MetricFamily
	for _, f := range all {
		if strings.HasPrefix(f.GetName(), "etcd_") {
			own = append(own, f)
		}
	}
	if err != nil {
		var several prometheus.MultiError
		if errors.As(err, &several) && len(own) > 0 {
			return own, nil // what others in the process count wrongly is not etcd's
		}
		return own, fmt.Errorf("gather etcd's metrics: %w", err)
	}
	return own, nil
}
