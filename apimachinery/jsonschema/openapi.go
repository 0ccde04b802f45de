package jsonschema

import (
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const objectMetaModel = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

// OpenAPI renders s as documents of OpenAPI publish it, version 2 or 3: values as encoding/json takes them, made
// anew for the caller, who adds x-kubernetes-group-version-kind. The root has apiVersion, kind and metadata, which
// refers to the model of ObjectMeta (under #/definitions or #/components/schemas). Version 2 leaves out what it can't
// say: allOf, anyOf, oneOf and not, and what lies in nullable parts and in those that preserve unknown fields. A nil
// s is any object. The error names what Check would refuse.
func OpenAPI(s *apiextensionsv1.JSONSchemaProps, version int) (map[string]any, error) {
	if version != 2 && version != 3 {
		return nil, fmt.Errorf("render schema: OpenAPI version %d, not 2 or 3", version)
	}
	if s == nil || version == 2 && s.XPreserveUnknownFields != nil {
		return map[string]any{"type": "object"}, nil
	}
	r := renderer{v2: version == 2}
	out := r.schema(s, 0, false)
	if r.err != nil {
		return nil, fmt.Errorf("render schema: %w", r.err)
	}
	r.resource(out)
	return out, nil
}

type renderer struct {
	v2    bool
	nodes int
	err   error
}

// schema renders s; one that is nested in allOf and such has no structure of its own.
func (r *renderer) schema(s *props, depth int, nested bool) map[string]any {
	if r.nodes++; r.err == nil && (depth > MaxDepth || r.nodes > MaxNodes) {
		r.err = errTooLarge
	}
	if r.err != nil {
		return nil
	}
	if r.v2 && !nested {
		c := forV2(s)
		s = &c
	}
	out := map[string]any{}
	r.values(s, out)
	r.extensions(s, out)
	if s.Items != nil && s.Items.Schema != nil {
		out["items"] = r.schema(s.Items.Schema, depth+1, nested)
	}
	if len(s.Properties) > 0 {
		all := make(map[string]any, len(s.Properties))
		for name := range s.Properties {
			p := s.Properties[name]
			all[name] = r.schema(&p, depth+1, nested)
		}
		out["properties"] = all
	}
	if a := s.AdditionalProperties; a != nil && !nested {
		if a.Schema != nil {
			out["additionalProperties"] = r.schema(a.Schema, depth+1, nested)
		} else {
			out["additionalProperties"] = a.Allows
		}
	}
	for word, list := range map[string][]props{"allOf": s.AllOf, "anyOf": s.AnyOf, "oneOf": s.OneOf} {
		if len(list) == 0 {
			continue
		}
		all := make([]any, len(list))
		for i := range list {
			all[i] = r.schema(&list[i], depth+1, true)
		}
		out[word] = all
	}
	if s.Not != nil {
		out["not"] = r.schema(s.Not, depth+1, true)
	}
	if s.XEmbeddedResource && !(r.v2 && s.XPreserveUnknownFields != nil) {
		r.resource(out)
		required, _ := out["required"].([]string)
		for _, name := range []string{"kind", "apiVersion"} {
			if !slices.Contains(required, name) {
				required = append(required, name)
			}
		}
		out["required"] = required
	}
	return out
}

// resource adds the fields that every object has.
func (r *renderer) resource(out map[string]any) {
	all, _ := out["properties"].(map[string]any)
	if all == nil {
		all = map[string]any{}
		out["properties"] = all
	}
	doc := metav1.TypeMeta{}.SwaggerDoc()
	all["apiVersion"] = map[string]any{"type": "string", "description": doc["apiVersion"]}
	all["kind"] = map[string]any{"type": "string", "description": doc["kind"]}
	const about = "metadata of the object: its name, labels, annotations and what the server keeps of it"
	if r.v2 { // where nothing may stand beside a reference but a description
		all["metadata"] = map[string]any{"$ref": "#/definitions/" + objectMetaModel, "description": about}
		return
	}
	all["metadata"] = map[string]any{"allOf": []any{map[string]any{"$ref": "#/components/schemas/" + objectMetaModel}}, "description": about}
}

// values renders all but structure and extensions.
func (r *renderer) values(s *props, out map[string]any) {
	texts := []struct{ name, value string }{
		{"type", s.Type}, {"description", s.Description}, {"title", s.Title}, {"format", s.Format}, {"pattern", s.Pattern},
	}
	for _, t := range texts {
		if t.value != "" {
			out[t.name] = t.value
		}
	}
	bools := map[string]bool{
		"nullable": s.Nullable, "exclusiveMaximum": s.ExclusiveMaximum, "exclusiveMinimum": s.ExclusiveMinimum, "uniqueItems": s.UniqueItems,
	}
	for name, on := range bools {
		if on {
			out[name] = true
		}
	}
	for name, f := range map[string]*float64{"maximum": s.Maximum, "minimum": s.Minimum, "multipleOf": s.MultipleOf} {
		if f != nil {
			out[name] = *f
		}
	}
	ints := map[string]*int64{
		"maxLength": s.MaxLength, "minLength": s.MinLength, "maxItems": s.MaxItems, "minItems": s.MinItems,
		"maxProperties": s.MaxProperties, "minProperties": s.MinProperties,
	}
	for name, i := range ints {
		if i != nil {
			out[name] = *i
		}
	}
	if len(s.Required) > 0 {
		out["required"] = slices.Clone(s.Required)
	}
	r.json("default", s.Default, out)
	r.json("example", s.Example, out)
	if len(s.Enum) > 0 {
		all := make([]any, len(s.Enum))
		for i := range s.Enum {
			all[i] = r.decoded(&s.Enum[i])
		}
		out["enum"] = all
	}
	if d := s.ExternalDocs; d != nil {
		docs := map[string]any{}
		if d.Description != "" {
			docs["description"] = d.Description
		}
		if d.URL != "" {
			docs["url"] = d.URL
		}
		out["externalDocs"] = docs
	}
}

func (r *renderer) json(name string, j *apiextensionsv1.JSON, out map[string]any) {
	if v := r.decoded(j); v != nil {
		out[name] = v
	}
}

func (r *renderer) decoded(j *apiextensionsv1.JSON) any {
	v, err := decode(j)
	if err != nil && r.err == nil {
		r.err = err
	}
	return v
}

func (r *renderer) extensions(s *props, out map[string]any) {
	const prefix = "x-kubernetes-"
	if s.XPreserveUnknownFields != nil {
		out[prefix+"preserve-unknown-fields"] = true
	}
	if s.XEmbeddedResource {
		out[prefix+"embedded-resource"] = true
	}
	if s.XIntOrString {
		out[prefix+"int-or-string"] = true
	}
	if len(s.XListMapKeys) > 0 {
		out[prefix+"list-map-keys"] = slices.Clone(s.XListMapKeys)
	}
	if s.XListType != nil {
		out[prefix+"list-type"] = *s.XListType
	}
	if s.XMapType != nil {
		out[prefix+"map-type"] = *s.XMapType
	}
	if len(s.XValidations) > 0 {
		out[prefix+"validations"] = s.XValidations.DeepCopy()
	}
}

// forV2 returns a copy without what version 2 can't say, and without what its readers stumble over.
func forV2(s *props) props {
	c := *s
	c.AllOf, c.AnyOf, c.OneOf, c.Not = nil, nil, nil, nil
	if c.Nullable {
		c.Type, c.Nullable, c.Items, c.Properties = "", false, nil, nil
	}
	if c.XPreserveUnknownFields != nil {
		c.Items, c.Properties = nil, nil
		if c.Type == "object" {
			c.Type = ""
		}
	}
	if c.Items == nil && c.Type == "array" {
		c.Type = ""
	}
	c.Required = slices.DeleteFunc(slices.Clone(c.Required), func(name string) bool { return c.Properties[name].Nullable })
	if a := c.AdditionalProperties; a != nil && a.Schema != nil && a.Schema.Nullable {
		c.Required = nil
	}
	return c
}
