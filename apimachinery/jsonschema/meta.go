package jsonschema

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
)

// CoerceOptions say what CoerceMetadata does.
type CoerceOptions struct {
	// Root takes the object itself as an embedded resource, too. Without it, only those below are looked at.
	Root bool
	// Drop removes what doesn't have the type that it should have, as is done with what was read from storage.
	// Without it, that is an error.
	Drop bool
	// Unknown asks for the paths of the fields that ObjectMeta doesn't have.
	Unknown bool
}

// CoerceMetadata gives the metadata of embedded resources, in place, the form of ObjectMeta: fields that ObjectMeta
// doesn't have are removed, and apiVersion and kind must be strings. It returns the paths of the unknown fields
// ("spec.template.metadata.x"), sorted, if asked for.
func (s *Schema) CoerceMetadata(o map[string]any, opts CoerceOptions) (unknown []string, err *field.Error) {
	if s == nil || !opts.Root && !s.root.marks.has(anyEmbedded) {
		return nil, nil
	}
	n := s.root
	if opts.Root && !n.marks.has(embedded) {
		root := *n
		root.marks |= embedded | anyEmbedded
		n = &root
	}
	c := coercer{drop: opts.Drop, track: opts.Unknown}
	err = c.value(nil, o, n)
	slices.Sort(c.unknown)
	return c.unknown, err
}

// ObjectMeta reads the metadata of an object. Where drop is true, fields that don't have their type are left out;
// otherwise they are an error. A member that ObjectMeta doesn't have is no error: its path is returned if unknown is
// true, with the prefix "metadata.". Without metadata, the result is nil.
func ObjectMeta(o map[string]any, drop, unknown bool) (*metav1.ObjectMeta, []string, error) {
	c := coercer{drop: drop, track: unknown}
	meta, err := c.meta(o, nil)
	return meta, c.unknown, err
}

type coercer struct {
	drop    bool
	track   bool
	unknown []string
	bytes   int
}

func (c *coercer) value(at *field.Path, v any, n *node) *field.Error {
	if n == nil || !n.marks.has(anyEmbedded) {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		if n.marks.has(embedded) {
			if err := c.resource(at, v); err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			m := v[name]
			child, specified := n.property(name)
			path := at.Child(name)
			if !specified {
				if child = n.extra; child != nil {
					path = at.Key(name)
				}
			}
			if err := c.value(path, m, child); err != nil {
				return err
			}
		}
	case []any:
		for i, item := range v {
			if err := c.value(at.Index(i), item, n.items); err != nil {
				return err
			}
		}
	}
	return nil
}

// resource coerces the three fields of an embedded resource.
func (c *coercer) resource(at *field.Path, o map[string]any) *field.Error {
	for _, name := range []string{"apiVersion", "kind"} {
		v, found := o[name]
		if _, ok := v.(string); ok || !found {
			continue
		}
		if !c.drop {
			return field.Invalid(at.Child(name), v, "must be a string")
		}
		delete(o, name)
	}
	v, found := o["metadata"]
	if !found {
		return nil
	}
	meta, err := c.meta(o, at)
	if err != nil {
		if !c.drop {
			return field.Invalid(at.Child("metadata"), v, err.Error())
		}
		return nil
	}
	out, err := runtime.DefaultUnstructuredConverter.ToUnstructured(meta)
	if err != nil {
		return field.Invalid(at.Child("metadata"), v, err.Error())
	}
	o["metadata"] = out
	if meta.CreationTimestamp.IsZero() {
		unstructured.RemoveNestedField(o, "metadata", "creationTimestamp")
	}
	return nil
}

// meta decodes the metadata of o.
func (c *coercer) meta(o map[string]any, at *field.Path) (*metav1.ObjectMeta, error) {
	v, found := o["metadata"]
	if !found {
		return nil, nil
	}
	raw, err := utiljson.Marshal(v)
	if err != nil {
		return nil, err
	}
	meta := &metav1.ObjectMeta{}
	strict, err := kjson.UnmarshalStrict(raw, meta)
	if err == nil {
		c.tell(at, strict)
		return meta, nil
	}
	if !c.drop {
		return nil, err
	}
	members, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("invalid metadata: expected object, got %T", v)
	}
	good, trial := &metav1.ObjectMeta{}, &metav1.ObjectMeta{}
	for name, m := range members {
		one, err := utiljson.Marshal(map[string]any{name: m})
		if err != nil || utiljson.Unmarshal(one, trial) != nil {
			continue
		}
		if strict, err = kjson.UnmarshalStrict(one, good); err == nil {
			c.tell(at, strict)
		}
	}
	return good, nil
}

// tell notes what ObjectMeta doesn't have.
func (c *coercer) tell(at *field.Path, strict []error) {
	if !c.track {
		return
	}
	prefix := at.Child("metadata").String() + "."
	for _, err := range strict {
		if f, ok := err.(kjson.FieldError); ok && len(c.unknown) < MaxDropped && c.bytes < maxDroppedBytes {
			path := prefix + f.FieldPath()
			c.bytes += len(path)
			c.unknown = append(c.unknown, path)
		}
	}
}
