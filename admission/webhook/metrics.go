package webhook

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// metrics are Kubernetes' own. The nil pointer is off.
type metrics struct {
	duration                     *prometheus.HistogramVec
	requests, rejections, opened *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	if r == nil {
		return nil, nil
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_admission_webhook_" + name, Help: help}, labels)
	}
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_admission_webhook_admission_duration_seconds", Help: "Time that a webhook took, by name, type, operation and whether it refused.",
			Buckets: []float64{0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 25},
		}, []string{"name", "type", "operation", "rejected"}),
		requests:   counter("request_total", "Calls of webhooks by name, type, operation, code and whether they refused.", "name", "type", "operation", "code", "rejected"),
		rejections: counter("rejection_count", "Requests refused by webhooks or for want of them.", "name", "type", "operation", "error_type", "rejection_code"),
		opened:     counter("fail_open_count", "Requests let pass though a webhook could not be called.", "name", "type"),
	}
	for _, c := range []prometheus.Collector{m.duration, m.requests, m.rejections, m.opened} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// observe counts a call. open says that it failed and the request goes on.
func (m *metrics) observe(w *webhook, operation string, took time.Duration, err error) (open bool) {
	code, kind, rejected := 200, "", false
	var call *callError
	var no denial
	var status *apierrors.StatusError
	switch {
	case err == nil:
	case errors.As(err, &call):
		code, kind, rejected = int(call.code), "calling_webhook_error", !w.ignores
		open = w.ignores && !errors.Is(err, context.Canceled)
	case errors.As(err, &no):
		code, kind, rejected = int(no.ErrStatus.Code), "no_error", true
	case errors.As(err, &status):
		code, kind, rejected = 0, "apiserver_internal_error", true
	}
	if m == nil {
		return open
	}
	said := strconv.FormatBool(rejected)
	m.duration.WithLabelValues(w.name, w.typ, operation, said).Observe(took.Seconds())
	m.requests.WithLabelValues(w.name, w.typ, operation, strconv.Itoa(min(code, 600)), said).Inc()
	if rejected && !errors.Is(err, context.Canceled) {
		m.rejections.WithLabelValues(w.name, w.typ, operation, kind, strconv.Itoa(min(code, 600))).Inc()
	}
	if open {
		m.opened.WithLabelValues(w.name, w.typ).Inc()
	}
	return open
}
