package cel

import (
	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// decl is the type that a schema has in expressions, with what is known of the size of its data.
type decl struct {
	typ *celgo.Type
	// fields of an object, under their escaped names.
	fields map[string]*decl
	key    *decl
	elem   *decl
	// open says that a step of any name leads to elem, as with attributes of devices.
	open bool
	// most bounds the size: bytes of a text, elements of a list or map.
	most int64
	// least is the length of the shortest JSON.
	least int64
}

// The shortest JSON of values, in bytes.
const (
	leastString   = 2
	leastBool     = 4
	leastNumber   = 1
	leastDuration = 3
	leastDate     = 12
	leastDateTime = 21
	// mostTime is how long the JSON of a date-time or duration can be.
	mostTime = 32
)

func scalar(t *celgo.Type, most, least int64) *decl { return &decl{typ: t, most: most, least: least} }

// declare makes the type of n, under a name for objects that tells the way there, and registers objects in into. It
// is nil if expressions can't see such data, as with fields that are preserved without a schema.
func declare(n *node, name string, into map[string]*decl) *decl {
	if n.intOrString {
		return scalar(celgo.DynType, mostText(n), 1)
	}
	n = n.object
	switch n.kind {
	case "array":
		return declareList(n, name, into)
	case "object":
		if n.additional != nil {
			return declareMap(n, name, into)
		}
		return declareObject(n, name, into)
	case "string":
		return declareString(n)
	case "boolean":
		return scalar(celgo.BoolType, 0, leastBool)
	case "number":
		return scalar(celgo.DoubleType, 0, leastNumber)
	case "integer":
		return scalar(celgo.IntType, 0, leastNumber)
	}
	return nil
}

func declareList(n *node, name string, into map[string]*decl) *decl {
	if n.items == nil {
		return nil
	}
	elem := declare(n.items, name+".@idx", into)
	if elem == nil {
		return nil
	}
	most := n.maxItems
	if most < 0 {
		most = (maxRequest - 2) / (elem.least + 1)
	}
	return &decl{typ: celgo.ListType(elem.typ), elem: elem, most: most, least: 2}
}

func declareMap(n *node, name string, into map[string]*decl) *decl {
	elem := declare(n.additional, name+".@elem", into)
	if elem == nil {
		return nil
	}
	most := n.maxProperties
	if most < 0 {
		most = (maxRequest - 2) / (elem.least + 6) // two bytes of key and quotes, colon, comma
	}
	return &decl{typ: celgo.MapType(celgo.StringType, elem.typ), key: scalar(celgo.StringType, 0, leastString),
		elem: elem, most: most, least: 2}
}

func declareObject(n *node, name string, into map[string]*decl) *decl {
	d := &decl{typ: celgo.ObjectType(name), fields: make(map[string]*decl, len(n.props)), least: 2}
	required := map[string]bool{}
	for _, r := range n.required {
		required[r] = true
	}
	for prop, p := range n.props {
		ident, ok := Escape(prop)
		if !ok {
			ident = prop
		}
		f := declare(p, name+"."+ident, into)
		if f == nil {
			continue
		}
		if ok {
			d.fields[ident] = f
		}
		if required[prop] && !p.defaulted {
			d.least += int64(len(prop)) + f.least + 4
		}
	}
	into[name] = d
	return d
}

func declareString(n *node) *decl {
	switch n.format {
	case "byte":
		if n.maxLength >= 0 {
			return scalar(celgo.BytesType, n.maxLength, leastString)
		}
		return scalar(celgo.BytesType, maxRequest-2, leastString)
	case "duration":
		return scalar(celgo.DurationType, mostTime, leastDuration)
	case "date":
		return scalar(celgo.TimestampType, leastDate, leastDate)
	case "date-time":
		return scalar(celgo.TimestampType, mostTime, leastDateTime)
	}
	if n.maxLength < 0 && n.longest >= 0 {
		return scalar(celgo.StringType, n.longest, leastString)
	}
	return scalar(celgo.StringType, mostText(n), leastString)
}

// mostText bounds the bytes of a text: maxLength counts characters, of up to four bytes.
func mostText(n *node) int64 {
	if n.maxLength >= 0 {
		return n.maxLength * 4
	}
	return maxRequest - 2
}

// sizes tells the estimator what a declared type says about a variable: a path after the variable's name leads
// through it. Without a name all identifiers count as the variable, which gives names of types the size of an object;
// estimates are compared with Kubernetes' limits, so they are its own to the digit.
type sizes struct {
	of   *decl
	name string
}

// EstimateSize bounds the size of the data that a node of an expression stands for.
func (s sizes) EstimateSize(node checker.AstNode) *checker.SizeEstimate {
	path := node.Path()
	if len(path) == 0 || s.name != "" && path[0] != s.name {
		return nil
	}
	d := s.of
	for _, step := range path[1:] {
		if d == nil {
			return nil
		}
		switch step {
		case "@items", "@values":
			d = d.elem
		case "@keys":
			d = d.key
		default:
			next := d.fields[step]
			if next == nil && d.open {
				next = d.elem
			}
			d = next
		}
	}
	if d == nil {
		return nil
	}
	return &checker.SizeEstimate{Max: uint64(d.most)}
}

// EstimateCallCost leaves calls to the libraries.
func (sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

// provider adds declared objects to the types of the language.
type provider struct {
	types.Provider
	adapter types.Adapter
	decls   map[string]*decl
}

func newProvider(base *celgo.Env, decls map[string]*decl) provider {
	return provider{base.CELTypeProvider(), base.CELTypeAdapter(), decls}
}

// NativeToValue is that of the language.
func (p provider) NativeToValue(v any) ref.Val { return p.adapter.NativeToValue(v) }

// FindStructType finds an object by its name.
func (p provider) FindStructType(name string) (*types.Type, bool) {
	if d := p.decls[name]; d != nil {
		return types.NewTypeTypeWithParam(d.typ), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames tells nothing of declared objects: expressions don't make them.
func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	if p.decls[name] != nil {
		return nil, false
	}
	return p.Provider.FindStructFieldNames(name)
}

// FindStructFieldType finds the type of a field; one whose name is a reserved word is found without escaping, too.
func (p provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	d := p.decls[name]
	if d == nil {
		return p.Provider.FindStructFieldType(name, field)
	}
	f := d.fields[field]
	if f == nil && reserved[field] {
		f = d.fields["__"+field+"__"]
	}
	if f == nil {
		return nil, false
	}
	return &types.FieldType{Type: f.typ}, true
}
