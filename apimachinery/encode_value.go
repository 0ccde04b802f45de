package apimachinery

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// encoder walks one value. Its methods append to dst; false means that the library is to write the whole value.
type encoder struct{ cache *encoderCache }

func (e *encoder) value(dst []byte, pl *encodePlan, p ref, depth int) ([]byte, bool) {
	switch pl.op {
	case opString:
		return appendString(dst, *as[string](p)), true
	case opStruct:
		return e.object(dst, pl, p, depth)
	case opPointer:
		to, ok := p.pointee()
		if !ok {
			return append(dst, "null"...), true
		}
		return e.nested(dst, pl.elem, to, depth)
	case opSlice:
		return e.slice(dst, pl, p, depth)
	case opArray:
		return e.list(dst, pl, p, pl.n, depth)
	case opStringMap:
		return appendStringMap(dst, *as[map[string]string](p)), true
	case opMap:
		return e.mapping(dst, pl, p, depth)
	case opAny:
		return e.untyped(dst, *as[any](p), depth+1)
	case opInterface:
		v := p.value(pl.t)
		if v.IsNil() {
			return append(dst, "null"...), true
		}
		return e.dynamic(dst, v.Elem(), depth+1)
	case opBytes:
		return appendBase64(dst, *as[[]byte](p)), true
	}
	if pl.op >= opJSON || pl.op == opForeign {
		return e.byMethod(dst, pl, p)
	}
	return appendScalar(dst, pl.op, p)
}

func (e *encoder) nested(dst []byte, pl *encodePlan, p ref, depth int) ([]byte, bool) {
	if depth >= maxPlainDepth {
		return dst, false
	}
	return e.value(dst, pl, p, depth+1)
}

func appendScalar(dst []byte, o op, p ref) ([]byte, bool) {
	switch o {
	case opBool:
		return strconv.AppendBool(dst, *as[bool](p)), true
	case opInt8:
		return strconv.AppendInt(dst, int64(*as[int8](p)), 10), true
	case opInt16:
		return strconv.AppendInt(dst, int64(*as[int16](p)), 10), true
	case opInt32:
		return strconv.AppendInt(dst, int64(*as[int32](p)), 10), true
	case opInt64:
		return strconv.AppendInt(dst, *as[int64](p), 10), true
	case opUint8:
		return strconv.AppendUint(dst, uint64(*as[uint8](p)), 10), true
	case opUint16:
		return strconv.AppendUint(dst, uint64(*as[uint16](p)), 10), true
	case opUint32:
		return strconv.AppendUint(dst, uint64(*as[uint32](p)), 10), true
	case opUint64:
		return strconv.AppendUint(dst, *as[uint64](p), 10), true
	case opFloat32:
		return appendFloat(dst, float64(*as[float32](p)), 32)
	case opFloat64:
		return appendFloat(dst, *as[float64](p), 64)
	}
	return dst, false
}

// appendFloat writes the shortest form that reads back equal, with an exponent where ECMAScript has one.
func appendFloat(dst []byte, f float64, bits int) ([]byte, bool) {
	abs := math.Abs(f)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, false
	}
	small, large := abs < 1e-6, abs >= 1e21
	if bits == 32 {
		small, large = float32(abs) < 1e-6, float32(abs) >= 1e21
	}
	if abs == 0 || !small && !large {
		return strconv.AppendFloat(dst, f, 'f', -1, bits), true
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, bits)
	if n := len(dst); string(dst[n-4:n-1]) == "e-0" {
		dst = append(dst[:n-2], dst[n-1])
	}
	return dst, true
}

func appendBase64(dst, b []byte) []byte {
	if b == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '"')
	return append(base64.StdEncoding.AppendEncode(dst, b), '"')
}

func (e *encoder) object(dst []byte, pl *encodePlan, p ref, depth int) ([]byte, bool) {
	dst = append(dst, '{')
	open := len(dst)
	for i := range pl.fields {
		f := &pl.fields[i]
		if f.quick && p.zeroWord(f.empties) {
			continue
		}
		at := p.field(f.offset)
		if (f.empty != neverEmpty || f.isZero != nil) && f.skipped(at) {
			continue
		}
		name := f.name
		if len(dst) == open {
			name = name[1:]
		}
		dst = append(dst, name...)
		var ok bool
		if dst, ok = e.value(dst, f.plan, at, depth); !ok {
			return dst, false
		}
	}
	return append(dst, '}'), true
}

// skipped says whether a field is to be left out, where that is not quick to see.
func (f *encodeField) skipped(p ref) bool {
	if f.isZero != nil && f.isZero(p) {
		return true
	}
	switch f.empty {
	case empty8:
		return *as[uint8](p) == 0
	case empty16:
		return *as[uint16](p) == 0
	case empty32:
		return *as[uint32](p) == 0
	case empty64:
		return *as[uint64](p) == 0
	case emptyMap:
		return p.value(f.plan.t).Len() == 0
	case emptyFloat32:
		return *as[float32](p) == 0
	case emptyFloat64:
		return *as[float64](p) == 0
	}
	return f.empty == alwaysEmpty
}

func (e *encoder) slice(dst []byte, pl *encodePlan, p ref, depth int) ([]byte, bool) {
	first, n := p.elements()
	if n == 0 {
		if p.value(pl.t).IsNil() {
			return append(dst, "null"...), true
		}
		return append(dst, "[]"...), true
	}
	if depth >= maxPlainDepth {
		return dst, false
	}
	return e.list(dst, pl, first, n, depth+1)
}

func (e *encoder) list(dst []byte, pl *encodePlan, first ref, n, depth int) ([]byte, bool) {
	dst = append(dst, '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		var ok bool
		if dst, ok = e.value(dst, pl.elem, first.field(uintptr(i)*pl.size), depth); !ok {
			return dst, false
		}
	}
	return append(dst, ']'), true
}

// untyped writes what an empty interface holds.
func (e *encoder) untyped(dst []byte, v any, depth int) ([]byte, bool) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), true
	case string:
		return appendString(dst, v), true
	case bool:
		return strconv.AppendBool(dst, v), true
	case int64:
		return strconv.AppendInt(dst, v, 10), true
	case float64:
		return appendFloat(dst, v, 64)
	case map[string]string:
		return appendStringMap(dst, v), true
	case map[string]any:
		return e.untypedMap(dst, v, depth)
	case []any:
		return e.untypedList(dst, v, depth)
	}
	return e.dynamic(dst, reflect.ValueOf(v), depth)
}

// dynamic writes a value that reflect holds. What is not behind a pointer has no address for encoding/json either.
func (e *encoder) dynamic(dst []byte, v reflect.Value, depth int) ([]byte, bool) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return append(dst, "null"...), true
		}
		return e.nested(dst, e.cache.plan(v.Type().Elem(), true), refOf(v), depth)
	}
	boxed := reflect.New(v.Type())
	boxed.Elem().Set(v)
	return e.nested(dst, e.cache.plan(v.Type(), false), refOf(boxed), depth)
}

func (e *encoder) untypedMap(dst []byte, m map[string]any, depth int) ([]byte, bool) {
	if m == nil {
		return append(dst, "null"...), true
	}
	if depth >= maxPlainDepth {
		return dst, false
	}
	var buffer [16]string
	keys := buffer[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	dst = append(dst, '{')
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, k), ':')
		var ok bool
		if dst, ok = e.untyped(dst, m[k], depth+1); !ok {
			return dst, false
		}
	}
	return append(dst, '}'), true
}

func (e *encoder) untypedList(dst []byte, list []any, depth int) ([]byte, bool) {
	if list == nil {
		return append(dst, "null"...), true
	}
	if depth >= maxPlainDepth {
		return dst, false
	}
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		var ok bool
		if dst, ok = e.untyped(dst, v, depth+1); !ok {
			return dst, false
		}
	}
	return append(dst, ']'), true
}

func appendStringMap(dst []byte, m map[string]string) []byte {
	if m == nil {
		return append(dst, "null"...)
	}
	var buffer [16][2]string
	pairs := buffer[:0]
	for k, v := range m {
		pairs = append(pairs, [2]string{k, v})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	dst = append(dst, '{')
	for i := range pairs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, pairs[i][0]), ':')
		dst = appendString(dst, pairs[i][1])
	}
	return append(dst, '}')
}

// byMethod writes a value whose type has its own way.
func (e *encoder) byMethod(dst []byte, pl *encodePlan, p ref) ([]byte, bool) {
	switch pl.op {
	case opTime:
		return appendTime(dst, as[metav1.Time](p).Time, time.RFC3339), true
	case opMicroTime:
		return appendTime(dst, as[metav1.MicroTime](p).Time, metav1.RFC3339Micro), true
	case opQuantity:
		return appendQuantity(dst, as[resource.Quantity](p), *as[string](p.field(pl.cached))), true
	case opIntOrString:
		v := as[intstr.IntOrString](p)
		if v.Type == intstr.Int {
			return strconv.AppendInt(dst, int64(v.IntVal), 10), true
		}
		if v.Type == intstr.String && !strings.ContainsAny(v.StrVal, "<>&") { // these its own method escapes
			return appendString(dst, v.StrVal), true
		}
		return dst, false
	case opJSON:
		raw, err := p.pointer(pl.t).Interface().(json.Marshaler).MarshalJSON()
		if err != nil {
			return dst, false
		}
		return appendCompact(dst, raw)
	case opText:
		text, err := p.pointer(pl.t).Interface().(encoding.TextMarshaler).MarshalText()
		return appendString(dst, text), err == nil
	}
	v := p.pointer(pl.t)
	if !pl.addressable {
		v = v.Elem()
	}
	out, err := appendByLibrary(dst, v.Interface())
	return out, err == nil
}

// appendTime writes times as Kubernetes does: in UTC, the zero time as null.
func appendTime(dst []byte, t time.Time, layout string) []byte {
	if t.IsZero() {
		return append(dst, "null"...)
	}
	dst = append(dst, '"')
	return append(t.UTC().AppendFormat(dst, layout), '"')
}

// appendQuantity writes a quantity, as the text that it was read from if it still keeps that.
func appendQuantity(dst []byte, q *resource.Quantity, cached string) []byte {
	dst = append(dst, '"')
	if cached != "" {
		return append(append(dst, cached...), '"')
	}
	dst = slices.Grow(dst, 32)
	number, suffix := q.CanonicalizeBytes(dst[len(dst):])
	return append(append(append(dst, number...), suffix...), '"')
}

// appendCompact appends JSON that a type has made of itself, without spaces, or says that it is none.
func appendCompact(dst, raw []byte) ([]byte, bool) {
	s := scanner{data: raw}
	if s.skip(0) && s.at == len(raw) && !s.spaced {
		return append(dst, raw...), true
	}
	b := bytes.NewBuffer(dst)
	err := json.Compact(b, raw)
	return b.Bytes(), err == nil
}
