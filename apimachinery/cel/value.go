package cel

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
)

// value wraps unstructured data as CEL sees it under a schema. Nothing is copied: maps and lists wrap their elements
// when these are asked for. Data that don't fit the schema are errors, which end the expression that looks at them.
func value(v any, n *node) ref.Val {
	if v == nil {
		if n.nullable {
			return types.NullValue
		}
		return types.NewErr("invalid data, got null for schema with nullable=false")
	}
	if n.intOrString {
		return intOrString(v)
	}
	switch n.kind {
	case "object":
		m, ok := v.(map[string]any)
		if !ok {
			return types.NewErr("invalid data, expected a map for the provided schema with type=object")
		}
		return &objectValue{m, n}
	case "array":
		return listOf(v, n)
	case "string":
		s, ok := v.(string)
		if !ok {
			return types.NewErr("invalid data, expected string, got %T", v)
		}
		return stringValue(s, n.format)
	case "number":
		return number(v)
	case "integer":
		if i, ok := integer(v); ok {
			return i
		}
		return types.NewErr("invalid data, expected int, got %T", v)
	case "boolean":
		b, ok := v.(bool)
		if !ok {
			return types.NewErr("invalid data, expected bool, got %T", v)
		}
		return types.Bool(b)
	}
	if n.preserve {
		return preserved{v}
	}
	return types.NewErr("invalid type, expected object, array, number, integer, boolean or string, or no type with "+
		"x-kubernetes-int-or-string or x-kubernetes-preserve-unknown-fields is true, got %s", n.kind)
}

func integer(v any) (types.Int, bool) {
	switch v := v.(type) {
	case int64:
		return types.Int(v), true
	case int:
		return types.Int(v), true
	case int32:
		return types.Int(v), true
	}
	return 0, false
}

// number takes integers, too: 1.0 may have become 1 on its way.
func number(v any) ref.Val {
	switch f := v.(type) {
	case float64:
		return types.Double(f)
	case float32:
		return types.Double(f)
	}
	if i, ok := integer(v); ok {
		return types.Double(i)
	}
	return types.NewErr("invalid data, expected float, got %T", v)
}

func intOrString(v any) ref.Val {
	if s, ok := v.(string); ok {
		return types.String(s)
	}
	if i, ok := integer(v); ok {
		return i
	}
	return types.NewErr("invalid data, expected XIntOrString value to be either a string or integer")
}

func listOf(v any, n *node) ref.Val {
	l, ok := v.([]any)
	switch {
	case !ok:
		return types.NewErr("invalid data, expected an array for the provided schema with type=array")
	case n.items == nil:
		return types.NewErr("invalid array type, expected Items with a non-empty Schema")
	}
	switch n.listType {
	case "", "atomic":
		return &listValue{l, n}
	case "map", "set":
		return &keyedList{listValue: listValue{l, n}, keys: keysOf(n)}
	}
	return types.NewErr("invalid x-kubernetes-list-type, expected 'map', 'set' or 'atomic' but got %s", n.listType)
}

func stringValue(s, format string) ref.Val {
	switch format {
	case "duration":
		d, err := strfmt.ParseDuration(s)
		if err != nil {
			return types.NewErr("Invalid duration %s: %v", s, err)
		}
		return types.Duration{Duration: d}
	case "date":
		d, err := time.Parse(strfmt.RFC3339FullDate, s)
		if err != nil {
			return types.NewErr("Invalid date formatted string %s: %v", s, err)
		}
		return types.Timestamp{Time: d}
	case "date-time":
		d, err := strfmt.ParseDateTime(s)
		if err != nil {
			return types.NewErr("Invalid date-time formatted string %s: %v", s, err)
		}
		return types.Timestamp{Time: time.Time(d)}
	case "byte":
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return types.NewErr("Invalid byte formatted string %s: %v", s, err)
		}
		return types.Bytes(b)
	}
	return types.String(s)
}

// preserved is data without a schema. Expressions can't name it, so it is only ever compared.
type preserved struct{ v any }

func (p preserved) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("type conversion to '%s' not supported for values preserved by x-kubernetes-preserve-unknown-fields", t)
}

func (p preserved) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("type conversion to '%s' not supported for values preserved by x-kubernetes-preserve-unknown-fields", t.TypeName())
}

func (p preserved) Equal(other ref.Val) ref.Val {
	return types.Bool(equality.Semantic.DeepEqual(p.v, other.Value()))
}

func (p preserved) Type() ref.Type { return types.UnknownType }
func (p preserved) Value() any     { return p.v }
