package structural

import (
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Kind says which of the shapes a Type has.
type Kind uint8

// The shapes that a Type can have.
const (
	Any    Kind = iota // whatever JSON brings; merged by field where it is an object
	Scalar             // string, number, boolean, or any of them: see ScalarKind
	Struct             // an object with known fields
	Map                // an object with any keys; all values of one type
	List               // an array; all items of one type
)

// ScalarKind says which scalars a Type of kind Scalar admits.
type ScalarKind uint8

// The kinds of scalars.
const (
	AnyScalar ScalarKind = iota // string, number or boolean
	String
	Number
	Boolean
)

// ListKind says how the items of a list are told apart.
type ListKind uint8

// The kinds of lists.
const (
	AtomicList ListKind = iota // owned and replaced as a whole
	SetList                    // scalars that occur once
	MapList                    // objects told apart by key fields
)

// Key is a field that tells the items of a MapList apart.
type Key struct {
	Name    string
	Default string // the JSON that stands for an absent field; empty: none
}

// Field is one field of a Struct.
type Field struct {
	Name          string
	Type          *Type
	Required      bool     // the Go type always writes it
	PatchStrategy []string // of strategic merge patch: "merge", "replace", "retainKeys"
	PatchMergeKey string
	Default       string            // the JSON that stands for the absent field where it is a key of a list; empty: none
	Tag           reflect.StructTag // of the Go field
	owner         reflect.Type
	goType        reflect.Type
}

// Owner returns the Go struct that declares the field, which may be inlined in the one that has it; nil where New made
// the field.
func (f *Field) Owner() reflect.Type { return f.owner }

// GoType returns the type of the Go field, pointers included; nil where New made the field.
func (f *Field) GoType() reflect.Type { return f.goType }

// Doc returns the description that the field's tag doc gives, or else the SwaggerDoc method of the owning Go type, or "".
func (f *Field) Doc() string {
	if doc := f.Tag.Get("doc"); doc != "" {
		return doc
	}
	return swaggerDoc(f.owner)[f.Name]
}

// Type is the shape of a value. It is immutable towards its users.
type Type struct {
	kind   Kind
	scalar ScalarKind
	atomic bool
	list   ListKind
	keys   []string
	elem   *Type
	def    *structDef
	format string
	goType reflect.Type

	keyed   sync.Once
	keyList []Key
	zero    func() ([]byte, error)

	mu      sync.Mutex
	derived map[any]*derivation
}

type derivation struct {
	once  sync.Once
	value any
	err   error
}

// Kind returns the shape of the type.
func (t *Type) Kind() Kind { return t.kind }

// Scalar returns which scalars a Scalar admits.
func (t *Type) Scalar() ScalarKind { return t.scalar }

// Format refines a Scalar as OpenAPI does: "int32", "int64", "double", "byte",
// "date-time", "int-or-string", "quantity", or "".
func (t *Type) Format() string { return t.format }

// Atomic reports whether a Struct, Map or Any is owned and replaced as a whole.
// For lists see List.
func (t *Type) Atomic() bool { return t.atomic }

// DeclaredAtomic is what Atomic would be but for the field that uses the Type: a field may make a
// Struct atomic that isn't elsewhere, and the other way round.
func (t *Type) DeclaredAtomic() bool {
	if t.kind == Struct {
		return t.def.rules.self == "a"
	}
	return false
}

// List returns how the items of a List are told apart.
func (t *Type) List() ListKind { return t.list }

// Elem returns the type of the items of a List or the values of a Map; nil otherwise.
func (t *Type) Elem() *Type { return t.elem }

// Keys returns the key fields of a MapList, sorted by name. It must not be changed.
func (t *Type) Keys() []Key {
	t.keyed.Do(func() {
		for _, name := range t.keys {
			key := Key{Name: name}
			if f := t.elem.Field(name); f != nil {
				key.Default = f.Default
			}
			t.keyList = append(t.keyList, key)
		}
		slices.SortFunc(t.keyList, func(a, b Key) int { return strings.Compare(a.Name, b.Name) })
	})
	return t.keyList
}

// KeyNames returns the key fields of a MapList in the order in which the type declares them.
// It must not be changed.
func (t *Type) KeyNames() []string { return t.keys }

// GoType returns the Go type that the Type was made of, without pointers; nil where New made it.
func (t *Type) GoType() reflect.Type { return t.goType }

// Name returns the OpenAPI model name of a Struct or well-known type
// ("io.k8s.api.core.v1.Pod"), or "" for types without one.
func (t *Type) Name() string {
	if t.goType == nil || t.goType.Kind() != reflect.Struct {
		return ""
	}
	return modelName(t.goType)
}

// Doc returns the description that the Go type's SwaggerDoc method gives of the type, or "".
func (t *Type) Doc() string {
	doc := swaggerDoc(t.goType)[""]
	if doc == "" || t.kind != Struct {
		return doc
	}
	for i := range t.goType.NumField() { // a method that an embedded struct brings describes that struct
		if f := t.goType.Field(i); f.Anonymous && swaggerDoc(indirect(f.Type))[""] == doc {
			return ""
		}
	}
	return doc
}

// Fields returns the fields of a Struct in the order of the Go type. It must not be changed.
func (t *Type) Fields() []*Field {
	if t.kind != Struct {
		return nil
	}
	return t.def.expand().fields
}

// Field returns the named field of a Struct, or nil.
func (t *Type) Field(name string) *Field {
	if t.kind != Struct {
		return nil
	}
	d := t.def.expand()
	if f := d.byName[name]; f != nil {
		return f
	}
	return d.unlisted(name)
}

// FieldBytes is Field for a name that is a byte slice; it makes no copy of it.
func (t *Type) FieldBytes(name []byte) *Field {
	if t.kind != Struct {
		return nil
	}
	d := t.def.expand()
	if f := d.byName[string(name)]; f != nil {
		return f
	}
	return d.unlisted(string(name))
}

// Zero returns the JSON of the Go type's zero value: what an object that doesn't
// exist yet is compared with. It must not be changed.
func (t *Type) Zero() ([]byte, error) {
	if t.zero == nil {
		return []byte("{}"), nil
	}
	return t.zero()
}

// Derived returns what build makes of t. It calls build once for each key and keeps the result,
// error included, as long as t lives. Keys follow the rule of context keys: an unexported
// type of the caller's package. There is no limit, so keys must be few.
func (t *Type) Derived(key any, build func(*Type) (any, error)) (any, error) {
	t.mu.Lock()
	d, ok := t.derived[key]
	if !ok {
		if t.derived == nil {
			t.derived = map[any]*derivation{}
		}
		d = &derivation{}
		t.derived[key] = d
	}
	t.mu.Unlock()
	d.once.Do(func() { d.value, d.err = build(t) })
	return d.value, d.err
}
