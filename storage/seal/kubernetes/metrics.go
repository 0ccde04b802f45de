package kubernetes

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	fromStorage = "from_storage"
	toStorage   = "to_storage"
)

// metrics are Kubernetes' own. The nil pointer is off.
type metrics struct {
	id                  string // the hash of the server's
	operations          *prometheus.HistogramVec
	keyIDs, bad, reload *prometheus.CounterVec
	statusAt, usedAt    *prometheus.GaugeVec
	cached              *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer, server string) (*metrics, error) {
	if r == nil {
		return nil, nil
	}
	const in = "apiserver_envelope_encryption_"
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: in + name, Help: help}, labels)
	}
	use := []string{"transformation_type", "provider_name", "key_id_hash", "apiserver_id_hash"}
	m := &metrics{
		id: hash(server),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: in + "kms_operations_latency_seconds", Help: "Time that calls to plugins take, by gRPC code.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 20),
		}, []string{"provider_name", "method_name", "grpc_status_code"}),
		keyIDs:   counter(in+"key_id_hash_total", "Values sealed and opened, by the plugin's key.", use...),
		usedAt:   gauge("key_id_hash_last_timestamp_seconds", "When a plugin's key was last used.", use...),
		statusAt: gauge("key_id_hash_status_last_timestamp_seconds", "When a plugin last said that it has a key.", "provider_name", "key_id_hash", "apiserver_id_hash"),
		bad:      counter(in+"invalid_key_id_from_status_total", "Key IDs of plugins that can't be used.", "provider_name", "error"),
		cached:   gauge("dek_source_cache_size", "Opened seeds and keys that are remembered.", "provider_name"),
		reload:   counter("apiserver_encryption_config_controller_automatic_reloads_total", "Times that the encryption configuration was read anew.", "status", "apiserver_id_hash"),
	}
	for _, c := range []prometheus.Collector{m.operations, m.keyIDs, m.usedAt, m.statusAt, m.bad, m.cached, m.reload} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) called(plugin, method, code string, took time.Duration) {
	if m != nil {
		m.operations.WithLabelValues(plugin, method, code).Observe(took.Seconds())
	}
}

func (m *metrics) used(how, plugin, keyID string) {
	if m != nil {
		id := hash(keyID)
		m.keyIDs.WithLabelValues(how, plugin, id, m.id).Inc()
		m.usedAt.WithLabelValues(how, plugin, id, m.id).SetToCurrentTime()
	}
}

func (m *metrics) statusKeyID(plugin, keyID string) {
	if m != nil {
		m.statusAt.WithLabelValues(plugin, hash(keyID), m.id).SetToCurrentTime()
	}
}

func (m *metrics) badKeyID(plugin, keyID string) {
	if m == nil {
		return
	}
	code := "too_long"
	if keyID == "" {
		code = "empty"
	}
	m.bad.WithLabelValues(plugin, code).Inc()
}

func (m *metrics) sources(plugin string, n int) {
	if m != nil {
		m.cached.WithLabelValues(plugin).Set(float64(n))
	}
}

func (m *metrics) reloaded(err error) {
	if m == nil {
		return
	}
	how := "success"
	if err != nil {
		how = "failure"
	}
	m.reload.WithLabelValues(how, m.id).Inc()
}
