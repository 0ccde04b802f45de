package apimachinery

import (
	"encoding/json"
	"hash/maphash"
	"reflect"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	kjson "sigs.k8s.io/json"
)

// decoding is one walk over a document. Its methods fill memory that was zero before; false means that Kubernetes'
// own decoder is to read the whole document.
type decoding struct {
	scanner
	strict bool
	common *commonStrings
}

// try decodes data into what into points to. False: it could not, and left it zero.
func (q *QuickDecoder) try(data []byte, into any, strict bool) bool {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return false
	}
	v.Elem().SetZero()
	d, _ := q.states.Get().(*decoding)
	if d == nil {
		d = &decoding{common: &commonStrings{seed: maphash.MakeSeed()}}
	}
	d.scanner, d.strict = scanner{data: data}, strict
	ok := d.next() != 'n' && d.value(q.plan(v.Type().Elem()), refOf(v), 0) && d.next() == 0 && d.at == len(data)
	d.scanner = scanner{}
	q.states.Put(d)
	if !ok {
		v.Elem().SetZero()
	}
	return ok
}

func (d *decoding) value(pl *decodePlan, p ref, depth int) bool {
	if depth > maxPlainDepth {
		return false
	}
	c := d.next()
	if c == 'n' && pl.op != opJSON && pl.op != opIntOrString {
		return pl.op != opNever && d.word("null") // all else that it could mean is that the value stays zero
	}
	switch pl.op {
	case opString:
		var ok bool
		*as[string](p), ok = d.str()
		return ok
	case opStruct:
		return d.object(pl, p, depth)
	case opPointer:
		target := refOf(reflect.New(pl.elem.t))
		p.point(target)
		return d.value(pl.elem, target, depth+1)
	case opSlice:
		return d.slice(pl, p, depth)
	case opStringMap:
		return d.stringMap(p)
	case opMap:
		return d.mapping(pl, p, depth)
	case opBool:
		*as[bool](p) = c == 't'
		return c == 't' && d.word("true") || c == 'f' && d.word("false")
	case opAny:
		var ok bool
		*as[any](p), ok = d.untyped(depth)
		return ok
	case opBytes:
		return d.bytes(p.value(pl.t))
	case opForeign, opNever, opJSON, opTime, opMicroTime, opIntOrString:
		return d.byMethod(pl, p, c)
	case opFloat32, opFloat64:
		return d.float(p.value(pl.t))
	}
	return d.integer(pl.op, p)
}

func (d *decoding) object(pl *decodePlan, p ref, depth int) bool {
	if !d.take('{') {
		return false
	}
	if d.take('}') {
		return true
	}
	var seen [maxDecodeFields / 64]uint64
	for {
		name, plain, ok := d.text()
		if !ok || !plain || !d.take(':') {
			return false
		}
		if i := pl.find(name[1 : len(name)-1]); i >= 0 {
			bit := uint64(1) << (i % 64)
			if seen[i/64]&bit != 0 {
				return false
			}
			seen[i/64] |= bit
			f := &pl.fields[i]
			if !d.value(f.plan, p.field(f.offset), depth+1) {
				return false
			}
		} else if d.strict || !d.skip(depth+1) {
			return false
		}
		if more, ok := d.more('}'); !more {
			return ok
		}
	}
}

func (d *decoding) slice(pl *decodePlan, p ref, depth int) bool {
	if !d.take('[') {
		return false
	}
	v := p.value(pl.t)
	if d.take(']') {
		v.Set(reflect.MakeSlice(pl.t, 0, 0))
		return true
	}
	// The elements come together elsewhere, so that the slice is made once, in its size.
	room := pl.scratch.Get().(*reflect.Value)
	ok := d.elements(pl, room, depth)
	if ok {
		n := room.Len()
		v.Grow(n)
		v.SetLen(n)
		reflect.Copy(v, *room)
	}
	if room.Cap() <= maxKeptElems {
		room.Clear()
		room.SetLen(0)
		pl.scratch.Put(room)
	}
	return ok
}

func (d *decoding) elements(pl *decodePlan, room *reflect.Value, depth int) bool {
	for n := 0; ; n++ {
		if n == room.Cap() {
			room.Grow(max(4, n))
		}
		room.SetLen(n + 1)
		first, _ := refOf(room.Addr()).elements()
		if !d.value(pl.elem, first.field(uintptr(n)*pl.size), depth+1) {
			return false
		}
		if more, ok := d.more(']'); !more {
			return ok
		}
	}
}

func (d *decoding) stringMap(p ref) bool {
	m := map[string]string{}
	*as[map[string]string](p) = m
	return d.members(func(key string) bool {
		v, ok := "", true
		if d.next() == 'n' {
			ok = d.word("null")
		} else {
			v, ok = d.str()
		}
		m[key] = v
		return ok
	}, func() int { return len(m) })
}

func (d *decoding) mapping(pl *decodePlan, p ref, depth int) bool {
	m := reflect.MakeMap(pl.t)
	p.value(pl.t).Set(m)
	entry := pl.scratch.Get().(*mapEntry)
	at := refOf(entry.elem.Addr())
	ok := d.members(func(key string) bool {
		entry.elem.SetZero()
		if !d.value(pl.elem, at, depth+1) {
			return false
		}
		entry.key.SetString(key)
		m.SetMapIndex(entry.key, entry.elem)
		return true
	}, m.Len)
	entry.key.SetZero()
	entry.elem.SetZero()
	pl.scratch.Put(entry)
	return ok
}

// members reads the members of an object with free names. A name that comes twice shows in the count, and is unusual.
func (d *decoding) members(read func(name string) bool, count func() int) bool {
	if !d.take('{') {
		return false
	}
	if d.take('}') {
		return true
	}
	for n := 1; ; n++ {
		if d.next() != '"' {
			return false
		}
		name, ok := d.str()
		if !ok || !d.take(':') || !read(name) || count() != n {
			return false
		}
		if more, ok := d.more('}'); !more {
			return ok
		}
	}
}

// untyped reads a value for an empty interface: whole numbers are int64 if they fit.
func (d *decoding) untyped(depth int) (any, bool) {
	if depth > maxPlainDepth {
		return nil, false
	}
	switch d.next() {
	case '{':
		m := map[string]any{}
		ok := d.members(func(key string) (ok bool) {
			m[key], ok = d.untyped(depth + 1)
			return ok
		}, func() int { return len(m) })
		return m, ok
	case '[':
		return d.untypedList(depth + 1)
	case '"':
		return d.str()
	case 'n':
		return nil, d.word("null")
	case 't':
		return true, d.word("true")
	case 'f':
		return false, d.word("false")
	}
	literal, whole, ok := d.number()
	if !ok {
		return nil, false
	}
	if whole && len(literal) <= 18 {
		return smallInt(literal), true
	}
	if whole {
		if n, err := strconv.ParseInt(string(literal), 10, 64); err == nil {
			return n, true
		}
	}
	f, err := strconv.ParseFloat(string(literal), 64)
	return f, err == nil
}

func (d *decoding) untypedList(depth int) (any, bool) {
	list := []any{}
	d.take('[')
	if d.take(']') {
		return list, true
	}
	for {
		v, ok := d.untyped(depth)
		if !ok {
			return nil, false
		}
		list = append(list, v)
		if more, ok := d.more(']'); !more {
			return list, ok
		}
	}
}

// byMethod reads a value whose type has its own way; c is the first byte.
func (d *decoding) byMethod(pl *decodePlan, p ref, c byte) bool {
	start := d.at
	switch pl.op {
	case opTime:
		return d.time(&as[metav1.Time](p).Time, time.RFC3339)
	case opMicroTime:
		return d.time(&as[metav1.MicroTime](p).Time, metav1.RFC3339Micro)
	case opIntOrString:
		v := as[intstr.IntOrString](p)
		if c == '"' {
			var ok bool
			v.Type = intstr.String
			v.StrVal, ok = d.str()
			return ok
		}
		literal, whole, ok := d.number()
		if !ok || !whole || len(literal) > 18 {
			return false
		}
		n := smallInt(literal)
		v.IntVal = int32(n)
		return n == int64(v.IntVal)
	case opNever:
		return false
	}
	if !d.skip(0) {
		return false
	}
	raw := d.data[start:d.at]
	if pl.op == opJSON {
		return p.pointer(pl.t).Interface().(json.Unmarshaler).UnmarshalJSON(raw) == nil
	}
	into := p.pointer(pl.t).Interface()
	if !d.strict {
		return kjson.UnmarshalCaseSensitivePreserveInts(raw, into) == nil
	}
	strict, err := kjson.UnmarshalStrict(raw, into)
	return err == nil && len(strict) == 0
}
