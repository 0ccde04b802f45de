package apiextensions

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxSelectable is how many selectable fields a version may have.
const maxSelectable = 8

// hoisted says which parts all versions have in common. Kubernetes moves them to the top of its hub type, and so the
// paths of errors begin there: spec.validation for the schema of a definition with one version.
type hoisted struct {
	schema, subresources, columns, selectable bool
}

func hoist(versions []apiext.CustomResourceDefinitionVersion) hoisted {
	h := hoisted{true, true, true, true}
	for i := range versions {
		v, first := &versions[i], &versions[0]
		h.schema = h.schema && equality.Semantic.DeepEqual(v.Schema, first.Schema)
		h.subresources = h.subresources && equality.Semantic.DeepEqual(v.Subresources, first.Subresources)
		h.columns = h.columns && equality.Semantic.DeepEqual(v.AdditionalPrinterColumns, first.AdditionalPrinterColumns)
		h.selectable = h.selectable && equality.Semantic.DeepEqual(v.SelectableFields, first.SelectableFields)
	}
	return h
}

func (j *judge) validateVersions(n, o *apiext.CustomResourceDefinition) field.ErrorList {
	versions, at := n.Spec.Versions, spec.Child("versions")
	var errs field.ErrorList
	h := hoist(versions)
	stored, seen, unique := 0, map[string]bool{}, true
	status := slices.ContainsFunc(versions, hasStatus)
	for i := range versions {
		v := &versions[i]
		if v.Storage {
			stored++
		}
		unique = unique && !seen[v.Name]
		seen[v.Name] = true
		if msgs := utilvalidation.IsDNS1035Label(v.Name); len(msgs) > 0 {
			errs = append(errs, field.Invalid(at.Index(i).Child("name"), v.Name, strings.Join(msgs, ",")))
		}
		for _, msg := range badDeprecation(v) {
			errs = append(errs, field.Invalid(at.Index(i).Child("deprecationWarning"), v.DeprecationWarning, msg))
		}
		place := func(shared bool, top string, own string) *field.Path {
			if shared {
				return spec.Child(top)
			}
			return at.Index(i).Child(own)
		}
		if !h.schema || i == 0 {
			errs = append(errs, j.validateSchema(v, before(o, v.Name), place(h.schema, "validation", "schema"), at.Index(i), status && h.schema || hasStatus(*v))...)
		}
		if !h.subresources || i == 0 {
			errs = append(errs, validateSubresources(v.Subresources, place(h.subresources, "subresources", "subresources"))...)
		}
		if !h.columns || i == 0 {
			errs = append(errs, validateColumns(v.AdditionalPrinterColumns, place(h.columns, "additionalPrinterColumns", "additionalPrinterColumns"))...)
		}
		if !h.selectable || i == 0 {
			errs = append(errs, validateSelectable(v, before(o, v.Name), place(h.selectable, "selectableFields", "selectableFields"))...)
		}
	}
	if !unique {
		errs = append(errs, field.Invalid(at, versions, "must contain unique version names"))
	}
	if stored != 1 {
		errs = append(errs, field.Invalid(at, versions, "must have exactly one version marked as storage version"))
	}
	return errs
}

// before is what a version was in the definition before; nil if it is new.
func before(o *apiext.CustomResourceDefinition, name string) *apiext.CustomResourceDefinitionVersion {
	if o == nil {
		return nil
	}
	for i := range o.Spec.Versions {
		if o.Spec.Versions[i].Name == name {
			return &o.Spec.Versions[i]
		}
	}
	return nil
}

func hasStatus(v apiext.CustomResourceDefinitionVersion) bool {
	return v.Subresources != nil && v.Subresources.Status != nil
}

func badDeprecation(v *apiext.CustomResourceDefinitionVersion) (msgs []string) {
	if v.DeprecationWarning == nil {
		return nil
	}
	text := *v.DeprecationWarning
	if !v.Deprecated {
		return []string{"can only be set for deprecated versions"}
	}
	if len(text) > 256 {
		msgs = append(msgs, "must be <= 256 characters long")
	}
	if text == "" {
		msgs = append(msgs, "must not be an empty string")
	}
	for i, r := range text {
		if !unicode.IsPrint(r) {
			msgs = append(msgs, fmt.Sprintf("must only contain printable UTF-8 characters; non-printable character found at index %d", i))
			break
		}
	}
	if !utf8.ValidString(text) {
		msgs = append(msgs, "must only contain printable UTF-8 characters")
	}
	return msgs
}

// validateSchema judges the schema of a version: that it is there, and what it says.
func (j *judge) validateSchema(v, old *apiext.CustomResourceDefinitionVersion, at, version *field.Path, status bool) field.ErrorList {
	if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
		if old != nil && (old.Schema == nil || old.Schema.OpenAPIV3Schema == nil) && !v.Served {
			return nil
		}
		return field.ErrorList{field.Required(version.Child("schema", "openAPIV3Schema"), "")}
	}
	var before *apiext.JSONSchemaProps
	if old != nil && old.Schema != nil {
		before = old.Schema.OpenAPIV3Schema
	}
	return j.checkSchema(v.Schema.OpenAPIV3Schema, before, at.Child("openAPIV3Schema"), status)
}

func validateSubresources(s *apiext.CustomResourceSubresources, at *field.Path) field.ErrorList {
	if s == nil || s.Scale == nil {
		return nil
	}
	var errs field.ErrorList
	path := func(name, path string, below string, roots ...string) {
		at := at.Child("scale." + name)
		switch bad := badPath(path, at); {
		case path == "":
			errs = append(errs, field.Required(at, ""))
		case len(bad) > 0:
			errs = append(errs, bad...)
		case !slices.ContainsFunc(roots, func(root string) bool { return strings.HasPrefix(path, root) }):
			errs = append(errs, field.Invalid(at, path, "should be a json path under "+below))
		}
	}
	path("specReplicasPath", s.Scale.SpecReplicasPath, ".spec", ".spec.")
	path("statusReplicasPath", s.Scale.StatusReplicasPath, ".status", ".status.")
	if p := s.Scale.LabelSelectorPath; p != nil && *p != "" {
		path("labelSelectorPath", *p, "either .spec or .status", ".spec.", ".status.")
	}
	return errs
}

func badPath(path string, at *field.Path) field.ErrorList {
	if path != "" && path[0] != '.' {
		return field.ErrorList{field.Invalid(at, path, "must be a simple json path starting with .")}
	}
	return nil
}

var (
	columnTypes   = []string{"boolean", "date", "integer", "number", "string"}
	columnFormats = []string{"byte", "date", "date-time", "double", "float", "int32", "int64", "password"}
)

func validateColumns(columns []apiext.CustomResourceColumnDefinition, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	types := "must be one of " + strings.Join(columnTypes, ",")
	for i := range columns {
		c, at := &columns[i], at.Index(i)
		if c.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		if c.Type == "" {
			errs = append(errs, field.Required(at.Child("type"), types))
		} else if !slices.Contains(columnTypes, c.Type) {
			errs = append(errs, field.Invalid(at.Child("type"), c.Type, types))
		}
		if c.Format != "" && !slices.Contains(columnFormats, c.Format) {
			errs = append(errs, field.Invalid(at.Child("format"), c.Format, "must be one of "+strings.Join(columnFormats, ",")))
		}
		if c.JSONPath == "" {
			errs = append(errs, field.Required(at.Child("JSONPath"), ""))
		} else {
			errs = append(errs, badPath(c.JSONPath, at.Child("JSONPath"))...)
		}
	}
	return errs
}

func validateSelectable(v, old *apiext.CustomResourceDefinitionVersion, at *field.Path) field.ErrorList {
	if len(v.SelectableFields) == 0 || v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
		return nil
	}
	var errs field.ErrorList
	seen := map[string]bool{}
	for i := range v.SelectableFields {
		path, at := v.SelectableFields[i].JSONPath, at.Index(i).Child("jsonPath")
		if path == "" {
			errs = append(errs, field.Required(at, ""))
			continue
		}
		s, err := fieldAt(v.Schema.OpenAPIV3Schema, path)
		if err != nil {
			errs = append(errs, field.Invalid(at, path, fmt.Sprintf("is an invalid path: %v", err)))
			continue
		}
		if strings.HasPrefix(path, ".metadata.") || path == ".metadata" {
			errs = append(errs, field.Invalid(at, path, "must not point to fields in metadata"))
		}
		if !slices.Contains([]string{"string", "boolean", "integer"}, s.Type) {
			errs = append(errs, field.Invalid(at, path, "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."))
		}
		if seen[path] {
			errs = append(errs, field.Duplicate(at, path))
		}
		seen[path] = true
	}
	if len(seen) > maxSelectable && (old == nil || !equality.Semantic.DeepEqual(old.SelectableFields, v.SelectableFields)) {
		errs = append(errs, field.TooMany(at, len(seen), maxSelectable))
	}
	return errs
}

// fieldAt follows a path of names (".spec.color") into a schema.
func fieldAt(s *apiext.JSONSchemaProps, path string) (*apiext.JSONSchemaProps, error) {
	if path[0] != '.' {
		return nil, fmt.Errorf("expected . at the beginning of %q", path)
	}
	for step := range strings.SplitSeq(path[1:], ".") {
		if step == "" || strings.ContainsAny(step, "[]'\" ") {
			return nil, fmt.Errorf("expected the name of a field, but got %q", step)
		}
		below, ok := s.Properties[step]
		switch {
		case ok:
			s = &below
		case step == "metadata":
			s = &apiext.JSONSchemaProps{Type: "object"}
		default:
			return nil, fmt.Errorf("does not refer to a valid field: %s", step)
		}
	}
	return s, nil
}
