package structural

// Shape says what a Type made by New is. Which of its fields matter depends on the kind.
type Shape struct {
	Kind   Kind
	Scalar ScalarKind
	Format string   // of a Scalar; see Type.Format
	Atomic bool     // a Struct, Map or Any is owned and replaced as a whole
	List   ListKind // of a List
	Keys   []string // of a MapList
	Elem   *Type    // of a List or Map

	// Fields returns the fields of a Struct. It is called once, when they are first asked for, so shapes may refer
	// to themselves.
	Fields func() []*Field
	// Open says that a Struct has fields of any name beside those that Fields returns: they are of kind Any.
	// Fields doesn't list them.
	Open bool
}

// New returns a Type that no Go type stands behind, such as that of a schema. It keeps what s refers to.
// Its zero value is the empty object.
func New(s Shape) *Type {
	t := &Type{kind: s.Kind, scalar: s.Scalar, format: s.Format, atomic: s.Atomic, list: s.List, keys: s.Keys, elem: s.Elem}
	if s.Kind == Struct {
		t.def = &structDef{make: s.Fields}
		if s.Atomic {
			t.def.rules.self = "a"
		}
		if s.Open {
			t.def.open = &Field{Type: &Type{kind: Any}}
		}
	}
	return t
}

// unlisted returns the field of a name that is not among those listed, or nil.
func (d *structDef) unlisted(name string) *Field {
	if d.open == nil {
		return nil
	}
	return &Field{Name: name, Type: d.open.Type}
}
