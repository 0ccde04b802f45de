package jsonschema

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// needsType refuses an extension on a schema of another type.
func (c *checker) needsType(s *props, path *field.Path, want, extension string) bool {
	if s.Type == want {
		return true
	}
	detail := "must be " + want + " if " + extension + " is specified"
	if s.Type == "" {
		c.add(field.Required(path.Child("type"), detail))
	} else {
		c.add(field.Invalid(path.Child("type"), s.Type, detail))
	}
	return false
}

func (c *checker) mapType(s *props, path *field.Path) {
	if s.XMapType == nil {
		return
	}
	c.needsType(s, path, "object", "x-kubernetes-map-type")
	if *s.XMapType != "atomic" && *s.XMapType != "granular" {
		c.add(field.NotSupported(path.Child("x-kubernetes-map-type"), *s.XMapType, []string{"atomic", "granular"}))
	}
}

func (c *checker) listType(s *props, path *field.Path) {
	if s.XListType == nil {
		return
	}
	kind := *s.XListType
	if c.needsType(s, path, "array", "x-kubernetes-list-type") && kind == "set" && s.Items != nil && s.Items.Schema != nil {
		const detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
		item := s.Items.Schema
		switch {
		case item.Type == "array" && item.XListType != nil && *item.XListType != "atomic":
			c.add(field.Invalid(path.Child("items").Child("x-kubernetes-list-type"), item.XListType, detail))
		case item.Type == "object" && (item.XMapType == nil || *item.XMapType != "atomic"):
			c.add(field.Invalid(path.Child("items").Child("x-kubernetes-map-type"), item.XListType, detail))
		}
	}
	if !slices.Contains([]string{"atomic", "set", "map"}, kind) {
		c.add(field.NotSupported(path.Child("x-kubernetes-list-type"), kind, []string{"atomic", "set", "map"}))
	}
}

func (c *checker) listKeys(s *props, path *field.Path) {
	const detail = "must be map if x-kubernetes-list-map-keys is non-empty"
	isMap := s.XListType != nil && *s.XListType == "map"
	if len(s.XListMapKeys) > 0 && !isMap {
		if s.XListType == nil {
			c.add(field.Required(path.Child("x-kubernetes-list-type"), detail))
		} else {
			c.add(field.Invalid(path.Child("x-kubernetes-list-type"), *s.XListType, detail))
		}
	}
	if !isMap {
		return
	}
	keysPath := path.Child("x-kubernetes-list-map-keys")
	if len(s.XListMapKeys) == 0 {
		c.add(field.Required(keysPath, "must not be empty if x-kubernetes-list-type is map"))
	}
	if s.Items == nil {
		c.add(field.Required(path.Child("items"), "must have a schema if x-kubernetes-list-type is map"))
		return
	}
	item := s.Items.Schema
	if item == nil {
		c.add(field.Invalid(path.Child("items"), s.Items, "must only have a single schema if x-kubernetes-list-type is map"))
		return
	}
	if item.Type != "object" {
		c.add(field.Invalid(path.Child("items").Child("type"), item.Type, "must be object if parent array's x-kubernetes-list-type is map"))
		return
	}
	seen := make(map[string]bool, len(s.XListMapKeys))
	for _, k := range s.XListMapKeys {
		if p, ok := item.Properties[k]; !ok {
			c.add(field.Invalid(keysPath, s.XListMapKeys, "entries must all be names of item properties"))
		} else if p.Type == "array" || p.Type == "object" {
			c.add(field.Invalid(path.Child("items").Child("properties").Key(k).Child("type"), item.Type, "must be a scalar type if parent array's x-kubernetes-list-type is map"))
		}
		if seen[k] {
			c.add(field.Invalid(keysPath, s.XListMapKeys, "must not contain duplicate entries"))
		}
		seen[k] = true
	}
}

// keyedItems sees to it that items of sets and list maps, and their keys, are always there.
func (c *checker) keyedItems(s *props, path *field.Path) {
	if s.Items == nil || s.Items.Schema == nil || s.XListType == nil || *s.XListType != "set" && *s.XListType != "map" {
		return
	}
	item, at := s.Items.Schema, path.Child("items")
	if item.Nullable {
		c.add(field.Forbidden(at.Child("nullable"), "cannot be nullable when x-kubernetes-list-type is "+*s.XListType))
	}
	if *s.XListType != "map" {
		return
	}
	for _, k := range s.XListMapKeys {
		p, ok := item.Properties[k]
		if !ok {
			continue
		}
		if !slices.Contains(item.Required, k) && p.Default == nil {
			c.add(field.Required(at.Child("properties").Key(k).Child("default"), "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"))
		}
		if p.Nullable {
			c.add(field.Forbidden(at.Child("properties").Key(k).Child("nullable"), "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"))
		}
	}
}
