// Package library has the functions that Kubernetes adds to CEL, with their costs: URLs, regular expressions, lists,
// quantities, addresses, formats, versions, JSON patches and questions to the authorizer.
package library

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
)

// lib is one library: its functions, and what programs that use them need.
type lib struct {
	name     string
	options  []cel.EnvOption
	programs []cel.ProgramOption
}

func (l *lib) LibraryName() string                 { return l.name }
func (l *lib) CompileOptions() []cel.EnvOption     { return l.options }
func (l *lib) ProgramOptions() []cel.ProgramOption { return l.programs }

// Common returns the libraries that every environment of Kubernetes v1.37 has for new expressions.
func Common() []cel.EnvOption {
	return []cel.EnvOption{
		cel.Lib(urls()), cel.Lib(regex()), cel.Lib(lists()), cel.Lib(quantities()), cel.Lib(ips()), cel.Lib(cidrs()),
		cel.Lib(formats()), cel.Lib(semvers()), cel.Lib(authorization()), cel.Lib(selectors()),
	}
}

// JSONPatch returns the library jsonpatch, which only mutating policies have.
func JSONPatch() cel.EnvOption { return cel.Lib(jsonPatch()) }

// native makes a function of one argument of what ref.Val.Value must be for it.
func native[A any](f func(A) ref.Val) func(ref.Val) ref.Val {
	return func(v ref.Val) ref.Val {
		a, ok := v.Value().(A)
		if !ok {
			return types.MaybeNoSuchOverloadErr(v)
		}
		return f(a)
	}
}

// native2 is native for two arguments.
func native2[A, B any](f func(A, B) ref.Val) func(ref.Val, ref.Val) ref.Val {
	return func(v, w ref.Val) ref.Val {
		a, ok := v.Value().(A)
		if !ok {
			return types.MaybeNoSuchOverloadErr(v)
		}
		b, ok := w.Value().(B)
		if !ok {
			return types.MaybeNoSuchOverloadErr(w)
		}
		return f(a, b)
	}
}

// member declares a method on a receiver with one argument at most.
func member(id string, receiver *cel.Type, result *cel.Type, f func(ref.Val) ref.Val) cel.FunctionOpt {
	return cel.MemberOverload(id, []*cel.Type{receiver}, result, cel.UnaryBinding(f))
}

func member2(id string, receiver, arg, result *cel.Type, f func(ref.Val, ref.Val) ref.Val) cel.FunctionOpt {
	return cel.MemberOverload(id, []*cel.Type{receiver, arg}, result, cel.BinaryBinding(f))
}

func global(id string, arg, result *cel.Type, f func(ref.Val) ref.Val) cel.FunctionOpt {
	return cel.Overload(id, []*cel.Type{arg}, result, cel.UnaryBinding(f))
}

// optimizedRegex compiles the constant pattern of a call once, when its program is made.
func optimizedRegex(function string, factory func(interpreter.InterpretableCall, string) (interpreter.InterpretableCall, error)) *interpreter.RegexOptimization {
	return &interpreter.RegexOptimization{Function: function, RegexIndex: 1, Factory: factory}
}
