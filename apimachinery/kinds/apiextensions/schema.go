package apiextensions

import (
	"fmt"
	"slices"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
	"github.com/bedplate/bedplate/apimachinery/jsonschema"
)

// checkSchema judges a schema, and the rules in it; old is what it was before, nil if it is new.
func (j *judge) checkSchema(s, old *apiext.JSONSchemaProps, at *field.Path, status bool) field.ErrorList {
	errs := jsonschema.Check(s, at, jsonschema.CheckOptions{Status: status})
	return append(errs, j.rules.CheckSchema(s, at, cel.SchemaCheck{
		Broken: len(errs) > 0, Unchanged: old != nil && equality.Semantic.DeepEqual(s, old),
	})...)
}

// warnings tell of what a schema says in vain, as far as it did not say so before.
func warnings(new, old apimachinery.Object) []string {
	now := setsOfObjects(new)
	if old == nil {
		return now
	}
	before := setsOfObjects(old)
	return slices.DeleteFunc(now, func(w string) bool { return slices.Contains(before, w) })
}

func setsOfObjects(o apimachinery.Object) []string {
	d, ok := o.(*apiext.CustomResourceDefinition)
	if !ok {
		return nil
	}
	found := map[string]bool{}
	for i := range d.Spec.Versions {
		if s := d.Spec.Versions[i].Schema; s != nil && s.OpenAPIV3Schema != nil {
			eachSchema(s.OpenAPIV3Schema, func(s *apiext.JSONSchemaProps) {
				if s.XListType != nil && *s.XListType == "set" && s.Items != nil && s.Items.Schema != nil && (s.Items.Schema.Type == "object" || s.Items.Schema.Type == "array") {
					found[fmt.Sprintf("x-kubernetes-list-type: set for items of type %q is not supported by server-side apply or CEL validation rules", s.Items.Schema.Type)] = true
				}
			})
		}
	}
	out := make([]string, 0, len(found))
	for w := range found {
		out = append(out, w)
	}
	slices.Sort(out)
	return out
}

// eachSchema calls visit for a schema and for all below it.
func eachSchema(s *apiext.JSONSchemaProps, visit func(*apiext.JSONSchemaProps)) {
	if s == nil {
		return
	}
	visit(s)
	for _, p := range s.Properties {
		eachSchema(&p, visit)
	}
	if s.Items != nil {
		eachSchema(s.Items.Schema, visit)
		for i := range s.Items.JSONSchemas {
			eachSchema(&s.Items.JSONSchemas[i], visit)
		}
	}
	if s.AdditionalProperties != nil {
		eachSchema(s.AdditionalProperties.Schema, visit)
	}
	for _, list := range [][]apiext.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		for i := range list {
			eachSchema(&list[i], visit)
		}
	}
	eachSchema(s.Not, visit)
}
