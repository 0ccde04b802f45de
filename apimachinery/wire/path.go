package wire

import (
	"fmt"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// target is what a path names.
type target struct {
	schema.GroupVersionResource
	namespace, name, sub string
	// rest is the path behind a proxy subresource, as it came.
	rest string
	// watch is set by the old /watch/ prefix.
	watch bool
}

// parsePath reads an escaped path; ok is false if it names no resource.
func parsePath(escaped string) (t target, ok bool, err error) {
	if !strings.HasPrefix(escaped, "/") {
		return t, false, apierrors.NewBadRequest(fmt.Sprintf("the path %q does not begin with a slash", escaped))
	}
	raw := strings.Split(escaped[1:], "/")
	front, rest := cutProxy(raw)
	if rest == nil && len(front) > 1 && front[len(front)-1] == "" {
		front = front[:len(front)-1]
	}
	segments, err := decode(front)
	if err != nil {
		return t, false, err
	}
	if t.rest, err = decodeRest(rest); err != nil {
		return t, false, err
	}
	segments, ok = t.version(segments)
	if !ok {
		return t, false, nil
	}
	return t, true, t.resource(segments)
}

// cutProxy separates what lies behind .../<resource>/<name>/proxy: it belongs to somebody else's path.
func cutProxy(raw []string) (front, rest []string) {
	at := 2
	if raw[0] == "apis" {
		at = 3
	} else if raw[0] != "api" {
		return raw, nil
	}
	if len(raw) > at && raw[at] == "namespaces" {
		at += 2
	}
	at += 2
	if len(raw) > at && raw[at] == "proxy" {
		return raw[:at+1], raw[at+1:]
	}
	return raw, nil
}

func decode(raw []string) ([]string, error) {
	if len(raw) == 1 && raw[0] == "" {
		return raw, nil
	}
	out := make([]string, len(raw))
	for i, r := range raw {
		s, err := url.PathUnescape(r)
		if err == nil {
			err = checkSegment(s)
		}
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("the path segment %q is not allowed: %v", r, err))
		}
		out[i] = s
	}
	return out, nil
}

// checkSegment refuses what could name something else than it seems to.
func checkSegment(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("it is empty")
	case s == "." || s == "..":
		return fmt.Errorf("it may not be '.' or '..'")
	case strings.ContainsAny(s, "/%"):
		return fmt.Errorf("it may not contain '/' or '%%'")
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }):
		return fmt.Errorf("it may not contain control characters or invalid text")
	}
	return nil
}

func decodeRest(raw []string) (string, error) {
	if raw == nil {
		return "", nil
	}
	var b strings.Builder
	for _, r := range raw {
		s, err := url.PathUnescape(r)
		if err != nil || s == "." || s == ".." || strings.ContainsRune(s, 0) || strings.Contains(s, "../") || strings.HasSuffix(s, "/..") {
			return "", apierrors.NewBadRequest(fmt.Sprintf("the path segment %q is not allowed behind a proxy", r))
		}
		b.WriteString("/" + s)
	}
	return b.String(), nil
}

// version takes /api/<version> or /apis/<group>/<version> off; ok is false if nothing follows.
func (t *target) version(s []string) ([]string, bool) {
	switch {
	case s[0] == "api" && len(s) > 2:
		t.Version = s[1]
		return s[2:], true
	case s[0] == "apis" && len(s) > 3:
		t.Group, t.Version = s[1], s[2]
		return s[3:], true
	}
	return nil, false
}

func (t *target) resource(s []string) error {
	if s[0] == "watch" && len(s) > 1 {
		t.watch = true
		s = s[1:]
	}
	if s[0] == "namespaces" && len(s) > 2 && !(t.Group == "" && len(s) == 3 && namespaceSub(s[2])) {
		t.namespace, s = s[1], s[2:]
	}
	if len(s) > 3 {
		return notFound()
	}
	parts := [3]string{}
	copy(parts[:], s)
	t.Resource, t.name, t.sub = parts[0], parts[1], parts[2]
	return nil
}

// namespaceSub says whether /api/v1/namespaces/x/<s> is a subresource rather than a resource in x.
func namespaceSub(s string) bool { return s == "status" || s == "finalize" }

// notFound is what Kubernetes says of a path without a route.
func notFound() error {
	return apierrors.NewGenericServerResponse(404, "", schema.GroupResource{}, "", "404 page not found", 0, true)
}

// NotFound is the error for a path that nothing serves.
func NotFound() error { return notFound() }

// path is the inverse of parsePath.
func (t *target) path() (string, error) {
	segments := []string{"apis", t.Group, t.Version}
	if t.Group == "" {
		segments = []string{"api", t.Version}
	}
	if t.namespace != "" {
		segments = append(segments, "namespaces", t.namespace)
	}
	segments = append(segments, t.Resource)
	if t.name != "" {
		segments = append(segments, t.name)
	}
	if t.sub != "" {
		if t.name == "" {
			return "", apierrors.NewBadRequest(fmt.Sprintf("the subresource %q needs a name", t.sub))
		}
		segments = append(segments, t.sub)
	}
	for _, s := range segments {
		if err := checkSegment(s); err != nil {
			return "", apierrors.NewBadRequest(fmt.Sprintf("the path segment %q is not allowed: %v", s, err))
		}
	}
	return "/" + strings.Join(segments, "/") + t.rest, nil
}
