package crd

import (
	"bytes"
	"reflect"
	"sync"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/jsonpath"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server/table"
)

// columnsOf are the printer columns of a version: those that it declares behind the name, or the age. Their paths are
// compiled when a table is first asked for. A path that can't be read leaves its cells empty.
func columnsOf(declared []apiext.CustomResourceColumnDefinition) []apimachinery.Column {
	if len(declared) == 0 {
		return nil
	}
	out := []apimachinery.Column{table.Name()}
	for i := range declared {
		d := &declared[i]
		description := d.Description
		if description == "" {
			description = "Custom resource definition column (in JSONPath format): " + d.JSONPath
		}
		out = append(out, apimachinery.Column{
			TableColumnDefinition: metav1.TableColumnDefinition{
				Name: d.Name, Type: d.Type, Format: d.Format, Description: description, Priority: d.Priority,
			},
			Cell: cell(d.Type, d.JSONPath),
		})
	}
	return out
}

// path is a compiled JSONPath. It keeps state while it works, so one caller at a time uses it.
type path struct {
	mu sync.Mutex
	p  *jsonpath.JSONPath
}

func cell(typ, text string) func(apimachinery.Object) any {
	compiled := sync.OnceValue(func() *path {
		p := jsonpath.New("").AllowMissingKeys(true)
		if p.Parse("{"+text+"}") != nil {
			return nil
		}
		return &path{p: p}
	})
	return func(o apimachinery.Object) any {
		u, ok := o.(*unstructured.Unstructured)
		p := compiled()
		if !ok || p == nil {
			return nil
		}
		return p.cell(typ, u.Object)
	}
}

func (p *path) cell(typ string, o map[string]any) any {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, err := p.p.FindResults(o)
	if err != nil || len(found) == 0 || len(found[0]) == 0 {
		return nil
	}
	value := found[0][0].Interface()
	if typ != "string" {
		return shown(typ, value)
	}
	var text bytes.Buffer
	if p.p.PrintResults(&text, []reflect.Value{reflect.ValueOf(value)}) != nil {
		return nil
	}
	return text.String()
}

// shown is a value as a cell of some type has it; nil where the value is of another.
func shown(typ string, value any) any {
	switch v := value.(type) {
	case int64:
		switch typ {
		case "integer":
			return v
		case "number":
			return float64(v)
		}
	case float64:
		switch typ {
		case "integer":
			return int64(v)
		case "number":
			return v
		}
	case bool:
		if typ == "boolean" {
			return v
		}
	case string:
		if typ == "date" {
			return date(v)
		}
	}
	return nil
}

func date(text string) any {
	var t metav1.Time
	if t.UnmarshalQueryParameter(text) != nil {
		return "<invalid>"
	}
	return t
}
