package managedfields_test

import (
	"fmt"
	"math/rand/v2"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// generator makes random values of a type out of a small stock, so that keys and values often meet.
type generator struct {
	*rand.Rand
	nulls bool // JSON null may occur
}

var words = []string{"a", "b", "c", "x.y/z", `q"<&>`}

func (g *generator) object(t *structural.Type, depth int) map[string]any {
	out := map[string]any{}
	for _, f := range t.Fields() {
		switch {
		case f.Name == "managedFields" || f.Name == "uid" || f.Name == "fieldsV1":
		case f.Name == "metadata" && depth > 1, f.Name == "spec", g.IntN(len(t.Fields())) < 4:
			if v := g.value(f.Type, depth-1); v != nil || g.nulls && g.IntN(4) == 0 {
				out[f.Name] = v
			}
		}
	}
	for _, key := range []string{"name", "type", "containerPort", "protocol"} {
		if f := t.Field(key); f != nil && g.IntN(3) > 0 {
			out[key] = g.value(f.Type, 1)
		}
	}
	return out
}

func (g *generator) value(t *structural.Type, depth int) any {
	switch t.Kind() {
	case structural.Scalar:
		return g.scalar(t)
	case structural.List:
		out := []any{}
		for range g.IntN(4) {
			if v := g.value(t.Elem(), depth-1); v != nil {
				out = append(out, v)
			}
		}
		return out
	case structural.Map:
		out := map[string]any{}
		for range g.IntN(3) {
			if v := g.value(t.Elem(), depth-1); v != nil {
				out[words[g.IntN(len(words))]] = v
			}
		}
		return out
	case structural.Struct:
		if depth <= 0 {
			return nil
		}
		return g.object(t, depth)
	}
	if depth <= 0 {
		return nil
	}
	return map[string]any{"a": g.IntN(2), "b": map[string]any{words[g.IntN(3)]: "v"}}
}

func (g *generator) scalar(t *structural.Type) any {
	switch t.Format() {
	case "date-time":
		if t.GoType().Name() == "MicroTime" {
			return fmt.Sprintf("2020-01-0%dT00:00:00.000000Z", 1+g.IntN(3))
		}
		return fmt.Sprintf("2020-01-0%dT00:00:00Z", 1+g.IntN(3))
	case "quantity":
		return []any{"1", "100m", "2Gi"}[g.IntN(3)]
	case "int-or-string":
		return []any{80, "http"}[g.IntN(2)]
	case "byte":
		return []any{"YQ==", "YWI="}[g.IntN(2)]
	}
	switch t.Scalar() {
	case structural.Number:
		return g.IntN(3)
	case structural.Boolean:
		return g.IntN(2) == 0
	}
	if t.GoType().Name() == "Duration" {
		return []any{"1s", "2m0s"}[g.IntN(2)]
	}
	return words[g.IntN(len(words))]
}

// mutate changes a random place of an object: adds, replaces, removes, reorders or doubles something.
func (g *generator) mutate(t *structural.Type, obj map[string]any) {
	fields := t.Fields()
	f := fields[g.IntN(len(fields))]
	if f.Name == "managedFields" || f.Name == "uid" || f.Name == "apiVersion" || f.Name == "kind" {
		return
	}
	old, ok := obj[f.Name]
	switch {
	case ok && g.IntN(3) > 0 && g.descend(f.Type, old, func(v any) { obj[f.Name] = v }):
	case ok && g.IntN(2) == 0:
		delete(obj, f.Name)
	default:
		if v := g.value(f.Type, 4); v != nil {
			obj[f.Name] = v
		}
	}
}

// descend mutates inside a container and reports whether there was one.
func (g *generator) descend(t *structural.Type, v any, set func(any)) bool {
	switch v := v.(type) {
	case map[string]any:
		switch t.Kind() {
		case structural.Struct:
			g.mutate(t, v)
			return true
		case structural.Map:
			key := words[g.IntN(len(words))]
			if x := g.value(t.Elem(), 3); x != nil && g.IntN(2) == 0 {
				v[key] = x
			} else {
				delete(v, key)
			}
			return true
		}
	case []any:
		if len(v) == 0 || t.Kind() != structural.List {
			return false
		}
		i := g.IntN(len(v))
		switch g.IntN(5) {
		case 0:
			set(append(v[:i:i], v[i+1:]...))
		case 1:
			set(append(v, v[i]))
		case 2:
			v[0], v[i] = v[i], v[0]
		default:
			return g.descend(t.Elem(), v[i], func(x any) { v[i] = x })
		}
		return true
	}
	return false
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }
