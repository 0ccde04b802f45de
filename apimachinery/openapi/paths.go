package openapi

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/structural"
)

const protobufMedia = "application/vnd.kubernetes.protobuf"

var (
	plainMedia   = []string{apimachinery.JSON, apimachinery.YAML}
	patchMedia   = []string{"application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"}
	withStrategy = []string{"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"}
)

// described is a resource whose operations are being described.
type described struct {
	*Resource
	model, list string
	media       []string // of answers
	patches     []string
}

func (g *group) resource(r *Resource) error {
	d := &described{Resource: r, media: plainMedia, patches: r.PatchTypes}
	var t *structural.Type
	var err error
	if r.Schema != nil {
		if d.model, err = g.custom(r); err != nil {
			return err
		}
		if d.patches == nil {
			d.patches = patchMedia
		}
	} else {
		if t, err = g.types.Of(r.Sample); err != nil {
			return err
		}
		d.model, d.media = g.kind(t, r.GroupVersionKind), mediaOf(r.Sample)
		if d.patches == nil {
			d.patches = withStrategy
		}
	}
	if slices.Contains(r.Verbs, "list") {
		d.list = g.list(d.model, r)
	}
	base := "/" + Path(g.gv)
	watch := base + "/watch"
	scope := ""
	if r.Namespaced {
		scope = "/namespaces/{namespace}"
		g.everywhere(d, base, watch)
	}
	collection := base + scope + "/" + r.Plural
	for _, verb := range r.Verbs {
		g.verb(d, verb, collection)
	}
	if slices.Contains(r.Verbs, "watch") {
		g.watch(d, watch+scope+"/"+r.Plural)
	}
	for i := range r.Subresources {
		if err := g.subresource(d, &r.Subresources[i], t, collection+"/{name}"); err != nil {
			return err
		}
	}
	return nil
}

// mediaOf returns the media types of answers: protobuf is for types that have it.
func mediaOf(sample any) []string {
	if _, ok := sample.(interface{ MarshalTo([]byte) (int, error) }); ok {
		return []string{apimachinery.JSON, apimachinery.YAML, protobufMedia}
	}
	return plainMedia
}

// everywhere adds the operations over all namespaces.
func (g *group) everywhere(d *described, base, watch string) {
	if slices.Contains(d.Verbs, "list") {
		g.operation(base+"/"+d.Plural, &operation{
			method: "get", action: "list", id: "list" + g.prefix() + d.Kind + "ForAllNamespaces", kind: nameOf(d.GroupVersionKind),
			description: "list or watch objects of kind " + d.Kind, produces: withStreams(d.media), out: d.list, query: listQuery,
		})
	}
	if slices.Contains(d.Verbs, "watch") {
		g.operation(watch+"/"+d.Plural, g.watching(d, "watchlist", d.Kind+"ListForAllNamespaces"))
	}
}

// watch adds the operations of the older way to watch.
func (g *group) watch(d *described, path string) {
	g.operation(path, g.watching(d, "watchlist", d.scoped()+"List"))
	g.operation(path+"/{name}", g.watching(d, "watch", d.scoped()))
}

func (g *group) watching(d *described, action, id string) *operation {
	return &operation{
		method: "get", action: action, id: "watch" + g.prefix() + id, kind: nameOf(d.GroupVersionKind),
		description: "watch objects of kind " + d.Kind + "; deprecated: list them with the parameter 'watch'",
		produces:    withStreams(d.media), out: g.common(metav1.WatchEvent{}, kindName{Kind: "WatchEvent", Version: "v1"}, kindName{g.gv.Group, "WatchEvent", g.gv.Version}),
		query: listQuery,
	}
}

func withStreams(media []string) []string {
	out := slices.Clone(media)
	for _, m := range media {
		if m != apimachinery.YAML {
			out = append(out, m+";stream=watch")
		}
	}
	return out
}

// scoped is the kind as the names of operations have it.
func (d *described) scoped() string {
	if d.Namespaced {
		return "Namespaced" + d.Kind
	}
	return d.Kind
}

// verb adds what a verb of a resource is.
func (g *group) verb(d *described, verb, collection string) {
	item := collection + "/{name}"
	switch verb {
	case "list":
		g.operation(collection, &operation{
			method: "get", action: "list", id: "list" + g.prefix() + d.scoped(), kind: nameOf(d.GroupVersionKind),
			description: "list or watch objects of kind " + d.Kind, produces: withStreams(d.media), out: d.list, query: listQuery,
		})
	case "create":
		g.operation(collection, g.write(d, "create", "post", nil))
	case "deletecollection":
		g.operation(collection, &operation{
			method: "delete", action: "deletecollection", id: "delete" + g.prefix() + "Collection" + d.scoped(), kind: nameOf(d.GroupVersionKind),
			description: "delete objects of kind " + d.Kind, produces: d.media, in: g.deletion(), out: g.common(metav1.Status{}, kindName{Kind: "Status", Version: "v1"}),
			query: deleteCollectionQuery,
		})
	case "get":
		g.operation(item, g.read(d, nil))
	case "update":
		g.operation(item, g.write(d, "replace", "put", nil))
	case "patch":
		g.operation(item, g.write(d, "patch", "patch", nil))
	case "delete":
		g.operation(item, &operation{
			method: "delete", action: "delete", id: "delete" + g.prefix() + d.scoped(), kind: nameOf(d.GroupVersionKind),
			description: "delete the " + d.Kind, produces: d.media, in: g.deletion(), out: g.common(metav1.Status{}, kindName{Kind: "Status", Version: "v1"}),
			query: deleteQuery, also: []string{"202"},
		})
	}
}

func (g *group) deletion() string {
	return g.common(metav1.DeleteOptions{}, kindName{Kind: "DeleteOptions", Version: "v1"}, kindName{g.gv.Group, "DeleteOptions", g.gv.Version})
}

// part is a subresource whose operations are being described; nil is the object itself.
type part struct {
	*Subresource
	model string
	media []string
}

func (g *group) read(d *described, p *part) *operation {
	o := &operation{
		method: "get", action: "get", id: "read" + g.prefix() + d.scoped() + p.suffix(), kind: nameOf(d.GroupVersionKind),
		description: "read the " + p.of(d), produces: d.media, out: d.model,
	}
	p.amend(o)
	return o
}

func (g *group) write(d *described, verb, method string, p *part) *operation {
	o := &operation{
		method: method, action: method, id: verb + g.prefix() + d.scoped() + p.suffix(), kind: nameOf(d.GroupVersionKind),
		description: verb + " the " + p.of(d), produces: d.media, in: d.model, out: d.model, inRequired: true, query: writeQuery, also: []string{"201"},
	}
	p.amend(o)
	switch verb {
	case "patch":
		o.in, o.consumes, o.query = g.patchBody(), d.patches, patchQuery
		if p != nil && p.PatchTypes != nil {
			o.consumes = p.PatchTypes
		}
	case "create":
		o.also = []string{"201", "202"}
	}
	return o
}

func (p *part) suffix() string {
	if p == nil {
		return ""
	}
	return title(p.Name)
}

func (p *part) of(d *described) string {
	if p == nil {
		return d.Kind
	}
	return p.Name + " of the " + d.Kind
}

// amend makes an operation on an object one on its part.
func (p *part) amend(o *operation) {
	if p == nil {
		return
	}
	o.kind, o.produces = nameOf(p.GroupVersionKind), p.media
	if o.in != "" {
		o.in = p.model
	}
	o.out = p.model
}

func (g *group) subresource(d *described, s *Subresource, t *structural.Type, item string) error {
	if s.Connect {
		return g.connect(d, s, item+"/"+s.Name)
	}
	p := &part{Subresource: s, model: d.model, media: d.media}
	if s.Sample != nil {
		var err error
		if t, err = g.types.Of(s.Sample); err != nil {
			return fmt.Errorf("subresource %s: %w", s.Name, err)
		}
		p.media = mediaOf(s.Sample)
	}
	if t != nil {
		p.model = g.kind(t, s.GroupVersionKind)
	}
	path := item + "/" + s.Name
	for _, verb := range s.Verbs {
		switch verb {
		case "get":
			g.operation(path, g.read(d, p))
		case "create":
			g.operation(path, g.write(d, "create", "post", p))
		case "update":
			g.operation(path, g.write(d, "replace", "put", p))
		case "patch":
			g.operation(path, g.write(d, "patch", "patch", p))
		}
	}
	return nil
}

// connect adds the operations of a conversation, or of a text that is read.
func (g *group) connect(d *described, s *Subresource, path string) error {
	var query []parameter
	if s.Sample != nil {
		t, err := g.types.Of(s.Sample)
		if err != nil {
			return fmt.Errorf("subresource %s: %w", s.Name, err)
		}
		query = parametersOf(t)
	}
	if s.Name == "log" {
		g.operation(path, &operation{
			method: "get", action: "get", id: "read" + g.prefix() + d.scoped() + "Log", kind: nameOf(d.GroupVersionKind),
			description: "read the log of the " + d.Kind, produces: append(slices.Clone(d.media), "text/plain"), query: query,
		})
		return nil
	}
	methods := map[string][]string{"get": {"get"}, "create": {"post"}, "update": {"put"}, "patch": {"patch"}, "delete": {"delete"}}
	if slices.Contains(s.Verbs, "update") { // any method there is
		methods["get"] = []string{"get", "head", "options"}
	}
	for _, verb := range s.Verbs {
		for _, method := range methods[verb] {
			for _, below := range []string{"", "WithPath"} {
				if below != "" && s.Name != "proxy" {
					continue
				}
				at := path
				if below != "" {
					at += "/{path}"
				}
				g.operation(at, &operation{
					method: method, action: "connect", id: "connect" + g.prefix() + title(method) + d.scoped() + title(s.Name) + below,
					kind: nameOf(s.GroupVersionKind), description: "connect " + strings.ToUpper(method) + " requests to " + s.Name + " of the " + d.Kind,
					produces: []string{"*/*"}, query: query,
				})
			}
		}
	}
	return nil
}

// prefix is the group and version as the names of operations have it.
func (g *group) prefix() string { return groupName(g.gv.Group) + title(g.gv.Version) }

// groupName returns the group in camel case, without its common domain.
func groupName(group string) string {
	if group == "" {
		return "Core"
	}
	var name strings.Builder
	for label := range strings.FieldsFuncSeq(strings.TrimSuffix(group, ".k8s.io"), func(r rune) bool { return r == '.' || r == '-' }) {
		name.WriteString(title(label))
	}
	return name.String()
}

func title(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
