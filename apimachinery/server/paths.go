package server

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server/discovery"
	"github.com/bedplate/bedplate/apimachinery/server/fairness"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

// documents serve what describes the API.
type documents struct {
	once      sync.Once
	discovery *discovery.Handler
	metrics   http.Handler
	err       error
}

func (s *Server) documents() *documents {
	s.docs.once.Do(func() {
		s.docs.discovery, s.docs.err = discovery.New(discovery.Config{Registry: s.c.Registry, Source: s.c.Extensions})
		if s.c.Gatherer != nil {
			s.docs.metrics = promhttp.HandlerFor(s.c.Gatherer, promhttp.HandlerOpts{})
		}
	})
	return &s.docs
}

// servePath serves what is not about a resource, to those who may have it.
func (s *Server) servePath(w http.ResponseWriter, hr *http.Request, path string, user apimachinery.User) {
	if s.metrics != nil {
		start, counted := time.Now(), &answerCode{w, http.StatusOK}
		defer func() { s.metrics.path(hr.Method, path, counted.code, time.Since(start)) }()
		w = counted
	}
	verb := strings.ToLower(hr.Method)
	a := &apimachinery.Attributes{User: user, Verb: verb, Path: path}
	release, err := s.enterPath(hr, w.Header(), a)
	if err == nil {
		defer release()
		var reason string
		reason, err = s.decide(hr.Context(), a)
		recordOf(hr.Context()).decided(reason, err)
	}
	if err == nil && verb != "get" && verb != "head" && !discovery.Serves(path) {
		err = genericError(http.StatusMethodNotAllowed, "the method "+hr.Method+" is not allowed here")
	}
	if err != nil {
		s.refuse(w, hr, err)
		return
	}
	s.route(w, hr, path)
}

func (s *Server) route(w http.ResponseWriter, hr *http.Request, path string) {
	docs := s.documents()
	top := strings.SplitN(strings.Trim(path, "/"), "/", 2)[0]
	switch {
	case docs.err != nil:
		s.refuse(w, hr, docs.err)
	case top == "healthz" || top == "livez" || top == "readyz":
		s.health(w, hr, top, strings.TrimPrefix(strings.TrimPrefix(path, "/"+top), "/"))
	case path == "/version" || path == "/version/":
		s.document(w, hr, s.c.Version)
	case s.c.Profiling && (path == "/debug/pprof" || strings.HasPrefix(path, "/debug/pprof/")):
		s.profile(w, hr, strings.TrimPrefix(strings.TrimPrefix(path, "/debug/pprof"), "/"))
	case path == "/metrics" && docs.metrics != nil:
		docs.metrics.ServeHTTP(w, hr)
	case top == "openapi":
		s.openapi(w, hr, path)
	case discovery.Serves(path):
		docs.discovery.ServeHTTP(w, hr)
	case s.fair != nil && fairness.Serves(path):
		s.fair.ServeHTTP(w, hr)
	case path == "/":
		s.document(w, hr, map[string][]string{"paths": s.paths()})
	default:
		s.refuse(w, hr, wire.NotFound())
	}
}

func (s *Server) document(w http.ResponseWriter, hr *http.Request, o any) {
	body, err := apimachinery.Encode(o)
	if err != nil {
		s.refuse(w, hr, err)
		return
	}
	_ = wire.WriteResponse(w, hr, &apimachinery.Response{Code: 200, Body: append(body, '\n')})
}

// paths lists what can be asked for, for the curious at /.
func (s *Server) paths() []string {
	list := []string{"/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"}
	if s.c.Gatherer != nil {
		list = append(list, "/metrics")
	}
	for _, res := range s.c.Registry.All() {
		for _, v := range res.Views {
			if v.Unserved {
				continue
			}
			if v.Group == "" {
				list = append(list, "/api/"+v.Version)
			} else {
				list = append(list, "/apis/"+v.Group, "/apis/"+v.Group+"/"+v.Version)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
