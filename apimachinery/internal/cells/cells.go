// Package cells makes the cells of tables whose columns are JSONPaths.
package cells

import (
	"bytes"
	"reflect"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/jsonpath"
)

// Describe is the description of a column, by default one that names its path.
func Describe(description, path string) string {
	if description == "" {
		return "Custom resource definition column (in JSONPath format): " + path
	}
	return description
}

// Check says what is wrong with a path.
func Check(path string) error { return jsonpath.New("").Parse("{" + path + "}") }

// path is a compiled JSONPath. It keeps state while it works, so one caller at a time uses it.
type path struct {
	mu sync.Mutex
	p  *jsonpath.JSONPath
}

// Of returns the function that gives the cell of an object, as JSON has it, in a column of some type: "string",
// "integer", "number", "boolean" or "date". The path is compiled when the first cell is asked for; one that can't be
// read leaves all cells empty. It may be called concurrently.
func Of(typ, text string) func(map[string]any) any {
	compiled := sync.OnceValue(func() *path {
		p := jsonpath.New("").AllowMissingKeys(true)
		if p.Parse("{"+text+"}") != nil {
			return nil
		}
		return &path{p: p}
	})
	return func(o map[string]any) any {
		p := compiled()
		if p == nil {
			return nil
		}
		return p.cell(typ, o)
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
