package openapi

import (
	"slices"
	"strings"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// pathItem is what can be done at a path.
type pathItem struct {
	parameters []parameter
	operations []*operation
}

// operation is what can be done at a path with one method.
type operation struct {
	method, action, id, description string
	tag                             string // empty: the group and version
	kind                            kindName
	consumes, produces              []string
	in, out                         string // models; no out is a text
	inRequired                      bool
	query                           []parameter
	also                            []string // codes of success besides 200
}

// parameter is a parameter of a path or a query.
type parameter struct{ name, in, kind, description string }

// operation adds one.
func (g *group) operation(path string, o *operation) {
	if o.tag == "" {
		o.tag = lowerFirst(groupName(g.gv.Group)) + "_" + g.gv.Version
	}
	item := g.paths[path]
	if item == nil {
		item = &pathItem{parameters: pathParameters(path, o)}
		g.paths[path] = item
	}
	item.operations = append(item.operations, o)
}

func pathParameters(path string, o *operation) []parameter {
	var out []parameter
	for _, p := range []parameter{
		{"name", "path", "string", "name of the object"},
		{"namespace", "path", "string", "namespace of the object"},
		{"path", "path", "string", "path that the request is passed on to"},
	} {
		if strings.Contains(path, "{"+p.name+"}") {
			out = append(out, p)
		}
	}
	if o.action != "" && o.action != "connect" {
		out = append(out, parameter{"pretty", "query", "string", "indent the answer"})
	}
	return out
}

// parametersOf returns the query's parameters that are the fields of a Go type.
func parametersOf(t *structural.Type) []parameter {
	var out []parameter
	for _, f := range t.Fields() {
		if f.Name == "apiVersion" || f.Name == "kind" {
			continue
		}
		p := parameter{f.Name, "query", "string", f.Doc()}
		switch {
		case f.Type.Kind() != structural.Scalar:
		case f.Type.Scalar() == structural.Boolean:
			p.kind = "boolean"
		case f.Type.Scalar() == structural.Number:
			p.kind = "integer"
		}
		out = append(out, p)
	}
	return out
}

var (
	dryRun     = parameter{"dryRun", "query", "string", "do everything but store the outcome, if \"All\""}
	writeQuery = []parameter{
		dryRun,
		{"fieldManager", "query", "string", "the name of the manager of the fields that are written; at most 128 characters"},
		{"fieldValidation", "query", "string", "what to do about unknown and duplicate fields: Ignore, Warn or Strict"},
	}
	patchQuery  = append(slices.Clone(writeQuery), parameter{"force", "query", "boolean", "take over fields from other managers; for apply patches alone"})
	deleteQuery = []parameter{
		dryRun,
		{"gracePeriodSeconds", "query", "integer", "the seconds before the object goes; 0 is at once"},
		{"ignoreStoreReadErrorWithClusterBreakingPotential", "query", "boolean", "delete what can't be read, without regard to what depends on it"},
		{"orphanDependents", "query", "boolean", "leave dependents alone; deprecated: use propagationPolicy"},
		{"propagationPolicy", "query", "string", "what becomes of dependents: Orphan, Background or Foreground"},
	}
	selection = []parameter{
		{"continue", "query", "string", "go on where an answer ended that had a limit"},
		{"fieldSelector", "query", "string", "restrict the objects by their fields"},
		{"labelSelector", "query", "string", "restrict the objects by their labels"},
		{"limit", "query", "integer", "the most objects that one answer may hold"},
		{"resourceVersion", "query", "string", "the oldest revision that will do"},
		{"resourceVersionMatch", "query", "string", "how resourceVersion is meant: Exact or NotOlderThan"},
		{"sendInitialEvents", "query", "boolean", "begin a watch with the objects that exist"},
		{"timeoutSeconds", "query", "integer", "the longest time that the call may take"},
	}
	listQuery = append(slices.Clone(selection),
		parameter{"allowWatchBookmarks", "query", "boolean", "send bookmarks"},
		parameter{"watch", "query", "boolean", "go on with the changes to the objects"})
	deleteCollectionQuery = append(slices.Clone(deleteQuery), selection...)
)

// pathV3 is a path as version 3 has it.
type pathV3 struct {
	Parameters []parameterV3 `json:"parameters,omitempty"`
	Get        *operationV3  `json:"get,omitempty"`
	Put        *operationV3  `json:"put,omitempty"`
	Post       *operationV3  `json:"post,omitempty"`
	Delete     *operationV3  `json:"delete,omitempty"`
	Options    *operationV3  `json:"options,omitempty"`
	Head       *operationV3  `json:"head,omitempty"`
	Patch      *operationV3  `json:"patch,omitempty"`
}

type operationV3 struct {
	Tags        []string              `json:"tags"`
	Description string                `json:"description"`
	OperationID string                `json:"operationId"`
	Parameters  []parameterV3         `json:"parameters,omitempty"`
	RequestBody *contentV3            `json:"requestBody,omitempty"`
	Responses   map[string]*contentV3 `json:"responses"`
	Action      string                `json:"x-kubernetes-action,omitempty"`
	Kind        *kindName             `json:"x-kubernetes-group-version-kind,omitempty"`
}

type parameterV3 struct {
	Name        string       `json:"name"`
	In          string       `json:"in"`
	Description string       `json:"description,omitempty"`
	Required    bool         `json:"required,omitempty"`
	Schema      schemaObject `json:"schema"`
}

type contentV3 struct {
	Description string             `json:"description,omitempty"`
	Content     map[string]mediaV3 `json:"content,omitempty"`
	Required    bool               `json:"required,omitempty"`
}

type mediaV3 struct {
	Schema *schemaObject `json:"schema"`
}

func (item *pathItem) v3(g *group) *pathV3 {
	out := &pathV3{Parameters: parametersV3(item.parameters)}
	slots := map[string]**operationV3{
		"get": &out.Get, "put": &out.Put, "post": &out.Post, "delete": &out.Delete,
		"options": &out.Options, "head": &out.Head, "patch": &out.Patch,
	}
	for _, o := range item.operations {
		*slots[o.method] = o.v3(g)
	}
	return out
}

func (o *operation) v3(g *group) *operationV3 {
	out := &operationV3{
		Tags: []string{o.tag}, Description: o.description, OperationID: o.id, Parameters: parametersV3(o.query),
		Action: o.action, Responses: map[string]*contentV3{"401": {Description: "Unauthorized"}},
	}
	if o.kind.Kind != "" {
		out.Kind = &o.kind
	}
	if o.in != "" {
		consumes := o.consumes
		if consumes == nil {
			consumes = []string{"*/*"}
		}
		out.RequestBody = &contentV3{Content: contents(consumes, g.ref(o.in)), Required: o.inRequired}
	}
	answer := &schemaObject{Type: "string"}
	if o.out != "" {
		answer = g.ref(o.out)
	}
	for _, code := range append([]string{"200"}, o.also...) {
		out.Responses[code] = &contentV3{Description: codeTexts[code], Content: contents(o.produces, answer)}
	}
	return out
}

var codeTexts = map[string]string{"200": "OK", "201": "Created", "202": "Accepted"}

func contents(media []string, s *schemaObject) map[string]mediaV3 {
	out := make(map[string]mediaV3, len(media))
	for _, m := range media {
		out[m] = mediaV3{s}
	}
	return out
}

func parametersV3(list []parameter) []parameterV3 {
	out := make([]parameterV3, 0, len(list))
	for _, p := range list {
		out = append(out, parameterV3{
			Name: p.name, In: p.in, Description: p.description, Required: p.in == "path",
			Schema: schemaObject{Type: p.kind, UniqueItems: true},
		})
	}
	return out
}
