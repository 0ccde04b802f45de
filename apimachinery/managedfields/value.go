package managedfields

import (
	"encoding/json"
	"reflect"
	"strconv"
	"unsafe"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// value is a Go value as JSON would show it: where it lies, and the plan that goes with it says as what. A value is
// only made of a pointer that reflect gave for the plan's type, and only moved by offsets and sizes that reflect
// gave for what lies there. (A walk by reflect.Value takes three times as long.)
type value struct {
	at unsafe.Pointer
	is being
}

type being uint8

const (
	gone  being = iota // JSON leaves it out
	null               // JSON null
	there              // not behind pointers any more
)

// header is what a slice consists of.
type header struct {
	first    unsafe.Pointer
	len, cap int
}

const wordSize = unsafe.Sizeof(uintptr(0))

func word(at unsafe.Pointer) uintptr { return *(*uintptr)(at) }

// seen returns the value of a field, item or map entry that JSON doesn't leave out.
func (p *valuePlan) seen(at unsafe.Pointer) value {
	for range p.pointers {
		if at = *(*unsafe.Pointer)(at); at == nil {
			return value{is: null}
		}
	}
	none := false
	switch p.how {
	case asList, asBytes, asMap, opaque:
		none = p.nillable && word(at) == 0
	case asTime:
		none = (*metav1.Time)(at).IsZero()
	case asMicroTime:
		none = (*metav1.MicroTime)(at).IsZero()
	}
	if none {
		return value{is: null}
	}
	return value{at, there}
}

// of returns the field's value in an object.
func (f *valueField) of(o value) value {
	if o.is != there {
		return value{}
	}
	at := unsafe.Add(o.at, f.offset)
	switch f.empty {
	case neverEmpty:
	case emptyWord:
		if word(at) == 0 {
			return value{}
		}
	case emptyLength:
		if word(unsafe.Add(at, wordSize)) == 0 {
			return value{}
		}
	default:
		if f.isEmpty(at) {
			return value{}
		}
	}
	if f.omitZero != nil && f.omitZero(at) {
		return value{}
	}
	return f.plan.seen(at)
}

// filled says whether a container has anything in it.
func (p *valuePlan) filled(v value) bool {
	if v.is != there {
		return false
	}
	switch p.how {
	case asObject:
		fields := p.fields()
		for i := range fields {
			if fields[i].of(v).is != gone {
				return true
			}
		}
		return false
	case asMap:
		return p.reflected(v).Len() > 0
	}
	_, n := p.list(v)
	return n > 0
}

// list returns where a list begins and how long it is.
func (p *valuePlan) list(v value) (first unsafe.Pointer, n int) {
	if p.rt.Kind() == reflect.Array {
		return v.at, p.rt.Len()
	}
	h := (*header)(v.at)
	return h.first, h.len
}

func (p *valuePlan) item(first unsafe.Pointer, i int) value {
	return p.elem.seen(unsafe.Add(first, uintptr(i)*p.size))
}

func (p *valuePlan) reflected(v value) reflect.Value { return reflect.NewAt(p.rt, v.at).Elem() }

// equal says whether the JSON of two values means the same. The second result is false where that can't be said.
func (p *valuePlan) equal(l, r value) (same, known bool) {
	if l.is != there || r.is != there || l.at == r.at {
		return l.is == r.is, true
	}
	switch p.how {
	case asText:
		return *(*string)(l.at) == *(*string)(r.at), true
	case asInteger, asUnsigned, asBoolean:
		return bits(l.at, p.rt.Size()) == bits(r.at, p.rt.Size()), true
	case asObject:
		return p.equalObjects(l, r)
	case asList:
		return p.equalLists(l, r)
	case asMap:
		return p.equalMaps(l, r)
	case opaque:
		same = reflect.DeepEqual(p.reflected(l).Interface(), p.reflected(r).Interface())
		return same, same
	}
	return p.equalScalars(l, r), true
}

// bits returns a number of up to eight bytes.
func bits(at unsafe.Pointer, size uintptr) uint64 {
	switch size {
	case 1:
		return uint64(*(*uint8)(at))
	case 2:
		return uint64(*(*uint16)(at))
	case 4:
		return uint64(*(*uint32)(at))
	}
	return *(*uint64)(at)
}

func (p *valuePlan) equalScalars(l, r value) bool {
	switch p.how {
	case asQuantity:
		return equalQuantities(*(*resource.Quantity)(l.at), *(*resource.Quantity)(r.at))
	case asTime:
		return (*metav1.Time)(l.at).Unix() == (*metav1.Time)(r.at).Unix()
	case asMicroTime:
		return (*metav1.MicroTime)(l.at).UnixMicro() == (*metav1.MicroTime)(r.at).UnixMicro()
	case asEither:
		a, b := (*intstr.IntOrString)(l.at), (*intstr.IntOrString)(r.at)
		return a.Type == b.Type && (a.Type == intstr.Int && a.IntVal == b.IntVal || a.Type == intstr.String && a.StrVal == b.StrVal)
	}
	return reflect.DeepEqual(p.reflected(l).Interface(), p.reflected(r).Interface()) // bytes, durations and fractions
}

func (p *valuePlan) equalObjects(l, r value) (same, known bool) {
	fields := p.fields()
	for i := range fields {
		f := &fields[i]
		if same, known := f.plan.equal(f.of(l), f.of(r)); !same {
			return false, known
		}
	}
	return true, true
}

func (p *valuePlan) equalLists(l, r value) (same, known bool) {
	a, n := p.list(l)
	b, m := p.list(r)
	if n != m {
		return false, true
	}
	for i := range n {
		if same, known := p.elem.equal(p.item(a, i), p.item(b, i)); !same {
			return false, known
		}
	}
	return true, true
}

// appendScalar appends the JSON of a scalar in its one spelling; ok is false where that is not known.
func (p *valuePlan) appendScalar(dst []byte, v value) (_ []byte, ok bool) {
	switch {
	case v.is != there:
		return dst, false
	case p.how == asText:
		s := *(*string)(v.at)
		if plain(s) {
			return append(append(append(dst, '"'), s...), '"'), true
		}
		out, err := json.Marshal(s)
		return append(dst, out...), err == nil
	case p.how == asInteger:
		return strconv.AppendInt(dst, p.reflected(v).Int(), 10), true
	case p.how == asBoolean:
		return strconv.AppendBool(dst, *(*bool)(v.at)), true
	}
	return dst, false
}
