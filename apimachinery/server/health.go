package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bedplate/bedplate/apimachinery/wire"
)

// check is one question of a health endpoint.
type check struct {
	name string
	ask  func(context.Context) error
}

const checkTimeout = time.Second

// checks are those of livez, readyz or healthz, as far as possible under Kubernetes' names.
func (s *Server) checks(kind string) []check {
	list := []check{{"ping", func(context.Context) error { return nil }}, {"etcd", s.checkStore}}
	if kind == "livez" {
		return list
	}
	if kind == "readyz" {
		list = append(list, check{"etcd-readiness", s.checkStore}, check{"informer-sync", s.checkCache})
	}
	for _, name := range slices.Sorted(maps.Keys(s.c.Checks)) {
		list = append(list, check{name, s.c.Checks[name]})
	}
	if kind == "readyz" {
		list = append(list, check{"shutdown", func(context.Context) error { return s.isLeaving() }})
	}
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

// health answers /livez, /readyz and /healthz as Kubernetes does: with ?verbose each check by name, with ?exclude
// without some. Below them is each check by itself.
func (s *Server) health(w http.ResponseWriter, hr *http.Request, kind, only string) {
	ctx, cancel := context.WithTimeout(hr.Context(), checkTimeout)
	defer cancel()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-cache, private")
	if only != "" {
		s.healthOf(ctx, w, hr, kind, only)
		return
	}
	report, failed := s.report(ctx, kind, hr.URL.Query()["exclude"])
	_, verbose := hr.URL.Query()["verbose"]
	switch {
	case failed:
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, "%s%s check failed\n", report, kind)
	case verbose:
		fmt.Fprintf(w, "%s%s check passed\n", report, kind)
	default:
		fmt.Fprint(w, "ok")
	}
}

// report asks all checks but those that are excluded.
func (s *Server) report(ctx context.Context, kind string, exclude []string) (text string, failed bool) {
	var report strings.Builder
	unknown := slices.Clone(exclude)
	for _, c := range s.checks(kind) {
		if slices.Contains(exclude, c.name) {
			unknown = slices.DeleteFunc(unknown, func(n string) bool { return n == c.name })
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
	if len(unknown) > 0 {
		for i, n := range unknown {
			unknown[i] = fmt.Sprintf("%q", n)
		}
		fmt.Fprintf(&report, "warn: some health checks cannot be excluded: no matches for %s\n", strings.Join(unknown, ", "))
	}
	return report.String(), failed
}

func (s *Server) healthOf(ctx context.Context, w http.ResponseWriter, hr *http.Request, kind, name string) {
	for _, c := range s.checks(kind) {
		if c.name != name {
			continue
		}
		if err := c.ask(ctx); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprintf(w, "internal server error: %v\n", err)
			return
		}
		fmt.Fprint(w, "ok")
		return
	}
	s.refuse(w, hr, wire.NotFound())
}
