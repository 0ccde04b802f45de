package jsonschema

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// Schema is a compiled structural schema. It is immutable and may be used concurrently. A nil Schema admits anything.
type Schema struct {
	root *node

	shapeOnce sync.Once
	shape     *structural.Type
}

// Compile makes a Schema of a schema that passed Check. It neither keeps nor changes s; a nil s describes an object
// of which nothing but apiVersion, kind and metadata is known. The error names a place that has no meaning as a
// structural schema ($ref, items that are a list, …), a default that is not JSON, or a bound that was passed.
func Compile(s *apiextensionsv1.JSONSchemaProps) (*Schema, error) {
	if s == nil {
		return &Schema{root: &node{types: tObject}}, nil
	}
	b := newBuilder(false)
	root, err := b.schema(s, 0, nil)
	if err != nil {
		return nil, fmt.Errorf("compile schema: %w", err)
	}
	return &Schema{root: root}, nil
}

// Field returns the schema of a field, which shares its parts with s, or nil if the field is not specified.
// Validating a status alone needs it.
func (s *Schema) Field(name string) *Schema {
	if s == nil {
		return nil
	}
	n, ok := s.root.property(name)
	if !ok {
		return nil
	}
	return &Schema{root: n}
}

// builder compiles schemas bottom up and makes equal ones one.
type builder struct {
	raw      bool // as defaults are checked: formats and int-or-string as they stand
	nodes    int
	nested   int // how many allOf, anyOf, oneOf and not are around
	interned map[string]*node
	ids      map[*node]uint64
	texts    map[string]string
	patterns map[string]*pattern
}

// step leads from an embedded resource to a part of its metadata.
type step struct {
	up   *step
	name string
	item bool // the first item of a list
}

func newBuilder(raw bool) *builder {
	return &builder{raw: raw, interned: map[string]*node{}, ids: map[*node]uint64{}, texts: map[string]string{}, patterns: map[string]*pattern{}}
}

var (
	errTooDeep  = fmt.Errorf("more than %d levels", MaxDepth)
	errTooLarge = fmt.Errorf("more than %d schemas", MaxNodes)
)

// schema compiles s. In the metadata of an embedded resource, meta leads to it.
func (b *builder) schema(s *apiextensionsv1.JSONSchemaProps, depth int, meta *step) (*node, error) {
	if b.nodes++; b.nodes > MaxNodes {
		return nil, errTooLarge
	}
	if depth > MaxDepth {
		return nil, errTooDeep
	}
	if err := unsupported(s); err != nil {
		return nil, err
	}
	n := node{types: typeNames[s.Type]}
	if s.Type != "" && n.types == 0 {
		n.types, n.other = tOther, b.text(s.Type)
	}
	if s.XIntOrString && !b.raw {
		n.types = tInteger | tString
	}
	n.marks = marksOf(s)
	if b.raw && b.nested > 0 { // where defaults are checked, it plays no part
		n.marks &^= additional | deniesAdditional
	}
	if err := b.children(s, &n, depth, meta); err != nil {
		return nil, err
	}
	if err := b.fallback(s, &n, meta); err != nil {
		return nil, err
	}
	if s.XListType != nil {
		n.list = &list{kind: b.text(*s.XListType)}
		for _, k := range s.XListMapKeys {
			n.list.keys = append(n.list.keys, b.text(k))
		}
		if n.list.kind == "set" || n.list.kind == "map" {
			n.marks |= anyUnique
		}
	}
	r, err := b.rules(s, &n, depth)
	if err != nil {
		return nil, err
	}
	n.rules = r
	return b.intern(n), nil
}

// unsupported names what a structural schema has no meaning for.
func unsupported(s *apiextensionsv1.JSONSchemaProps) error {
	word := ""
	switch {
	case s.ID != "":
		word = "id"
	case s.Schema != "":
		word = "schema"
	case s.Ref != nil && *s.Ref != "":
		word = "$ref"
	case len(s.PatternProperties) > 0:
		word = "patternProperties"
	case len(s.Dependencies) > 0:
		word = "dependencies"
	case s.AdditionalItems != nil:
		word = "additionalItems"
	case len(s.Definitions) > 0:
		word = "definitions"
	case s.Items != nil && len(s.Items.JSONSchemas) > 0:
		return errors.New("OpenAPIV3Schema 'items' must be a schema, but is an array")
	case s.XPreserveUnknownFields != nil && !*s.XPreserveUnknownFields:
		return errors.New("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined")
	default:
		return nil
	}
	return fmt.Errorf("OpenAPIV3Schema '%s' is not supported", word)
}

func marksOf(s *apiextensionsv1.JSONSchemaProps) marks {
	var m marks
	set := func(on bool, o marks) {
		if on {
			m |= o
		}
	}
	set(s.Nullable, nullable)
	set(s.XPreserveUnknownFields != nil, preserve)
	set(s.XEmbeddedResource, embedded|anyEmbedded)
	set(s.XIntOrString, intOrString)
	set(s.XMapType != nil && *s.XMapType == "atomic", atomicMap)
	set(s.ExclusiveMaximum, exclusiveMaximum)
	set(s.ExclusiveMinimum, exclusiveMinimum)
	set(s.UniqueItems, uniqueItems)
	set(s.Format != "" && s.Format != "byte", formatted)
	if a := s.AdditionalProperties; a != nil {
		m |= additional
		set(!a.Allows && a.Schema == nil, deniesAdditional)
	}
	return m
}

const inherited = anyDefault | anyEmbedded | anyUnique

func (b *builder) children(s *apiextensionsv1.JSONSchemaProps, n *node, depth int, within *step) error {
	adopt := func(c *apiextensionsv1.JSONSchemaProps, name string, item bool) (*node, error) {
		var meta *step
		if within != nil || s.XEmbeddedResource && !item && typeMeta(name) {
			meta = &step{up: within, name: name, item: item}
		}
		child, err := b.schema(c, depth+1, meta)
		if err == nil {
			n.marks |= child.marks & inherited
		}
		return child, err
	}
	var err error
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		c := s.Properties[name]
		child, err := adopt(&c, name, false)
		if err != nil {
			return fmt.Errorf("%w, in properties[%s]", err, name)
		}
		if n.props == nil {
			n.props = make([]property, 0, len(s.Properties))
		}
		n.props = append(n.props, property{b.text(name), child})
	}
	if s.Items != nil && s.Items.Schema != nil {
		if n.items, err = adopt(s.Items.Schema, "", true); err != nil {
			return fmt.Errorf("%w, in items", err)
		}
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil && n.marks.has(additional) {
		if n.extra, err = adopt(s.AdditionalProperties.Schema, "*", false); err != nil {
			return fmt.Errorf("%w, in additionalProperties", err)
		}
	}
	return nil
}

// fallback sets the default, pruned by its own schema.
func (b *builder) fallback(s *apiextensionsv1.JSONSchemaProps, n *node, meta *step) error {
	v, err := decode(s.Default)
	if err != nil {
		return fmt.Errorf("default: %w", err)
	}
	if v == nil {
		return nil
	}
	if !b.raw {
		if v, err = tidyDefault(v, n, meta); err != nil {
			return fmt.Errorf("default: %w", err)
		}
		if v == nil {
			return nil
		}
	}
	n.fallback = v
	n.marks |= anyDefault
	return nil
}

// tidyDefault returns a default pruned by its own schema, or, in the metadata of an embedded resource, by ObjectMeta.
// It may be nil then.
func tidyDefault(v any, n *node, meta *step) (any, error) {
	c := coercer{drop: true}
	if meta != nil {
		o, _ := meta.around(v).(map[string]any)
		if err := c.resource(nil, o); err != nil {
			return nil, err
		}
		v, _ = meta.in(o)
		return v, nil
	}
	if err := c.value(nil, v, n); err != nil {
		return nil, err
	}
	var p pruner
	p.value(v, n, nil)
	return v, nil
}

// around returns the object in which v is where s leads.
func (s *step) around(v any) any {
	for ; s != nil; s = s.up {
		if s.item {
			v = []any{v}
		} else {
			v = map[string]any{s.name: v}
		}
	}
	return v
}

// in returns what is where s leads.
func (s *step) in(o any) (any, bool) {
	if s == nil {
		return o, true
	}
	o, ok := s.up.in(o)
	if !ok {
		return nil, false
	}
	if s.item {
		if list, _ := o.([]any); len(list) > 0 {
			return list[0], true
		}
		return nil, false
	}
	m, _ := o.(map[string]any)
	v, ok := m[s.name]
	return v, ok
}

// decode returns a JSON value of a schema; nil: none or null.
func decode(j *apiextensionsv1.JSON) (any, error) {
	if j == nil || len(j.Raw) == 0 {
		return nil, nil
	}
	var v any
	if err := utiljson.Unmarshal(j.Raw, &v); err != nil {
		return nil, err
	}
	return v, nil
}

func (b *builder) rules(s *apiextensionsv1.JSONSchemaProps, n *node, depth int) (*rules, error) {
	r := rules{
		maximum: copied(s.Maximum), minimum: copied(s.Minimum), multipleOf: copied(s.MultipleOf),
		maxLength: copied(s.MaxLength), minLength: copied(s.MinLength),
		maxItems: copied(s.MaxItems), minItems: copied(s.MinItems),
		maxProperties: copied(s.MaxProperties), minProperties: copied(s.MinProperties),
	}
	r.format = b.text(s.Format)
	if !b.raw {
		r.format = effectiveFormat(r.format, n.types)
	}
	r.known = stringFormat(r.format)
	if s.Pattern != "" {
		r.pattern = b.pattern(s.Pattern)
	}
	for _, name := range s.Required {
		r.required = append(r.required, b.text(name))
	}
	for i := range s.Enum {
		v, err := decode(&s.Enum[i])
		if err != nil {
			return nil, fmt.Errorf("enum: %w", err)
		}
		r.enum = append(r.enum, v)
	}
	b.nested++
	defer func() { b.nested-- }()
	var err error
	if r.allOf, err = b.junctor(s.AllOf, "allOf", depth); err != nil {
		return nil, err
	}
	if r.anyOf, err = b.junctor(s.AnyOf, "anyOf", depth); err != nil {
		return nil, err
	}
	if r.oneOf, err = b.junctor(s.OneOf, "oneOf", depth); err != nil {
		return nil, err
	}
	if s.Not != nil {
		if r.not, err = b.schema(s.Not, depth+1, nil); err != nil {
			return nil, fmt.Errorf("%w, in not", err)
		}
	}
	if r.empty() {
		return nil, nil
	}
	return &r, nil
}

func (r *rules) empty() bool {
	return r.format == "" && r.maximum == nil && r.minimum == nil && r.multipleOf == nil && r.maxLength == nil &&
		r.minLength == nil && r.maxItems == nil && r.minItems == nil && r.maxProperties == nil && r.minProperties == nil &&
		r.pattern == nil && r.enum == nil && r.required == nil && r.allOf == nil && r.anyOf == nil && r.oneOf == nil && r.not == nil
}

func (b *builder) junctor(in []apiextensionsv1.JSONSchemaProps, word string, depth int) ([]*node, error) {
	var out []*node
	for i := range in {
		n, err := b.schema(&in[i], depth+1, nil)
		if err != nil {
			return nil, fmt.Errorf("%w, in %s[%d]", err, word, i)
		}
		out = append(out, n)
	}
	return out, nil
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// text returns a copy of s that shares nothing with what was decoded, once for equal strings.
func (b *builder) text(s string) string {
	if s == "" {
		return ""
	}
	t, ok := b.texts[s]
	if !ok {
		t = string([]byte(s))
		b.texts[t] = t
	}
	return t
}

func (b *builder) pattern(text string) *pattern {
	p, ok := b.patterns[text]
	if !ok {
		p = &pattern{text: b.text(text)}
		b.patterns[p.text] = p
	}
	return p
}

// intern returns the one node that equals n.
func (b *builder) intern(n node) *node {
	if b.raw {
		return &n
	}
	key, ok := b.key(&n)
	if !ok {
		return &n
	}
	if same, ok := b.interned[string(key)]; ok {
		return same
	}
	b.interned[string(key)] = &n
	b.ids[&n] = uint64(len(b.ids) + 1)
	return &n
}

// key tells nodes apart whose children are interned.
func (b *builder) key(n *node) ([]byte, bool) {
	k := make([]byte, 0, 64)
	k = append(k, byte(n.types))
	k = binary.AppendUvarint(k, uint64(n.marks))
	k = appendText(k, n.other)
	ok := true
	child := func(c *node) {
		if c == nil {
			k = append(k, 0)
			return
		}
		id := b.ids[c]
		ok = ok && id != 0
		k = binary.AppendUvarint(k, id)
	}
	child(n.items)
	child(n.extra)
	k = binary.AppendUvarint(k, uint64(len(n.props)))
	for _, p := range n.props {
		k = appendText(k, p.name)
		child(p.node)
	}
	if n.list != nil {
		k = appendTexts(appendText(append(k, 1), n.list.kind), n.list.keys)
	}
	k = appendJSON(append(k, 2), n.fallback, &ok)
	if r := n.rules; r != nil {
		k = r.key(append(k, 3), &ok)
		for i, list := range [][]*node{r.allOf, r.anyOf, r.oneOf, {r.not}} {
			k = binary.AppendUvarint(append(k, byte(i)), uint64(len(list)))
			for _, c := range list {
				child(c)
			}
		}
	}
	return k, ok
}

// key is that of all but the nested schemas.
func (r *rules) key(k []byte, ok *bool) []byte {
	k = appendText(k, r.format)
	for _, f := range []*float64{r.maximum, r.minimum, r.multipleOf} {
		if k = append(k, 0); f != nil {
			k[len(k)-1] = 1
			k = binary.BigEndian.AppendUint64(k, math.Float64bits(*f))
		}
	}
	for _, i := range []*int64{r.maxLength, r.minLength, r.maxItems, r.minItems, r.maxProperties, r.minProperties} {
		if k = append(k, 0); i != nil {
			k[len(k)-1] = 1
			k = binary.AppendVarint(k, *i)
		}
	}
	if r.pattern != nil {
		k = appendText(k, r.pattern.text)
	} else {
		k = append(k, 0)
	}
	k = appendTexts(k, r.required)
	return appendJSON(k, r.enum, ok)
}

func appendText(k []byte, s string) []byte {
	return append(binary.AppendUvarint(k, uint64(len(s))), s...)
}

func appendTexts(k []byte, list []string) []byte {
	k = binary.AppendUvarint(k, uint64(len(list)))
	for _, s := range list {
		k = appendText(k, s)
	}
	return k
}

// appendJSON appends a value with the types of its numbers.
func appendJSON(k []byte, v any, ok *bool) []byte {
	switch v := v.(type) {
	case nil:
		return append(k, 'n')
	case float64:
		return binary.BigEndian.AppendUint64(append(k, 'f'), math.Float64bits(v))
	case int64:
		return binary.AppendVarint(append(k, 'i'), v)
	case string:
		return appendText(append(k, 's'), v)
	case bool:
		if v {
			return append(k, 't')
		}
		return append(k, 'b')
	case []any:
		k = binary.AppendUvarint(append(k, 'a'), uint64(len(v)))
		for _, e := range v {
			k = appendJSON(k, e, ok)
		}
		return k
	case map[string]any:
		k = binary.AppendUvarint(append(k, 'o'), uint64(len(v)))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			k = appendJSON(appendText(k, name), v[name], ok)
		}
		return k
	}
	*ok = false
	return k
}
