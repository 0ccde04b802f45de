package cel

import (
	"fmt"
	"reflect"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

var _ traits.Lister = (*listValue)(nil)

// listValue is an atomic list.
type listValue struct {
	l []any
	n *node
}

// Get wraps an element.
func (l *listValue) Get(index ref.Val) ref.Val {
	i, ok := index.(types.Int)
	switch {
	case !ok:
		return types.ValOrErr(index, "unsupported index: %v", index)
	case i < 0 || int(i) >= len(l.l):
		return types.NewErr("index out of bounds: %v", index)
	}
	return value(l.l[i], l.n.items)
}

// Size is the number of elements.
func (l *listValue) Size() ref.Val { return types.Int(len(l.l)) }

func (l *listValue) vals() []ref.Val {
	vals := make([]ref.Val, len(l.l))
	for i, v := range l.l {
		vals[i] = value(v, l.n.items)
	}
	return vals
}

// Iterator goes through the elements.
func (l *listValue) Iterator() traits.Iterator { return &iterator{vals: l.vals()} }

// Contains compares with each element; an error counts only if nothing is equal.
func (l *listValue) Contains(v ref.Val) ref.Val {
	if types.IsUnknownOrError(v) {
		return v
	}
	var err ref.Val
	for _, e := range l.l {
		eq := value(e, l.n.items).Equal(v)
		if eq == types.True {
			return types.True
		}
		if _, ok := eq.(types.Bool); !ok && err == nil {
			err = types.MaybeNoSuchOverloadErr(eq)
		}
	}
	if err != nil {
		return err
	}
	return types.False
}

// Equal compares in order.
func (l *listValue) Equal(other ref.Val) ref.Val {
	with, ok := other.(traits.Lister)
	switch {
	case !ok:
		return types.MaybeNoSuchOverloadErr(other)
	case l.Size() != with.Size():
		return types.False
	}
	for i := range l.l {
		if eq := l.Get(types.Int(i)).Equal(with.Get(types.Int(i))); eq != types.True {
			return eq
		}
	}
	return types.True
}

// Add appends.
func (l *listValue) Add(other ref.Val) ref.Val {
	with, ok := other.(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	vals := l.vals()
	for it := with.Iterator(); it.HasNext() == types.True; {
		vals = append(vals, it.Next())
	}
	return types.NewRefValList(types.DefaultTypeAdapter, vals)
}

// ConvertToNative gives the list itself, or a []string of a list of strings.
func (l *listValue) ConvertToNative(t reflect.Type) (any, error) {
	if t.Kind() != reflect.Slice {
		return nil, fmt.Errorf("type conversion error from '%s' to '%s'", l.Type(), t)
	}
	if l.n.items.kind != "string" {
		return l.l, nil
	}
	texts := make([]string, len(l.l))
	for i, v := range l.l {
		s, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("expected all elements to be of type string, but got %T", v)
		}
		texts[i] = s
	}
	return texts, nil
}

// ConvertToType gives the value or its type.
func (l *listValue) ConvertToType(t ref.Type) ref.Val { return asType(l, types.ListType, t) }

// Type is that of lists.
func (l *listValue) Type() ref.Type { return types.ListType }

// Value is the list itself.
func (l *listValue) Value() any { return l.l }
