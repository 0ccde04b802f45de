package server

import (
	"context"
	"errors"
	"fmt"
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
		s.docs.discovery, s.docs.err = discovery.New(discovery.Config{Registry: s.c.Registry})
		if s.c.Gatherer != nil {
			s.docs.metrics = promhttp.HandlerFor(s.c.Gatherer, promhttp.HandlerOpts{})
		}
	})
	return &s.docs
}

// servePath serves what is not about a resource, to those who may have it.
func (s *Server) servePath(w http.ResponseWriter, hr *http.Request, path string, user apimachinery.User, ev *AuditEvent) {
	start := time.Now()
	verb := strings.ToLower(hr.Method)
	a := &apimachinery.Attributes{User: user, Verb: verb, Path: path}
	release, err := s.enterPath(hr, w.Header(), a)
	if err == nil {
		defer release()
		err = s.authorize(hr.Context(), a)
	}
	if err == nil && verb != "get" && verb != "head" && !discovery.Serves(path) {
		err = genericError(http.StatusMethodNotAllowed, "the method "+hr.Method+" is not allowed here")
	}
	if s.c.Audit != nil {
		ev.Verb, ev.Path = verb, path
		s.audit(ev, start, &apimachinery.Response{}, err)
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

// check is one question of a health endpoint.
type check struct {
	name string
	ask  func(context.Context) error
}

const checkTimeout = time.Second

func (s *Server) checks(kind string) []check {
	list := []check{{"ping", func(context.Context) error { return nil }}, {"etcd", s.checkStore}}
	if kind == "livez" {
		return list
	}
	list = append(list, check{"storage", s.checkCache})
	if kind == "readyz" {
		list = append(list, check{"shutdown", func(context.Context) error { return s.isLeaving() }})
	}
	for name, ask := range s.c.Checks {
		list = append(list, check{name, ask})
	}
	slices.SortStableFunc(list[2:], func(a, b check) int { return strings.Compare(a.name, b.name) })
	return list
}

func (s *Server) checkStore(ctx context.Context) error {
	_, err := s.c.DB.Revision(ctx)
	return err
}

var errCacheBehind = errors.New("the watch of the store does not stand yet")

func (s *Server) checkCache(context.Context) error {
	select {
	case <-s.c.DB.Ready():
		return nil
	default:
		return errCacheBehind
	}
}

// health answers /livez, /readyz and /healthz, whole or one check below them, as Kubernetes does: with ?verbose
// each check by name, with ?exclude without some.
func (s *Server) health(w http.ResponseWriter, hr *http.Request, kind, only string) {
	ctx, cancel := context.WithTimeout(hr.Context(), checkTimeout)
	defer cancel()
	q := hr.URL.Query()
	exclude := q["exclude"]
	var report strings.Builder
	failed, asked := false, 0
	for _, c := range s.checks(kind) {
		if only != "" && c.name != only {
			continue
		}
		asked++
		if slices.Contains(exclude, c.name) {
			fmt.Fprintf(&report, "[+]%s excluded: ok\n", c.name)
			continue
		}
		if err := c.ask(ctx); err != nil {
			failed = true
			s.c.Log.Warn("health check failed", "check", c.name, "err", err)
			fmt.Fprintf(&report, "[-]%s failed: reason withheld\n", c.name)
			continue
		}
		fmt.Fprintf(&report, "[+]%s ok\n", c.name)
	}
	if asked == 0 {
		s.refuse(w, hr, wire.NotFound())
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-cache, private")
	_, verbose := q["verbose"]
	switch {
	case failed:
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, "%s%s check failed\n", report.String(), kind)
	case verbose:
		fmt.Fprintf(w, "%s%s check passed\n", report.String(), kind)
	default:
		fmt.Fprint(w, "ok")
	}
}
