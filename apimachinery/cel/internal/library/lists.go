package library

import (
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// element is a type of which a list can be sorted or summed.
type element struct {
	name string
	typ  *cel.Type
	zero ref.Val // nil if it can't be summed
}

func elements() []element {
	return []element{
		{"int", cel.IntType, types.Int(0)},
		{"uint", cel.UintType, types.Uint(0)},
		{"double", cel.DoubleType, types.Double(0)},
		{"duration", cel.DurationType, types.Duration{}},
		{"bool", cel.BoolType, nil},
		{"timestamp", cel.TimestampType, nil},
		{"string", cel.StringType, nil},
		{"bytes", cel.BytesType, nil},
	}
}

func lists() *lib {
	var sorted, sums, smallest, largest []cel.FunctionOpt
	for _, e := range elements() {
		list := cel.ListType(e.typ)
		sorted = append(sorted, member(fmt.Sprintf("list_%s_is_sorted_bool", e.name), list, cel.BoolType, isSorted))
		smallest = append(smallest, member(fmt.Sprintf("list_%s_min_%s", e.name, e.name), list, e.typ, extreme("min", types.IntOne)))
		largest = append(largest, member(fmt.Sprintf("list_%s_max_%s", e.name, e.name), list, e.typ, extreme("max", types.IntNegOne)))
		if e.zero != nil {
			sums = append(sums, member(fmt.Sprintf("list_%s_sum_%s", e.name, e.name), list, e.typ, sum(e.zero)))
		}
	}
	a := cel.TypeParamType("A")
	return &lib{name: "kubernetes.lists", options: []cel.EnvOption{
		cel.Function("isSorted", sorted...), cel.Function("sum", sums...),
		cel.Function("min", smallest...), cel.Function("max", largest...),
		cel.Function("indexOf", member2("list_a_index_of_int", cel.ListType(a), a, cel.IntType, indexOf)),
		cel.Function("lastIndexOf", member2("list_a_last_index_of_int", cel.ListType(a), a, cel.IntType, lastIndexOf)),
	}}
}

// each calls f for the elements of a list until it returns something.
func each(list ref.Val, f func(ref.Val) ref.Val) ref.Val {
	iterable, ok := list.(traits.Iterable)
	if !ok {
		return types.MaybeNoSuchOverloadErr(list)
	}
	for it := iterable.Iterator(); it.HasNext() == types.True; {
		if found := f(it.Next()); found != nil {
			return found
		}
	}
	return nil
}

func isSorted(list ref.Val) ref.Val {
	var last traits.Comparer
	found := each(list, func(v ref.Val) ref.Val {
		next, ok := v.(traits.Comparer)
		if !ok {
			return types.MaybeNoSuchOverloadErr(v)
		}
		if last != nil && last.Compare(v) == types.IntOne {
			return types.False
		}
		last = next
		return nil
	})
	if found != nil {
		return found
	}
	return types.True
}

func sum(zero ref.Val) func(ref.Val) ref.Val {
	return func(list ref.Val) ref.Val {
		total := zero
		found := each(list, func(v ref.Val) ref.Val {
			adder, ok := total.(traits.Adder)
			if !ok {
				return types.MaybeNoSuchOverloadErr(v)
			}
			total = adder.Add(v)
			if types.IsUnknownOrError(total) {
				return total
			}
			return nil
		})
		if found != nil {
			return found
		}
		return total
	}
}

// extreme finds the element for which no other compares as worse says.
func extreme(name string, worse ref.Val) func(ref.Val) ref.Val {
	return func(list ref.Val) ref.Val {
		var best ref.Val
		found := each(list, func(v ref.Val) ref.Val {
			if best == nil {
				best = v
			}
			c, ok := best.(traits.Comparer)
			if !ok {
				return types.MaybeNoSuchOverloadErr(best)
			}
			if c.Compare(v) == worse {
				best = v
			}
			return nil
		})
		switch {
		case found != nil:
			return found
		case best == nil:
			return types.NewErr("%s called on empty list", name)
		}
		return best
	}
}

func indexOf(list, item ref.Val) ref.Val {
	l, ok := list.(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(list)
	}
	size, _ := l.Size().(types.Int)
	for i := range size {
		if l.Get(i).Equal(item) == types.True {
			return i
		}
	}
	return types.Int(-1)
}

func lastIndexOf(list, item ref.Val) ref.Val {
	l, ok := list.(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(list)
	}
	size, _ := l.Size().(types.Int)
	for i := size - 1; i >= 0; i-- {
		if l.Get(i).Equal(item) == types.True {
			return i
		}
	}
	return types.Int(-1)
}
