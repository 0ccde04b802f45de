package library

import (
	"errors"
	"reflect"
	"strings"

	"github.com/blang/semver/v4"
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// SemverType is the type of [Semver].
var SemverType = cel.ObjectType("kubernetes.Semver")

// Semver is a semantic version as a value of CEL.
type Semver struct{ semver.Version }

// ConvertToNative gives the semver.Version or its text.
func (v Semver) ConvertToNative(t reflect.Type) (any, error) {
	return toNative(t, "Semver", v.Version, v.String())
}

// ConvertToType gives the value or its type.
func (v Semver) ConvertToType(t ref.Type) ref.Val { return toType(v, SemverType, t) }

// Equal compares precedence, so build metadata don't count.
func (v Semver) Equal(other ref.Val) ref.Val {
	o, ok := other.(Semver)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return types.Bool(v.EQ(o.Version))
}

// Type is [SemverType].
func (v Semver) Type() ref.Type { return SemverType }

// Value is the semver.Version.
func (v Semver) Value() any { return v.Version }

// ParseSemver reads a version.
func ParseSemver(s string) (Semver, error) {
	v, err := semver.Parse(s)
	return Semver{v}, err
}

func semvers() *lib {
	t := SemverType
	compare := func(f func(int) ref.Val) func(ref.Val, ref.Val) ref.Val {
		return native2(func(a, b semver.Version) ref.Val { return f(a.Compare(b)) })
	}
	number := func(name string, f func(semver.Version) uint64) cel.EnvOption {
		return cel.Function(name, member("semver_"+name, t, cel.IntType, native(func(v semver.Version) ref.Val {
			return types.Int(f(v))
		})))
	}
	two := []*cel.Type{cel.StringType, cel.BoolType}
	return &lib{name: "kubernetes.Semver", options: []cel.EnvOption{
		cel.Function("semver",
			global("string_to_semver", cel.StringType, t, native(func(s string) ref.Val { return toSemver(s, false) })),
			cel.Overload("string_bool_to_semver", two, t, cel.BinaryBinding(native2(toSemver)))),
		cel.Function("isSemver",
			global("is_semver_string", cel.StringType, cel.BoolType, native(func(s string) ref.Val { return isSemver(s, false) })),
			cel.Overload("is_semver_string_bool", two, cel.BoolType, cel.BinaryBinding(native2(isSemver)))),
		cel.Function("isGreaterThan", member2("semver_is_greater_than", t, t, cel.BoolType,
			compare(func(c int) ref.Val { return types.Bool(c > 0) }))),
		cel.Function("isLessThan", member2("semver_is_less_than", t, t, cel.BoolType,
			compare(func(c int) ref.Val { return types.Bool(c < 0) }))),
		cel.Function("compareTo", member2("semver_compare_to", t, t, cel.IntType,
			compare(func(c int) ref.Val { return types.Int(c) }))),
		number("major", func(v semver.Version) uint64 { return v.Major }),
		number("minor", func(v semver.Version) uint64 { return v.Minor }),
		number("patch", func(v semver.Version) uint64 { return v.Patch }),
	}}
}

func toSemver(s string, normalize bool) ref.Val {
	v, err := parseSemver(s, normalize)
	if err != nil {
		return types.WrapErr(err)
	}
	return Semver{v}
}

func isSemver(s string, normalize bool) ref.Val {
	_, err := parseSemver(s, normalize)
	return types.Bool(err == nil)
}

func parseSemver(s string, normalize bool) (semver.Version, error) {
	if !normalize {
		return semver.Parse(s)
	}
	full, err := normalized(s)
	if err != nil {
		return semver.Version{}, err
	}
	return semver.Parse(full)
}

// normalized takes a leading v and leading zeros away, and fills in what a short version leaves out.
func normalized(s string) (string, error) {
	parts := strings.SplitN(strings.TrimPrefix(s, "v"), ".", 3)
	for i, p := range parts {
		if len(p) < 2 {
			continue
		}
		p = strings.TrimLeft(p, "0")
		if p == "" || p[0] < '0' || p[0] > '9' {
			p = "0" + p
		}
		parts[i] = p
	}
	if len(parts) < 3 && strings.ContainsAny(parts[len(parts)-1], "+-") {
		return "", errors.New("short version cannot contain PreRelease/Build meta data")
	}
	for len(parts) < 3 {
		parts = append(parts, "0")
	}
	return strings.Join(parts, "."), nil
}
