package server

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

// metrics are Kubernetes' own, as far as they apply. The nil pointer is off. What is counted on every request is found
// by a key once and kept: label values cost more than the counting.
type metrics struct {
	requests, terminations, aborts *prometheus.CounterVec
	duration, sli, sizes           *prometheus.HistogramVec
	longRunning, deprecated        *prometheus.GaugeVec
	watchEvents                    *prometheus.CounterVec
	watchSizes                     *prometheus.HistogramVec
	plugins, steps                 *prometheus.HistogramVec
	reads, writes                  prometheus.Gauge
	panics                         prometheus.Counter
	authenticated                  [3]outcome
	authorized                     [4]outcome
	users                          *prometheus.CounterVec
	mu                             sync.Mutex // of writers to the two below
	known                          atomic.Pointer[map[seriesKey]*series]
	judged                         atomic.Pointer[map[admissionKey]prometheus.Observer]
}

// outcome is one result of authentication or authorization.
type outcome struct {
	count prometheus.Counter
	took  prometheus.Observer
}

var (
	durations    = []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}
	aspects      = []string{"verb", "group", "version", "resource", "subresource", "scope"}
	whole        = append(aspects[:len(aspects):len(aspects)], "component")
	withDryRun   = append([]string{"verb", "dry_run"}, whole[1:]...)
	authnResults = [3]string{"success", "failure", "error"}
	authzResults = [4]string{"no-opinion", "allowed", "denied", "error"}
)

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	if r == nil {
		return nil, nil
	}
	var all []prometheus.Collector
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		all = append(all, v)
		return v
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		all = append(all, v)
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		all = append(all, v)
		return v
	}
	group := []string{"group", "version", "resource"}
	m := &metrics{
		requests:     counter("apiserver_request_total", "Requests by verb, dry run, resource and HTTP code.", append(withDryRun[:len(withDryRun):len(withDryRun)], "code")...),
		terminations: counter("apiserver_request_terminations_total", "Requests refused or ended to protect the server.", append(whole[:len(whole):len(whole)], "code")...),
		aborts:       counter("apiserver_request_aborts_total", "Requests whose client went away.", aspects...),
		duration:     histogram("apiserver_request_duration_seconds", "Time to answer, by verb, dry run and resource; watches left out.", durations, withDryRun...),
		sli:          histogram("apiserver_request_sli_duration_seconds", "Time to answer, by verb and resource; watches left out.", durations[2:], whole...),
		sizes:        histogram("apiserver_response_sizes", "Sizes of answers to get and list, in bytes.", prometheus.ExponentialBuckets(1000, 10, 7), whole...),
		longRunning:  gauge("apiserver_longrunning_requests", "Watches and connections under way.", whole...),
		deprecated:   gauge("apiserver_requested_deprecated_apis", "Deprecated APIs that have been requested.", "group", "version", "resource", "subresource", "removed_release"),
		watchEvents:  counter("apiserver_watch_events_total", "Events sent to watches.", group...),
		watchSizes:   histogram("apiserver_watch_events_sizes", "Sizes of events sent to watches, in bytes.", prometheus.ExponentialBuckets(1024, 2, 8), group...),
		plugins: histogram("apiserver_admission_controller_admission_duration_seconds", "Time that an admission plugin takes.",
			[]float64{0.005, 0.025, 0.1, 0.5, 1, 2.5}, "name", "type", "operation", "rejected"),
		steps: histogram("apiserver_admission_step_admission_duration_seconds", "Time that all admission plugins take, to mutate or to validate.",
			[]float64{0.005, 0.025, 0.1, 0.5, 1, 2.5}, "type", "operation", "rejected"),
		users:  counter("authenticated_user_requests", "Requests of authenticated users, whose names are not told.", "username"),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "apiserver_request_panics_total", Help: "Requests that ended in a panic."}),
	}
	m.known.Store(&map[seriesKey]*series{})
	m.judged.Store(&map[admissionKey]prometheus.Observer{})
	inflight := gauge("apiserver_current_inflight_requests", "Requests under way, by readOnly and mutating.", "request_kind")
	m.reads, m.writes = inflight.WithLabelValues("readOnly"), inflight.WithLabelValues("mutating")
	attempts := counter("authentication_attempts", "Requests by what authentication said.", "result")
	took := histogram("authentication_duration_seconds", "Time that authentication takes.", prometheus.ExponentialBuckets(0.001, 2, 15), "result")
	for i, r := range authnResults {
		m.authenticated[i] = outcome{attempts.WithLabelValues(r), took.WithLabelValues(r)}
	}
	attempts = counter("authorization_attempts_total", "Decisions of the authorizer.", "result")
	took = histogram("authorization_duration_seconds", "Time that the authorizer takes.", prometheus.ExponentialBuckets(0.001, 2, 15), "result")
	for i, r := range authzResults {
		m.authorized[i] = outcome{attempts.WithLabelValues(r), took.WithLabelValues(r)}
	}
	for _, c := range append(all, m.panics) {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// seriesKey says all that the labels of a request's metrics do, less its code.
type seriesKey struct {
	gvr        schema.GroupVersionResource
	sub        string
	verb       string
	dry, scope string
}

// series are the metrics of requests that differ in their code alone.
type series struct {
	key                  seriesKey
	m                    *metrics
	duration, sli, sizes prometheus.Observer
	codes                atomic.Pointer[[]coded]
}

type coded struct {
	code  int
	count prometheus.Counter
}

func (k seriesKey) values() []string {
	return []string{k.verb, k.gvr.Group, k.gvr.Version, k.gvr.Resource, k.sub, k.scope, "apiserver"}
}

// of returns the series of a key. There are as many as there are resources, verbs and scopes that are served.
func (m *metrics) of(key seriesKey) *series {
	if s := (*m.known.Load())[key]; s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.known.Load()
	if s := old[key]; s != nil {
		return s
	}
	s := &series{key: key, m: m}
	if v := key.values(); key.verb != "WATCH" && key.verb != "CONNECT" {
		s.duration, s.sli = m.duration.WithLabelValues(append([]string{v[0], key.dry}, v[1:]...)...), m.sli.WithLabelValues(v...)
		if key.verb == "GET" || key.verb == "LIST" {
			s.sizes = m.sizes.WithLabelValues(v...)
		}
	}
	next := maps.Clone(old)
	next[key] = s
	m.known.Store(&next)
	return s
}

// count counts an answer.
func (s *series) count(code int) {
	s.of(code).Inc()
	if code == http.StatusTooManyRequests || code == http.StatusGatewayTimeout {
		s.m.terminations.WithLabelValues(append(s.key.values(), strconv.Itoa(code))...).Inc()
	}
}

func (s *series) of(code int) prometheus.Counter {
	if have := s.codes.Load(); have != nil {
		for _, c := range *have {
			if c.code == code {
				return c.count
			}
		}
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	v := s.key.values()
	c := s.m.requests.WithLabelValues(append(append([]string{v[0], s.key.dry}, v[1:]...), strconv.Itoa(code))...)
	var next []coded
	if have := s.codes.Load(); have != nil {
		next = slices.Clone(*have)
	}
	next = append(next, coded{code, c})
	s.codes.Store(&next)
	return c
}

// begin counts a request and returns what to call at its end.
func (s *Server) begin(r *apimachinery.Request) (done func(*apimachinery.Response, error)) {
	m := s.metrics
	if m == nil {
		return func(*apimachinery.Response, error) {}
	}
	start := time.Now()
	inflight := m.writes
	switch r.Verb {
	case apimachinery.VerbGet, apimachinery.VerbList, apimachinery.VerbWatch:
		inflight = m.reads
	}
	inflight.Inc()
	return func(resp *apimachinery.Response, err error) {
		inflight.Dec()
		m.ended(s.seriesOf(r), resp, err, time.Since(start))
	}
}

// seriesOf finds the series of a request. What nobody serves has no name in it: they would be labels without end.
func (s *Server) seriesOf(r *apimachinery.Request) *series {
	key := seriesKey{gvr: r.Resource, sub: r.Sub, verb: metricVerb(r), dry: dryRunOf(r), scope: scopeOf(r)}
	f, ok := s.c.Registry.ForResource(r.Resource)
	if ok && r.Sub != "" {
		var sub apimachinery.Subresource
		if sub, ok = f.Subs()[r.Sub]; sub.Connect != "" {
			key.verb = "CONNECT"
		}
	}
	if !ok {
		key.gvr, key.sub = schema.GroupVersionResource{}, ""
	}
	return s.metrics.of(key)
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

// ended counts a request that is answered, or whose answer begins.
func (m *metrics) ended(s *series, resp *apimachinery.Response, err error, took time.Duration) {
	code := 200
	if err != nil {
		if errors.Is(err, context.Canceled) {
			m.aborts.WithLabelValues(s.key.values()[:len(aspects)]...).Inc()
		}
		code = int(wire.StatusOf(err).Code)
	} else if resp.Code != 0 {
		code = resp.Code
	}
	s.count(code)
	if s.duration != nil {
		s.duration.Observe(took.Seconds())
		s.sli.Observe(took.Seconds())
	}
	switch {
	case err != nil:
	case s.key.verb == "WATCH" || s.key.verb == "CONNECT":
		m.lasting(s, resp)
	case s.sizes != nil && resp.Stream != nil:
		resp.Stream = &measured{ReadCloser: resp.Stream, size: s.sizes}
	case s.sizes != nil && resp.Object == nil:
		s.sizes.Observe(float64(len(resp.Body)))
	}
}

// lasting counts a watch or connection for as long as it is there.
func (m *metrics) lasting(s *series, resp *apimachinery.Response) {
	g := m.longRunning.WithLabelValues(s.key.values()...)
	switch {
	case resp.Stream != nil:
		g.Inc()
		resp.Stream = &releasing{resp.Stream, sync.OnceFunc(g.Dec)}
	case resp.Handler != nil:
		h := resp.Handler
		resp.Handler = http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
			g.Inc()
			defer g.Dec()
			h.ServeHTTP(w, hr)
		})
	}
}

// measured counts the bytes of a list as it is sent.
type measured struct {
	io.ReadCloser
	size prometheus.Observer
	n    int64
}

func (r *measured) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.n += int64(n)
	return n, err
}

// WriteTo keeps the stream's own way of writing itself.
func (r *measured) WriteTo(w io.Writer) (int64, error) {
	n, err := io.Copy(w, r.ReadCloser)
	r.n += n
	return n, err
}

func (r *measured) Close() error {
	r.size.Observe(float64(r.n))
	return r.ReadCloser.Close()
}
