package wire

import (
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// Parse reads everything but the body of an HTTP request. For one about a resource it returns r, with HTTP set
// and User, Object and Body left empty; for any other it returns the path alone. The error is an
// apierrors.APIStatus: BadRequest for hostile paths and bad options, NotFound, MethodNotAllowed; path is then
// the raw one, to be logged with care.
//
// A request to exec, attach or portforward is a create whatever its HTTP method, and so is an upgrade through
// nodes/proxy. A name in the old /watch/ form becomes a field selector.
func Parse(hr *http.Request) (r *apimachinery.Request, path string, err error) {
	t, isResource, err := parsePath(hr.URL.EscapedPath())
	if err != nil {
		return nil, hr.URL.Path, err
	}
	if !isResource {
		return nil, hr.URL.Path, nil
	}
	q := hr.URL.Query()
	verb, err := verbOf(hr, &t, truthy(q["watch"]))
	if err != nil {
		return nil, hr.URL.Path, err
	}
	options, err := parseOptions(&t, verb, q)
	if err != nil {
		return nil, hr.URL.Path, apierrors.NewBadRequest(err.Error())
	}
	r = &apimachinery.Request{
		Verb: verb, Resource: t.GroupVersionResource, Namespace: t.namespace, Name: t.name, Sub: t.sub,
		ContentType: mediaType(hr.Header.Get("Content-Type")),
		Accept:      withInclude(strings.Join(hr.Header.Values("Accept"), ","), q.Get("includeObject")),
		Options:     options,
		Fence:       hr.Header.Get(apimachinery.FenceHeader),
		Seen:        hr.Header.Get(apimachinery.SeenHeader),
		HTTP:        hr,
	}
	if t.watch {
		r.Name = ""
	}
	return r, "", nil
}

// truthy reads a bool of a query as Kubernetes does.
func truthy(values []string) bool {
	return len(values) > 0 && !strings.EqualFold(values[0], "false") && values[0] != "0"
}

func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

func verbOf(hr *http.Request, t *target, watch bool) (string, error) {
	verb, known := map[string]string{
		http.MethodGet: apimachinery.VerbGet, http.MethodHead: apimachinery.VerbGet,
		http.MethodPost: apimachinery.VerbCreate, http.MethodPut: apimachinery.VerbUpdate,
		http.MethodPatch: apimachinery.VerbPatch, http.MethodDelete: apimachinery.VerbDelete,
	}[hr.Method]
	refused := apierrors.NewMethodNotSupported(t.GroupResource(), strings.ToLower(hr.Method))
	switch {
	case !known, t.watch && verb != apimachinery.VerbGet:
		return "", refused
	case t.watch:
		return apimachinery.VerbWatch, nil
	case t.sub != "":
		return subVerb(hr, t, verb)
	case t.name == "":
		return collectionVerb(verb, watch, refused)
	case verb == apimachinery.VerbCreate:
		return "", refused
	}
	return verb, nil
}

func collectionVerb(verb string, watch bool, refused error) (string, error) {
	switch verb {
	case apimachinery.VerbCreate:
		return verb, nil
	case apimachinery.VerbDelete:
		return apimachinery.VerbDeleteCollection, nil
	case apimachinery.VerbGet:
		if watch {
			return apimachinery.VerbWatch, nil
		}
		return apimachinery.VerbList, nil
	}
	return "", refused
}

// subVerb keeps the method from deciding what is allowed where it is the upgrade that acts.
func subVerb(hr *http.Request, t *target, verb string) (string, error) {
	if isConnector(t) {
		if verb != apimachinery.VerbGet && verb != apimachinery.VerbCreate {
			return "", apierrors.NewMethodNotSupported(t.GroupResource(), strings.ToLower(hr.Method))
		}
		return apimachinery.VerbCreate, nil
	}
	if t.Group == "" && t.Resource == "nodes" && t.sub == "proxy" && hr.Header.Get("Upgrade") != "" {
		return apimachinery.VerbCreate, nil
	}
	return verb, nil
}

func isConnector(t *target) bool {
	return t.Group == "" && t.Resource == "pods" && (t.sub == "exec" || t.sub == "attach" || t.sub == "portforward")
}

// Attributes returns what an authorizer decides on, as Kubernetes fills it in: a namespace lies in itself, and a
// list of one name by field selector has that name.
func Attributes(r *apimachinery.Request) *apimachinery.Attributes {
	a := &apimachinery.Attributes{
		User: r.User, Verb: r.Verb, Group: r.Resource.Group, Version: r.Resource.Version,
		Resource: r.Resource.Resource, Sub: r.Sub, Namespace: r.Namespace, Name: r.Name,
	}
	if a.Group == "" && a.Resource == "namespaces" && a.Name != "" {
		a.Namespace = a.Name
	}
	o, ok := r.Options.(*metav1.ListOptions)
	if !ok || o == nil {
		return a
	}
	a.FieldSelector, a.LabelSelector = o.FieldSelector, o.LabelSelector
	if a.Name == "" && strings.Contains(o.FieldSelector, "metadata.name") {
		if s, err := fields.ParseSelector(o.FieldSelector); err == nil {
			if name, found := s.RequiresExactMatch("metadata.name"); found && checkSegment(name) == nil {
				a.Name = name
			}
		}
	}
	return a
}
