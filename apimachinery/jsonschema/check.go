package jsonschema

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

type props = apiextensionsv1.JSONSchemaProps

// CheckOptions say in what surroundings a schema stands.
type CheckOptions struct {
	// Status says that the version has the status subresource, which limits what the root may say.
	Status bool
}

// Check judges a schema at a path (that of openAPIV3Schema) as apiextensions/v1 does when a CustomResourceDefinition
// is created: that it is structural and says nothing that is not supported, that defaults are valid by their own
// schema and pruned, list and map types, and all of x-kubernetes-validations but the expressions themselves. It
// neither keeps nor changes s; a nil s is fine. Beyond Kubernetes' rules it refuses what passes MaxDepth or MaxNodes,
// and it tells about MaxErrors at most.
func Check(s *apiextensionsv1.JSONSchemaProps, path *field.Path, o CheckOptions) field.ErrorList {
	if s == nil {
		return nil
	}
	raw, rawErr := newBuilder(true).schema(s, 0, nil)
	if errors.Is(rawErr, errTooDeep) || errors.Is(rawErr, errTooLarge) {
		return field.ErrorList{field.Forbidden(path, innermost(rawErr).Error()+" are not supported")}
	}
	var errs field.ErrorList
	if o.Status {
		errs = append(errs, checkStatusRoot(s, path)...)
	}
	if s.Nullable {
		errs = append(errs, field.Forbidden(path.Child("nullable"), "nullable cannot be true at the root"))
	}
	if rawErr == nil {
		found := checkStructural(s, path)
		if len(found) == 0 {
			found = checkDefaults(raw, path)
		}
		errs = append(errs, found...)
	}
	c := checker{errs: errs}
	c.schema(s, path, inside{defaults: true}, true)
	if len(c.errs) == 0 && rawErr != nil {
		c.add(field.Invalid(path, "", innermost(rawErr).Error()))
	}
	return c.errs
}

func innermost(err error) error {
	for next := err; next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}

// rootFields are the fields of a root that a version with status may have: none that would bind status and the rest
// together.
var rootFields = []string{"Description", "Type", "Format", "Title", "Maximum", "ExclusiveMaximum", "Minimum", "ExclusiveMinimum", "MaxLength", "MinLength", "Pattern", "MaxItems", "MinItems", "UniqueItems", "MultipleOf", "Required", "Items", "Properties", "ExternalDocs", "Example", "XPreserveUnknownFields", "XValidations"}

func checkStatusRoot(s *props, path *field.Path) field.ErrorList {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		switch {
		case v.Field(i).IsZero():
		case name == "Type" && s.Type != "object":
			return field.ErrorList{field.Invalid(path.Child("type"), s.Type, `only "object" is allowed as the type at the root of the schema if the status subresource is enabled`)}
		case name != "Type" && !slices.Contains(rootFields, name):
			return field.ErrorList{field.Invalid(path, *s, fmt.Sprintf(`only %v fields are allowed at the root of the schema if the status subresource is enabled`, rootFields))}
		}
	}
	return nil
}

// inside is what the surroundings of a schema allow.
type inside struct {
	defaults bool
	reason   string // why there may be no default
	meta     bool   // the metadata of a resource
}

type checker struct{ errs field.ErrorList }

func (c *checker) add(err *field.Error) {
	if len(c.errs) <= MaxErrors {
		c.errs = append(c.errs, err)
	}
}

func (c *checker) schema(s *props, path *field.Path, in inside, root bool) {
	if s == nil || len(c.errs) > MaxErrors {
		return
	}
	c.supported(s, path, in)
	if s.UniqueItems {
		c.add(field.Forbidden(path.Child("uniqueItems"), "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"))
	}
	c.children(s, path, in, root)
	if s.XPreserveUnknownFields != nil && !*s.XPreserveUnknownFields {
		c.add(field.Invalid(path.Child("x-kubernetes-preserve-unknown-fields"), false, "must be true or undefined"))
	}
	c.mapType(s, path)
	c.listType(s, path)
	c.listKeys(s, path)
	c.keyedItems(s, path)
	c.validations(s, path)
}

func (c *checker) children(s *props, path *field.Path, in inside, root bool) {
	if a := s.AdditionalProperties; a != nil {
		if len(s.Properties) != 0 && (!a.Allows || a.Schema != nil) {
			c.add(field.Forbidden(path.Child("additionalProperties"), "additionalProperties and properties are mutual exclusive"))
		}
		sub := in
		if in.meta {
			sub.defaults, sub.reason = false, "inside additionalProperties applying to object metadata"
		}
		c.schema(a.Schema, path.Child("additionalProperties"), sub, false)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		sub := in
		if (root || s.XEmbeddedResource) && typeMeta(name) {
			sub.meta = true
			if root {
				sub.defaults, sub.reason = false, "in top-level "+name
			}
		}
		p := s.Properties[name]
		c.schema(&p, path.Child("properties").Key(name), sub, false)
	}
	c.schema(s.Not, path.Child("not"), in, false)
	for i := range s.AllOf {
		c.schema(&s.AllOf[i], path.Child("allOf").Index(i), in, false)
	}
	for i := range s.OneOf {
		c.schema(&s.OneOf[i], path.Child("oneOf").Index(i), in, false)
	}
	for i := range s.AnyOf {
		c.schema(&s.AnyOf[i], path.Child("anyOf").Index(i), in, false)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Definitions)) {
		d := s.Definitions[name]
		c.schema(&d, path.Child("definitions").Key(name), in, false)
	}
	if s.Items != nil {
		c.schema(s.Items.Schema, path.Child("items"), in, false)
		for i := range s.Items.JSONSchemas {
			c.schema(&s.Items.JSONSchemas[i], path.Child("items").Index(i), in, false)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Dependencies)) {
		c.schema(s.Dependencies[name].Schema, path.Child("dependencies").Key(name), in, false)
	}
}

// supported refuses the parts of JSON schema that Kubernetes doesn't know.
func (c *checker) supported(s *props, path *field.Path, in inside) {
	if s.Type != "" && typeNames[s.Type] == 0 {
		c.add(field.NotSupported(path.Child("type"), s.Type, slices.Sorted(maps.Keys(typeNames))))
	}
	if s.Default != nil && !in.defaults {
		detail := "must not be set"
		if in.reason != "" {
			detail += " " + in.reason
		}
		c.add(field.Forbidden(path.Child("default"), detail))
	}
	for _, f := range []struct {
		set  bool
		name string
	}{
		{s.ID != "", "id"},
		{s.AdditionalItems != nil, "additionalItems"},
		{len(s.PatternProperties) != 0, "patternProperties"},
		{len(s.Definitions) != 0, "definitions"},
		{s.Dependencies != nil, "dependencies"},
		{s.Ref != nil, "$ref"},
	} {
		if f.set {
			c.add(field.Forbidden(path.Child(f.name), f.name+" is not supported"))
		}
	}
	if s.Type == "null" {
		c.add(field.Forbidden(path.Child("type"), "type cannot be set to null, use nullable as an alternative"))
	}
	if s.Items != nil && len(s.Items.JSONSchemas) != 0 {
		c.add(field.Forbidden(path.Child("items"), "items must be a schema object and not an array"))
	}
	if in.meta && s.XEmbeddedResource {
		c.add(field.Forbidden(path.Child("x-kubernetes-embedded-resource"), "must not be used inside of resource meta"))
	}
}
