package library

import (
	"regexp"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
)

func regex() *lib {
	return &lib{
		name: "kubernetes.regex",
		options: []cel.EnvOption{
			cel.Function("find", member2("string_find_string", cel.StringType, cel.StringType, cel.StringType,
				func(s, pattern ref.Val) ref.Val { return withPattern(find, s, pattern) })),
			cel.Function("findAll",
				member2("string_find_all_string", cel.StringType, cel.StringType, cel.ListType(cel.StringType),
					func(s, pattern ref.Val) ref.Val { return withPattern(findAll, s, pattern) }),
				cel.MemberOverload("string_find_all_string_int", []*cel.Type{cel.StringType, cel.StringType, cel.IntType},
					cel.ListType(cel.StringType), cel.FunctionBinding(func(args ...ref.Val) ref.Val {
						return withPattern(findAll, args...)
					}))),
		},
		programs: []cel.ProgramOption{cel.OptimizeRegex(
			optimizedRegex("find", compiled(find)), optimizedRegex("findAll", compiled(findAll)))},
	}
}

// matcher looks for a pattern in s; n bounds how often, -1 is no bound.
type matcher func(re *regexp.Regexp, s string, n int) ref.Val

func find(re *regexp.Regexp, s string, _ int) ref.Val { return types.String(re.FindString(s)) }

func findAll(re *regexp.Regexp, s string, n int) ref.Val {
	return types.NewStringList(types.DefaultTypeAdapter, re.FindAllString(s, n))
}

// withPattern compiles the second argument, and matches.
func withPattern(m matcher, args ...ref.Val) ref.Val {
	if len(args) < 2 {
		return types.NoSuchOverloadErr()
	}
	pattern, ok := args[1].Value().(string)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[1])
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return types.NewErr("Illegal regex: %v", err)
	}
	return match(m, re, args)
}

// match reads text and bound from the arguments of a call.
func match(m matcher, re *regexp.Regexp, args []ref.Val) ref.Val {
	if len(args) < 2 || len(args) > 3 {
		return types.NoSuchOverloadErr()
	}
	s, ok := args[0].Value().(string)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	n := int64(-1)
	if len(args) == 3 {
		if n, ok = args[2].Value().(int64); !ok {
			return types.MaybeNoSuchOverloadErr(args[2])
		}
	}
	return m(re, s, int(n))
}

// compiled replaces a call whose pattern is a constant.
func compiled(m matcher) func(interpreter.InterpretableCall, string) (interpreter.InterpretableCall, error) {
	return func(call interpreter.InterpretableCall, pattern string) (interpreter.InterpretableCall, error) {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, err
		}
		return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(args ...ref.Val) ref.Val {
			return match(m, re, args)
		}), nil
	}
}
