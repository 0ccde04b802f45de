package jsonschema

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// FromGo returns the schema of a kind that is declared in Go: sample is a pointer to its struct, or the struct.
//
// Fields have their json names. One is required unless its json tag has omitempty or omitzero, pointer or not, as
// controller-gen has it. Descriptions come from the tag doc, or from SwaggerDoc methods; list types and keys of
// k8s.io/api from what package structural knows. The root's metadata is an object of which nothing is said;
// ObjectMeta elsewhere has name, namespace, labels, annotations and finalizers. Quantities and int-or-strings,
// times, durations, raw extensions and types that encode themselves are what they are in JSON. Where a type refers to
// itself, an object with any fields takes its place.
//
// What types can't say is in the tag schema, as words with commas between:
//
//	minimum=1 maximum=10 exclusiveMinimum exclusiveMaximum multipleOf=2
//	minLength=1 maxLength=63 pattern=^[a-z]+$ format=hostname
//	minItems=1 maxItems=10 minProperties=1 maxProperties=10
//	enum=a|b default=3 example=x title=x
//	listType=map listMapKey=name mapType=atomic
//	required optional nullable immutable preserveUnknown embeddedResource intOrString
//	rule=self.a < self.b message=a is less than b reason=FieldValueInvalid fieldPath=.a optionalOldSelf
//
// rule may occur several times, and what follows it belongs to it; listMapKey too. Defaults and enums of strings are
// written as they are, others as JSON. A comma inside of brackets is a part of the word, and so is one behind a
// backslash. "items." before a word means the items of a list, or the values of a map. The tag of a field called _ is
// that of the struct itself. The error names a field with a word that doesn't exist or fit.
//
// What it returns belongs to the caller. Check may still find fault with it.
func FromGo(sample any) (*apiextensionsv1.JSONSchemaProps, error) {
	t, err := structural.Of(sample)
	if err != nil {
		return nil, err
	}
	g := generator{root: t.GoType()}
	s, err := g.of(t)
	if err != nil {
		return nil, fmt.Errorf("schema of %v: %w", t.GoType(), err)
	}
	return &s, nil
}

// generator makes schemas of Go types.
type generator struct {
	root  reflect.Type
	stack []reflect.Type // the structs that are being described
}

var (
	objectMetaGo = reflect.TypeFor[metav1.ObjectMeta]()
	quantityGo   = reflect.TypeFor[resource.Quantity]()
)

const quantityPattern = `^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$`

func (g *generator) of(t *structural.Type) (props, error) {
	switch t.Kind() {
	case structural.Scalar:
		return scalarSchema(t), nil
	case structural.List:
		return g.list(t)
	case structural.Map:
		return g.mapping(t)
	case structural.Struct:
		if t.GoType() == objectMetaGo {
			return g.objectMeta(), nil
		}
		return g.structure(t)
	}
	return props{XPreserveUnknownFields: new(true)}, nil
}

func scalarSchema(t *structural.Type) props {
	if t.GoType() == quantityGo || t.Format() == "int-or-string" {
		s := props{XIntOrString: true, AnyOf: []props{{Type: "integer"}, {Type: "string"}}}
		if t.GoType() == quantityGo {
			s.Pattern = quantityPattern
		}
		return s
	}
	switch t.Scalar() {
	case structural.Boolean:
		return props{Type: "boolean"}
	case structural.Number:
		return numberSchema(t)
	case structural.String:
		return props{Type: "string", Format: t.Format()}
	}
	if t.Format() != "" {
		return props{Type: "string", Format: t.Format()}
	}
	return props{XPreserveUnknownFields: new(true)}
}

func numberSchema(t *structural.Type) props {
	switch t.GoType().Kind() {
	case reflect.Float32, reflect.Float64:
		return props{Type: "number"}
	case reflect.Int32, reflect.Uint32, reflect.Int64, reflect.Uint64:
		return props{Type: "integer", Format: t.Format()}
	}
	return props{Type: "integer"}
}

func (g *generator) list(t *structural.Type) (props, error) {
	item, err := g.of(t.Elem())
	if err != nil {
		return props{}, err
	}
	s := props{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &item}}
	switch t.List() {
	case structural.SetList:
		s.XListType = new("set")
		if item.Type == "object" {
			item.XMapType = new("atomic")
		}
	case structural.MapList:
		s.XListType, s.XListMapKeys = new("map"), slices.Clone(t.KeyNames())
		for _, key := range t.Keys() {
			p, ok := item.Properties[key.Name]
			if !ok || slices.Contains(item.Required, key.Name) || p.Default != nil {
				continue
			}
			if key.Default == "" {
				item.Required = append(item.Required, key.Name)
				continue
			}
			p.Default = &apiextensionsv1.JSON{Raw: []byte(key.Default)}
			item.Properties[key.Name] = p
		}
	}
	return s, nil
}

func (g *generator) mapping(t *structural.Type) (props, error) {
	s := props{Type: "object"}
	if t.Atomic() {
		s.XMapType = new("atomic")
	}
	rt := t.GoType()
	if rt.Kind() != reflect.Map { // an empty struct, or JSON of any kind
		if rt.Kind() != reflect.Struct || rt.NumField() > 0 {
			s.XPreserveUnknownFields = new(true)
		}
		return s, nil
	}
	if rt.Key().Kind() != reflect.String {
		return s, fmt.Errorf("%v has keys that are no strings", rt)
	}
	value, err := g.of(t.Elem())
	if err != nil {
		return s, err
	}
	s.AdditionalProperties = &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &value}
	return s, nil
}

func (g *generator) objectMeta() props {
	s := props{Type: "object"}
	if len(g.stack) <= 1 {
		return s
	}
	text := props{Type: "string"}
	texts := props{Type: "object", AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &text}}
	s.Properties = map[string]props{
		"name": text, "namespace": text, "labels": texts, "annotations": texts,
		"finalizers": {Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &text}},
	}
	return s
}

func (g *generator) structure(t *structural.Type) (props, error) {
	rt := t.GoType()
	s := props{Type: "object"}
	if slices.Contains(g.stack, rt) {
		s.XPreserveUnknownFields = new(true)
		return s, nil
	}
	if t.Atomic() {
		s.XMapType = new("atomic")
	}
	g.stack = append(g.stack, rt)
	defer func() { g.stack = g.stack[:len(g.stack)-1] }()
	s.Description = t.Doc()
	s.Properties = make(map[string]props, len(t.Fields()))
	for _, f := range t.Fields() {
		p, required, err := g.field(f)
		if err != nil {
			return s, fmt.Errorf("field %s: %w", f.Name, err)
		}
		s.Properties[f.Name] = p
		if required {
			s.Required = append(s.Required, f.Name)
		}
	}
	slices.Sort(s.Required)
	for i := range rt.NumField() {
		if sf := rt.Field(i); sf.Name == "_" {
			if err := structTag(&s, sf.Tag); err != nil {
				return s, fmt.Errorf("field _ of %v: %w", rt, err)
			}
		}
	}
	return s, nil
}

func structTag(s *props, tag reflect.StructTag) error {
	if doc := tag.Get("doc"); doc != "" {
		s.Description = doc
	}
	r, err := applyTag(s, tag.Get("schema"), false)
	if err == nil && r {
		return errors.New("required has no meaning for a struct")
	}
	return err
}

func (g *generator) field(f *structural.Field) (p props, required bool, err error) {
	if p, err = g.of(f.Type); err != nil {
		return p, false, err
	}
	rootMeta := len(g.stack) == 1 && typeMeta(f.Name)
	if doc := f.Tag.Get("doc"); doc != "" {
		p.Description = doc
	} else if doc := f.Doc(); doc != "" {
		p.Description = doc
	}
	if rootMeta && f.Name == "metadata" {
		p.Description = "" // nothing may be said of it
	}
	tag := f.Tag.Get("schema")
	if rootMeta && strings.TrimSpace(tag) != "" {
		return p, false, errors.New("the schema tag says something of what every object has")
	}
	required, err = applyTag(&p, tag, f.Required && !rootMeta)
	return p, required, err
}
