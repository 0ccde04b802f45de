package openapi

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// pathItem is what a path offers, by method, and the parameters in its text.
type pathItem struct {
	Get        *operation  `json:"get,omitempty"`
	Put        *operation  `json:"put,omitempty"`
	Post       *operation  `json:"post,omitempty"`
	Delete     *operation  `json:"delete,omitempty"`
	Patch      *operation  `json:"patch,omitempty"`
	Parameters []parameter `json:"parameters,omitempty"`
}

type operation struct {
	Tags        []string            `json:"tags"`
	Description string              `json:"description"`
	OperationID string              `json:"operationId"`
	Parameters  []parameter         `json:"parameters,omitempty"`
	RequestBody *content            `json:"requestBody,omitempty"`
	Responses   map[string]*content `json:"responses"`
	Action      string              `json:"x-kubernetes-action"`
	Kind        map[string]string   `json:"x-kubernetes-group-version-kind"`
}

type parameter struct {
	Name        string       `json:"name"`
	In          string       `json:"in"`
	Description string       `json:"description,omitempty"`
	Required    bool         `json:"required,omitempty"`
	Schema      schemaObject `json:"schema"`
}

type content struct {
	Description string               `json:"description,omitempty"`
	Content     map[string]mediaType `json:"content,omitempty"`
	Required    bool                 `json:"required,omitempty"`
}

type mediaType struct {
	Schema schemaObject `json:"schema"`
}

// operationOf is what an operation is described from.
type operationOf struct {
	r          *Resource
	verb, sub  string
	gvk        schema.GroupVersionKind
	in, out    string // models
	patches    []string
	everywhere bool // over all namespaces
}

func (d *document) operation(path, method string, of operationOf) {
	item := d.paths[path]
	if item == nil {
		item = &pathItem{Parameters: pathParameters(path)}
		d.paths[path] = item
	}
	op := &operation{
		Tags:        []string{strings.ToLower(groupName(d.gv.Group)) + "_" + d.gv.Version},
		Description: describe(of),
		OperationID: d.operationID(of),
		Parameters:  queryParameters(of.verb),
		RequestBody: requestBody(of),
		Responses:   map[string]*content{"200": {Description: "OK", Content: bodies(of.out)}, "401": {Description: "Unauthorized"}},
		Action:      map[string]string{"create": "post", "update": "put"}[of.verb],
		Kind:        gvkMap(of.gvk),
	}
	if op.Action == "" {
		op.Action = of.verb
	}
	switch method {
	case "get":
		item.Get = op
	case "put":
		item.Put = op
	case "post":
		item.Post = op
	case "delete":
		item.Delete = op
	case "patch":
		item.Patch = op
	}
}

func pathParameters(path string) []parameter {
	var out []parameter
	if strings.Contains(path, "{name}") {
		out = append(out, parameter{Name: "name", In: "path", Description: "name of the object", Required: true, Schema: schemaObject{Type: "string"}})
	}
	if strings.Contains(path, "{namespace}") {
		out = append(out, parameter{Name: "namespace", In: "path", Description: "namespace of the object", Required: true, Schema: schemaObject{Type: "string"}})
	}
	return append(out, query("pretty", "string", "indent the answer"))
}

func query(name, kind, description string) parameter {
	return parameter{Name: name, In: "query", Description: description, Schema: schemaObject{Type: kind}}
}

func queryParameters(verb string) []parameter {
	var out []parameter
	writes := slices.Contains([]string{"create", "update", "patch"}, verb)
	if writes || verb == "delete" || verb == "deletecollection" {
		out = append(out, query("dryRun", "string", "do everything but store the outcome, if \"All\""))
	}
	if writes {
		out = append(out,
			query("fieldManager", "string", "the name of the manager of the fields that are written; at most 128 characters"),
			query("fieldValidation", "string", "what to do about unknown and duplicate fields: Ignore, Warn or Strict"))
	}
	switch verb {
	case "patch":
		out = append(out, query("force", "boolean", "take over fields from other managers; for apply patches alone"))
	case "delete", "deletecollection":
		out = append(out,
			query("gracePeriodSeconds", "integer", "the seconds before the object goes; 0 is at once"),
			query("propagationPolicy", "string", "what becomes of dependents: Orphan, Background or Foreground"))
	}
	if verb == "list" || verb == "deletecollection" {
		out = append(out,
			query("labelSelector", "string", "restrict the objects by their labels"),
			query("fieldSelector", "string", "restrict the objects by their fields"),
			query("limit", "integer", "the most objects that one answer may hold"),
			query("continue", "string", "go on where an answer ended that had a limit"),
			query("resourceVersion", "string", "the oldest revision that will do"),
			query("resourceVersionMatch", "string", "how resourceVersion is meant: Exact or NotOlderThan"),
			query("timeoutSeconds", "integer", "the longest time that the call may take"))
	}
	if verb == "list" {
		out = append(out,
			query("watch", "boolean", "go on with the changes to the objects"),
			query("allowWatchBookmarks", "boolean", "send bookmarks"),
			query("sendInitialEvents", "boolean", "begin a watch with the objects that exist"))
	}
	return out
}

var patchMediaTypes = [...]string{
	"application/json-patch+json",
	"application/merge-patch+json",
	"application/strategic-merge-patch+json",
	"application/apply-patch+yaml",
}

func requestBody(of operationOf) *content {
	if of.in == "" {
		return nil
	}
	if of.verb != "patch" {
		return &content{Content: map[string]mediaType{"*/*": {ref(of.in)}}, Required: of.in != deleteOptions}
	}
	types := of.patches
	if types == nil {
		types = patchMediaTypes[:]
	}
	c := &content{Content: map[string]mediaType{}, Required: true}
	for _, t := range types {
		c.Content[t] = mediaType{ref(patch)}
	}
	return c
}

func bodies(model string) map[string]mediaType {
	return map[string]mediaType{"application/json": {ref(model)}, "application/yaml": {ref(model)}}
}

func describe(of operationOf) string {
	object := of.r.Kind
	if of.sub != "" {
		object = of.sub + " of the " + object
	}
	switch of.verb {
	case "list":
		return "list or watch objects of kind " + object
	case "create":
		return "create the " + object
	case "get":
		return "read the " + object
	case "update":
		return "replace the " + object
	case "patch":
		return "change parts of the " + object
	case "delete":
		return "delete the " + object
	}
	return "delete objects of kind " + object
}

// operationID composes the name by which generated clients call the operation.
func (d *document) operationID(of operationOf) string {
	id := map[string]string{"get": "read", "update": "replace", "deletecollection": "deleteCollection"}[of.verb]
	if id == "" {
		id = of.verb
	}
	id += groupName(d.gv.Group) + title(d.gv.Version)
	if of.r.Namespaced && !of.everywhere {
		id += "Namespaced"
	}
	id += of.r.Kind + title(of.sub)
	if of.everywhere {
		id += "ForAllNamespaces"
	}
	return id
}

// groupName returns the group in camel case, without its common domain.
func groupName(group string) string {
	if group == "" {
		return "Core"
	}
	var name string
	for label := range strings.SplitSeq(strings.TrimSuffix(group, ".k8s.io"), ".") {
		name += title(label)
	}
	return name
}

func title(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func gvkMap(gvk schema.GroupVersionKind) map[string]string {
	return map[string]string{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}
}
