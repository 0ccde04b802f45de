package jsonschema

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// level is where a schema stands.
type level uint8

const (
	atRoot level = iota
	atItem
	atField
)

// checkStructural checks that s is structural: what is nested in allOf, anyOf, oneOf and not limits values alone, and
// speaks of nothing that isn't specified outside.
func checkStructural(s *props, path *field.Path) field.ErrorList {
	c := structuralChecker{}
	c.schema(s, atRoot, path)
	c.complete(s, s, path, path)
	slices.SortStableFunc(c.errs, func(a, b *field.Error) int { return strings.Compare(a.Error(), b.Error()) })
	return c.errs
}

type structuralChecker struct{ checker }

func (c *structuralChecker) schema(s *props, lvl level, path *field.Path) {
	if s == nil || len(c.errs) > MaxErrors {
		return
	}
	items := itemsOf(s)
	if s.Type == "array" && items == nil {
		c.add(field.Required(path.Child("items"), "must be specified"))
	}
	c.schema(items, atItem, path.Child("items"))
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		c.schema(&p, atField, path.Child("properties").Key(name))
	}
	if a := s.AdditionalProperties; a != nil {
		if lvl == atRoot {
			c.add(field.Forbidden(path.Child("additionalProperties"), "must not be used at the root"))
		}
		c.schema(a.Schema, atField, path.Child("additionalProperties"))
	}
	c.extensions(s, path)
	c.limits(s, isIntOrString(s.AnyOf), len(s.AllOf) > 0 && isIntOrString(s.AllOf[0].AnyOf), path)
	c.types(s, lvl, path)
	c.meta(s, lvl, path)
}

func itemsOf(s *props) *props {
	if s.Items == nil {
		return nil
	}
	return s.Items.Schema
}

// isIntOrString reports whether anyOf is what int-or-string may have for others to read.
func isIntOrString(anyOf []props) bool {
	return len(anyOf) == 2 && reflect.DeepEqual(anyOf, []props{{Type: "integer"}, {Type: "string"}})
}

func (c *structuralChecker) extensions(s *props, path *field.Path) {
	if !s.XIntOrString {
		return
	}
	if s.XPreserveUnknownFields != nil {
		c.add(field.Invalid(path.Child("x-kubernetes-preserve-unknown-fields"), true, "must be false if x-kubernetes-int-or-string is true"))
	}
	if s.XEmbeddedResource {
		c.add(field.Invalid(path.Child("x-kubernetes-embedded-resource"), true, "must be false if x-kubernetes-int-or-string is true"))
	}
}

func (c *structuralChecker) types(s *props, lvl level, path *field.Path) {
	const embeddedType = "must be object if x-kubernetes-embedded-resource is true"
	at := path.Child("type")
	switch {
	case s.XEmbeddedResource && s.Type == "":
		c.add(field.Required(at, embeddedType))
	case s.XEmbeddedResource && s.Type != "object":
		c.add(field.Invalid(at, s.Type, embeddedType))
	case s.Type == "" && !s.XIntOrString && s.XPreserveUnknownFields == nil:
		where := [...]string{atRoot: "at the root", atItem: "for specified array items", atField: "for specified object fields"}[lvl]
		c.add(field.Required(at, "must not be empty "+where))
	}
	if s.XEmbeddedResource && s.AdditionalProperties != nil {
		c.add(field.Forbidden(path.Child("additionalProperties"), "must not be used if x-kubernetes-embedded-resource is set"))
	}
	if lvl == atRoot && s.Type != "" && s.Type != "object" {
		c.add(field.Invalid(at, s.Type, "must be object at the root"))
	}
}

// meta limits what is said of apiVersion, kind and metadata.
func (c *structuralChecker) meta(s *props, lvl level, path *field.Path) {
	resource := lvl == atRoot || s.XEmbeddedResource
	for _, name := range []string{"kind", "apiVersion"} {
		if p, ok := s.Properties[name]; ok && resource && p.Type != "string" {
			c.add(field.Invalid(path.Child("properties").Key(name).Child("type"), p.Type, "must be string"))
		}
	}
	if m, ok := s.Properties["metadata"]; ok {
		at := path.Child("properties").Key("metadata")
		if resource && m.Type != "object" {
			c.add(field.Invalid(at.Child("type"), m.Type, "must be object"))
		}
		if lvl == atRoot && !namesAlone(m) {
			c.add(field.Forbidden(at, "must not specify anything other than name and generateName, but metadata is implicitly specified"))
		}
	}
	if s.XEmbeddedResource && s.XPreserveUnknownFields == nil && len(s.Properties) == 0 {
		c.add(field.Required(path.Child("properties"), "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"))
	}
}

// namesAlone reports whether a schema of metadata speaks of nothing but name and generateName.
func namesAlone(m props) bool {
	for name := range m.Properties {
		if name != "name" && name != "generateName" {
			return false
		}
	}
	m.Properties, m.Type, m.Default = nil, "", nil
	return reflect.DeepEqual(m, props{})
}

// limits checks what limits values, with all that is nested.
func (c *structuralChecker) limits(s *props, skipAnyOf, skipFirstAnyOf bool, path *field.Path) {
	if !skipAnyOf {
		for i := range s.AnyOf {
			c.nested(&s.AnyOf[i], false, path.Child("anyOf").Index(i))
		}
	}
	for i := range s.AllOf {
		c.nested(&s.AllOf[i], skipFirstAnyOf && i == 0, path.Child("allOf").Index(i))
	}
	for i := range s.OneOf {
		c.nested(&s.OneOf[i], false, path.Child("oneOf").Index(i))
	}
	c.nested(s.Not, false, path.Child("not"))
	if s.Pattern != "" {
		if _, err := regexp.Compile(s.Pattern); err != nil {
			c.add(field.Invalid(path.Child("pattern"), s.Pattern, fmt.Sprintf("must be a valid regular expression, but isn't: %v", err)))
		}
	}
}

func (c *structuralChecker) nested(s *props, skipAnyOf bool, path *field.Path) {
	if s == nil || len(c.errs) > MaxErrors {
		return
	}
	c.limits(s, skipAnyOf, false, path)
	c.nested(itemsOf(s), false, path.Child("items"))
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		c.nested(&p, false, path.Child("properties").Key(name))
	}
	a := s.AdditionalProperties
	for _, f := range []struct {
		set    bool
		name   string
		should string
	}{
		{s.Type != "", "type", "empty"},
		{a != nil && (a.Allows || a.Schema != nil), "additionalProperties", "undefined"},
		{s.Default != nil && len(s.Default.Raw) > 0, "default", "undefined"},
		{s.Title != "", "title", "empty"},
		{s.Description != "", "description", "empty"},
		{s.Nullable, "nullable", "false"},
		{s.XPreserveUnknownFields != nil, "x-kubernetes-preserve-unknown-fields", "false"},
		{s.XEmbeddedResource, "x-kubernetes-embedded-resource", "false"},
		{s.XIntOrString, "x-kubernetes-int-or-string", "false"},
		{len(s.XListMapKeys) > 0, "x-kubernetes-list-map-keys", "empty"},
		{s.XListType != nil, "x-kubernetes-list-type", "undefined"},
		{s.XMapType != nil, "x-kubernetes-map-type", "undefined"},
		{len(s.XValidations) > 0, "x-kubernetes-validations", "empty"},
	} {
		if f.set {
			c.add(field.Forbidden(path.Child(f.name), "must be "+f.should+" to be structural"))
		}
	}
	if _, ok := s.Properties["metadata"]; ok {
		c.add(field.Forbidden(path.Child("properties").Key("metadata"), "must not be specified in a nested context"))
	}
}

// complete checks that all that v speaks of is specified by s. At the root, v is s.
func (c *structuralChecker) complete(v, s *props, sPath, vPath *field.Path) {
	inner := func(v *props, vPath *field.Path) {
		if v != nil {
			c.specified(v, s, sPath, vPath)
		}
	}
	inner(v.Not, vPath.Child("not"))
	for i := range v.AllOf {
		inner(&v.AllOf[i], vPath.Child("allOf").Index(i))
	}
	for i := range v.AnyOf {
		inner(&v.AnyOf[i], vPath.Child("anyOf").Index(i))
	}
	for i := range v.OneOf {
		inner(&v.OneOf[i], vPath.Child("oneOf").Index(i))
	}
}

func (c *structuralChecker) specified(v, s *props, sPath, vPath *field.Path) {
	if len(c.errs) > MaxErrors {
		return
	}
	if s == nil {
		c.add(field.Required(sPath, "because it is defined in "+vPath.String()))
		return
	}
	c.complete(v, s, sPath, vPath)
	if items := itemsOf(v); items != nil {
		c.specified(items, itemsOf(s), sPath.Child("items"), vPath.Child("items"))
	}
	for _, name := range slices.Sorted(maps.Keys(v.Properties)) {
		vp := v.Properties[name]
		sAt, vAt := sPath.Child("properties").Key(name), vPath.Child("properties").Key(name)
		if sp, ok := s.Properties[name]; ok {
			c.specified(&vp, &sp, sAt, vAt)
		} else {
			c.specified(&vp, nil, sAt, vAt)
		}
	}
}
