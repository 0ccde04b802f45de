package apimachinery

import (
	"encoding"
	"encoding/json"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// op says how a value is written or read.
type op uint8

const (
	opForeign op = iota // by the library
	opBool
	opInt8
	opInt16
	opInt32
	opInt64
	opUint8
	opUint16
	opUint32
	opUint64
	opFloat32
	opFloat64
	opString
	opBytes
	opSlice
	opArray
	opMap
	opStringMap // map[string]string, whatever it is called
	opStruct
	opPointer
	opAny       // the empty interface
	opInterface // another interface
	opJSON      // by the type's own JSON methods
	opText      // by the type's own MarshalText
	opTime      // metav1.Time
	opMicroTime // metav1.MicroTime
	opQuantity  // resource.Quantity
	opIntOrString
	opNever // can't be read quickly
)

type encodeKey struct {
	t           reflect.Type
	addressable bool
}

// encodePlan is how values of one type are written. It does not change once it is made.
type encodePlan struct {
	op          op
	t           reflect.Type
	addressable bool
	elem        *encodePlan // of a pointer, slice, array or map
	size        uintptr     // of an element
	n           int         // elements of an array
	fields      []encodeField
	cached      uintptr    // where a Quantity keeps its text
	scratch     *sync.Pool // of *mapScratch, for opMap
}

type encodeField struct {
	name   string // with a comma before and a colon after
	offset uintptr
	plan   *encodePlan
	// quick says that the field is to be left out if the word at empties is zero.
	quick   bool
	empties uintptr
	empty   emptiness // for omitempty, where it is not all quick
	isZero  func(ref) bool
}

// emptiness says how to see that a field is to be left out.
type emptiness uint8

const (
	neverEmpty emptiness = iota
	alwaysEmpty
	empty8
	empty16
	empty32
	empty64
	emptyFloat32
	emptyFloat64
	emptyMap
	emptyWord // a nil pointer or interface
	emptyLength
)

// planner makes the plan of a type and of all the types in it; they know each other, so they are published together.
type planner struct {
	known *sync.Map
	fresh map[encodeKey]*encodePlan
}

func (m *planner) plan(key encodeKey) *encodePlan {
	if p, ok := m.known.Load(key); ok {
		return p.(*encodePlan)
	}
	if p, ok := m.fresh[key]; ok {
		return p
	}
	p := &encodePlan{t: key.t, addressable: key.addressable}
	m.fresh[key] = p
	if p.op = specialOp(key.t); p.op == opQuantity {
		s, ok := key.t.FieldByName("s")
		if !ok || s.Type.Kind() != reflect.String {
			p.op = opJSON
		}
		p.cached = s.Offset
	}
	if p.op == opForeign {
		p.op = p.methodOp()
	}
	if p.op == opForeign {
		m.fill(p)
	}
	return p
}

// specialOp returns the op of the types that have one of their own.
func specialOp(t reflect.Type) op {
	switch t {
	case reflect.TypeFor[metav1.Time]():
		return opTime
	case reflect.TypeFor[metav1.MicroTime]():
		return opMicroTime
	case reflect.TypeFor[resource.Quantity]():
		return opQuantity
	case reflect.TypeFor[intstr.IntOrString]():
		return opIntOrString
	}
	return opForeign
}

// methodOp looks for methods of the type that write it. A pointer needs no look: its target's methods are its own.
func (p *encodePlan) methodOp() op {
	if p.t.Kind() == reflect.Pointer || p.t.Kind() == reflect.Interface {
		return opForeign
	}
	has := func(i reflect.Type) bool {
		return p.t.Implements(i) || p.addressable && reflect.PointerTo(p.t).Implements(i)
	}
	switch {
	case has(reflect.TypeFor[json.Marshaler]()):
		return opJSON
	case has(reflect.TypeFor[encoding.TextMarshaler]()):
		return opText
	}
	return opForeign
}

// fill completes the plan of a type without methods. What it does not know stays foreign.
func (m *planner) fill(p *encodePlan) {
	t := p.t
	switch t.Kind() {
	case reflect.Pointer:
		p.op, p.elem = opPointer, m.plan(encodeKey{t.Elem(), true})
	case reflect.Slice:
		m.fillSlice(p)
	case reflect.Array:
		p.op, p.elem, p.size, p.n = opArray, m.plan(encodeKey{t.Elem(), p.addressable}), t.Elem().Size(), t.Len()
	case reflect.Map:
		m.fillMap(p)
	case reflect.Struct:
		m.fillStruct(p)
	case reflect.Interface:
		if t.NumMethod() == 0 {
			p.op = opAny
		} else if !t.Implements(reflect.TypeFor[json.Marshaler]()) && !t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
			p.op = opInterface
		}
	default:
		p.op = scalarOp(t)
	}
}

// scalarOp returns the op of a type whose kind is a number, a string or a bool.
func scalarOp(t reflect.Type) op {
	switch t.Kind() {
	case reflect.Bool:
		return opBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return bySize(t, opInt8, opInt16, opInt32, opInt64)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return bySize(t, opUint8, opUint16, opUint32, opUint64)
	case reflect.Float32:
		return opFloat32
	case reflect.Float64:
		return opFloat64
	case reflect.String:
		if t != reflect.TypeFor[json.Number]() {
			return opString
		}
	}
	return opForeign
}

func bySize[T any](t reflect.Type, one, two, four, eight T) T {
	switch t.Size() {
	case 1:
		return one
	case 2:
		return two
	case 4:
		return four
	}
	return eight
}

func (m *planner) fillSlice(p *encodePlan) {
	elem := p.t.Elem()
	p.op, p.size = opSlice, elem.Size()
	p.elem = m.plan(encodeKey{elem, true})
	if elem.Kind() == reflect.Uint8 && p.elem.op == opUint8 {
		p.op = opBytes
	}
}

func (m *planner) fillMap(p *encodePlan) {
	if p.t.Key().Kind() != reflect.String {
		return
	}
	p.op, p.elem = opMap, m.plan(encodeKey{p.t.Elem(), false})
	if p.t.Key() == reflect.TypeFor[string]() && p.t.Elem() == reflect.TypeFor[string]() {
		p.op = opStringMap
		return
	}
	t := p.t
	p.scratch = &sync.Pool{New: func() any { return newMapScratch(t) }}
}

func (m *planner) fillStruct(p *encodePlan) {
	fields := jsonFields(p.t)
	for _, f := range fields {
		if f.indirect || f.quoted || f.omitZero && f.typ.Kind() == reflect.Interface {
			return
		}
	}
	p.op = opStruct
	for _, f := range fields {
		ef := encodeField{name: `,"` + f.name + `":`, offset: f.offset, plan: m.plan(encodeKey{f.typ, p.addressable})}
		if f.omitEmpty {
			ef.omitEmpty(f.typ)
		}
		if f.omitZero {
			ef.isZero = zeroTest(f.typ)
		}
		p.fields = append(p.fields, ef)
	}
}

// omitEmpty sets how the field is seen to be empty.
func (f *encodeField) omitEmpty(t reflect.Type) {
	f.empty, f.empties = emptinessOf(t), f.offset
	switch f.empty {
	case emptyLength:
		f.empties += wordSize
		fallthrough
	case emptyWord:
		f.quick, f.empty = true, neverEmpty
	case emptyMap:
		f.quick = true // nil, mostly; else its length counts
	}
}

func emptinessOf(t reflect.Type) emptiness {
	switch t.Kind() {
	case reflect.Array:
		if t.Len() == 0 {
			return alwaysEmpty
		}
		return neverEmpty
	case reflect.Struct, reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128:
		return neverEmpty
	case reflect.Float32:
		return emptyFloat32
	case reflect.Float64:
		return emptyFloat64
	case reflect.String, reflect.Slice:
		return emptyLength
	case reflect.Map:
		return emptyMap
	case reflect.Interface, reflect.Pointer:
		return emptyWord
	}
	return bySize(t, empty8, empty16, empty32, empty64)
}

type zeroer interface{ IsZero() bool }

// zeroTest returns omitzero's question for a type: its own IsZero, or whether all of it is zero.
func zeroTest(t reflect.Type) func(ref) bool {
	own := reflect.TypeFor[zeroer]()
	switch {
	case t.Kind() == reflect.Pointer && t.Implements(own):
		return func(p ref) bool {
			to, ok := p.pointee()
			return !ok || to.pointer(t.Elem()).Interface().(zeroer).IsZero()
		}
	case t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(own):
		return func(p ref) bool { return p.pointer(t).Interface().(zeroer).IsZero() }
	}
	return func(p ref) bool { return p.value(t).IsZero() }
}
