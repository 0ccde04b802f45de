package managedfields

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// valuePlan is how Go values of one type are seen as JSON. What is below a struct is found out when first needed:
// most objects use few of the fields that they could have.
type valuePlan struct {
	t        *structural.Type
	rt       reflect.Type // without pointers
	pointers int          // that lead to it
	how      how
	nillable bool       // a word of zero is JSON null
	elem     *valuePlan // of a list or map
	size     uintptr    // of an item

	once    sync.Once
	members []valueField // of an object, sorted by name
	keys    []*valueField
}

// how says how the values of a plan are compared.
type how uint8

const (
	opaque       how = iota // only its own method knows its JSON
	asText                  // a string
	asInteger               // a signed integer
	asUnsigned              // an unsigned integer
	asFloat                 // a floating point number
	asBoolean               // a bool
	asBytes                 // a list of bytes, as base64
	asQuantity              // a quantity, by value and format
	asTime                  // a time, by second
	asMicroTime             // a time, by microsecond
	asEither                // an integer or a string
	asComparable            // a scalar that Go compares
	asObject                // a struct, by field
	asMap                   // a map with strings for keys
	asList                  // a list or array
)

// valueField is a field of a struct.
type valueField struct {
	name     string
	offset   uintptr
	empty    emptiness                 // the question of omitempty
	isEmpty  func(unsafe.Pointer) bool // where it is another one
	omitZero func(unsafe.Pointer) bool // nil: it doesn't count
	plan     *valuePlan
}

type plansKey struct{}

// planOf returns the plan of a kind, or nil where its values can't be compared as such.
func planOf(t *structural.Type) *valuePlan {
	p, _ := t.Derived(plansKey{}, func(t *structural.Type) (any, error) {
		if t.GoType() == nil || t.Kind() != structural.Struct {
			return (*valuePlan)(nil), nil
		}
		return newPlan(t, t.GoType()), nil
	})
	return p.(*valuePlan)
}

func newPlan(t *structural.Type, rt reflect.Type) *valuePlan {
	p := &valuePlan{t: t, rt: bare(rt)}
	for ; rt != p.rt; rt = rt.Elem() {
		p.pointers++
	}
	p.how, p.nillable = howOf(t, p.rt), slices.Contains([]reflect.Kind{reflect.Slice, reflect.Map, reflect.Interface}, p.rt.Kind())
	if p.how == asList || p.how == asMap {
		p.elem, p.size = newPlan(t.Elem(), p.rt.Elem()), p.rt.Elem().Size()
	}
	return p
}

func bare(rt reflect.Type) reflect.Type {
	for rt.Kind() == reflect.Pointer {
		rt = rt.Elem()
	}
	return rt
}

func howOf(t *structural.Type, rt reflect.Type) how {
	switch rt {
	case reflect.TypeFor[resource.Quantity]():
		return asQuantity
	case reflect.TypeFor[metav1.Time]():
		return asTime
	case reflect.TypeFor[metav1.MicroTime]():
		return asMicroTime
	case reflect.TypeFor[intstr.IntOrString]():
		return asEither
	case reflect.TypeFor[metav1.Duration]():
		return asComparable
	}
	if rt.Kind() == reflect.Interface || encodesItself(rt) || t.Kind() == structural.Any {
		return opaque
	}
	return howOfKind(t, rt)
}

func howOfKind(t *structural.Type, rt reflect.Type) how {
	switch rt.Kind() {
	case reflect.String:
		return asText
	case reflect.Bool:
		return asBoolean
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return asInteger
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return asUnsigned
	case reflect.Float32, reflect.Float64:
		return asFloat
	case reflect.Slice, reflect.Array:
		if t.Kind() == structural.Scalar {
			return asBytes
		}
		if t.Kind() == structural.List && t.Elem() != nil {
			return asList
		}
	case reflect.Map:
		if t.Elem() != nil && rt.Key().Kind() == reflect.String && !encodesItself(rt.Key()) {
			return asMap
		}
	case reflect.Struct:
		if flat(rt) {
			return asObject
		}
	}
	return opaque
}

func encodesItself(rt reflect.Type) bool {
	for _, i := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()} {
		if rt.Implements(i) || reflect.PointerTo(rt).Implements(i) {
			return true
		}
	}
	return false
}

// fields returns those of an object.
func (p *valuePlan) fields() []valueField {
	p.expand()
	return p.members
}

// keyFields returns the fields by which the items of a list are told apart, in the order of the keys.
func (p *valuePlan) keyFields() []*valueField {
	p.expand()
	return p.keys
}

func (p *valuePlan) expand() {
	p.once.Do(func() {
		switch p.how {
		case asObject:
			p.collect(p.rt, 0)
			slices.SortFunc(p.members, func(a, b valueField) int { return strings.Compare(a.name, b.name) })
		case asList:
			for _, k := range p.t.Keys() {
				p.keys = append(p.keys, p.elem.field(k.Name))
			}
		}
	})
}

func (p *valuePlan) field(name string) *valueField {
	if p.how != asObject {
		return nil
	}
	fields := p.fields()
	if i, ok := slices.BinarySearchFunc(fields, name, func(f valueField, name string) int { return strings.Compare(f.name, name) }); ok {
		return &fields[i]
	}
	return nil
}

// collect adds the fields of a struct, those of structs in it that JSON lays flat included.
func (p *valuePlan) collect(rt reflect.Type, offset uintptr) {
	for i := range rt.NumField() {
		sf := rt.Field(i)
		tag := sf.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		if tag == "-" || !sf.IsExported() && !sf.Anonymous {
			continue
		}
		at := offset + sf.Offset
		if name == "" && (sf.Anonymous || strings.Contains(options, "inline")) && sf.Type.Kind() == reflect.Struct {
			p.collect(sf.Type, at)
			continue
		}
		if name == "" {
			name = sf.Name
		}
		declared := p.t.Field(name)
		if !sf.IsExported() || declared == nil {
			continue
		}
		f := valueField{name: name, offset: at, plan: newPlan(declared.Type, sf.Type)}
		for option := range strings.SplitSeq(options, ",") {
			switch option {
			case "omitempty":
				f.omitEmpty(sf.Type)
			case "omitzero":
				f.omitZero = zeroTest(sf.Type)
			case "string":
				f.plan.how = opaque
			}
		}
		p.members = append(p.members, f)
	}
}

// emptiness is how a field is seen to be empty.
type emptiness uint8

const (
	neverEmpty  emptiness = iota
	emptyWord             // its first word is zero
	emptyLength           // its second word, the length, is zero
	emptyByFunc
)

// omitEmpty sets how omitempty is answered for a field.
func (f *valueField) omitEmpty(rt reflect.Type) {
	switch rt.Kind() {
	case reflect.Struct:
	case reflect.Pointer, reflect.Interface:
		f.empty = emptyWord
	case reflect.String, reflect.Slice:
		f.empty = emptyLength
	case reflect.Map, reflect.Array:
		f.empty = emptyByFunc
		f.isEmpty = func(at unsafe.Pointer) bool {
			return rt.Kind() == reflect.Map && word(at) == 0 || reflect.NewAt(rt, at).Elem().Len() == 0
		}
	default:
		f.empty, f.isEmpty = emptyByFunc, func(at unsafe.Pointer) bool { return bits(at, rt.Size()) == 0 }
	}
}

// zeroTest returns what omitzero asks of a type: its own IsZero, or whether all of it is zero.
func zeroTest(rt reflect.Type) func(unsafe.Pointer) bool {
	type zeroer interface{ IsZero() bool }
	own := reflect.TypeFor[zeroer]()
	switch {
	case rt.Kind() == reflect.Pointer && rt.Implements(own):
		return func(at unsafe.Pointer) bool {
			v := reflect.NewAt(rt, at).Elem()
			return v.IsNil() || v.Interface().(zeroer).IsZero()
		}
	case rt.Kind() != reflect.Pointer && reflect.PointerTo(rt).Implements(own):
		return func(at unsafe.Pointer) bool { return reflect.NewAt(rt, at).Interface().(zeroer).IsZero() }
	}
	return func(at unsafe.Pointer) bool { return reflect.NewAt(rt, at).Elem().IsZero() }
}

// flat says whether no field of a struct, nor of those that JSON lays flat in it, is behind an embedded pointer.
func flat(rt reflect.Type) bool {
	for i := range rt.NumField() {
		sf := rt.Field(i)
		inline := sf.Anonymous || strings.Contains(sf.Tag.Get("json"), ",inline")
		if inline && (sf.Type.Kind() == reflect.Pointer || sf.Type.Kind() == reflect.Struct && !flat(sf.Type)) {
			return false
		}
	}
	return true
}
