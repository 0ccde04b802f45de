package jsonschema

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// failure is something wrong with a value. Its message tells it apart from others.
type failure struct {
	kind    failureKind
	name    string // the path of the value
	value   any
	limit   int64
	allowed []any
	message string
}

type failureKind uint8

const (
	failInvalid failureKind = iota
	failType
	failRequired
	failEnum
	failTooLong
	failTooMany
	failNested // is told at the root
)

// error is the failure as an API tells it, at a path.
func (f *failure) error(root *field.Path) *field.Error {
	at := root
	if f.name != "" && f.name != "." && f.kind != failNested {
		at = root.Child(strings.TrimPrefix(f.name, "."))
	}
	value := f.value
	if value == nil {
		value = ""
	}
	switch f.kind {
	case failRequired:
		return field.Required(at, "")
	case failEnum:
		return field.NotSupported(at, f.value, enumNames(f.allowed))
	case failTooLong:
		return field.TooLong(at, "", int(f.limit))
	case failTooMany:
		return field.TooMany(at, int(f.value.(int64)), int(f.limit))
	case failType:
		return field.TypeInvalid(at, value, f.message)
	}
	return field.Invalid(at, value, f.message)
}

func enumNames(values []any) []string {
	names := make([]string, len(values))
	for i, v := range values {
		if s, ok := v.(string); ok {
			names[i] = s
		} else if raw, err := json.Marshal(v); err == nil {
			names[i] = string(raw)
		}
	}
	return names
}

// invalid formats a message whose first verb is the name.
func invalid(at *where, value any, format string, args ...any) failure {
	name := at.String()
	return failure{name: name, value: value, message: fmt.Sprintf(format, append([]any{name}, args...)...)}
}

func nested(at *where, format string, args ...any) failure {
	f := invalid(at, nil, format, args...)
	f.kind = failNested
	return f
}

func tooMany(at *where, size, limit int64, what string) failure {
	f := invalid(at, size, "%s in body should have at most %d %s", limit, what)
	f.kind, f.limit = failTooMany, limit
	return f
}

// wrongType tells the name of the type or format that a value should have, and what it has.
func wrongType(at *where, want, value string) failure {
	f := invalid(at, value, "%s in body must be of type %s: %q", want, value)
	f.kind = failType
	return f
}

func missing(at *where) failure {
	f := invalid(at, nil, "%s in body is required")
	f.kind = failRequired
	return f
}

// forbidden tells a member that additionalProperties: false refuses.
func forbidden(at *where, member string) failure {
	return invalid(at, member, "%s.%s in body is a forbidden property", member)
}
