package cel

import (
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

const (
	objectType = "Object"
	patchType  = "JSONPatch"
)

// patchTypes lets expressions make objects: Object, and Object.spec and so on for what is in it, with any fields; and
// operations of a JSON patch.
type patchTypes struct{ provider }

func isObject(name string) bool { return name == objectType || strings.HasPrefix(name, objectType+".") }

// FindStructType knows both families.
func (p patchTypes) FindStructType(name string) (*types.Type, bool) {
	if name == patchType || isObject(name) {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.provider.FindStructType(name)
}

// FindStructFieldNames knows those of operations.
func (p patchTypes) FindStructFieldNames(name string) ([]string, bool) {
	switch {
	case name == patchType:
		return []string{"op", "from", "path", "value"}, true
	case isObject(name):
		return nil, true
	}
	return p.provider.FindStructFieldNames(name)
}

// FindStructFieldType has all fields of an Object dynamic.
func (p patchTypes) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	switch {
	case name == patchType:
		t, ok := map[string]*celgo.Type{"op": celgo.StringType, "from": celgo.StringType, "path": celgo.StringType, "value": celgo.DynType}[field]
		return &types.FieldType{Type: t}, ok
	case isObject(name):
		return &types.FieldType{Type: celgo.DynType}, true
	}
	return p.provider.FindStructFieldType(name, field)
}

// NewValue makes what an expression spells out.
func (p patchTypes) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if name == patchType || isObject(name) {
		return &made{types.NewObjectType(name), fields}
	}
	return p.provider.NewValue(name, fields)
}

// made is an object or operation that an expression made.
type made struct {
	typ    *types.Type
	fields map[string]ref.Val
}

var (
	_ traits.Indexer     = (*made)(nil)
	_ traits.FieldTester = (*made)(nil)
	_ traits.Zeroer      = (*made)(nil)
)

// ConvertToNative gives a map.
func (m *made) ConvertToNative(t reflect.Type) (any, error) {
	if t != reflect.TypeFor[map[string]any]() {
		return nil, fmt.Errorf("unable to convert to %v", t)
	}
	return plain(m)
}

// ConvertToType gives the value or its type.
func (m *made) ConvertToType(t ref.Type) ref.Val {
	switch {
	case t.TypeName() == m.typ.TypeName():
		return m
	case t == types.TypeType:
		return types.NewTypeTypeWithParam(m.typ)
	}
	return types.NewErr("unsupported conversion into %v", t)
}

// Equal compares type and fields.
func (m *made) Equal(other ref.Val) ref.Val {
	o, ok := other.(*made)
	if !ok || o.typ.TypeName() != m.typ.TypeName() || len(o.fields) != len(m.fields) {
		return types.False
	}
	for k, v := range m.fields {
		w, ok := o.fields[k]
		if !ok || v.Equal(w) != types.True {
			return types.False
		}
	}
	return types.True
}

// Get reads a field.
func (m *made) Get(field ref.Val) ref.Val {
	name, _ := field.Value().(string)
	if v, ok := m.fields[name]; ok {
		return v
	}
	return types.ValOrErr(field, "no such key: %v", field)
}

// IsSet says whether a field is there.
func (m *made) IsSet(field ref.Val) ref.Val {
	name, _ := field.Value().(string)
	_, ok := m.fields[name]
	return types.Bool(ok)
}

// IsZeroValue says that there are no fields.
func (m *made) IsZeroValue() bool { return len(m.fields) == 0 }

// Type is Object, Object.spec and so on, or JSONPatch.
func (m *made) Type() ref.Type { return m.typ }

// Value is a map.
func (m *made) Value() any {
	v, err := plain(m)
	if err != nil {
		return types.WrapErr(err)
	}
	return v
}

// Operation is one of a JSON patch (RFC 6902).
type Operation struct {
	Op   string `json:"op"`
	From string `json:"from,omitempty"`
	Path string `json:"path"`
	// Value is there for operations that were given one, even null.
	Value *any `json:"value,omitempty"`
}

// Apply evaluates an [ApplyConfiguration]: data to merge into the object, without apiVersion and kind.
func (v *Evaluation) Apply(x *Expression) (map[string]any, error) {
	r, err := v.run(x)
	if err != nil {
		return nil, err
	}
	m, ok := r.(*made)
	if !ok {
		return nil, fmt.Errorf("unsupported return type from ApplyConfiguration expression: %v", r.Type())
	}
	if err := errors.Join(misnamed(m, m.typ.TypeName())...); err != nil {
		return nil, fmt.Errorf("type mismatch: %w", err)
	}
	p, err := plain(m)
	if err != nil {
		return nil, fmt.Errorf("invalid return type: %w", err)
	}
	return p.(map[string]any), nil
}

// Patch evaluates a [JSONPatch]. encoding/json makes a patch document of the result.
func (v *Evaluation) Patch(x *Expression) ([]Operation, error) {
	r, err := v.run(x)
	if err != nil {
		return nil, err
	}
	l, ok := r.(traits.Lister)
	if !ok {
		return nil, errors.New("type mismatch: JSONPatchType.expression should evaluate to array")
	}
	ops := []Operation{}
	for it := l.Iterator(); it.HasNext() == types.True; {
		op, err := operation(it.Next())
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
}

func operation(v ref.Val) (op Operation, err error) {
	m, ok := v.(*made)
	if !ok {
		return op, fmt.Errorf("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of %v", v.Type())
	}
	text := func(name string) string {
		if f, ok := m.fields[name]; ok {
			s, _ := f.Value().(string)
			return s
		}
		return ""
	}
	op.Op, op.From, op.Path = text("op"), text("from"), text("path")
	with, ok := m.fields["value"]
	if !ok {
		return op, nil
	}
	if o, ok := with.(*made); ok {
		if err := errors.Join(misnamed(o, o.typ.TypeName())...); err != nil {
			return op, fmt.Errorf("type mismatch: %w", err)
		}
	}
	data, err := plain(with)
	if err != nil {
		return op, fmt.Errorf("JSONPath valueExpression evaluated to a type that could not marshal to JSON: %w", err)
	}
	op.Value = &data
	return op, nil
}

// misnamed finds objects whose type doesn't tell the path of the field that they are in.
func misnamed(v ref.Val, path string) (errs []error) {
	switch v := v.(type) {
	case *made:
		if name := v.typ.TypeName(); name != path {
			errs = append(errs, fmt.Errorf("unexpected type name %q, expected %q, which matches field name path from root Object type", name, path))
		}
		for _, name := range sortedKeys(v.fields) {
			errs = append(errs, misnamed(v.fields[name], path+"."+name)...)
		}
	case traits.Mapper:
		if _, literal := v.Value().(map[ref.Val]ref.Val); !literal {
			return nil
		}
		for it := v.Iterator(); it.HasNext() == types.True; {
			errs = append(errs, misnamed(v.Get(it.Next()), path)...)
		}
	case traits.Lister:
		if _, literal := v.Value().([]ref.Val); !literal {
			return nil
		}
		for it := v.Iterator(); it.HasNext() == types.True; {
			errs = append(errs, misnamed(it.Next(), path)...)
		}
	}
	return errs
}

// plain is a value of CEL as data that can be JSON. Integers stay integers.
func plain(v ref.Val) (any, error) {
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case types.Bool, types.Int, types.Double, types.String:
		return v.Value(), nil
	case types.Uint:
		return int64(v), nil
	case types.Bytes:
		return base64.StdEncoding.EncodeToString(v), nil
	case types.Duration:
		return v.String(), nil
	case types.Timestamp:
		return v.UTC().Format(time.RFC3339Nano), nil
	case *types.Optional:
		if v.HasValue() {
			return plain(v.GetValue())
		}
		return nil, nil
	case *made:
		m := make(map[string]any, len(v.fields))
		for k, f := range v.fields {
			p, err := plain(f)
			if err != nil {
				return nil, fmt.Errorf("convert field %q: %w", k, err)
			}
			m[k] = p
		}
		return m, nil
	case traits.Mapper:
		return plainMap(v)
	case traits.Lister:
		l := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			p, err := plain(it.Next())
			if err != nil {
				return nil, err
			}
			l = append(l, p)
		}
		return l, nil
	case *types.Err:
		return nil, v
	}
	if s := v.ConvertToType(types.StringType); s.Type() == types.StringType {
		return s.Value(), nil
	}
	return nil, fmt.Errorf("%v is no JSON", v.Type())
}

func plainMap(v traits.Mapper) (any, error) {
	m := map[string]any{}
	for it := v.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.Value().(string)
		if !ok {
			return nil, fmt.Errorf("map key %v is of type %v, not string", key.Value(), key.Type())
		}
		p, err := plain(v.Get(key))
		if err != nil {
			return nil, err
		}
		m[name] = p
	}
	return m, nil
}
