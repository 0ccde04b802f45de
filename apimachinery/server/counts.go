package server

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bedplate/bedplate/apimachinery"
)

// path counts a request that is not about a resource. Only paths that are served are told.
func (m *metrics) path(method, path string, code int, took time.Duration) {
	if m == nil {
		return
	}
	key := seriesKey{verb: strings.ToUpper(method)}
	switch key.verb {
	case "GET", "HEAD", "POST":
	default:
		key.verb = "OTHER"
	}
	if key.verb == "HEAD" {
		key.verb = "GET"
	}
	for _, known := range []string{"/healthz", "/livez", "/readyz", "/version", "/metrics", "/openapi/v2", "/openapi/v3", "/apis", "/api"} {
		if path == known || strings.HasPrefix(path, known+"/") {
			key.sub = known
			break
		}
	}
	s := m.of(key)
	s.count(code)
	s.duration.Observe(took.Seconds())
	s.sli.Observe(took.Seconds())
}

// answerCode remembers the code of an answer.
type answerCode struct {
	http.ResponseWriter
	code int
}

func (w *answerCode) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (w *answerCode) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// watchCounts are those of one watch; nil is off.
type watchCounts struct {
	events prometheus.Counter
	sizes  prometheus.Observer
}

func (m *metrics) watch(v *view) *watchCounts {
	if m == nil {
		return nil
	}
	return &watchCounts{
		m.watchEvents.WithLabelValues(v.gvk.Group, v.gvk.Version, v.gr.Resource),
		m.watchSizes.WithLabelValues(v.gvk.Group, v.gvk.Version, v.gr.Resource),
	}
}

func (c *watchCounts) event(size int) {
	if c != nil {
		c.events.Inc()
		c.sizes.Observe(float64(size))
	}
}

func (m *metrics) usedDeprecated(v *view, sub string) {
	if m != nil {
		m.deprecated.WithLabelValues(v.gvk.Group, v.gvk.Version, v.gr.Resource, sub, "").Set(1)
	}
}

func (m *metrics) panicked() {
	if m != nil {
		m.panics.Inc()
	}
}

// authentication counts one, with the user's name as far as Kubernetes tells it.
func (m *metrics) authentication(u *apimachinery.User, ok bool, err error, start time.Time) {
	if m == nil {
		return
	}
	o := &m.authenticated[1]
	switch {
	case err != nil:
		o = &m.authenticated[2]
	case ok:
		o = &m.authenticated[0]
		name := "other"
		if u.Name == "admin" || u.Name == "client" || u.Name == "kube_proxy" {
			name = u.Name
		} else if strings.Contains(u.Name, "@") {
			name = "email_id"
		}
		m.users.WithLabelValues(name).Inc()
	}
	o.count.Inc()
	o.took.Observe(time.Since(start).Seconds())
}

func (m *metrics) authorization(d apimachinery.Decision, err error, start time.Time) {
	if m == nil {
		return
	}
	i := 0
	switch {
	case d == apimachinery.Allow:
		i = 1
	case err != nil:
		i = 3
	case d == apimachinery.Deny:
		i = 2
	}
	m.authorized[i].count.Inc()
	m.authorized[i].took.Observe(time.Since(start).Seconds())
}

// admissionKey says all that the labels of an admission's metrics do; without a plugin's name it is a step.
type admissionKey struct {
	plugin, step, operation string
	rejected                bool
}

// admitted counts the judgement of one plugin, or of all, which began at start, and returns the time.
func (m *metrics) admitted(key admissionKey, start time.Time) time.Time {
	now := time.Now()
	o := (*m.judged.Load())[key]
	if o == nil {
		o = m.admissionOf(key)
	}
	o.Observe(now.Sub(start).Seconds())
	return now
}

func (m *metrics) admissionOf(key admissionKey) prometheus.Observer {
	m.mu.Lock()
	defer m.mu.Unlock()
	rejected := strconv.FormatBool(key.rejected)
	o := m.steps.WithLabelValues
	next := maps.Clone(*m.judged.Load())
	if key.plugin == "" {
		next[key] = o(key.step, key.operation, rejected)
	} else {
		next[key] = m.plugins.WithLabelValues(key.plugin, key.step, key.operation, rejected)
	}
	m.judged.Store(&next)
	return next[key]
}
