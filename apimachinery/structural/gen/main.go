// Command gen writes the table of what struct tags of k8s.io/api don't say: list types, list keys,
// atomic structs and the defaults of key fields. It compares what package structural derives by
// reflection with the schema that client-go's apply configurations carry, and writes the differences.
//
// It must run over an empty table: first with -empty, then without.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/format"
	"log"
	"maps"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/schema"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

func main() {
	out := flag.String("out", "table.go", "the file to write")
	empty := flag.Bool("empty", false, "write a table without entries")
	flag.Parse()
	g := generator{words: map[string][]string{}, seen: map[string]bool{}, keys: map[string]map[string]bool{}}
	if !*empty {
		g.run()
	}
	src, err := format.Source(g.source())
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(*out, src, 0o644); err != nil {
		log.Fatal(err)
	}
}

type generator struct {
	schema *schema.Schema
	types  structural.Types
	words  map[string][]string        // model name → rules
	seen   map[string]bool            // model names that were compared
	keys   map[string]map[string]bool // model name → fields that are keys of some list
}

func (g *generator) run() {
	converter := applyconfigurations.NewTypeConverter(scheme.Scheme)
	for gvk := range scheme.Scheme.AllKnownTypes() {
		obj, err := scheme.Scheme.New(gvk)
		if err != nil || gvk.Version == runtime.APIVersionInternal {
			continue
		}
		obj.GetObjectKind().SetGroupVersionKind(gvk)
		typed, err := converter.ObjectToTyped(obj)
		if err != nil {
			continue // not a kind that can be applied
		}
		g.schema = typed.Schema()
		t, err := g.types.Of(obj)
		if err != nil {
			log.Fatalf("%v: %v", gvk, err)
		}
		g.compare(t, typed.TypeRef())
	}
	for model, names := range g.keys {
		g.defaults(model, slices.Sorted(maps.Keys(names)))
	}
}

// compare notes the rules of t's structs, and of those below.
func (g *generator) compare(t *structural.Type, ref schema.TypeRef) {
	atom, ok := g.schema.Resolve(ref)
	if !ok {
		log.Fatalf("%v: no such type in the schema", t.GoType())
	}
	switch t.Kind() {
	case structural.List:
		if atom.List == nil {
			log.Fatalf("%v: no list in the schema", t.GoType())
		}
		g.compare(t.Elem(), atom.List.ElementType)
	case structural.Map:
		if t.GoType().Kind().String() == "map" {
			g.compare(t.Elem(), atom.Map.ElementType)
		}
	case structural.Struct:
		g.compareStruct(t, ref)
	}
}

func (g *generator) compareStruct(t *structural.Type, ref schema.TypeRef) {
	name := t.Name()
	if g.seen[name] || ref.NamedType == nil {
		return
	}
	g.seen[name] = true
	def, ok := g.schema.FindNamedType(*ref.NamedType)
	if !ok || def.Map == nil {
		log.Fatalf("%s: no struct in the schema", name)
	}
	if def.Map.ElementRelationship == schema.Atomic {
		g.words[name] = append(g.words[name], ".=a")
	}
	for _, f := range t.Fields() {
		sf, ok := def.Map.FindField(f.Name)
		if !ok {
			log.Fatalf("%s.%s: not in the schema", name, f.Name)
		}
		if word := g.rule(f, sf.Type); word != "" {
			g.words[name] = append(g.words[name], f.Name+"="+word)
		}
		if !isUntyped(sf.Type) {
			g.compare(f.Type, sf.Type)
		}
	}
}

func isUntyped(ref schema.TypeRef) bool {
	return ref.NamedType != nil && *ref.NamedType == "__untyped_atomic_"
}

// rule returns how the field's type differs from what reflection found, or "".
func (g *generator) rule(f *structural.Field, ref schema.TypeRef) string {
	if isUntyped(ref) {
		return "x"
	}
	atom, _ := g.schema.Resolve(ref)
	switch f.Type.Kind() {
	case structural.List:
		return g.listRule(f.Type, atom.List)
	case structural.Scalar:
		if *atom.Scalar == schema.Untyped && f.Type.Scalar() != structural.AnyScalar {
			return "u"
		}
	case structural.Map:
		if atom.Map.ElementRelationship == schema.Atomic {
			return "a"
		}
	case structural.Struct:
		if ref.ElementRelationship != nil {
			return map[schema.ElementRelationship]string{schema.Atomic: "a", schema.Separable: "g"}[*ref.ElementRelationship]
		}
	}
	return ""
}

func (g *generator) listRule(t *structural.Type, list *schema.List) string {
	if list.ElementRelationship != schema.Associative {
		if t.List() != structural.AtomicList {
			return "a"
		}
		return ""
	}
	if len(list.Keys) == 0 {
		return "s"
	}
	model := t.Elem().Name()
	if g.keys[model] == nil {
		g.keys[model] = map[string]bool{}
	}
	for _, k := range list.Keys {
		g.keys[model][k] = true
	}
	if t.List() == structural.MapList && slices.Equal(t.KeyNames(), list.Keys) {
		return ""
	}
	return "m:" + strings.Join(list.Keys, ",")
}

// defaults notes the defaults of key fields.
func (g *generator) defaults(model string, names []string) {
	def, _ := g.schema.FindNamedType(model)
	for _, name := range names {
		if sf, ok := def.Map.FindField(name); ok && sf.Default != nil {
			raw, err := json.Marshal(sf.Default)
			if err != nil {
				log.Fatal(err)
			}
			g.words[model] = append(g.words[model], name+"?"+string(raw))
		}
	}
}

func (g *generator) source() []byte {
	var b bytes.Buffer
	b.WriteString("// Code generated by gen. DO NOT EDIT.\n\npackage structural\n\n")
	b.WriteString("// overlay returns the rules of a model of k8s.io/api or k8s.io/apimachinery; see rules.\n")
	b.WriteString("func overlay(model string) string {\n\tswitch model {\n")
	byRules := map[string][]string{}
	for model, words := range g.words {
		byRules[strings.Join(words, " ")] = append(byRules[strings.Join(words, " ")], model)
	}
	for _, models := range byRules {
		slices.Sort(models)
	}
	order := slices.SortedFunc(maps.Keys(byRules), func(a, b string) int {
		return strings.Compare(byRules[a][0], byRules[b][0])
	})
	for _, text := range order {
		fmt.Fprintf(&b, "\tcase ")
		for i, model := range byRules[text] {
			if i > 0 {
				b.WriteString(",\n\t\t")
			}
			fmt.Fprintf(&b, "%q", model)
		}
		fmt.Fprintf(&b, ":\n\t\treturn %#q\n", text)
	}
	b.WriteString("\t}\n\treturn \"\"\n}\n")
	return b.Bytes()
}
