package server

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

// metrics are Kubernetes' own, as far as they apply. The nil pointer is off.
type metrics struct {
	requests, rejections  *prometheus.CounterVec
	duration              *prometheus.HistogramVec
	inflight, longRunning *prometheus.GaugeVec
	watchEvents           *prometheus.CounterVec
	admission             *prometheus.CounterVec
	panics                prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	if r == nil {
		return nil, nil
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		requests: counter("apiserver_request_total", "Requests by verb, dry run, resource and HTTP code.",
			"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component", "code"),
		rejections: counter("apiserver_rejected_requests_total", "Requests refused because too many were under way.", "request_kind"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_request_duration_seconds", Help: "Time to answer, by verb, dry run and resource; watches left out.",
			Buckets: []float64{0.001, 0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60},
		}, []string{"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"}),
		inflight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apiserver_current_inflight_requests", Help: "Requests under way, by readOnly and mutating.",
		}, []string{"request_kind"}),
		longRunning: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apiserver_longrunning_requests", Help: "Watches under way.",
		}, []string{"verb", "group", "version", "resource"}),
		watchEvents: counter("apiserver_watch_events_total", "Events sent to watches.", "group", "version", "kind"),
		admission:   counter("apiserver_admission_step_admission_rejections_total", "Requests refused by an admission plugin.", "name", "operation"),
		panics:      prometheus.NewCounter(prometheus.CounterOpts{Name: "apiserver_request_panics_total", Help: "Requests that ended in a panic."}),
	}
	for _, c := range []prometheus.Collector{
		m.requests, m.rejections, m.duration, m.inflight, m.longRunning, m.watchEvents, m.admission, m.panics,
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func requestKind(verb string) string {
	switch verb {
	case apimachinery.VerbGet, apimachinery.VerbList, apimachinery.VerbWatch:
		return "readOnly"
	}
	return "mutating"
}

func metricVerb(r *apimachinery.Request) string {
	switch r.Verb {
	case apimachinery.VerbCreate:
		return "POST"
	case apimachinery.VerbUpdate:
		return "PUT"
	case apimachinery.VerbDeleteCollection:
		return "DELETECOLLECTION"
	case apimachinery.VerbPatch:
		if r.ContentType == "application/apply-patch+yaml" {
			return "APPLY"
		}
		return "PATCH"
	case apimachinery.VerbGet:
		return "GET"
	case apimachinery.VerbList:
		return "LIST"
	case apimachinery.VerbWatch:
		return "WATCH"
	case apimachinery.VerbDelete:
		return "DELETE"
	}
	return "OTHER"
}

func scopeOf(r *apimachinery.Request) string {
	switch {
	case r.Name != "":
		return "resource"
	case r.Namespace != "":
		return "namespace"
	}
	return "cluster"
}

// begin counts a request and returns what to call at its end.
func (s *Server) begin(r *apimachinery.Request) (done func(*apimachinery.Response, error)) {
	start := time.Now()
	s.metrics.began(r)
	return func(resp *apimachinery.Response, err error) {
		_, known := s.c.Registry.ForResource(r.Resource)
		s.metrics.ended(r, known, resp, err, time.Since(start))
	}
}

func (m *metrics) began(r *apimachinery.Request) {
	if m != nil {
		m.inflight.WithLabelValues(requestKind(r.Verb)).Inc()
	}
}

// ended counts a request. known is false for resources that nobody serves: their names would be labels without end.
func (m *metrics) ended(r *apimachinery.Request, known bool, resp *apimachinery.Response, err error, took time.Duration) {
	if m == nil {
		return
	}
	m.inflight.WithLabelValues(requestKind(r.Verb)).Dec()
	code := 200
	if err != nil {
		code = int(wire.StatusOf(err).Code)
	} else if resp.Code != 0 {
		code = resp.Code
	}
	group, version, resource, sub := r.Resource.Group, r.Resource.Version, r.Resource.Resource, r.Sub
	if !known {
		group, version, resource, sub = "", "", "", ""
	}
	labels := []string{metricVerb(r), dryRunOf(r), group, version, resource, sub, scopeOf(r), "apiserver"}
	if r.Verb != apimachinery.VerbWatch {
		m.duration.WithLabelValues(labels...).Observe(took.Seconds())
	}
	m.requests.WithLabelValues(append(labels, strconv.Itoa(code))...).Inc()
	if code == 429 {
		m.rejections.WithLabelValues(requestKind(r.Verb)).Inc()
	}
}

func (m *metrics) watching(v *view, by float64) {
	if m != nil {
		m.longRunning.WithLabelValues("WATCH", v.gvk.Group, v.gvk.Version, v.gr.Resource).Add(by)
	}
}

func (m *metrics) watchEvent(v *view) {
	if m != nil {
		m.watchEvents.WithLabelValues(v.gvk.Group, v.gvk.Version, v.gvk.Kind).Inc()
	}
}

func (m *metrics) refused(plugin, operation string) {
	if m != nil {
		m.admission.WithLabelValues(plugin, operation).Inc()
	}
}

func (m *metrics) panicked() {
	if m != nil {
		m.panics.Inc()
	}
}
