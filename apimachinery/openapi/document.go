package openapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// Resource is a resource of a group and version.
type Resource struct {
	schema.GroupVersionKind          // of the objects
	Plural                  string   // "deployments"
	Namespaced              bool     // false: the resource belongs to the cluster
	Sample                  any      // a pointer to the Go type of the kind in this version
	Verbs                   []string // get, list, watch, create, update, patch, delete, deletecollection
	PatchTypes              []string // media types of patches; nil: all four, strategic merge included
	Subresources            []Subresource
}

// Subresource is a part of a resource with requests of its own.
type Subresource struct {
	schema.GroupVersionKind          // of what is sent and returned: that of the resource, autoscaling/v1 Scale, …
	Name                    string   // "status", "scale"
	Sample                  any      // a pointer to the Go type of that kind; nil: the resource's
	Verbs                   []string // get, update, patch, create
	PatchTypes              []string // as in Resource
}

// Document returns the OpenAPI v3 document, JSON, of a group and version. Resources of several
// kinds may share Go types. The error names a resource whose sample is not an object.
func Document(gv schema.GroupVersion, resources []Resource) ([]byte, error) {
	d := &document{gv: gv, schemas: map[string]*schemaObject{}, paths: map[string]*pathItem{}}
	d.common()
	for i := range resources {
		if err := d.resource(&resources[i]); err != nil {
			return nil, fmt.Errorf("describe %s in %s: %w", resources[i].Plural, gv, err)
		}
	}
	raw, err := json.Marshal(map[string]any{
		"openapi":    "3.0.0",
		"info":       map[string]string{"title": "Bedplate", "version": "v1.37"},
		"paths":      d.paths,
		"components": map[string]any{"schemas": d.schemas},
	})
	if err != nil {
		return nil, fmt.Errorf("encode document of %s: %w", gv, err)
	}
	return raw, nil
}

// Path returns the path of a group and version below /openapi/v3: "api/v1", "apis/apps/v1".
func Path(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "api/" + gv.Version
	}
	return "apis/" + gv.Group + "/" + gv.Version
}

// Hash returns the hash under which clients may keep a document for good.
func Hash(document []byte) string {
	sum := sha256.Sum256(document)
	return hex.EncodeToString(sum[:])
}

// Index returns the body of /openapi/v3, JSON, for the hashes of documents by Path.
func Index(hashes map[string]string) ([]byte, error) {
	type entry struct {
		URL string `json:"serverRelativeURL"`
	}
	paths := make(map[string]entry, len(hashes))
	for path, hash := range hashes {
		paths[path] = entry{"/openapi/v3/" + path + "?hash=" + hash}
	}
	raw, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		return nil, fmt.Errorf("encode OpenAPI index: %w", err)
	}
	return raw, nil
}

// document is one that is being made.
type document struct {
	gv      schema.GroupVersion
	types   structural.Types
	schemas map[string]*schemaObject
	paths   map[string]*pathItem
}

func (d *document) resource(r *Resource) error {
	t, err := d.types.Of(r.Sample)
	if err != nil {
		return err
	}
	model := d.kind(t, r.GroupVersionKind)
	list := d.list(model, r.GroupVersionKind)
	base := "/" + Path(d.gv)
	if r.Namespaced {
		if slices.Contains(r.Verbs, "list") {
			d.operation(base+"/"+r.Plural, "get", operationOf{r: r, verb: "list", gvk: r.GroupVersionKind, out: list, everywhere: true})
		}
		base += "/namespaces/{namespace}"
	}
	collection := base + "/" + r.Plural
	item := collection + "/{name}"
	for _, verb := range r.Verbs {
		o := operationOf{r: r, verb: verb, gvk: r.GroupVersionKind, in: model, out: model, patches: r.PatchTypes}
		switch verb {
		case "list":
			o.in, o.out = "", list
			d.operation(collection, "get", o)
		case "create":
			d.operation(collection, "post", o)
		case "deletecollection":
			o.in, o.out = deleteOptions, status
			d.operation(collection, "delete", o)
		case "get":
			o.in = ""
			d.operation(item, "get", o)
		case "update":
			d.operation(item, "put", o)
		case "patch":
			d.operation(item, "patch", o)
		case "delete":
			o.in, o.out = deleteOptions, status
			d.operation(item, "delete", o)
		}
	}
	for i := range r.Subresources {
		if err := d.subresource(r, &r.Subresources[i], t, item); err != nil {
			return err
		}
	}
	return nil
}

func (d *document) subresource(r *Resource, s *Subresource, t *structural.Type, item string) error {
	if s.Sample != nil {
		var err error
		if t, err = d.types.Of(s.Sample); err != nil {
			return fmt.Errorf("subresource %s: %w", s.Name, err)
		}
	}
	model := d.kind(t, s.GroupVersionKind)
	for _, verb := range s.Verbs {
		o := operationOf{r: r, verb: verb, sub: s.Name, gvk: s.GroupVersionKind, in: model, out: model, patches: s.PatchTypes}
		method := map[string]string{"get": "get", "update": "put", "patch": "patch", "create": "post"}[verb]
		if method == "" {
			continue
		}
		if verb == "get" {
			o.in = ""
		}
		d.operation(item+"/"+s.Name, method, o)
	}
	return nil
}
