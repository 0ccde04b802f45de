package openapi

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
)

// The protobuf form of OpenAPI v2 is that of gnostic's OpenAPIv2.proto, whose field numbers stand here. Parts of a
// document come one after the other: readers merge them.

// message is a protobuf message that is being written.
type message []byte

func (m message) tag(field, kind int) message {
	return binary.AppendUvarint(m, uint64(field)<<3|uint64(kind))
}

func (m message) bytes(field int, b []byte) message {
	return append(binary.AppendUvarint(m.tag(field, 2), uint64(len(b))), b...)
}

// str writes a text that isn't empty.
func (m message) str(field int, v any) message {
	if s, ok := v.(string); ok && s != "" {
		return m.bytes(field, []byte(s))
	}
	return m
}

func (m message) strs(field int, v any) message {
	list, _ := v.([]any)
	for _, s := range list {
		m = m.str(field, s)
	}
	return m
}

func (m message) flag(field int, v any) message {
	if on, ok := v.(bool); ok && on {
		return append(m.tag(field, 0), 1)
	}
	return m
}

func (m message) integer(field int, v any) message {
	if n, ok := v.(float64); ok && n != 0 {
		return binary.AppendUvarint(m.tag(field, 0), uint64(int64(n)))
	}
	return m
}

func (m message) double(field int, v any) message {
	if n, ok := v.(float64); ok && n != 0 {
		return binary.LittleEndian.AppendUint64(m.tag(field, 1), math.Float64bits(n))
	}
	return m
}

// yaml writes a value of any kind as text (message Any).
func (m message) yaml(field int, v any) message {
	raw, err := json.Marshal(v)
	if err != nil { // what was decoded can be encoded
		return m
	}
	return m.bytes(field, message(nil).bytes(2, raw))
}

// extensions writes what begins with x-.
func (m message) extensions(field int, o map[string]any) message {
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if strings.HasPrefix(name, "x-") {
			m = m.bytes(field, message(nil).str(1, name).yaml(2, o[name]))
		}
	}
	return m
}

// protoHead are version and info of a document.
func protoHead() []byte {
	return message(nil).str(1, "2.0").bytes(2, message(nil).str(1, titleText).str(2, release))
}

// protoTail are the ways to authenticate.
func protoTail() []byte {
	key := message(nil).str(1, "apiKey").str(2, "authorization").str(3, "header").str(4, "Bearer token authentication")
	item := message(nil).bytes(2, key)
	defined := message(nil).str(1, "BearerToken").bytes(2, item)
	required := message(nil).str(1, "BearerToken").bytes(2, nil)
	return message(nil).bytes(12, message(nil).bytes(1, required)).bytes(13, message(nil).bytes(1, defined))
}

// protoPath is a document with one path.
func protoPath(name string, o map[string]any) []byte {
	item := message(nil)
	for field, method := range []string{"get", "put", "post", "delete", "options", "head", "patch"} {
		if op, ok := o[method].(map[string]any); ok {
			item = item.bytes(field+2, protoOperation(op))
		}
	}
	item = item.parameters(9, o["parameters"])
	return message(nil).bytes(8, message(nil).bytes(2, message(nil).str(1, name).bytes(2, item)))
}

func protoOperation(o map[string]any) message {
	m := message(nil).strs(1, o["tags"]).str(3, o["description"]).str(5, o["operationId"]).strs(6, o["produces"]).strs(7, o["consumes"])
	m = m.parameters(8, o["parameters"])
	responses, codes := message(nil), object(o["responses"])
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		r := object(codes[code])
		answer := message(nil).str(1, r["description"])
		if s, ok := r["schema"].(map[string]any); ok {
			answer = answer.bytes(2, message(nil).bytes(1, protoSchema(s)))
		}
		responses = responses.bytes(1, message(nil).str(1, code).bytes(2, message(nil).bytes(1, answer)))
	}
	return m.bytes(9, responses).strs(10, o["schemes"]).extensions(13, o)
}

func object(v any) map[string]any {
	o, _ := v.(map[string]any)
	return o
}

func (m message) parameters(field int, v any) message {
	list, _ := v.([]any)
	for _, p := range list {
		m = m.bytes(field, message(nil).bytes(1, protoParameter(object(p))))
	}
	return m
}

func protoParameter(p map[string]any) message {
	switch p["in"] {
	case "body":
		body := message(nil).str(1, p["description"]).str(2, p["name"]).str(3, "body").flag(4, p["required"])
		return message(nil).bytes(1, body.bytes(5, protoSchema(object(p["schema"]))))
	case "path":
		path := message(nil).flag(1, p["required"]).str(2, "path").str(3, p["description"]).str(4, p["name"]).str(5, p["type"]).flag(19, p["uniqueItems"])
		return message(nil).bytes(2, message(nil).bytes(4, path))
	}
	query := message(nil).flag(1, p["required"]).str(2, "query").str(3, p["description"]).str(4, p["name"]).str(6, p["type"]).flag(20, p["uniqueItems"])
	return message(nil).bytes(2, message(nil).bytes(3, query))
}

// protoDefinition is a document with one definition.
func protoDefinition(name string, o map[string]any) []byte {
	return message(nil).bytes(9, message(nil).bytes(1, message(nil).str(1, name).bytes(2, protoSchema(o))))
}

func protoSchema(o map[string]any) message {
	m := message(nil).str(1, o["$ref"]).str(2, o["format"]).str(3, o["title"]).str(4, o["description"])
	if v, ok := o["default"]; ok {
		m = m.yaml(5, v)
	}
	m = m.double(6, o["multipleOf"]).double(7, o["maximum"]).flag(8, o["exclusiveMaximum"]).double(9, o["minimum"]).flag(10, o["exclusiveMinimum"])
	m = m.integer(11, o["maxLength"]).integer(12, o["minLength"]).str(13, o["pattern"]).integer(14, o["maxItems"]).integer(15, o["minItems"])
	m = m.flag(16, o["uniqueItems"]).integer(17, o["maxProperties"]).integer(18, o["minProperties"]).strs(19, o["required"])
	enum, _ := o["enum"].([]any)
	for _, v := range enum {
		m = m.yaml(20, v)
	}
	switch a := o["additionalProperties"].(type) {
	case map[string]any:
		m = m.bytes(21, message(nil).bytes(1, protoSchema(a)))
	case bool:
		said := byte(0) // a choice that is made is written, be it no
		if a {
			said = 1
		}
		m = m.bytes(21, append(message(nil).tag(2, 0), said))
	}
	if t, ok := o["type"].(string); ok {
		m = m.bytes(22, message(nil).str(1, t))
	}
	if items, ok := o["items"].(map[string]any); ok {
		m = m.bytes(23, message(nil).bytes(1, protoSchema(items)))
	}
	if properties := object(o["properties"]); len(properties) > 0 {
		all := message(nil)
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			all = all.bytes(1, message(nil).str(1, name).bytes(2, protoSchema(object(properties[name]))))
		}
		m = m.bytes(25, all)
	}
	if docs, ok := o["externalDocs"].(map[string]any); ok {
		m = m.bytes(29, message(nil).str(1, docs["description"]).str(2, docs["url"]))
	}
	if v, ok := o["example"]; ok {
		m = m.yaml(30, v)
	}
	return m.extensions(31, o)
}
