package define

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
	"github.com/bedplate/bedplate/apimachinery/jsonschema"
)

type props = apiext.JSONSchemaProps

// model is what is known of a Go type.
type model struct {
	goType reflect.Type
	props  *props
	schema *jsonschema.Schema
	rules  *cel.Rules
	fill   *filler // nil: nothing has a default
	parts  [][]int // the indexes of the top-level fields but type and metadata
	spec   []int   // those of spec and status, nil if there is none
	status []int
	judges bool // the schema says more than the Go type
	needs  bool // something is required, or has a default
}

func modelOf(o apimachinery.Object) (*model, error) {
	m, language := &model{goType: reflect.TypeOf(o).Elem()}, cel.New()
	var err error
	if m.props, err = propsOf(o, language); err != nil {
		return nil, err
	}
	if m.schema, err = jsonschema.Compile(m.props); err != nil {
		return nil, err
	}
	m.rules = language.Rules(m.props, true)
	if m.fill, err = fillerOf(m.goType, m.props); err != nil {
		return nil, err
	}
	m.look(m.goType, nil)
	m.judges = says(m.props, limits) || m.rules != nil
	m.needs = says(m.props, func(s *props) bool { return len(s.Required) > 0 || s.Default != nil })
	return m, nil
}

// propsOf is the schema of a Go type, which is sound.
func propsOf(o apimachinery.Object, language *cel.Environment) (*props, error) {
	s, err := jsonschema.FromGo(o)
	if err != nil {
		return nil, err
	}
	excuse(s)
	if p, ok := s.Properties["spec"]; ok && len(p.Required) > 0 && !slices.Contains(s.Required, "spec") {
		s.Required = append(s.Required, "spec") // what must have something in it must be there
	}
	path := field.NewPath("schema")
	errs := jsonschema.Check(s, path, jsonschema.CheckOptions{Status: true})
	errs = append(errs, language.CheckSchema(s, path, cel.SchemaCheck{Broken: len(errs) > 0})...)
	if err := errs.ToAggregate(); err != nil {
		return nil, fmt.Errorf("the tags of %T: %w", o, err)
	}
	return s, nil
}

// excuse lets be left out what has a default.
func excuse(s *props) {
	s.Required = slices.DeleteFunc(s.Required, func(name string) bool { return s.Properties[name].Default != nil })
	for name, p := range s.Properties {
		excuse(&p)
		s.Properties[name] = p
	}
	if s.Items != nil && s.Items.Schema != nil {
		excuse(s.Items.Schema)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		excuse(s.AdditionalProperties.Schema)
	}
}

// look finds the top-level fields.
func (m *model) look(t reflect.Type, at []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(slices.Clone(at), i)
		name, inline := jsonName(f)
		switch {
		case f.Type == reflect.TypeFor[metav1.TypeMeta](), f.Type == reflect.TypeFor[metav1.ObjectMeta](), !f.IsExported():
		case inline:
			m.look(f.Type, index)
		default:
			m.parts = append(m.parts, index)
			if name == "spec" {
				m.spec = index
			}
			if name == "status" && !(f.Type.Kind() == reflect.Struct && f.Type.NumField() == 0) {
				m.status = index
			}
		}
	}
}

// jsonName is the name of a field in JSON, "-" for one that isn't there; inline says that it is a struct whose fields
// stand for it.
func jsonName(f reflect.StructField) (name string, inline bool) {
	tag := f.Tag.Get("json")
	name, options, _ := strings.Cut(tag, ",")
	if name == "" && f.Type.Kind() == reflect.Struct && (f.Anonymous || slices.Contains(strings.Split(options, ","), "inline")) {
		return "", true
	}
	if name == "" {
		name = f.Name
	}
	return name, false
}

// says asks about a schema and all below.
func says(s *props, of func(*props) bool) bool {
	if s == nil {
		return false
	}
	if of(s) {
		return true
	}
	for _, p := range s.Properties {
		if says(&p, of) {
			return true
		}
	}
	return s.Items != nil && says(s.Items.Schema, of) || s.AdditionalProperties != nil && says(s.AdditionalProperties.Schema, of)
}

// limits says whether a schema limits values beyond their types.
func limits(s *props) bool {
	keyed := s.XListType != nil && *s.XListType != "atomic"
	return s.Minimum != nil || s.Maximum != nil || s.MultipleOf != nil || s.MinLength != nil || s.MaxLength != nil || s.Pattern != "" ||
		s.MinItems != nil || s.MaxItems != nil || s.MinProperties != nil || s.MaxProperties != nil || len(s.Enum) > 0 || keyed ||
		len(s.Required) > 0 || s.Format != "" && s.Type == "string" || s.XEmbeddedResource
}

// content is an object as JSON has it.
func content(o apimachinery.Object) (map[string]any, error) {
	raw, err := apimachinery.Encode(o)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	return out, apimachinery.DecodeLoose(raw, &out)
}

// completer is View.Complete, nil if there is nothing to complete.
func (m *model) completer() func([]byte, string) ([]byte, func(apimachinery.Object) field.ErrorList) {
	if !m.needs {
		return nil
	}
	return m.completed
}

func (m *model) completed(raw []byte, sub string) ([]byte, func(apimachinery.Object) field.ErrorList) {
	var o map[string]any
	if apimachinery.DecodeLoose(raw, &o) != nil || o == nil {
		return raw, nil
	}
	out := raw
	if m.fill != nil {
		m.schema.Default(o)
		if full, err := apimachinery.Encode(o); err == nil {
			out = full
		}
	}
	var missing field.ErrorList
	for _, e := range m.schema.Validate(nil, o, nil) {
		if e.Type == field.ErrorTypeRequired && (sub == "" || e.Field == sub || strings.HasPrefix(e.Field, sub+".")) {
			missing = append(missing, e)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	return out, func(stored apimachinery.Object) field.ErrorList { return m.stillMissing(stored, missing) }
}

// stillMissing leaves out what admission has filled in since: a field that was missing has Go's zero value else.
func (m *model) stillMissing(o apimachinery.Object, missing field.ErrorList) field.ErrorList {
	if reflect.TypeOf(o).Elem() != m.goType {
		return missing
	}
	now, err := content(o)
	if err != nil {
		return missing
	}
	return slices.DeleteFunc(slices.Clone(missing), func(e *field.Error) bool { return m.filledIn(now, e.Field) })
}

// filledIn says whether there is something at a path. An object is something once all that it must have is.
func (m *model) filledIn(o map[string]any, path string) bool {
	value, s := any(o), m.props
	for step := range strings.SplitSeq(path, ".") {
		in, ok := value.(map[string]any)
		p, known := s.Properties[step]
		if !ok || !known {
			return false // in a list, say: nothing is known of it
		}
		value, s = in[step], &p
	}
	if in, ok := value.(map[string]any); ok && len(s.Required) > 0 {
		return !slices.ContainsFunc(s.Required, func(name string) bool { return empty(in[name]) })
	}
	return !empty(value)
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		for _, inner := range v {
			if !empty(inner) {
				return false
			}
		}
		return true
	case []any:
		return len(v) == 0
	}
	return reflect.ValueOf(v).IsZero()
}

// openAPI is the schema for OpenAPI documents.
func (m *model) openAPI(version int) ([]byte, error) {
	o, err := jsonschema.OpenAPI(m.props, version)
	if err != nil {
		return nil, err
	}
	return json.Marshal(o)
}
