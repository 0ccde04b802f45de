package apimachinery

import (
	"encoding"
	"encoding/json"
	"reflect"
	"sync"
)

// decodePlan is how values of one type are read. It does not change once it is made.
type decodePlan struct {
	op      op
	t       reflect.Type
	elem    *decodePlan // of a pointer, slice or map
	size    uintptr     // of an element
	fields  []decodeField
	names   []uint16   // open hash of field numbers, from 1
	scratch *sync.Pool // of *mapEntry for opMap, of *reflect.Value (a slice that can be set) for opSlice
}

type decodeField struct {
	name   string
	offset uintptr
	plan   *decodePlan
}

// mapEntry is room for one entry of a map.
type mapEntry struct{ key, elem reflect.Value }

// plan returns the plan of a type.
func (q *QuickDecoder) plan(t reflect.Type) *decodePlan {
	if p, ok := q.plans.Load(t); ok {
		return p.(*decodePlan)
	}
	q.making.Lock()
	defer q.making.Unlock()
	m := decodePlanner{known: &q.plans, fresh: map[reflect.Type]*decodePlan{}}
	p := m.plan(t)
	for t, p := range m.fresh {
		q.plans.Store(t, p)
	}
	return p
}

// decodePlanner makes the plan of a type and of all the types in it, which are published together.
type decodePlanner struct {
	known *sync.Map
	fresh map[reflect.Type]*decodePlan
}

func (m *decodePlanner) plan(t reflect.Type) *decodePlan {
	if p, ok := m.known.Load(t); ok {
		return p.(*decodePlan)
	}
	if p, ok := m.fresh[t]; ok {
		return p
	}
	p := &decodePlan{t: t}
	m.fresh[t] = p
	if p.op = specialOp(t); p.op == opQuantity {
		p.op = opJSON
	}
	if p.op == opForeign && !p.readsItself() {
		m.fill(p)
	}
	return p
}

// readsItself looks for methods of the type that read it. Those of a type without a name count for Kubernetes' decoder
// behind a pointer only: such are left to it.
func (p *decodePlan) readsItself() bool {
	if p.t.Kind() == reflect.Pointer || p.t.Kind() == reflect.Interface {
		return false
	}
	pointer := reflect.PointerTo(p.t)
	byJSON := pointer.Implements(reflect.TypeFor[json.Unmarshaler]())
	if !byJSON && !pointer.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return false
	}
	switch {
	case p.t.Name() == "":
		p.op = opNever
	case byJSON:
		p.op = opJSON
	}
	return true
}

// fill completes the plan of a type without methods. What it does not know stays foreign.
func (m *decodePlanner) fill(p *decodePlan) {
	t := p.t
	switch t.Kind() {
	case reflect.Pointer:
		p.op, p.elem = opPointer, m.plan(t.Elem())
	case reflect.Slice:
		p.op, p.elem, p.size = opSlice, m.plan(t.Elem()), t.Elem().Size()
		p.scratch = &sync.Pool{New: func() any { v := reflect.New(t).Elem(); return &v }}
		if t.Elem().Kind() == reflect.Uint8 {
			p.op = opBytes
		}
	case reflect.Map:
		m.fillMap(p)
	case reflect.Struct:
		m.fillStruct(p)
	case reflect.Interface:
		if p.op = opNever; t.NumMethod() == 0 {
			p.op = opAny
		}
	default:
		p.op = scalarOp(t)
	}
}

func (m *decodePlanner) fillMap(p *decodePlan) {
	key := p.t.Key()
	if key.Kind() != reflect.String || reflect.PointerTo(key).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return
	}
	p.op, p.elem = opMap, m.plan(p.t.Elem())
	if key == reflect.TypeFor[string]() && p.t.Elem() == reflect.TypeFor[string]() {
		p.op = opStringMap
		return
	}
	elem := p.t.Elem()
	p.scratch = &sync.Pool{New: func() any { return &mapEntry{reflect.New(key).Elem(), reflect.New(elem).Elem()} }}
}

// maxDecodeFields is how many fields of one struct can be told apart when they are seen.
const maxDecodeFields = 128

func (m *decodePlanner) fillStruct(p *decodePlan) {
	fields := jsonFields(p.t)
	if len(fields) > maxDecodeFields {
		return
	}
	for _, f := range fields {
		if f.indirect || f.quoted {
			return
		}
	}
	p.op = opStruct
	size := 4
	for size < 3*len(fields) {
		size *= 2
	}
	p.names = make([]uint16, size)
	for i, f := range fields {
		p.fields = append(p.fields, decodeField{f.name, f.offset, m.plan(f.typ)})
		at := nameHash(f.name) & uint32(size-1)
		for p.names[at] != 0 {
			at = (at + 1) & uint32(size-1)
		}
		p.names[at] = uint16(i + 1)
	}
}

// find returns the number of the field with a name, or -1.
func (p *decodePlan) find(name []byte) int {
	mask := uint32(len(p.names) - 1)
	for at := nameHash(name) & mask; p.names[at] != 0; at = (at + 1) & mask {
		if i := int(p.names[at]) - 1; p.fields[i].name == string(name) {
			return i
		}
	}
	return -1
}

// nameHash mixes what differs among the names of one struct.
func nameHash[Bytes []byte | string](s Bytes) uint32 {
	n := len(s)
	if n == 0 {
		return 0
	}
	return uint32(n)*7 + uint32(s[0])*13 + uint32(s[n/2])*31 + uint32(s[n-1])*131
}
