package apimachinery

import (
	"reflect"
	"time"
)

// copyInto deep-copies *in to *out, by T's own DeepCopyInto where it has one.
func copyInto[T any](in, out *T) {
	if c, ok := any(in).(interface{ DeepCopyInto(*T) }); ok {
		c.DeepCopyInto(out)
		return
	}
	copyValue(reflect.ValueOf(in).Elem(), reflect.ValueOf(out).Elem())
}

// copyValue sets out, which is settable and of in's type, to a deep copy of in. Unexported fields are copied
// as assignment copies them.
func copyValue(in, out reflect.Value) {
	switch in.Kind() {
	case reflect.Pointer:
		copyPointer(in, out)
	case reflect.Interface:
		if !in.IsNil() {
			c := reflect.New(in.Elem().Type()).Elem()
			copyValue(in.Elem(), c)
			out.Set(c)
		}
	case reflect.Slice:
		copySlice(in, out)
	case reflect.Map:
		copyMap(in, out)
	case reflect.Array:
		for i := range in.Len() {
			copyValue(in.Index(i), out.Index(i))
		}
	case reflect.Struct:
		copyStruct(in, out)
	default:
		out.Set(in)
	}
}

func copyPointer(in, out reflect.Value) {
	if in.IsNil() {
		return
	}
	c := reflect.New(in.Type().Elem())
	copyValue(in.Elem(), c.Elem())
	out.Set(c)
}

func copySlice(in, out reflect.Value) {
	if in.IsNil() {
		return
	}
	out.Set(reflect.MakeSlice(in.Type(), in.Len(), in.Len()))
	for i := range in.Len() {
		copyValue(in.Index(i), out.Index(i))
	}
}

func copyMap(in, out reflect.Value) {
	if in.IsNil() {
		return
	}
	out.Set(reflect.MakeMapWithSize(in.Type(), in.Len()))
	for it := in.MapRange(); it.Next(); {
		v := reflect.New(in.Type().Elem()).Elem()
		copyValue(it.Value(), v)
		out.SetMapIndex(it.Key(), v)
	}
}

func copyStruct(in, out reflect.Value) {
	if in.CanAddr() {
		if m := in.Addr().MethodByName("DeepCopyInto"); m.IsValid() && m.Type().NumIn() == 1 && m.Type().In(0) == out.Addr().Type() {
			m.Call([]reflect.Value{out.Addr()})
			return
		}
	}
	out.Set(in)
	if in.Type() == reflect.TypeFor[time.Time]() {
		return
	}
	for i := range in.NumField() {
		if in.Type().Field(i).IsExported() {
			copyValue(in.Field(i), out.Field(i))
		}
	}
}
