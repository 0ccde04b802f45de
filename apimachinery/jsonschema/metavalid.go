package jsonschema

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// embeddedResources validates apiVersion, kind and metadata of the embedded resources in v.
func embeddedResources(at *field.Path, v any, n *node) (errs field.ErrorList) {
	if n == nil || !n.marks.has(anyEmbedded) {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		if n.marks.has(embedded) {
			errs = append(errs, resourceMeta(at, v)...)
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if child, ok := n.property(name); ok {
				errs = append(errs, embeddedResources(at.Child(name), v[name], child)...)
			} else if n.extra != nil {
				errs = append(errs, embeddedResources(at.Key(name), v[name], n.extra)...)
			}
			if len(errs) > MaxErrors {
				break
			}
		}
	case []any:
		for i, item := range v {
			errs = append(errs, embeddedResources(at.Index(i), item, n.items)...)
			if len(errs) > MaxErrors {
				break
			}
		}
	}
	return errs
}

func resourceMeta(at *field.Path, o map[string]any) (errs field.ErrorList) {
	apiVersion, found := o["apiVersion"]
	if !found {
		errs = append(errs, field.Required(at.Child("apiVersion"), ""))
	}
	kind, foundKind := o["kind"]
	if !foundKind {
		errs = append(errs, field.Required(at.Child("kind"), ""))
	}
	if found {
		if s, ok := apiVersion.(string); !ok {
			errs = append(errs, field.Invalid(at.Child("apiVersion"), apiVersion, "must be a string"))
		} else if s == "" {
			errs = append(errs, field.Invalid(at.Child("apiVersion"), s, "must not be empty"))
		} else if _, err := schema.ParseGroupVersion(s); err != nil {
			errs = append(errs, field.Invalid(at.Child("apiVersion"), s, err.Error()))
		}
	}
	if foundKind {
		if s, ok := kind.(string); !ok {
			errs = append(errs, field.Invalid(at.Child("kind"), kind, "must be a string"))
		} else if s == "" {
			errs = append(errs, field.Invalid(at.Child("kind"), s, "must not be empty"))
		} else if msgs := validation.IsDNS1035Label(strings.ToLower(s)); len(msgs) > 0 {
			errs = append(errs, field.Invalid(at.Child("kind"), s, "may have mixed case, but should otherwise match: "+strings.Join(msgs, ",")))
		}
	}
	return append(errs, objectMeta(at, o)...)
}

func objectMeta(at *field.Path, o map[string]any) field.ErrorList {
	v, found := o["metadata"]
	if !found {
		return nil
	}
	var c coercer
	meta, err := c.meta(o, at)
	if err != nil {
		return field.ErrorList{field.Invalid(at.Child("metadata"), v, err.Error())}
	}
	if meta.Name == "" {
		meta.Name = "fakename" // an embedded resource needs no name
	}
	segment := func(name string, prefix bool) []string {
		if prefix {
			return content.IsPathSegmentPrefix(name)
		}
		return content.IsPathSegmentName(name)
	}
	return metavalidation.ValidateObjectMeta(meta, meta.Namespace != "", segment, at.Child("metadata"))
}
