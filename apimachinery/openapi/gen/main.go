// Command gen writes the table of what only comments of the API's Go types say: which fields are required or optional
// against what their json tags suggest, what they default to, how lists and maps are owned, and the values of
// enumerations. It reads the sources
// of the modules that go.mod names.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/constant"
	"go/format"
	"go/parser"
	"go/token"
	"go/types"
	"log"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// sources are the packages that are read, by module; "..." stands for all below.
var sources = map[string][]string{
	"k8s.io/api":                     {"..."},
	"k8s.io/apimachinery":            {"pkg/apis/meta/v1"},
	"k8s.io/apiextensions-apiserver": {"pkg/apis/apiextensions/v1"},
	"k8s.io/kube-aggregator":         {"pkg/apis/apiregistration/v1"},
}

func main() {
	out := flag.String("out", "markers.go", "the file to write")
	flag.Parse()
	g := generator{fields: map[string][]string{}, enums: map[string][]string{}}
	for module, folders := range sources {
		dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			log.Fatalf("%s: %v", module, err)
		}
		root := strings.TrimSpace(string(dir))
		for _, folder := range folders {
			g.folder(root, module, folder)
		}
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
	fields map[string][]string // Go type → words
	enums  map[string][]string // Go type → values
}

func (g *generator) folder(root, module, folder string) {
	if folder != "..." {
		g.parse(filepath.Join(root, folder), path.Join(module, folder))
		return
	}
	err := filepath.WalkDir(root, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() || d.Name() == "testdata" {
			return err
		}
		below, err := filepath.Rel(root, name)
		if err == nil {
			g.parse(name, path.Join(module, filepath.ToSlash(below)))
		}
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
}

func (g *generator) parse(dir, pkg string) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		log.Fatal(err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			log.Fatal(err)
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return
	}
	// What other packages declare is not needed: the constants are strings of this one.
	config := types.Config{Error: func(error) {}, Importer: none{}}
	checked, _ := config.Check(pkg, fset, files, nil)
	for _, f := range files {
		for _, d := range f.Decls {
			if decl, ok := d.(*ast.GenDecl); ok && decl.Tok == token.TYPE {
				for _, s := range decl.Specs {
					g.declared(checked, pkg, decl, s.(*ast.TypeSpec))
				}
			}
		}
	}
}

// none imports nothing.
type none struct{}

func (none) Import(name string) (*types.Package, error) {
	return nil, fmt.Errorf("%s is not read", name)
}

func (g *generator) declared(checked *types.Package, pkg string, decl *ast.GenDecl, s *ast.TypeSpec) {
	name := pkg + "." + s.Name.Name
	comment := s.Doc
	if comment == nil {
		comment = decl.Doc
	}
	markers := markersOf(comment)
	if len(markers["enum"]) > 0 {
		g.enums[name] = valuesOf(checked, s.Name.Name)
	}
	if words := extensionsOf(".", markers); len(words) > 0 {
		g.fields[name] = append(g.fields[name], words...)
	}
	if st, ok := s.Type.(*ast.StructType); ok {
		for _, f := range st.Fields.List {
			g.field(checked, name, f)
		}
	}
}

func (g *generator) field(checked *types.Package, owner string, f *ast.Field) {
	if f.Tag == nil || len(f.Names) == 0 {
		return
	}
	tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json")
	name, options, _ := strings.Cut(tag, ",")
	if name == "" || name == "-" {
		return
	}
	markers, omitted := markersOf(f.Doc), strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
	switch {
	case len(markers["required"]) > 0 && omitted:
		g.fields[owner] = append(g.fields[owner], name+"!")
	case len(markers["required"]) == 0 && len(markers["optional"]) > 0 && !omitted:
		g.fields[owner] = append(g.fields[owner], name+"-")
	}
	if d := markers["default"]; len(d) > 0 {
		g.fields[owner] = append(g.fields[owner], name+"?"+defaultOf(checked, owner, d[0]))
	}
	g.fields[owner] = append(g.fields[owner], extensionsOf(name, markers)...)
}

// extensionsOf returns the words for list types, their keys, and types of maps and structs.
func extensionsOf(name string, markers map[string][]string) (words []string) {
	if l := markers["listType"]; len(l) > 0 {
		word := name + "@" + l[0]
		if keys := markers["listMapKey"]; len(keys) > 0 {
			word += ":" + strings.Join(keys, ",")
		}
		words = append(words, word)
	}
	for _, m := range []string{"mapType", "structType"} {
		if l := markers[m]; len(l) > 0 {
			words = append(words, name+"&"+l[0])
		}
	}
	return words
}

func defaultOf(checked *types.Package, owner, text string) string {
	if ref, ok := strings.CutPrefix(text, "ref("); ok {
		ref = strings.TrimSuffix(ref, ")")
		c, ok := checked.Scope().Lookup(ref[strings.LastIndex(ref, ".")+1:]).(*types.Const)
		if !ok || c.Val().Kind() != constant.String {
			log.Fatalf("%s: the default %s is no string constant", owner, ref)
		}
		raw, err := json.Marshal(constant.StringVal(c.Val()))
		if err != nil {
			log.Fatal(err)
		}
		text = string(raw)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(text)); err != nil || strings.ContainsAny(compact.String(), " \n`") {
		log.Fatalf("%s: the default %s can't be written down", owner, text)
	}
	return compact.String()
}

// valuesOf returns the constants of a type, sorted.
func valuesOf(checked *types.Package, name string) []string {
	var out []string
	for _, n := range checked.Scope().Names() {
		c, ok := checked.Scope().Lookup(n).(*types.Const)
		if !ok || c.Val().Kind() != constant.String {
			continue
		}
		if t, ok := c.Type().(*types.Named); ok && t.Obj().Name() == name {
			out = append(out, constant.StringVal(c.Val()))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// markersOf returns the words of a comment that begin with a plus, and what is behind their equals signs.
func markersOf(c *ast.CommentGroup) map[string][]string {
	out := map[string][]string{}
	if c == nil {
		return out
	}
	for _, line := range c.List {
		text, ok := strings.CutPrefix(strings.TrimSpace(strings.TrimPrefix(line.Text, "//")), "+")
		if ok {
			name, value, _ := strings.Cut(text, "=")
			out[strings.TrimSpace(name)] = append(out[strings.TrimSpace(name)], strings.TrimSpace(value))
		}
	}
	return out
}

func (g *generator) source() []byte {
	var b bytes.Buffer
	b.WriteString("// Code generated by gen. DO NOT EDIT.\n\npackage openapi\n\n")
	b.WriteString("// fieldMarkers returns what comments say about the fields of a Go type; see markers.\n")
	lists := map[string]string{}
	for name, words := range g.fields {
		if len(words) > 0 {
			lists[name] = strings.Join(words, " ")
		}
	}
	table(&b, "fieldMarkers", lists)
	b.WriteString("\n// enumValues returns the values of an enumeration, as JSON.\n")
	lists = map[string]string{}
	for name, values := range g.enums {
		raw, err := json.Marshal(values)
		if err != nil {
			log.Fatal(err)
		}
		if len(values) > 0 {
			lists[name] = string(raw)
		}
	}
	table(&b, "enumValues", lists)
	return b.Bytes()
}

// table writes a function that maps names to texts.
func table(b *bytes.Buffer, name string, texts map[string]string) {
	fmt.Fprintf(b, "func %s(goType string) string {\n\tswitch goType {\n", name)
	byText := map[string][]string{}
	for k, text := range texts {
		byText[text] = append(byText[text], k)
	}
	for _, names := range byText {
		slices.Sort(names)
	}
	for _, text := range slices.SortedFunc(maps.Keys(byText), func(x, y string) int { return strings.Compare(byText[x][0], byText[y][0]) }) {
		b.WriteString("\tcase ")
		for i, n := range byText[text] {
			if i > 0 {
				b.WriteString(",\n\t\t")
			}
			fmt.Fprintf(b, "%q", n)
		}
		fmt.Fprintf(b, ":\n\t\treturn %#q\n", text)
	}
	b.WriteString("\t}\n\treturn \"\"\n}\n")
}
