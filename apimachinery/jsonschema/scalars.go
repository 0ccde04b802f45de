package jsonschema

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"unicode/utf8"

	"k8s.io/kube-openapi/pkg/validation/strfmt"
)

// typeOf returns the type of a value, and the format that goes with it.
func typeOf(v any) (typeSet, string) {
	switch v.(type) {
	case string:
		return tString, ""
	case bool:
		return tBoolean, ""
	case int64:
		return tInteger, "int64"
	case float64:
		return tNumber, "float64"
	case []any:
		return tArray, ""
	case map[string]any:
		return tObject, ""
	}
	return 0, ""
}

func checkType(n *node, l *rules, v any, at *where) (r result) {
	t, format := typeOf(v)
	fits := n.types.has(t) ||
		t == tInteger && n.types.has(tNumber) ||
		t == tNumber && n.types.has(tInteger) && whole(v.(float64))
	if l.format != "" {
		if t != tString && t != tArray && !fits && format != l.format {
			r.add(wrongType(at, l.format, format))
			return r
		}
		if (t == tString || t == tArray) && !n.types.has(tNumber|tInteger) {
			fits = true // of a value with a format, only the format counts
		}
	}
	if !fits {
		r.add(wrongType(at, n.typeName(), t.String()))
		return r
	}
	r.matches++
	return r
}

// whole reports whether a number is an integer, as near as JSON's readers can tell.
func whole(f float64) bool {
	const limit, epsilon = 1<<53 - 1, 1e-9
	if math.IsNaN(f) || f < -limit || f > limit {
		return false
	}
	rounded := math.Round(f)
	return f == rounded || rounded != 0 && math.Abs(f-rounded) < epsilon*math.Abs(rounded)
}

func checkString(l *rules, s string, at *where) (r result) {
	if l.maxLength != nil || l.minLength != nil {
		size := int64(utf8.RuneCountInString(s))
		if l.maxLength != nil && size > *l.maxLength {
			f := invalid(at, s, "%s in body should be at most %d chars long", *l.maxLength)
			f.kind, f.limit = failTooLong, *l.maxLength
			r.add(f)
			return r
		}
		if l.minLength != nil && size < *l.minLength {
			r.add(invalid(at, s, "%s in body should be at least %d chars long", *l.minLength))
			return r
		}
	}
	if l.pattern == nil {
		return r
	}
	re, err := l.pattern.compiled()
	if err != nil {
		r.add(invalid(at, s, "%s in body should match '%s'", fmt.Sprintf("%s, but pattern is invalid: %s", l.pattern.text, err)))
	} else if !re.MatchString(s) {
		r.add(invalid(at, s, "%s in body should match '%s'", l.pattern.text))
	}
	return r
}

func checkFormat(l *rules, s string, at *where) (r result) {
	hopeless := l.format == "hostname" && len(s) > 255
	if hopeless || !strfmt.Default.Validates(l.format, s) {
		f := invalid(at, s, "%s in body must be of type %s: %q", l.format, s)
		f.kind = failType
		r.add(f)
	}
	return r
}

func checkNumber(n *node, l *rules, v any, at *where) (r result) {
	if misfit := outOfRange(v, n, l, "Checked", at); misfit != nil {
		r.add(*misfit)
	}
	if m := l.multipleOf; m != nil {
		if misfit := outOfRange(*m, n, l, "MultipleOf", at); misfit != nil {
			r.add(*misfit)
			v := asFloat(v)
			r.merge(multipleOf(v, *m, at))
		} else {
			r.merge(multipleOf(v, *m, at))
		}
	}
	if m := l.minimum; m != nil {
		r.merge(bound(n, l, v, *m, n.marks.has(exclusiveMinimum), false, at))
	}
	if m := l.maximum; m != nil {
		r.merge(bound(n, l, v, *m, n.marks.has(exclusiveMaximum), true, at))
	}
	r.matches++
	return r
}

func asFloat(v any) float64 {
	if i, ok := v.(int64); ok {
		return float64(i)
	}
	f, _ := v.(float64)
	return f
}

// outOfRange tells that a number, or a limit, is not of the only type and format that the schema admits.
func outOfRange(v any, n *node, l *rules, what string, at *where) *failure {
	var err error
	format := ""
	switch n.types {
	case tInteger:
		bits := 64
		if format = l.format; format == "int32" {
			bits = 32
		} else if format != "int64" {
			format = ""
		}
		if i, ok := v.(int64); ok {
			if bits == 32 && int64(int32(i)) != i {
				err = strconv.ErrRange
			}
			break
		}
		_, err = strconv.ParseInt(strconv.FormatFloat(asFloat(v), 'f', -1, 64), 10, bits)
	case tNumber:
		if format = l.format; format == "float" {
			_, err = strconv.ParseFloat(strconv.FormatFloat(asFloat(v), 'f', -1, 64), 32)
		}
	}
	if err == nil {
		return nil
	}
	detail := "(default format)"
	if format != "" {
		detail = "with format " + format
	}
	name := at.String()
	return &failure{kind: failNested, name: name, message: fmt.Sprintf("%s value must be of type %s %s in %s", what, n.types, detail, name)}
}

func multipleOf(v any, factor float64, at *where) (r result) {
	const text = "%s in body should be a multiple of %v"
	if i, ok := v.(int64); ok {
		f := int64(factor)
		if f <= 0 {
			r.add(notPositive(at, f))
		} else if i/f*f != i {
			r.add(invalid(at, v, text, f))
		}
		return r
	}
	data := asFloat(v)
	if factor <= 0 {
		r.add(notPositive(at, factor))
		return r
	}
	times := data / factor
	if factor < 1 {
		times = 1 / factor * data
	}
	if !whole(times) {
		r.add(invalid(at, data, text, factor))
	}
	return r
}

func notPositive(at *where, factor any) failure {
	name := at.String()
	return failure{name: name, value: factor, message: fmt.Sprintf("factor MultipleOf declared for %s must be positive: %v", name, factor)}
}

// bound checks a maximum, or a minimum.
func bound(n *node, l *rules, v any, limit float64, exclusive, maximum bool, at *where) (r result) {
	what := "Minimum boundary"
	text := "%s in body should be greater than or equal to %v"
	switch {
	case maximum && exclusive:
		text = "%s in body should be less than %v"
	case maximum:
		text = "%s in body should be less than or equal to %v"
	case exclusive:
		text = "%s in body should be greater than %v"
	}
	if maximum {
		what = "Maximum boundary"
	}
	if misfit := outOfRange(limit, n, l, what, at); misfit != nil {
		r.add(*misfit)
		v = asFloat(v)
	}
	if i, ok := v.(int64); ok {
		m := int64(limit)
		if i == m && exclusive || maximum && i > m || !maximum && i < m {
			r.add(invalid(at, i, text, m))
		}
		return r
	}
	f := asFloat(v)
	if f == limit && exclusive || maximum && f > limit || !maximum && f < limit {
		r.add(invalid(at, f, text, limit))
	}
	return r
}

// enum checks that a value is one of those listed.
func enum(n *node, v any, at *where) (r result) {
	allowed := n.limits().enum
	if len(allowed) == 0 {
		return r
	}
	for _, a := range allowed {
		if a != nil && equalsEnum(v, a) {
			return r
		}
	}
	f := invalid(at, v, "%s in body should be one of %v", allowed)
	f.kind, f.allowed = failEnum, allowed
	r.add(f)
	return r
}

// equalsEnum compares as Kubernetes does, which converts the value to the Go type of the allowed one first. So 1.5
// is 1, and 65 is "A".
func equalsEnum(v, allowed any) bool {
	switch a := allowed.(type) {
	case string:
		switch v := v.(type) {
		case string:
			return v == a
		case int64:
			if int64(rune(v)) != v {
				return a == "\uFFFD"
			}
			return a == string(rune(v))
		}
		return false
	case int64:
		switch v := v.(type) {
		case int64:
			return v == a
		case float64:
			return int64(v) == a
		}
		return false
	case float64:
		switch v := v.(type) {
		case int64:
			return float64(v) == a
		case float64:
			return v == a
		}
		return false
	case bool:
		b, ok := v.(bool)
		return ok && b == a
	}
	return reflect.DeepEqual(v, allowed)
}
