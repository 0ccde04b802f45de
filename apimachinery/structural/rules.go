package structural

import (
	"reflect"
	"strings"
)

// rules is what the generated table says about one Go type beyond its tags. As text it is a list of words:
//
//	.=a           the struct itself is atomic
//	env=m:name    the list "env" is a map with the key "name" (several: m:a,b)
//	args=s        the list is a set
//	args=a        the list, map or struct is atomic
//	claimRef=g    the struct is not atomic here, though it is elsewhere
//	data=x        any value, owned as a whole
//	value=u       any scalar
//	protocol?"TCP" the JSON that stands for the absent field where it is a key
type rules struct {
	self     string
	fields   map[string]string
	defaults map[string]string
}

func parseRules(text string) rules {
	var r rules
	for word := range strings.FieldsSeq(text) {
		if name, value, ok := strings.Cut(word, "?"); ok {
			if r.defaults == nil {
				r.defaults = map[string]string{}
			}
			r.defaults[name] = value
			continue
		}
		name, value, _ := strings.Cut(word, "=")
		if name == "." {
			r.self = value
			continue
		}
		if r.fields == nil {
			r.fields = map[string]string{}
		}
		r.fields[name] = value
	}
	return r
}

// taggedRule is the rule that the words listType, listMapKey and mapType of a tag schema come to: package jsonschema has
// all its words.
func taggedRule(tag string) (rule string) {
	var keys []string
	for word := range strings.SplitSeq(tag, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(word), "=")
		switch name {
		case "listType":
			rule = map[string]string{"map": "m:", "set": "s", "atomic": "a"}[value]
		case "mapType":
			rule = map[string]string{"atomic": "a", "granular": "g"}[value]
		case "listMapKey":
			keys = append(keys, value)
		}
	}
	if rule == "m:" {
		rule += strings.Join(keys, ",")
	}
	return rule
}

// with returns the type as the rule changes it.
func (t *Type) with(rule string) *Type {
	c := &Type{kind: t.kind, scalar: t.scalar, atomic: t.atomic, elem: t.elem, def: t.def, format: t.format, goType: t.goType}
	switch op, keys, _ := strings.Cut(rule, ":"); op {
	case "a":
		c.atomic = c.kind != List
	case "g":
		c.atomic = false
	case "s":
		c.list = SetList
	case "m":
		c.list, c.keys = MapList, strings.Split(keys, ",")
	case "x":
		c.kind, c.atomic, c.elem, c.def = Any, true, nil, nil
	case "u":
		c.kind, c.scalar = Scalar, AnyScalar
	}
	return c
}

// modelName returns the name under which OpenAPI documents describe rt: the one that the type gives itself,
// or the reversed domain of its package and its name.
func modelName(rt reflect.Type) string {
	if n, ok := reflect.Zero(rt).Interface().(interface{ OpenAPIModelName() string }); ok {
		// A method that an embedded struct brings names that struct.
		if name := n.OpenAPIModelName(); strings.HasSuffix(name, "."+rt.Name()) {
			return name
		}
	}
	if rt.Name() == "" {
		return ""
	}
	domain, path, _ := strings.Cut(rt.PkgPath(), "/")
	parts := strings.Split(domain, ".")
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	name := strings.Join(parts, ".")
	if path != "" {
		name += "." + strings.ReplaceAll(path, "/", ".")
	}
	return name + "." + rt.Name()
}
