package library

import (
	"errors"
	"reflect"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apimachinery/pkg/api/resource"
)

// QuantityType is the type of [Quantity].
var QuantityType = cel.ObjectType("kubernetes.Quantity")

// Quantity is an amount of a resource as a value of CEL.
type Quantity struct{ *resource.Quantity }

// ConvertToNative gives the *resource.Quantity or its text.
func (q Quantity) ConvertToNative(t reflect.Type) (any, error) {
	return toNative(t, "Quantity", q.Quantity, q.String())
}

// ConvertToType gives the value or its type.
func (q Quantity) ConvertToType(t ref.Type) ref.Val { return toType(q, QuantityType, t) }

// Equal compares the amounts.
func (q Quantity) Equal(other ref.Val) ref.Val {
	o, ok := other.(Quantity)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return types.Bool(q.Quantity.Equal(*o.Quantity))
}

// Type is [QuantityType].
func (q Quantity) Type() ref.Type { return QuantityType }

// Value is the *resource.Quantity.
func (q Quantity) Value() any { return q.Quantity }

func quantities() *lib {
	q := QuantityType
	type amount = *resource.Quantity
	compare := func(f func(int) ref.Val) func(ref.Val, ref.Val) ref.Val {
		return native2(func(a, b amount) ref.Val { return f(a.Cmp(*b)) })
	}
	change := func(f func(amount, resource.Quantity)) func(ref.Val, ref.Val) ref.Val {
		return native2(func(a, b amount) ref.Val { return changed(a, *b, f) })
	}
	changeBy := func(f func(amount, resource.Quantity)) func(ref.Val, ref.Val) ref.Val {
		return native2(func(a amount, b int64) ref.Val {
			return changed(a, *resource.NewQuantity(b, resource.DecimalExponent), f)
		})
	}
	return &lib{name: "kubernetes.quantity", options: []cel.EnvOption{
		cel.Function("quantity", global("string_to_quantity", cel.StringType, q, native(parseQuantity))),
		cel.Function("isQuantity", global("is_quantity_string", cel.StringType, cel.BoolType, native(func(s string) ref.Val {
			_, err := resource.ParseQuantity(s)
			return types.Bool(err == nil)
		}))),
		cel.Function("sign", global("quantity_sign", q, cel.IntType, native(func(a amount) ref.Val { return types.Int(a.Sign()) }))),
		cel.Function("isGreaterThan", member2("quantity_is_greater_than", q, q, cel.BoolType,
			compare(func(c int) ref.Val { return types.Bool(c > 0) }))),
		cel.Function("isLessThan", member2("quantity_is_less_than", q, q, cel.BoolType,
			compare(func(c int) ref.Val { return types.Bool(c < 0) }))),
		cel.Function("compareTo", member2("quantity_compare_to", q, q, cel.IntType,
			compare(func(c int) ref.Val { return types.Int(c) }))),
		cel.Function("asApproximateFloat", member("quantity_get_float", q, cel.DoubleType, native(func(a amount) ref.Val {
			return types.Double(a.AsApproximateFloat64())
		}))),
		cel.Function("asInteger", member("quantity_get_int", q, cel.IntType, native(asInteger))),
		cel.Function("isInteger", member("quantity_is_integer", q, cel.BoolType, native(func(a amount) ref.Val {
			_, ok := a.AsInt64()
			return types.Bool(ok)
		}))),
		cel.Function("add", member2("quantity_add", q, q, q, change(amount.Add)),
			member2("quantity_add_int", q, cel.IntType, q, changeBy(amount.Add))),
		cel.Function("sub", member2("quantity_sub", q, q, q, change(amount.Sub)),
			member2("quantity_sub_int", q, cel.IntType, q, changeBy(amount.Sub))),
	}}
}

func parseQuantity(s string) ref.Val {
	q, err := resource.ParseQuantity(s)
	if err != nil {
		return types.WrapErr(err)
	}
	return Quantity{&q}
}

func asInteger(q *resource.Quantity) ref.Val {
	v, ok := q.AsInt64()
	if !ok {
		return types.WrapErr(errors.New("cannot convert value to integer"))
	}
	return types.Int(v)
}

// changed applies f to a copy of q.
func changed(q *resource.Quantity, by resource.Quantity, f func(*resource.Quantity, resource.Quantity)) ref.Val {
	c := q.DeepCopy()
	f(&c, by)
	return Quantity{&c}
}
