package define

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// filler fills in the defaults of a schema in Go values, where the JSON of the value would lack the field. It says of a
// struct, list or map what is done below.
type filler struct {
	fields []fill
	elem   *filler
}

// fill is one field of a struct.
type fill struct {
	index []int
	value []byte // its default, JSON; nil for none
	below *filler
}

// fillerOf is nil where nothing has a default.
func fillerOf(t reflect.Type, s *props) (*filler, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	f := &filler{}
	var err error
	switch {
	case t.Kind() == reflect.Struct && len(s.Properties) > 0 && t != reflect.TypeFor[metav1.ObjectMeta]():
		err = f.collect(t, nil, s)
	case (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) && s.Items != nil && s.Items.Schema != nil:
		f.elem, err = fillerOf(t.Elem(), s.Items.Schema)
	case t.Kind() == reflect.Map && s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
		f.elem, err = fillerOf(t.Elem(), s.AdditionalProperties.Schema)
	}
	if len(f.fields) == 0 && f.elem == nil {
		return nil, err
	}
	return f, err
}

func (f *filler) collect(t reflect.Type, at []int, s *props) error {
	for i := range t.NumField() {
		sf := t.Field(i)
		index := append(slices.Clone(at), i)
		name, inline := jsonName(sf)
		if inline {
			if err := f.collect(sf.Type, index, s); err != nil {
				return err
			}
			continue
		}
		p, ok := s.Properties[name]
		if !ok || !sf.IsExported() {
			continue
		}
		below, err := fillerOf(sf.Type, &p)
		if err != nil {
			return err
		}
		one := fill{index: index, below: below}
		if p.Default != nil {
			if err := json.Unmarshal(p.Default.Raw, reflect.New(sf.Type).Interface()); err != nil {
				return fmt.Errorf("field %s: its default is no %v: %w", name, sf.Type, err)
			}
			_, options, _ := strings.Cut(sf.Tag.Get("json"), ",")
			if nils(sf.Type) || strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero") {
				one.value = p.Default.Raw
			}
		}
		if p.Default != nil || below != nil {
			f.fields = append(f.fields, one)
		}
	}
	return nil
}

// nils says whether the zero value of a type is null in JSON, which is as good as nothing.
func nils(t reflect.Type) bool {
	return slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface}, t.Kind())
}

// apply fills in a value, which can be set.
func (f *filler) apply(v reflect.Value) {
	if f == nil {
		return
	}
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, one := range f.fields {
			field := v.FieldByIndex(one.index)
			if one.value != nil && field.IsZero() {
				_ = json.Unmarshal(one.value, field.Addr().Interface()) // it was tried when the kind was defined
			}
			one.below.apply(field)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			f.elem.apply(v.Index(i))
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			full := reflect.New(v.Type().Elem()).Elem()
			full.Set(it.Value())
			f.elem.apply(full)
			v.SetMapIndex(it.Key(), full)
		}
	}
}
