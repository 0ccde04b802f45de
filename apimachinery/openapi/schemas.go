package openapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/structural"
)

// schemaObject is a schema of a Go type, with Kubernetes' extensions.
type schemaObject struct {
	Ref                  string                   `json:"$ref,omitempty"`
	Description          string                   `json:"description,omitempty"`
	Type                 string                   `json:"type,omitempty"`
	Format               string                   `json:"format,omitempty"`
	UniqueItems          bool                     `json:"uniqueItems,omitempty"`
	Default              json.RawMessage          `json:"default,omitempty"`
	Enum                 json.RawMessage          `json:"enum,omitempty"`
	Required             []string                 `json:"required,omitempty"`
	Properties           map[string]*schemaObject `json:"properties,omitempty"`
	AdditionalProperties *schemaObject            `json:"additionalProperties,omitempty"`
	Items                *schemaObject            `json:"items,omitempty"`
	AllOf                []*schemaObject          `json:"allOf,omitempty"`
	OneOf                []*schemaObject          `json:"oneOf,omitempty"`
	Kinds                []kindName               `json:"x-kubernetes-group-version-kind,omitempty"`
	ListType             string                   `json:"x-kubernetes-list-type,omitempty"`
	ListKeys             []string                 `json:"x-kubernetes-list-map-keys,omitempty"`
	MapType              string                   `json:"x-kubernetes-map-type,omitempty"`
	PatchStrategy        string                   `json:"x-kubernetes-patch-strategy,omitempty"`
	PatchMergeKey        string                   `json:"x-kubernetes-patch-merge-key,omitempty"`
	PreserveUnknown      bool                     `json:"x-kubernetes-preserve-unknown-fields,omitempty"`
}

// kindName is a kind as x-kubernetes-group-version-kind names it.
type kindName struct {
	Group   string `json:"group"`
	Kind    string `json:"kind"`
	Version string `json:"version"`
}

func nameOf(gvk schema.GroupVersionKind) kindName { return kindName{gvk.Group, gvk.Kind, gvk.Version} }

var rawExtension = reflect.TypeFor[runtime.RawExtension]()

const (
	meta          = "io.k8s.apimachinery.pkg.apis.meta.v1."
	deleteOptions = meta + "DeleteOptions"
	status        = meta + "Status"
	listMeta      = meta + "ListMeta"
	patch         = meta + "Patch"
	watchEvent    = meta + "WatchEvent"
)

// models are the schemas of a document, by name.
type models struct {
	v2    bool
	types structural.Types
	made  map[string]any // *schemaObject, or json.RawMessage of a custom kind
	names map[reflect.Type]string
	taken map[string]reflect.Type
}

func newModels(v2 bool) *models {
	return &models{v2: v2, made: map[string]any{}, names: map[reflect.Type]string{}, taken: map[string]reflect.Type{}}
}

// ref refers to a model.
func (m *models) ref(model string) *schemaObject {
	if m.v2 {
		return &schemaObject{Ref: "#/definitions/" + model}
	}
	return &schemaObject{Ref: "#/components/schemas/" + model}
}

// common adds a model that documents need beside those of their kinds, and returns its name. The kinds of those that
// are part of every group are the given ones.
func (m *models) common(sample any, kinds ...kindName) string {
	t, err := m.types.Of(sample)
	if err != nil { // these are structs
		return status
	}
	name := m.model(t)
	if s, ok := m.made[name].(*schemaObject); ok {
		for _, k := range kinds {
			if !slices.Contains(s.Kinds, k) {
				s.Kinds = append(s.Kinds, k)
			}
		}
	}
	return name
}

func (m *models) patchBody() string {
	m.made[patch] = &schemaObject{Type: "object", Description: "Patch is the body of a PATCH request, in the format of its media type."}
	return patch
}

// kind adds the model of a kind and returns its name. A Go type with parameters doesn't have a usable one: then it is
// the group, version and kind.
func (m *models) kind(t *structural.Type, gvk schema.GroupVersionKind) string {
	if m.names[t.GoType()] == "" && strings.Contains(t.Name(), "[") {
		m.name(t.GoType(), kindModel(gvk))
	}
	name := m.model(t)
	s, ok := m.made[name].(*schemaObject)
	if !ok {
		return name
	}
	if k := nameOf(gvk); !slices.Contains(s.Kinds, k) {
		s.Kinds = append(s.Kinds, k)
	}
	for field, value := range map[string]string{"apiVersion": gvk.GroupVersion().String(), "kind": gvk.Kind} {
		if p := s.Properties[field]; p != nil && p.Description == "" {
			p.Description = "always " + value
		}
	}
	return name
}

// kindModel is the name of a kind's model where no Go type gives one.
func kindModel(gvk schema.GroupVersionKind) string {
	parts := strings.Split(gvk.Group, ".")
	slices.Reverse(parts)
	return strings.Join(append(parts, gvk.Version, gvk.Kind), ".")
}

// custom adds the model of a kind that isn't a Go type, and returns its name.
func (m *models) custom(r *Resource) (string, error) {
	name := kindModel(r.GroupVersionKind)
	version := 3
	if m.v2 {
		version = 2
	}
	raw, err := r.Schema(version)
	if err != nil {
		return "", err
	}
	var described map[string]any
	if err := json.Unmarshal(raw, &described); err != nil {
		return "", fmt.Errorf("schema: %w", err)
	}
	if described == nil {
		described = map[string]any{}
	}
	if m.v2 {
		pruneDefaults(described)
	}
	described["x-kubernetes-group-version-kind"] = []any{map[string]any{"group": r.Group, "kind": r.Kind, "version": r.Version}}
	if len(r.Selectable) > 0 {
		var all []any
		for _, path := range r.Selectable {
			all = append(all, map[string]any{"fieldPath": path})
		}
		described["x-kubernetes-selectable-fields"] = all
	}
	if raw, err = apimachinery.Encode(described); err != nil {
		return "", err
	}
	m.made[name] = json.RawMessage(raw)
	m.common(metav1.ObjectMeta{}) // what is custom refers to it
	return name, nil
}

// pruneDefaults takes the defaults out of a schema, which documents of version 2 don't have.
func pruneDefaults(s map[string]any) {
	if s == nil {
		return
	}
	delete(s, "default")
	for _, p := range object(s["properties"]) {
		pruneDefaults(object(p))
	}
	pruneDefaults(object(s["items"]))
	pruneDefaults(object(s["additionalProperties"]))
}

// list adds the model of a list of a kind and returns its name.
func (m *models) list(model string, r *Resource) string {
	kind := r.ListKind
	if kind == "" {
		kind = r.Kind + "List"
	}
	name := model + "List"
	if r.Schema != nil { // a custom kind may call its list otherwise
		name = kindModel(r.GroupVersion().WithKind(kind))
	}
	doc := metav1.TypeMeta{}.SwaggerDoc()
	metadata := m.field(m.ref(m.common(metav1.ListMeta{})), "what a server says about lists: a revision, and how to go on")
	if !m.v2 {
		metadata.Default = json.RawMessage("{}")
	}
	m.made[name] = &schemaObject{
		Type:        "object",
		Description: kind + " is a list of objects of kind " + r.Kind + ".",
		Required:    []string{"items"},
		Properties: map[string]*schemaObject{
			"apiVersion": {Type: "string", Description: doc["apiVersion"]},
			"kind":       {Type: "string", Description: doc["kind"]},
			"metadata":   metadata,
			"items":      {Type: "array", Items: m.ref(model), Description: "the objects"},
		},
		Kinds: []kindName{nameOf(r.GroupVersion().WithKind(kind))},
	}
	return name
}

// name settles the name of a Go type's model: one that references can have, and no other type has.
func (m *models) name(rt reflect.Type, wanted string) string {
	if name, ok := m.names[rt]; ok {
		return name
	}
	name := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, wanted)
	for n, base := 2, name; m.taken[name] != nil; n++ {
		name = fmt.Sprint(base, "_", n)
	}
	m.names[rt], m.taken[name] = name, rt
	return name
}

// model adds the model of a named type, and of all below, and returns its name.
func (m *models) model(t *structural.Type) string {
	name := m.name(t.GoType(), t.Name())
	if m.made[name] == nil {
		s := &schemaObject{}
		m.made[name] = s
		m.describe(t, s)
	}
	return name
}

// describe fills in the schema of a type that isn't referred to.
func (m *models) describe(t *structural.Type, s *schemaObject) {
	s.Description = t.Doc()
	if t.Kind() != structural.Struct {
		m.inline(t, s)
		return
	}
	if s.Description == "" {
		s.Description = describedHere(t.GoType(), "")
	}
	s.Type, s.Properties = "object", make(map[string]*schemaObject, len(t.Fields()))
	s.MapType = m.structType(t)
	for _, f := range t.Fields() {
		marked, _ := markers(f.Owner(), f.Name)
		if f.Required && !marked.optional || marked.required {
			s.Required = append(s.Required, f.Name)
		}
		s.Properties[f.Name] = m.property(f, marked)
	}
	slices.Sort(s.Required)
}

func (m *models) structType(t *structural.Type) string {
	if marked, known := markers(t.GoType(), "."); known {
		return marked.mapType
	}
	if t.DeclaredAtomic() {
		return "atomic"
	}
	return ""
}

func (m *models) property(f *structural.Field, marked marked) *schemaObject {
	s := m.use(f.Type)
	doc := f.Doc()
	if doc == "" {
		doc = describedHere(f.Owner(), f.Name)
	}
	if _, known := markers(f.Owner(), f.Name); known {
		s.ListType, s.ListKeys, s.MapType = marked.listType, marked.listKeys, marked.mapType
		inner(s)
	}
	s.PatchMergeKey, s.PatchStrategy = f.PatchMergeKey, strings.Join(f.PatchStrategy, ",")
	if !m.v2 {
		s.Default = fallbackOf(f, marked)
	}
	return m.field(s, doc)
}

// inner takes away what is guessed about lists within a list or map, of which comments can't speak.
func inner(s *schemaObject) {
	for _, below := range []*schemaObject{s.Items, s.AdditionalProperties} {
		if below != nil {
			below.ListType, below.ListKeys, below.MapType = "", nil, ""
			inner(below)
		}
	}
}

// field describes a schema that is a field's. In version 3 nothing may stand beside a $ref.
func (m *models) field(s *schemaObject, doc string) *schemaObject {
	if doc != "" {
		s.Description = doc
	}
	if !m.v2 && s.Ref != "" && (s.Description != "" || s.MapType != "" || s.PatchStrategy != "" || s.Default != nil) {
		s.AllOf, s.Ref = []*schemaObject{{Ref: s.Ref}}, ""
	}
	return s
}

// use returns the schema of a place where t is used: a reference for types that have a model.
func (m *models) use(t *structural.Type) *schemaObject {
	s := &schemaObject{}
	switch {
	case t.GoType() == nil || t.GoType().Kind() != reflect.Struct:
		m.inline(t, s)
	case t.Name() == "": // a struct without a name of its own
		m.describe(t, s)
	default:
		s = m.ref(m.model(t))
		if t.Kind() == structural.Struct && t.Atomic() != t.DeclaredAtomic() {
			s.MapType = map[bool]string{true: "atomic", false: "granular"}[t.Atomic()]
		}
	}
	return s
}

// inline fills in a schema without a model.
func (m *models) inline(t *structural.Type, s *schemaObject) {
	switch t.Kind() {
	case structural.Scalar:
		m.scalar(t, s)
	case structural.List:
		s.Type, s.Items = "array", m.use(t.Elem())
		s.ListType = map[structural.ListKind]string{structural.AtomicList: "atomic", structural.SetList: "set", structural.MapList: "map"}[t.List()]
		s.ListKeys = t.KeyNames()
	case structural.Map:
		s.Type = "object"
		if t.GoType() == nil || t.GoType().Kind() == reflect.Map { // else any object
			s.AdditionalProperties = m.use(t.Elem())
		}
		if t.Atomic() {
			s.MapType = "atomic"
		}
	default:
		if t.GoType() == rawExtension {
			s.Type = "object"
			return
		}
		s.PreserveUnknown = t.GoType() == nil || !strings.HasPrefix(t.GoType().PkgPath(), "k8s.io/")
	}
}

func (m *models) scalar(t *structural.Type, s *schemaObject) {
	s.Format = t.Format()
	switch s.Format {
	case "quantity":
		s.Format = ""
		m.either(s, "string", "number")
		describeOr(s, "Quantity is a number with a suffix: \"100m\", \"1.5\", \"2Gi\".")
		return
	case "int-or-string":
		m.either(s, "integer", "string")
		describeOr(s, "IntOrString is a number or a name.")
		return
	case "date-time":
		describeOr(s, "Time is a point in time in the format of RFC 3339.")
	}
	switch t.Scalar() {
	case structural.Number:
		s.Type = "integer"
		if s.Format == "double" {
			s.Type = "number"
		}
	case structural.Boolean:
		s.Type = "boolean"
	default:
		s.Type = "string"
		s.Enum = enumOf(t.GoType())
	}
}

// either is a schema of two types, which version 2 can't say: there it is a string.
func (m *models) either(s *schemaObject, a, b string) {
	if m.v2 {
		s.Type = "string"
		return
	}
	s.OneOf = []*schemaObject{{Type: a}, {Type: b}}
}

func describeOr(s *schemaObject, text string) {
	if s.Description == "" {
		s.Description = text
	}
}
