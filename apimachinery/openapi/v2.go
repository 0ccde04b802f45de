package openapi

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// V2MediaType is the media type of version 2 in protobuf, as answers have it. (Clients ask for it with an @ in place of
// the last point, which no answer may have: it is not a valid media type.)
const V2MediaType = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

// WriteV2 writes the OpenAPI v2 document of a whole server, as JSON or in protobuf: paths of all groups and versions,
// and definitions. listings are paths as [Listing] takes them. It holds the definitions and one group and version in
// memory. The error names a resource that can't be described.
func WriteV2(w io.Writer, protobuf bool, listings []string, groups iter.Seq2[schema.GroupVersion, []Resource]) error {
	out := &v2Writer{w: bufio.NewWriterSize(w, 64<<10), protobuf: protobuf, definitions: map[string]any{}}
	out.open()
	m := newModels(true)
	for gv, resources := range groups {
		g := newGroup(gv, m)
		if err := g.describe(resources); err != nil {
			return err
		}
		out.group(g)
	}
	for _, path := range listings {
		g := newGroup(schema.GroupVersion{}, m)
		if g.listing(path) {
			out.group(g)
		}
	}
	out.definitions = m.made
	out.close()
	if out.err == nil {
		out.err = out.w.Flush()
	}
	if out.err != nil {
		return fmt.Errorf("write OpenAPI v2: %w", out.err)
	}
	return nil
}

// v2Writer writes a document part by part.
type v2Writer struct {
	w           *bufio.Writer
	protobuf    bool
	some        bool // a path has been written
	definitions map[string]any
	err         error
}

func (o *v2Writer) text(s string) {
	if o.err == nil {
		_, o.err = o.w.WriteString(s)
	}
}

func (o *v2Writer) bytes(b []byte) {
	if o.err == nil {
		_, o.err = o.w.Write(b)
	}
}

func (o *v2Writer) open() {
	if o.protobuf {
		o.bytes(protoHead())
		return
	}
	o.text(`{"swagger":"2.0","info":{"title":"` + titleText + `","version":"` + release + `"},"paths":{`)
}

func (o *v2Writer) group(g *group) {
	for _, path := range slices.Sorted(maps.Keys(g.paths)) {
		o.entry(path, g.paths[path].v2(g), o.some, protoPath)
		o.some = true
	}
}

// entry writes one member of paths or definitions.
func (o *v2Writer) entry(name string, value any, behind bool, proto func(name string, value map[string]any) []byte) {
	raw, ok := value.(json.RawMessage)
	if !ok && o.err == nil {
		raw, o.err = apimachinery.Encode(value)
	}
	if o.err != nil {
		return
	}
	if o.protobuf {
		var decoded map[string]any
		if o.err = json.Unmarshal(raw, &decoded); o.err == nil {
			o.bytes(proto(name, decoded))
		}
		return
	}
	if behind {
		o.text(",")
	}
	key, err := json.Marshal(name)
	if err != nil {
		o.err = err
	}
	o.bytes(key)
	o.text(":")
	o.bytes(raw)
}

func (o *v2Writer) close() {
	if !o.protobuf {
		o.text(`},"definitions":{`)
	}
	for i, name := range slices.Sorted(maps.Keys(o.definitions)) {
		o.entry(name, o.definitions[name], i > 0, protoDefinition)
	}
	if o.protobuf {
		o.bytes(protoTail())
		return
	}
	o.text(`},"securityDefinitions":{"BearerToken":{"description":"Bearer token authentication","type":"apiKey","name":"authorization","in":"header"}},"security":[{"BearerToken":[]}]}`)
}

// pathV2 is a path as version 2 has it.
type pathV2 struct {
	Parameters []parameterV2 `json:"parameters,omitempty"`
	Get        *operationV2  `json:"get,omitempty"`
	Put        *operationV2  `json:"put,omitempty"`
	Post       *operationV2  `json:"post,omitempty"`
	Delete     *operationV2  `json:"delete,omitempty"`
	Options    *operationV2  `json:"options,omitempty"`
	Head       *operationV2  `json:"head,omitempty"`
	Patch      *operationV2  `json:"patch,omitempty"`
}

type operationV2 struct {
	Consumes    []string              `json:"consumes,omitempty"`
	Produces    []string              `json:"produces,omitempty"`
	Schemes     []string              `json:"schemes"`
	Tags        []string              `json:"tags"`
	Description string                `json:"description"`
	OperationID string                `json:"operationId"`
	Parameters  []parameterV2         `json:"parameters,omitempty"`
	Responses   map[string]responseV2 `json:"responses"`
	Action      string                `json:"x-kubernetes-action,omitempty"`
	Kind        *kindName             `json:"x-kubernetes-group-version-kind,omitempty"`
}

type parameterV2 struct {
	Name        string        `json:"name"`
	In          string        `json:"in"`
	Description string        `json:"description,omitempty"`
	Required    bool          `json:"required,omitempty"`
	Type        string        `json:"type,omitempty"`
	UniqueItems bool          `json:"uniqueItems,omitempty"`
	Schema      *schemaObject `json:"schema,omitempty"`
}

type responseV2 struct {
	Description string        `json:"description"`
	Schema      *schemaObject `json:"schema,omitempty"`
}

func (item *pathItem) v2(g *group) *pathV2 {
	out := &pathV2{Parameters: parametersV2(item.parameters)}
	slots := map[string]**operationV2{
		"get": &out.Get, "put": &out.Put, "post": &out.Post, "delete": &out.Delete,
		"options": &out.Options, "head": &out.Head, "patch": &out.Patch,
	}
	for _, o := range item.operations {
		*slots[o.method] = o.v2(g)
	}
	return out
}

func (o *operation) v2(g *group) *operationV2 {
	out := &operationV2{
		Consumes: o.consumes, Produces: o.produces, Schemes: []string{"https"}, Tags: []string{o.tag}, Description: o.description,
		OperationID: o.id, Action: o.action, Responses: map[string]responseV2{"401": {Description: "Unauthorized"}},
	}
	if out.Consumes == nil {
		out.Consumes = []string{"*/*"}
	}
	if o.kind.Kind != "" {
		out.Kind = &o.kind
	}
	if o.in != "" {
		out.Parameters = append(out.Parameters, parameterV2{Name: "body", In: "body", Required: o.inRequired, Schema: g.ref(o.in)})
	}
	out.Parameters = append(out.Parameters, parametersV2(o.query)...)
	answer := &schemaObject{Type: "string"}
	if o.out != "" {
		answer = g.ref(o.out)
	}
	for _, code := range append([]string{"200"}, o.also...) {
		out.Responses[code] = responseV2{codeTexts[code], answer}
	}
	return out
}

func parametersV2(list []parameter) []parameterV2 {
	out := make([]parameterV2, 0, len(list))
	for _, p := range list {
		out = append(out, parameterV2{Name: p.name, In: p.in, Description: p.description, Required: p.in == "path", Type: p.kind, UniqueItems: true})
	}
	return out
}
