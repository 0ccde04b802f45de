package jsonschema

import (
	"regexp"
	"sort"
	"strings"
	"sync"
)

// typeSet is the types that a schema admits. None: any.
type typeSet uint8

const (
	tString typeSet = 1 << iota
	tNumber
	tInteger
	tBoolean
	tArray
	tObject
	tOther // a name that is none of the above
)

var typeNames = map[string]typeSet{
	"string": tString, "number": tNumber, "integer": tInteger, "boolean": tBoolean, "array": tArray, "object": tObject,
}

func (t typeSet) has(o typeSet) bool { return t&o != 0 }

// single reports whether t is one type.
func (t typeSet) single() bool { return t != 0 && t&(t-1) == 0 }

// marks are the yes-or-no parts of a schema.
type marks uint16

const (
	nullable marks = 1 << iota
	preserve
	embedded
	intOrString
	additional       // additionalProperties is there
	deniesAdditional // and is false
	atomicMap
	anyDefault  // a default is here or below
	anyEmbedded // an embedded resource is here or below
	anyUnique   // a list that is a set or map is here or below
	exclusiveMaximum
	exclusiveMinimum
	uniqueItems
	formatted // a format stands there, known or not, other than byte
)

func (m marks) has(o marks) bool { return m&o != 0 }

// node is a schema. Equal ones are one. It is immutable once compiled.
type node struct {
	types    typeSet
	marks    marks
	other    string // the type where it is tOther
	props    []property
	items    *node
	extra    *node // additionalProperties
	fallback any   // the default; nil: none
	list     *list
	rules    *rules
}

type property struct {
	name string
	node *node
}

// list says how the items of an array are told apart.
type list struct {
	kind string // "atomic", "set", "map"
	keys []string
}

// rules are what limits values beyond their structure.
type rules struct {
	format                       string
	known                        bool // format is one that strings are checked against
	maximum, minimum, multipleOf *float64
	maxLength, minLength         *int64
	maxItems, minItems           *int64
	maxProperties, minProperties *int64
	pattern                      *pattern
	enum                         []any
	required                     []string
	allOf, anyOf, oneOf          []*node
	not                          *node
}

// none are the rules of a schema without any.
var none = &rules{}

func (n *node) limits() *rules {
	if n.rules == nil {
		return none
	}
	return n.rules
}

// property returns the schema of a named property.
func (n *node) property(name string) (*node, bool) {
	p := n.props
	if len(p) <= 8 {
		for i := range p {
			if p[i].name == name {
				return p[i].node, true
			}
		}
		return nil, false
	}
	i := sort.Search(len(p), func(i int) bool { return p[i].name >= name })
	if i < len(p) && p[i].name == name {
		return p[i].node, true
	}
	return nil, false
}

// member returns the schema of a member of an object, which may be unknown (nil) though the member is specified.
func (n *node) member(name string) (child *node, specified bool) {
	if child, ok := n.property(name); ok {
		return child, true
	}
	return n.extra, n.marks.has(additional)
}

// refusesNull reports whether a null is no value by this schema.
func (n *node) refusesNull() bool { return n != nil && !n.marks.has(nullable) }

// typeName is how an error calls the types.
func (n *node) typeName() string {
	if n.types == tInteger|tString {
		return "integer,string"
	}
	if n.types.has(tOther) {
		return n.other
	}
	return n.types.String()
}

// String is the name of a single type.
func (t typeSet) String() string {
	switch t {
	case tString:
		return "string"
	case tNumber:
		return "number"
	case tInteger:
		return "integer"
	case tBoolean:
		return "boolean"
	case tArray:
		return "array"
	case tObject:
		return "object"
	}
	return ""
}

// pattern is a regular expression that is compiled when first needed.
type pattern struct {
	text string
	once sync.Once
	re   *regexp.Regexp
	err  error
}

func (p *pattern) compiled() (*regexp.Regexp, error) {
	p.once.Do(func() { p.re, p.err = regexp.Compile(p.text) })
	return p.re, p.err
}

// typeMeta reports whether name is one of the fields that every object has.
func typeMeta(name string) bool { return name == "apiVersion" || name == "kind" || name == "metadata" }

// formats by their normalized names, as a set of words.
const stringFormats = " bsonobjectid uri email hostname ipv4 ipv6 cidr mac uuid uuid3 uuid4 uuid5 isbn isbn10 isbn13 " +
	"creditcard ssn hexcolor rgbcolor byte password date duration datetime k8sshortname k8slongname "

// stringFormat reports whether strings are checked against a format; dashes in its name don't count.
func stringFormat(name string) bool {
	name = strings.ReplaceAll(name, "-", "")
	return name != "" && !strings.ContainsRune(name, ' ') && strings.Contains(stringFormats, " "+name+" ")
}

// effectiveFormat is the format as far as values of these types are checked against it.
func effectiveFormat(format string, t typeSet) string {
	ok := false
	switch {
	case t == tInteger:
		ok = format == "int32" || format == "int64"
	case t == tNumber:
		ok = format == "float" || format == "double"
	case t == tString, !t.single():
		ok = stringFormat(format)
	}
	if !ok {
		return ""
	}
	return format
}
