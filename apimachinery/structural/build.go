package structural

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Types makes Types and shares what kinds have in common, such as ObjectMeta.
// The zero value is ready. It may be used concurrently.
type Types struct {
	mu   sync.Mutex
	defs map[reflect.Type]*structDef
}

// Of returns the Type of sample: a pointer to a struct, or a struct, that json encodes as an object.
// Only the Go type matters, not the value.
func Of(sample any) (*Type, error) { return new(Types).Of(sample) }

// Of is the function Of; Types made by the same value share their parts.
func (ts *Types) Of(sample any) (*Type, error) {
	if sample == nil {
		return nil, errors.New("schema of nil: not a struct or a pointer to one")
	}
	rt := indirect(reflect.TypeOf(sample))
	if rt.Kind() != reflect.Struct {
		return nil, fmt.Errorf("schema of %T: not a struct or a pointer to one", sample)
	}
	t := ts.typeOf(rt)
	if t.kind != Struct {
		return nil, fmt.Errorf("schema of %T: it encodes itself, so its fields are not known", sample)
	}
	t.zero = sync.OnceValues(func() ([]byte, error) {
		raw, err := json.Marshal(reflect.New(rt).Interface())
		if err != nil {
			return nil, fmt.Errorf("encode the zero value of %v: %w", rt, err)
		}
		return raw, nil
	})
	return t, nil
}

// structDef is the part of a Struct that all its uses share. Its fields are looked at once, when asked for.
type structDef struct {
	types *Types
	rt    reflect.Type
	make  func() []*Field // instead of rt, where New made the Type
	open  *Field          // what stands for fields of other names; nil: there are none

	once   sync.Once
	fields []*Field
	byName map[string]*Field
	rules  rules
}

func (ts *Types) def(rt reflect.Type) *structDef {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	d, ok := ts.defs[rt]
	if !ok {
		if ts.defs == nil {
			ts.defs = map[reflect.Type]*structDef{}
		}
		d = &structDef{types: ts, rt: rt, rules: parseRules(overlay(modelName(rt)))}
		ts.defs[rt] = d
	}
	return d
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	openAPIType   = reflect.TypeFor[interface{ OpenAPISchemaType() []string }]()
	fieldsV1      = reflect.TypeFor[metav1.FieldsV1]()
	rawExtension  = reflect.TypeFor[runtime.RawExtension]()
	quantity      = reflect.TypeFor[resource.Quantity]()
)

// typeOf describes rt without looking into structs.
func (ts *Types) typeOf(rt reflect.Type) *Type {
	rt = indirect(rt)
	if t := wellKnown(rt); t != nil {
		return t
	}
	switch rt.Kind() {
	case reflect.String:
		return &Type{kind: Scalar, scalar: String, goType: rt}
	case reflect.Bool:
		return &Type{kind: Scalar, scalar: Boolean, goType: rt}
	case reflect.Int64, reflect.Int, reflect.Uint, reflect.Uint64:
		return &Type{kind: Scalar, scalar: Number, format: "int64", goType: rt}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return &Type{kind: Scalar, scalar: Number, format: "int32", goType: rt}
	case reflect.Float32, reflect.Float64:
		return &Type{kind: Scalar, scalar: Number, format: "double", goType: rt}
	case reflect.Slice, reflect.Array:
		if rt.Kind() == reflect.Slice && rt.Elem().Kind() == reflect.Uint8 {
			return &Type{kind: Scalar, scalar: String, format: "byte", goType: rt}
		}
		return &Type{kind: List, elem: ts.typeOf(rt.Elem()), goType: rt}
	case reflect.Map:
		return &Type{kind: Map, elem: ts.typeOf(rt.Elem()), goType: rt}
	case reflect.Struct:
		if rt.NumField() == 0 {
			return &Type{kind: Map, elem: &Type{kind: Any}, goType: rt}
		}
		d := ts.def(rt)
		return &Type{kind: Struct, def: d, goType: rt, atomic: d.rules.self == "a"}
	}
	return &Type{kind: Any, goType: rt}
}

// wellKnown describes the types that encode themselves, or returns nil.
func wellKnown(rt reflect.Type) *Type {
	implements := func(i reflect.Type) bool { return rt.Implements(i) || reflect.PointerTo(rt).Implements(i) }
	if rt.Kind() == reflect.Interface {
		return nil
	}
	switch rt {
	case fieldsV1, rawExtension:
		return &Type{kind: Map, elem: &Type{kind: Any}, goType: rt}
	case quantity:
		return &Type{kind: Scalar, scalar: AnyScalar, format: "quantity", goType: rt}
	}
	if implements(openAPIType) {
		return describedByMethods(rt)
	}
	switch {
	case implements(jsonMarshaler):
		return &Type{kind: Any, goType: rt}
	case implements(textMarshaler):
		return &Type{kind: Scalar, scalar: String, goType: rt}
	}
	return nil
}

// describedByMethods follows the Kubernetes convention by which a type that encodes itself says how.
func describedByMethods(rt reflect.Type) *Type {
	v := reflect.New(rt).Interface()
	t := &Type{kind: Scalar, goType: rt}
	if f, ok := v.(interface{ OpenAPISchemaFormat() string }); ok {
		t.format = f.OpenAPISchemaFormat()
	}
	names := v.(interface{ OpenAPISchemaType() []string }).OpenAPISchemaType()
	if len(names) != 1 {
		return &Type{kind: Any, goType: rt}
	}
	switch names[0] {
	case "string":
		t.scalar = String
		if t.format != "" {
			t.scalar = AnyScalar
		}
	case "integer", "number":
		t.scalar = Number
	case "boolean":
		t.scalar = Boolean
	default:
		return &Type{kind: Any, goType: rt}
	}
	return t
}

func (d *structDef) expand() *structDef {
	d.once.Do(func() {
		if d.rt != nil {
			d.collect(d.rt)
		} else if d.make != nil {
			d.fields = d.make()
		}
		d.byName = make(map[string]*Field, len(d.fields))
		for _, f := range d.fields {
			d.byName[f.Name] = f
		}
	})
	return d
}

// collect adds the fields of rt, those of inlined structs included.
func (d *structDef) collect(rt reflect.Type) {
	for i := range rt.NumField() {
		sf := rt.Field(i)
		tag, hasTag := sf.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		if tag == "-" || !sf.IsExported() && !sf.Anonymous {
			continue
		}
		if inner := indirect(sf.Type); name == "" && inner.Kind() == reflect.Struct && (sf.Anonymous || hasOption(options, "inline")) {
			d.collect(inner)
			continue
		}
		if !sf.IsExported() {
			continue
		}
		if !hasTag || name == "" {
			name = sf.Name
		}
		d.add(rt, sf, name, options)
	}
}

func (d *structDef) add(owner reflect.Type, sf reflect.StructField, name, options string) {
	f := &Field{
		Name:          name,
		Type:          d.types.typeOf(sf.Type),
		Required:      !hasOption(options, "omitempty") && !hasOption(options, "omitzero"),
		PatchMergeKey: sf.Tag.Get("patchMergeKey"),
		Default:       d.rules.defaults[name],
		Tag:           sf.Tag,
		owner:         owner,
		goType:        sf.Type,
	}
	if s := sf.Tag.Get("patchStrategy"); s != "" {
		f.PatchStrategy = strings.Split(s, ",")
	}
	if hasOption(options, "string") && f.Type.kind == Scalar {
		f.Type = &Type{kind: Scalar, scalar: String, goType: f.Type.goType}
	}
	if f.Type.kind == List && f.PatchMergeKey != "" && slices.Contains(f.PatchStrategy, "merge") && f.Type.elem.kind == Struct {
		f.Type.list, f.Type.keys = MapList, []string{f.PatchMergeKey}
	}
	if rule := taggedRule(sf.Tag.Get("schema")); rule != "" {
		f.Type = f.Type.with(rule)
	}
	if rule, ok := d.rules.fields[name]; ok {
		f.Type = f.Type.with(rule)
	}
	if i := slices.IndexFunc(d.fields, func(o *Field) bool { return o.Name == name }); i >= 0 {
		d.fields[i] = f
		return
	}
	d.fields = append(d.fields, f)
}

func indirect(rt reflect.Type) reflect.Type {
	for rt.Kind() == reflect.Pointer {
		rt = rt.Elem()
	}
	return rt
}

func hasOption(options, name string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == name {
			return true
		}
	}
	return false
}

func swaggerDoc(rt reflect.Type) map[string]string {
	if rt == nil {
		return nil
	}
	if d, ok := reflect.Zero(rt).Interface().(interface{ SwaggerDoc() map[string]string }); ok {
		return d.SwaggerDoc()
	}
	if d, ok := reflect.New(rt).Interface().(interface{ SwaggerDoc() map[string]string }); ok {
		return d.SwaggerDoc()
	}
	return nil
}
