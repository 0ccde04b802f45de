package jsonschema

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

type props = apiextensionsv1.JSONSchemaProps

// generator makes schemas that are structural, but for a fault now and then.
type generator struct {
	*rand.Rand
	faults bool
}

func (g *generator) one(in int) bool { return g.IntN(in) == 0 }

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

func raw(v any) *apiextensionsv1.JSON {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return &apiextensionsv1.JSON{Raw: b}
}

var names = []string{"a", "b", "c", "name", "long.name", "kind", "metadata", "apiVersion"}

func (g *generator) root() *props {
	s := g.object(3, true)
	s.Nullable, s.Default = g.faults && g.one(30), nil
	return &s
}

func (g *generator) schema(depth int) props {
	var s props
	switch k := g.IntN(12); {
	case k < 3 && depth > 0:
		s = g.object(depth-1, false)
	case k < 5 && depth > 0:
		s = g.array(depth - 1)
	case k == 5:
		s = props{XIntOrString: true}
		if g.one(2) {
			s.AnyOf = []props{{Type: "integer"}, {Type: "string"}}
		}
	case k == 6 && g.one(2):
		s = props{XPreserveUnknownFields: new(true)}
	case k == 7:
		s = g.number()
	case k == 8:
		s = props{Type: "boolean"}
	case k == 9 && depth > 0:
		s = g.embedded(depth - 1)
	default:
		s = g.text()
	}
	g.decorate(&s, depth)
	return s
}

func (g *generator) decorate(s *props, depth int) {
	if g.one(5) {
		s.Nullable = true
	}
	if g.one(4) {
		s.Default = raw(g.value(s, 2))
	}
	if g.one(8) {
		for range 1 + g.IntN(3) {
			s.Enum = append(s.Enum, *raw(g.value(s, 1)))
		}
	}
	if g.one(6) {
		g.junctors(s, depth)
	}
	if g.faults && g.one(12) {
		g.fault(s)
	}
}

func (g *generator) object(depth int, root bool) props {
	s := props{Type: "object"}
	if !root && g.one(4) {
		s.AdditionalProperties = &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true}
		if !g.one(4) {
			p := g.schema(depth)
			s.AdditionalProperties.Schema = &p
		} else {
			s.AdditionalProperties.Allows = g.one(2)
		}
	} else {
		s.Properties = map[string]props{}
		for range 1 + g.IntN(4) {
			name := pick(g, names...)
			if root && (name == "kind" || name == "metadata" || name == "apiVersion") && !g.faults {
				continue
			}
			s.Properties[name] = g.schema(depth)
		}
	}
	if g.one(3) {
		s.Required = append(s.Required, pick(g, names...))
	}
	if g.one(8) {
		s.MinProperties = new(int64(g.IntN(3)))
	}
	if g.one(8) {
		s.MaxProperties = new(int64(g.IntN(4)))
	}
	if g.one(6) {
		s.XPreserveUnknownFields = new(true)
	}
	if g.one(8) {
		s.XMapType = new(pick(g, "atomic", "granular"))
	}
	return s
}

func (g *generator) embedded(depth int) props {
	s := g.object(depth, false)
	s.AdditionalProperties = nil
	s.XEmbeddedResource = true
	if g.one(2) || len(s.Properties) == 0 {
		s.XPreserveUnknownFields = new(true)
	}
	for _, name := range []string{"kind", "apiVersion"} {
		if _, ok := s.Properties[name]; ok {
			s.Properties[name] = props{Type: "string", Default: raw(pick[any](g, "v1", "Pod", ""))}
		}
	}
	if _, ok := s.Properties["metadata"]; ok {
		label := props{Type: "string"}
		m := props{Type: "object", Properties: map[string]props{
			"name":   {Type: "string", Default: raw(pick(g, "x", "y", "/"))},
			"labels": {Type: "object", AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &label}},
		}}
		if g.one(3) {
			m.Default = raw(map[string]any{"labels": map[string]any{"a": pick[any](g, "b", int64(1))}, "more": "x"})
		}
		s.Properties["metadata"] = m
	}
	return s
}

func (g *generator) array(depth int) props {
	item := g.schema(depth)
	s := props{Type: "array"}
	switch g.IntN(4) {
	case 0:
		s.XListType = new("set")
		if g.one(2) {
			item = g.text()
		}
		item.Nullable = false
	case 1:
		item = props{Type: "object", Required: []string{"name"}, Properties: map[string]props{"name": {Type: "string"}, "a": g.schema(depth)}}
		s.XListType, s.XListMapKeys = new("map"), []string{"name"}
		if g.one(3) {
			item.Properties["b"] = props{Type: "integer", Default: raw(int64(1))}
			s.XListMapKeys = append(s.XListMapKeys, "b")
		}
	case 2:
		s.XListType = new("atomic")
	}
	s.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &item}
	if g.one(6) {
		s.MinItems = new(int64(g.IntN(3)))
	}
	if g.one(6) {
		s.MaxItems = new(int64(g.IntN(4)))
	}
	return s
}

var formats = []string{"", "", "", "date", "date-time", "datetime", "ipv4", "ipv6", "cidr", "mac", "uuid", "uuid3", "uuid4", "uuid5", "byte", "email",
	"hostname", "uri", "duration", "password", "hexcolor", "rgbcolor", "isbn", "isbn10", "isbn13", "creditcard", "ssn", "bsonobjectid",
	"k8s-short-name", "k8s-long-name", "unheard-of", "int32", "int64", "float", "double"}

func (g *generator) text() props {
	s := props{Type: "string", Format: pick(g, formats...)}
	if g.one(5) {
		s.MinLength = new(int64(g.IntN(4)))
	}
	if g.one(5) {
		s.MaxLength = new(int64(g.IntN(6)))
	}
	if g.one(5) {
		s.Pattern = pick(g, "^a", "b$", "^[a-z]+$", "x{2,3}")
	}
	return s
}

func (g *generator) number() props {
	s := props{Type: pick(g, "integer", "number"), Format: pick(g, append([]string{"int32", "int64", "float", "double"}, formats...)...)}
	limit := func() *float64 {
		if !g.one(4) {
			return nil
		}
		return new(pick(g, 0, 1, 2, -3, 0.5, 1e10, 10, 3e9, 1e300))
	}
	s.Minimum, s.Maximum, s.MultipleOf = limit(), limit(), limit()
	s.ExclusiveMinimum, s.ExclusiveMaximum = g.one(3), g.one(3)
	return s
}

// junctors adds value validations in allOf and such.
func (g *generator) junctors(s *props, depth int) {
	nested := func() []props {
		var out []props
		for range 1 + g.IntN(3) {
			out = append(out, g.nested(s))
		}
		return out
	}
	switch g.IntN(4) {
	case 0:
		s.AllOf = nested()
	case 1:
		s.AnyOf = nested()
	case 2:
		s.OneOf = nested()
	case 3:
		n := g.nested(s)
		s.Not = &n
	}
}

// nested is a value validation of what s specifies.
func (g *generator) nested(s *props) props {
	var n props
	switch s.Type {
	case "object":
		for name, p := range s.Properties {
			if name != "metadata" && g.one(2) {
				if n.Properties == nil {
					n.Properties = map[string]props{}
				}
				n.Properties[name] = g.nested(&p)
			}
		}
		n.Required = []string{pick(g, names...)}
	case "array":
		n.MinItems = new(int64(g.IntN(3)))
		if s.Items != nil && s.Items.Schema != nil && g.one(2) {
			item := g.nested(s.Items.Schema)
			n.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &item}
		}
	case "integer", "number":
		n = g.number()
		n.Type = ""
	case "string":
		n = g.text()
		n.Type = ""
	default:
		n.Enum = []apiextensionsv1.JSON{*raw(g.value(s, 1)), *raw(g.value(s, 1))}
	}
	if g.one(6) {
		g.junctors(&n, 0)
	}
	return n
}

// fault makes a schema that apiextensions refuses, in all likelihood.
func (g *generator) fault(s *props) {
	sub := props{Type: "string"}
	switch g.IntN(26) {
	case 0:
		s.Type = ""
	case 1:
		s.Type = pick(g, "null", "nothing", "array", "object", "string")
	case 2:
		s.Ref = new("#/x")
	case 3:
		s.ID = "x"
	case 4:
		s.UniqueItems = true
	case 5:
		s.Items = nil
	case 6:
		s.Items = &apiextensionsv1.JSONSchemaPropsOrArray{JSONSchemas: []props{sub}}
	case 7:
		s.AdditionalProperties = &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &sub}
	case 8:
		s.PatternProperties = map[string]props{"x": sub}
	case 9:
		s.Definitions = apiextensionsv1.JSONSchemaDefinitions{"x": sub}
	case 10:
		s.Dependencies = apiextensionsv1.JSONSchemaDependencies{"x": {Property: []string{"y"}}}
	case 11:
		s.AdditionalItems = &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true}
	case 12:
		s.XPreserveUnknownFields = new(g.one(2))
	case 13:
		s.XEmbeddedResource = true
	case 14:
		s.XIntOrString = true
	case 15:
		s.XListType = new(pick(g, "set", "map", "atomic", "x"))
	case 16:
		s.XListMapKeys = []string{pick(g, "a", "name"), "name"}
	case 17:
		s.XMapType = new(pick(g, "atomic", "x"))
	case 18:
		s.Pattern = "("
	case 19:
		s.AllOf = append(s.AllOf, props{Properties: map[string]props{"metadata": {}, "zz": {}}})
	case 20:
		s.AnyOf = append(s.AnyOf, props{Type: "string", Description: "x", Title: "y", Nullable: true, Default: raw("x")})
	case 21:
		s.Not = &props{XPreserveUnknownFields: new(true), XListType: new("map"), XListMapKeys: []string{"x"}, XMapType: new("atomic"), XIntOrString: true, XEmbeddedResource: true}
	case 22:
		s.OneOf = append(s.OneOf, props{AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Allows: g.one(2)}})
	case 23:
		s.Default = raw(pick[any](g, "x", int64(1), 1.5, true, []any{}, map[string]any{"zz": "x"}))
	case 24:
		s.Schema = "x"
	case 25:
		if s.Items != nil && s.Items.Schema != nil {
			s.Items.Schema.Nullable = true
		}
		for name, p := range s.Properties {
			p.Nullable = true
			s.Properties[name] = p
		}
	}
}

var texts = []string{"", "a", "ab", "abc", "x", "xx", "b", "2020-01-02", "2020-01-02T03:04:05Z", "2020-13-02", "1.2.3.4", "::1", "10.0.0.0/8", "01:02:03:04:05:06",
	"3f2504e0-4f89-41d3-9a0c-0305e82c3301", "6fa459ea-ee8a-3ca4-894e-db77e160355e", "aGk=", "a@b.cd", "example.com", "-x", "http://x/y", "/x", "22 ns", "1h", "#fff",
	"rgb(1,2,3)", "0321751043", "978-0321751041", "4111111111111111", "111-11-1111", "507f1f77bcf86cd799439011", "日本語", "v1", "a/b/c", "Pod", "apps/v1"}

func (g *generator) anything(depth int) any {
	switch g.IntN(9) {
	case 0:
		return nil
	case 1:
		return g.one(2)
	case 2:
		return int64(g.IntN(12) - 4)
	case 3:
		return pick(g, 1.5, 0.25, 1e20, 3e9, -2.5)
	case 4:
		return pick[any](g, int64(1)<<40, int64(65), int64(97))
	case 5:
		if depth > 0 {
			list := []any{}
			for range g.IntN(4) {
				list = append(list, g.anything(depth-1))
			}
			return list
		}
	case 6:
		if depth > 0 {
			o := map[string]any{}
			for range g.IntN(4) {
				o[pick(g, names...)] = g.anything(depth - 1)
			}
			return o
		}
	}
	return pick(g, texts...)
}

// value follows s, most of the time.
func (g *generator) value(s *props, depth int) any {
	if g.one(8) {
		return g.anything(2)
	}
	if g.one(12) {
		return nil
	}
	switch s.Type {
	case "object":
		return g.objectValue(s, depth)
	case "array":
		list := []any{}
		if s.Items == nil || s.Items.Schema == nil {
			return list
		}
		for range g.IntN(5) {
			list = append(list, g.value(s.Items.Schema, depth-1))
		}
		return list
	case "boolean":
		return g.one(2)
	case "integer":
		return int64(g.IntN(12) - 4)
	case "number":
		return pick[any](g, int64(2), 0.5, 1.5, -3.25)
	case "string":
		return pick(g, texts...)
	}
	if s.XIntOrString {
		return pick[any](g, int64(3), "5%", "a")
	}
	return g.anything(2)
}

func (g *generator) objectValue(s *props, depth int) any {
	o := map[string]any{}
	if depth < -2 {
		return o
	}
	for name := range s.Properties {
		if p := s.Properties[name]; !g.one(4) {
			o[name] = g.value(&p, depth-1)
		}
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		for range g.IntN(4) {
			o[pick(g, names...)] = g.value(s.AdditionalProperties.Schema, depth-1)
		}
	}
	if s.XEmbeddedResource && !g.one(6) {
		o["apiVersion"], o["kind"] = pick[any](g, "v1", "apps/v1", "a/b/c", ""), pick[any](g, "Pod", "x_y", "")
		o["metadata"] = g.metadata()
	}
	if g.one(3) {
		o[fmt.Sprint("extra", g.IntN(3))] = g.anything(2)
	}
	return o
}

func (g *generator) metadata() any {
	m := map[string]any{}
	if g.one(2) {
		m["name"] = pick[any](g, "x", "a/b", "", int64(1))
	}
	if g.one(3) {
		m["labels"] = pick[any](g, map[string]any{"a": "b"}, map[string]any{"a": int64(1)}, map[string]any{"a b": "c"}, nil, "x")
	}
	if g.one(3) {
		m["creationTimestamp"] = pick[any](g, nil, "2020-01-02T03:04:05Z", "x")
	}
	if g.one(4) {
		m["unknown"] = g.anything(1)
	}
	if g.one(6) {
		m["ownerReferences"] = []any{map[string]any{"name": "x", "odd": int64(1)}}
	}
	return m
}

// changed is v with a change here and there.
func (g *generator) changed(v any, depth int) any {
	if g.one(12) {
		return g.anything(2)
	}
	switch v := v.(type) {
	case map[string]any:
		o := map[string]any{}
		for name, m := range v {
			if !g.one(15) {
				o[name] = g.changed(m, depth-1)
			}
		}
		return o
	case []any:
		list := []any{}
		for _, item := range v {
			if !g.one(15) {
				list = append(list, g.changed(item, depth-1))
			}
		}
		if g.one(5) {
			g.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		}
		return list
	}
	return v
}
