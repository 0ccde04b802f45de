package openapi

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

//go:generate go run ./gen -out markers.go

// marked is what the comments of a Go type say about one of its fields, or, under the name ".", about itself. As text
// it is a list of words:
//
//	uid!            required, though its tag says omitempty
//	uid-            optional, though its tag doesn't
//	protocol?"TCP"  the default
//	env@map:name    the list type, and its keys
//	selector&atomic the type of a map or struct
type marked struct {
	required, optional bool
	fallback           string
	listType           string
	listKeys           []string
	mapType            string
}

// markers finds what comments say about the fields of a Go type; known is false of types that the table doesn't cover.
func markers(rt reflect.Type, name string) (m marked, known bool) {
	if rt == nil || !strings.HasPrefix(rt.PkgPath(), "k8s.io/") {
		return m, false
	}
	for word := range strings.FieldsSeq(fieldMarkers(rt.PkgPath() + "." + rt.Name())) {
		rest, ok := strings.CutPrefix(word, name)
		if !ok || rest == "" {
			continue
		}
		switch rest[0] {
		case '!':
			m.required = rest == "!"
		case '-':
			m.optional = rest == "-"
		case '?':
			m.fallback = rest[1:]
		case '@':
			var keys string
			m.listType, keys, _ = strings.Cut(rest[1:], ":")
			if keys != "" {
				m.listKeys = strings.Split(keys, ",")
			}
		case '&':
			m.mapType = rest[1:]
		}
	}
	return m, true
}

// enumOf returns the values of an enumeration as JSON; nil: rt is none.
func enumOf(rt reflect.Type) json.RawMessage {
	if rt == nil || rt.Kind() != reflect.String || rt.Name() == "" {
		return nil
	}
	if text := enumValues(rt.PkgPath() + "." + rt.Name()); text != "" {
		return json.RawMessage(text)
	}
	return nil
}

var jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()

// fallbackOf returns what a field is where JSON leaves it out, as Kubernetes publishes it: what a comment says, or the zero
// value of a Go field that can't be told apart from one that was left out.
func fallbackOf(f *structural.Field, m marked) json.RawMessage {
	if m.fallback != "" {
		return json.RawMessage(m.fallback)
	}
	rt := f.GoType()
	if rt == nil || reflect.PointerTo(rt).Implements(jsonUnmarshaler) || f.Owner() == nil {
		return nil
	}
	omitted := strings.Contains(f.Tag.Get("json"), ",omitempty")
	switch rt.Kind() {
	case reflect.Struct:
		return json.RawMessage("{}")
	case reflect.String:
		if !omitted {
			return json.RawMessage(`""`)
		}
	case reflect.Bool:
		if !omitted {
			return json.RawMessage("false")
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		if !omitted {
			return json.RawMessage("0")
		}
	}
	return nil
}
