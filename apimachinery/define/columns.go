package define

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/cells"
)

// Column is a column of kubectl get that shows what a JSONPath leads to: ".spec.engine", or
// `.status.conditions[?(@.type=="Ready")].status`. typ is "string", "integer", "number", "boolean" or "date". See
// [apimachinery.Wide] for one that is shown with -o wide alone, and [apimachinery.ColumnOf] for one that a Go function
// fills, which no definition can have.
func Column(name, typ, path string) apimachinery.Column {
	of := cells.Of(typ, path)
	return apimachinery.Column{
		TableColumnDefinition: metav1.TableColumnDefinition{Name: name, Type: typ, Description: cells.Describe("", path)},
		Path:                  path,
		Cell: func(o apimachinery.Object) any {
			c, err := content(o)
			if err != nil {
				return nil
			}
			return of(c)
		},
	}
}

const agePath = ".metadata.creationTimestamp"

// columns are those of a view: the name, what is declared, else what tags say, and the age.
func (m *model) columns(declared []apimachinery.Column) ([]apimachinery.Column, error) {
	if declared == nil {
		var err error
		if declared, err = tagged(m.goType, nil, "", m.props); err != nil {
			return nil, err
		}
	}
	if len(declared) == 0 {
		return nil, nil
	}
	out := slices.Concat([]apimachinery.Column{apimachinery.NameColumn()}, declared)
	for _, c := range declared {
		if c.Cell == nil {
			return nil, fmt.Errorf("column %q has no Cell", c.Name)
		}
		if c.Path != "" {
			if err := cells.Check(c.Path); err != nil {
				return nil, fmt.Errorf("column %q: %w", c.Name, err)
			}
		}
	}
	if !slices.ContainsFunc(declared, func(c apimachinery.Column) bool { return strings.EqualFold(c.Name, "Age") }) {
		out = append(out, Column("Age", "date", agePath))
	}
	return out, nil
}

// tagged are the columns that the fields of a struct declare, and those below, but not in lists or maps.
func tagged(t reflect.Type, index []int, path string, s *props) (out []apimachinery.Column, err error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[metav1.ObjectMeta]() {
		return nil, nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(slices.Clone(index), i)
		name, inline := jsonName(f)
		if inline {
			more, err := tagged(f.Type, at, path, s)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
			continue
		}
		p, ok := s.Properties[name]
		if !ok || !f.IsExported() {
			continue
		}
		if tag := f.Tag.Get("column"); tag != "" {
			c, err := columnOf(tag, f, at, path+"."+name, &p)
			if err != nil {
				return nil, fmt.Errorf("field %s: %w", strings.TrimPrefix(path+"."+name, "."), err)
			}
			out = append(out, c)
		}
		more, err := tagged(f.Type, at, path+"."+name, &p)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// columnOf is the column of a field with a tag: "Name" or "Name,wide".
func columnOf(tag string, f reflect.StructField, index []int, path string, s *props) (apimachinery.Column, error) {
	name, options, _ := strings.Cut(tag, ",")
	typ := columnType(s)
	switch {
	case name == "":
		return apimachinery.Column{}, errors.New("the column tag has no name")
	case options != "" && options != "wide":
		return apimachinery.Column{}, fmt.Errorf("the column tag has no word %q; there is wide", options)
	case typ == "":
		return apimachinery.Column{}, fmt.Errorf("a column can't show type %q: use define.Column with a path into it", s.Type)
	}
	c := Column(name, typ, path)
	if s.Description != "" {
		c.Description = s.Description
	}
	if options == "wide" {
		c = apimachinery.Wide(c)
	}
	_, json, _ := strings.Cut(f.Tag.Get("json"), ",")
	if cell := plain(typ, f.Type, index, strings.Contains(json, "omit")); cell != nil {
		c.Cell = cell
	}
	return c, nil
}

func columnType(s *props) string {
	switch {
	case s.Type == "string" && (s.Format == "date-time" || s.Format == "date"):
		return "date"
	case s.Type == "string", s.XIntOrString:
		return "string"
	case s.Type == "integer", s.Type == "number", s.Type == "boolean":
		return s.Type
	}
	return ""
}

// plain reads the cell of a simple field without encoding the object; nil for other types.
func plain(typ string, t reflect.Type, index []int, omit bool) func(apimachinery.Object) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var show func(reflect.Value) any
	switch kind := t.Kind(); {
	case typ == "string" && kind == reflect.String:
		show = func(v reflect.Value) any { return v.String() }
	case typ == "boolean" && kind == reflect.Bool:
		show = func(v reflect.Value) any { return v.Bool() }
	case typ == "integer" && reflect.Int <= kind && kind <= reflect.Int64:
		show = func(v reflect.Value) any { return v.Int() }
	default:
		return nil
	}
	return func(o apimachinery.Object) any {
		v, err := reflect.ValueOf(o).Elem().FieldByIndexErr(index)
		if err != nil {
			return nil
		}
		pointer := v.Kind() == reflect.Pointer
		if omit && v.IsZero() || pointer && v.IsNil() {
			return nil
		}
		if pointer {
			v = v.Elem()
		}
		return show(v)
	}
}
