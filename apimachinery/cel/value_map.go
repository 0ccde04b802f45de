package cel

import (
	"fmt"
	"reflect"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"k8s.io/apimachinery/pkg/api/equality"
)

var _ traits.Mapper = (*objectValue)(nil)

// objectValue is an object: one with properties, whose names are escaped in expressions, or a map.
type objectValue struct {
	m map[string]any
	n *node
}

// schemaOf finds the schema of a property or value. An embedded resource shows its head.
func (o *objectValue) schemaOf(name string) *node {
	n := o.n
	if n.embedded {
		n = n.object
	}
	if n.props != nil || n.embedded {
		return n.props[name]
	}
	return n.additional
}

// escapes says whether names are escaped: those of properties are, keys of maps aren't.
func (o *objectValue) escapes() bool { return o.n.props != nil || o.n.embedded }

// Find looks for a property or key. A property that is null is absent.
func (o *objectValue) Find(key ref.Val) (ref.Val, bool) {
	ident, ok := key.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key), true
	}
	name := string(ident)
	if o.escapes() {
		if name, ok = Unescape(name); !ok {
			return nil, false
		}
	}
	v, ok := o.m[name]
	if !ok || v == nil && o.escapes() {
		return nil, false
	}
	if n := o.schemaOf(name); n != nil {
		return value(v, n), true
	}
	return nil, false
}

// Contains says whether Find finds the key.
func (o *objectValue) Contains(key ref.Val) ref.Val {
	v, found := o.Find(key)
	if v != nil && types.IsUnknownOrError(v) {
		return v
	}
	return types.Bool(found)
}

// Get is Find, with an error if there is nothing.
func (o *objectValue) Get(key ref.Val) ref.Val {
	if v, found := o.Find(key); found {
		return v
	}
	return types.ValOrErr(key, "no such key: %v", key)
}

// Size counts all that is there, known or not.
func (o *objectValue) Size() ref.Val { return types.Int(len(o.m)) }

// Equal compares what the schema knows as CEL does, and the rest as data.
func (o *objectValue) Equal(other ref.Val) ref.Val {
	with, ok := other.(traits.Mapper)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	if o.Size() != with.Size() {
		return types.False
	}
	for name, v := range o.m {
		if eq := o.equalAt(name, v, with); eq != types.True {
			return eq
		}
	}
	return types.True
}

func (o *objectValue) equalAt(name string, v any, with traits.Mapper) ref.Val {
	if o.schemaOf(name) == nil {
		theirs, ok := with.(*objectValue)
		if !ok {
			return types.MaybeNoSuchOverloadErr(with)
		}
		w, found := theirs.m[name]
		return types.Bool(!found || equality.Semantic.DeepEqual(v, w))
	}
	key := types.String(name)
	if o.escapes() {
		if ident, ok := Escape(name); ok {
			key = types.String(ident)
		}
	}
	mine, found := o.Find(key)
	theirs, foundThere := with.Find(key)
	switch {
	case found != foundThere:
		return types.False
	case !found:
		return types.True
	}
	return mine.Equal(theirs)
}

// Iterator goes through the keys, in order.
func (o *objectValue) Iterator() traits.Iterator {
	keys := make([]ref.Val, 0, len(o.m))
	for _, name := range sortedKeys(o.m) {
		if o.schemaOf(name) == nil {
			continue
		}
		if o.escapes() {
			if ident, ok := Escape(name); ok {
				name = ident
			}
		}
		keys = append(keys, types.String(name))
	}
	return &iterator{vals: keys}
}

// ConvertToNative gives the map itself.
func (o *objectValue) ConvertToNative(t reflect.Type) (any, error) {
	if t.Kind() == reflect.Map {
		return o.m, nil
	}
	return nil, fmt.Errorf("type conversion error from '%s' to '%s'", o.Type(), t)
}

// ConvertToType gives the value or its type.
func (o *objectValue) ConvertToType(t ref.Type) ref.Val { return asType(o, types.MapType, t) }

// Type is that of maps, also of objects.
func (o *objectValue) Type() ref.Type { return types.MapType }

// Value is the map itself.
func (o *objectValue) Value() any { return o.m }

func asType(v ref.Val, own, t ref.Type) ref.Val {
	switch t {
	case own:
		return v
	case types.TypeType:
		return own.(ref.Val)
	}
	return types.NewErr("type conversion error from '%s' to '%s'", own, t.TypeName())
}

// iterator goes through values that are there already.
type iterator struct {
	vals []ref.Val
	at   int
}

func (i *iterator) HasNext() ref.Val { return types.Bool(i.at < len(i.vals)) }

func (i *iterator) Next() ref.Val {
	if i.at >= len(i.vals) {
		return types.NewErr("no more elements")
	}
	i.at++
	return i.vals[i.at-1]
}

func (i *iterator) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("type conversion error from 'iterator' to '%s'", t)
}

func (i *iterator) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("type conversion error from 'iterator' to '%s'", t.TypeName())
}
func (i *iterator) Equal(ref.Val) ref.Val { return types.False }
func (i *iterator) Type() ref.Type        { return types.IteratorType }
func (i *iterator) Value() any            { return nil }
