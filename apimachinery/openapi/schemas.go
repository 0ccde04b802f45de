package openapi

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// schemaObject is a schema of OpenAPI v3 with Kubernetes' extensions.
type schemaObject struct {
	Ref                  string                   `json:"$ref,omitempty"`
	Description          string                   `json:"description,omitempty"`
	Type                 string                   `json:"type,omitempty"`
	Format               string                   `json:"format,omitempty"`
	Default              json.RawMessage          `json:"default,omitempty"`
	Required             []string                 `json:"required,omitempty"`
	Properties           map[string]*schemaObject `json:"properties,omitempty"`
	AdditionalProperties *schemaObject            `json:"additionalProperties,omitempty"`
	Items                *schemaObject            `json:"items,omitempty"`
	AllOf                []schemaObject           `json:"allOf,omitempty"`
	OneOf                []schemaObject           `json:"oneOf,omitempty"`
	Kinds                []map[string]string      `json:"x-kubernetes-group-version-kind,omitempty"`
	ListType             string                   `json:"x-kubernetes-list-type,omitempty"`
	ListKeys             []string                 `json:"x-kubernetes-list-map-keys,omitempty"`
	MapType              string                   `json:"x-kubernetes-map-type,omitempty"`
	PatchStrategy        string                   `json:"x-kubernetes-patch-strategy,omitempty"`
	PatchMergeKey        string                   `json:"x-kubernetes-patch-merge-key,omitempty"`
	PreserveUnknown      bool                     `json:"x-kubernetes-preserve-unknown-fields,omitempty"`
}

const (
	deleteOptions = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
	status        = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
	listMeta      = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
	patch         = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
)

func ref(model string) schemaObject { return schemaObject{Ref: "#/components/schemas/" + model} }

// common adds the models that every document needs.
func (d *document) common() {
	for _, sample := range []any{metav1.DeleteOptions{}, metav1.Status{}, metav1.ListMeta{}} {
		if t, err := d.types.Of(sample); err == nil { // these are objects
			d.model(t)
		}
	}
	d.schemas[patch] = &schemaObject{Type: "object", Description: "Patch is the body of a PATCH request, in the format of its media type."}
}

// kind adds the model of a kind and returns its name. A Go type with parameters
// doesn't have a usable one: then it is the group, version and kind.
func (d *document) kind(t *structural.Type, gvk schema.GroupVersionKind) string {
	name := t.Name()
	if strings.Contains(name, "[") {
		parts := strings.Split(gvk.Group, ".")
		slices.Reverse(parts)
		name = strings.Join(append(parts, gvk.Version, gvk.Kind), ".")
	}
	s := d.define(name, t)
	if !slices.ContainsFunc(s.Kinds, func(k map[string]string) bool {
		return k["kind"] == gvk.Kind && k["group"] == gvk.Group && k["version"] == gvk.Version
	}) {
		s.Kinds = append(s.Kinds, gvkMap(gvk))
	}
	for field, value := range map[string]string{"apiVersion": gvk.GroupVersion().String(), "kind": gvk.Kind} {
		if p := s.Properties[field]; p != nil && p.Description == "" {
			p.Description = "always " + value
		}
	}
	return name
}

// list adds the model of a list of a kind and returns its name.
func (d *document) list(model string, gvk schema.GroupVersionKind) string {
	name := model + "List"
	item, meta := ref(model), ref(listMeta)
	d.schemas[name] = &schemaObject{
		Type:        "object",
		Description: gvk.Kind + "List is a list of objects of kind " + gvk.Kind + ".",
		Required:    []string{"items"},
		Properties: map[string]*schemaObject{
			"apiVersion": d.schemas[status].Properties["apiVersion"],
			"kind":       d.schemas[status].Properties["kind"],
			"metadata":   &meta,
			"items":      {Type: "array", Items: &item, Description: "the objects"},
		},
		Kinds: []map[string]string{gvkMap(gvk.GroupVersion().WithKind(gvk.Kind + "List"))},
	}
	return name
}

// model adds the model of a named type, and of all below, and returns its name.
func (d *document) model(t *structural.Type) string {
	name := t.Name()
	d.define(name, t)
	return name
}

func (d *document) define(name string, t *structural.Type) *schemaObject {
	if s := d.schemas[name]; s != nil {
		return s
	}
	s := &schemaObject{Description: t.Doc()}
	d.schemas[name] = s
	if t.Kind() != structural.Struct {
		d.inline(t, s)
		return s
	}
	s.Type, s.Properties = "object", make(map[string]*schemaObject, len(t.Fields()))
	if t.DeclaredAtomic() {
		s.MapType = "atomic"
	}
	for _, f := range t.Fields() {
		if f.Required {
			s.Required = append(s.Required, f.Name)
		}
		s.Properties[f.Name] = d.field(f)
	}
	slices.Sort(s.Required)
	return s
}

func (d *document) field(f *structural.Field) *schemaObject {
	s := d.use(f.Type)
	s.Description = f.Doc()
	s.PatchMergeKey, s.PatchStrategy = f.PatchMergeKey, strings.Join(f.PatchStrategy, ",")
	if f.Default != "" {
		s.Default = json.RawMessage(f.Default)
	}
	if s.Ref != "" && (s.Description != "" || s.MapType != "" || s.PatchStrategy != "") {
		s.AllOf, s.Ref = []schemaObject{{Ref: s.Ref}}, "" // nothing may stand beside a $ref
	}
	return s
}

// use returns the schema of a place where t is used: a reference for types that have a model.
func (d *document) use(t *structural.Type) *schemaObject {
	if t.GoType() != nil && t.GoType().Kind() == reflect.Struct {
		s := ref(d.model(t))
		if t.Kind() == structural.Struct && t.Atomic() != t.DeclaredAtomic() {
			s.MapType = map[bool]string{true: "atomic", false: "granular"}[t.Atomic()]
		}
		return &s
	}
	s := &schemaObject{}
	d.inline(t, s)
	return s
}

// inline fills in a schema without a model.
func (d *document) inline(t *structural.Type, s *schemaObject) {
	switch t.Kind() {
	case structural.Scalar:
		scalar(t, s)
	case structural.List:
		s.Type, s.Items = "array", d.use(t.Elem())
		s.ListType = map[structural.ListKind]string{structural.AtomicList: "atomic", structural.SetList: "set", structural.MapList: "map"}[t.List()]
		s.ListKeys = t.KeyNames()
	case structural.Map:
		s.Type = "object"
		if t.GoType() == nil || t.GoType().Kind() == reflect.Map { // else any object
			s.AdditionalProperties = d.use(t.Elem())
		}
		if t.Atomic() {
			s.MapType = "atomic"
		}
	default:
		s.PreserveUnknown = true
	}
}

func scalar(t *structural.Type, s *schemaObject) {
	s.Format = t.Format()
	switch s.Format {
	case "quantity":
		s.Format, s.OneOf = "", []schemaObject{{Type: "string"}, {Type: "number"}}
		describeOr(s, "Quantity is a number with a suffix: \"100m\", \"1.5\", \"2Gi\".")
		return
	case "int-or-string":
		s.OneOf = []schemaObject{{Type: "integer"}, {Type: "string"}}
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
	}
}

func describeOr(s *schemaObject, text string) {
	if s.Description == "" {
		s.Description = text
	}
}
