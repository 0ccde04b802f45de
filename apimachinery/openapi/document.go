package openapi

import (
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/bedplate/bedplate/apimachinery"
)

// Resource is a resource of a group and version.
type Resource struct {
	schema.GroupVersionKind          // of the objects
	ListKind                string   // of their lists; empty: Kind and "List"
	Plural                  string   // "deployments"
	Namespaced              bool     // false: the resource belongs to the cluster
	Sample                  any      // a pointer to the Go type of the kind in this version; nil where Schema is set
	Verbs                   []string // get, list, watch, create, update, patch, delete, deletecollection
	PatchTypes              []string // media types of patches; nil: all that there are, strategic merge only for Go types
	Subresources            []Subresource
	// Schema returns the schema of the objects, JSON, as documents of version 2 or 3 have it: see package jsonschema.
	// It is for kinds that aren't Go types.
	Schema func(version int) ([]byte, error)
	// Selectable are the fields beside name and namespace that selectors may name, for kinds that aren't Go types.
	Selectable []string
}

// Subresource is a part of a resource with requests of its own.
type Subresource struct {
	schema.GroupVersionKind          // of what is sent and returned: that of the resource, autoscaling/v1 Scale, …
	Name                    string   // "status", "scale"
	Sample                  any      // a pointer to the Go type of that kind; nil: the resource's
	Verbs                   []string // get, update, patch, create
	PatchTypes              []string // as in Resource
	// Connect says that requests are no objects but a conversation (exec, proxy) or a text (log). Sample is then the Go
	// type of the query's parameters, or nil if there are none.
	Connect bool
}

// title and release are what documents say of the server.
const (
	titleText = "Kubernetes"
	release   = "v1.37"
)

// Document returns the OpenAPI v3 document, JSON, of a group and version. Resources of several
// kinds may share Go types. The error names a resource whose sample is not an object.
func Document(gv schema.GroupVersion, resources []Resource) ([]byte, error) {
	g := newGroup(gv, newModels(false))
	if err := g.describe(resources); err != nil {
		return nil, err
	}
	return documentOf(g)
}

// Listing returns the OpenAPI v3 document, JSON, of a path that isn't a group and version: "api", "apis", "apis/apps",
// "version". ok is false for others.
func Listing(path string) (raw []byte, ok bool, err error) {
	g := newGroup(schema.GroupVersion{}, newModels(false))
	if !g.listing(path) {
		return nil, false, nil
	}
	raw, err = documentOf(g)
	return raw, true, err
}

func documentOf(g *group) ([]byte, error) {
	paths := make(map[string]*pathV3, len(g.paths))
	for path, item := range g.paths {
		paths[path] = item.v3(g)
	}
	raw, err := apimachinery.Encode(map[string]any{
		"openapi": "3.0.0",
		"info":    map[string]any{"title": titleText, "version": release},
		"paths":   paths,
		"components": map[string]any{"schemas": g.made, "securitySchemes": map[string]any{"BearerToken": map[string]any{
			"type": "apiKey", "in": "header", "name": "authorization", "description": "Bearer token authentication",
		}}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode document of %s: %w", g.gv, err)
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

// Hash returns the hash of a document, which is in the address under which clients may keep it for good, and in its ETag.
func Hash(document []byte) string {
	sum := sha512.Sum512(document)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// Address returns where a document is that has this path and hash.
func Address(path, hash string) string {
	return "/openapi/v3/" + path + "?hash=" + url.QueryEscape(hash)
}

// Index returns the body of /openapi/v3, JSON, for the hashes of documents by Path.
func Index(hashes map[string]string) ([]byte, error) {
	type entry struct {
		URL string `json:"serverRelativeURL"`
	}
	paths := make(map[string]entry, len(hashes))
	for path, hash := range hashes {
		paths[path] = entry{Address(path, hash)}
	}
	raw, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		return nil, fmt.Errorf("encode OpenAPI index: %w", err)
	}
	return raw, nil
}

// group is a group and version that is being described.
type group struct {
	*models
	gv    schema.GroupVersion
	paths map[string]*pathItem
}

func newGroup(gv schema.GroupVersion, m *models) *group {
	return &group{models: m, gv: gv, paths: map[string]*pathItem{}}
}

// describe adds resources, and what every group and version has.
func (g *group) describe(resources []Resource) error {
	base := "/" + Path(g.gv) + "/"
	g.operation(base, &operation{
		method: "get", id: "get" + g.prefix() + "APIResources", description: "get available resources",
		produces: plainMedia, out: g.common(metav1.APIResourceList{}),
	})
	for i := range resources {
		if err := g.resource(&resources[i]); err != nil {
			return fmt.Errorf("describe %s in %s: %w", resources[i].Plural, g.gv, err)
		}
	}
	return nil
}

// listing adds what says what there is.
func (g *group) listing(path string) bool {
	o := &operation{method: "get", produces: plainMedia, description: "get information of a group"}
	name, isGroup := strings.CutPrefix(path, "apis/")
	tag := groupName(name)
	switch {
	case path == "version":
		o.id, o.description, o.out, o.produces = "getCodeVersion", "get the version of the server", g.common(version.Info{}), []string{apimachinery.JSON}
	case path == "api":
		o.id, o.description, o.out = "getCoreAPIVersions", "get available API versions", g.common(metav1.APIVersions{})
		tag = "core"
	case path == "apis":
		o.id, o.description, o.out = "getAPIVersions", "get available API versions", g.common(metav1.APIGroupList{})
		tag = "apis"
	case isGroup && name != "" && !strings.Contains(name, "/"):
		o.id, o.out = "get"+tag+"APIGroup", g.common(metav1.APIGroup{})
	default:
		return false
	}
	o.tag = lowerFirst(tag)
	g.operation("/"+path+"/", o)
	return true
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
