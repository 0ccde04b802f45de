package server

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
)

// Proxy knows of groups and versions that other servers have. It is asked at every HTTP request, and must be safe for
// concurrent use.
type Proxy interface {
	// Handler leads to the other server; nil: this server has the version itself, or nobody has. The request's context
	// says who asks ([apimachinery.UserFrom]).
	Handler(gv schema.GroupVersion) http.Handler
}

// proxied passes a request on to the server that has its group and version, if its user may make it. It is false if
// that is this server. r is nil for requests that aren't about a resource.
func (s *Server) proxied(w http.ResponseWriter, hr *http.Request, r *apimachinery.Request, path string, user apimachinery.User) bool {
	if s.c.Proxy == nil {
		return false
	}
	gv, ok := versionOf(path)
	if r != nil {
		gv, ok = r.Resource.GroupVersion(), true
	}
	if !ok {
		return false
	}
	h := s.c.Proxy.Handler(gv)
	if h == nil {
		return false
	}
	a := &apimachinery.Attributes{User: user, Verb: strings.ToLower(hr.Method), Path: path}
	if r != nil {
		r.User = user
		a = wire.Attributes(r)
	}
	if err := s.authorizeUpgrade(hr, r, a); err != nil {
		s.refuse(w, hr, err)
		return true
	}
	ctx, cancel := s.proxyContext(hr, r)
	defer cancel()
	h.ServeHTTP(w, hr.WithContext(apimachinery.WithUser(ctx, user)))
	return true
}

// proxyContext bounds a request that another server answers: by the time that requests have, or, where it may last, by
// the life of this server.
func (s *Server) proxyContext(hr *http.Request, r *apimachinery.Request) (context.Context, context.CancelFunc) {
	lasts := hr.Header.Get("Upgrade") != "" || r != nil && (r.Verb == apimachinery.VerbWatch || slices.Contains(lasting, r.Sub))
	if !lasts {
		return context.WithTimeout(hr.Context(), s.c.Limits.Timeout)
	}
	ctx, cancel := context.WithCancel(hr.Context())
	stop := context.AfterFunc(s.life, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// lasting are the subresources whose answer may go on for as long as the client likes.
var lasting = []string{"attach", "exec", "log", "portforward", "proxy"}

// acting are the subresources at which an upgrade does something, whatever its HTTP method: it takes the right to create
// beside that of its verb. Of others, the other server decides.
var acting = []string{"attach", "exec", "portforward"}

func (s *Server) authorizeUpgrade(hr *http.Request, r *apimachinery.Request, a *apimachinery.Attributes) error {
	reason, err := s.decide(hr.Context(), a)
	recordOf(hr.Context()).decided(reason, err)
	if err != nil {
		return err
	}
	if r == nil || !slices.Contains(acting, r.Sub) || r.Verb != apimachinery.VerbGet || hr.Header.Get("Upgrade") == "" {
		return nil
	}
	also := *a
	also.Verb = apimachinery.VerbCreate
	return s.authorize(hr.Context(), &also)
}

// versionOf reads the group and version out of a path that is about nothing below them.
func versionOf(path string) (gv schema.GroupVersion, ok bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) == 3 && parts[0] == "apis":
		return schema.GroupVersion{Group: parts[1], Version: parts[2]}, true
	case len(parts) == 2 && parts[0] == "api":
		return schema.GroupVersion{Version: parts[1]}, true
	}
	return gv, false
}
