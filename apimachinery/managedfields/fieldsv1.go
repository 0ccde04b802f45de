package managedfields

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// encode appends the members below nodes as FieldsV1.
func encode(dst []byte, nodes []node) []byte {
	dst = append(dst, '{')
	dst, _ = encodeNodes(dst, nodes, true)
	return append(dst, '}')
}

// encodeNodes appends the members of a JSON object; first says that none precedes them. It reports whether it wrote any.
func encodeNodes(dst []byte, nodes []node, first bool) (_ []byte, wrote bool) {
	for i := range nodes {
		n := &nodes[i]
		isMember := n.marks&member != 0
		if !isMember && len(n.kids) == 0 {
			continue
		}
		mark := len(dst)
		if !first {
			dst = append(dst, ',')
		}
		dst = append(append(dst, '"'), prefixes[n.kind]...)
		dst = append(appendEscaped(dst, n.text), `":{`...)
		body := len(dst)
		inside := false
		if len(n.kids) > 0 {
			if isMember {
				dst = append(dst, `".":{}`...)
			}
			if dst, inside = encodeNodes(dst, n.kids, !isMember); !inside {
				dst = dst[:body]
			}
		}
		if !inside && !isMember {
			dst = dst[:mark]
			continue
		}
		dst = append(dst, '}')
		first, wrote = false, true
	}
	return dst, wrote
}

// fieldsReader reads FieldsV1. What it returns lies in its arena, which it fills with one set after the other.
type fieldsReader struct {
	tape
	arena []node
	same  bool
}

// decode reads a set. Where t is given, fields that t owns as a whole now but didn't when they were written
// become one. same reports whether encoding the result gives the same set again.
func (r *fieldsReader) decode(f *metav1.FieldsV1, t *structural.Type) (nodes []node, same bool, err error) {
	if f == nil {
		return nil, true, nil
	}
	if err := r.tape.read(f.GetRawBytes()); err != nil {
		return nil, false, fmt.Errorf("read FieldsV1: %w", err)
	}
	if r.kind(0) != tokenObject {
		return nil, false, errors.New("read FieldsV1: not an object")
	}
	r.same = true
	if cap(r.arena)-len(r.arena) < len(r.tokens) {
		r.arena = make([]node, 0, max(len(r.tokens), 2*cap(r.arena)))
	}
	nodes, _, err = r.elements(0, t)
	if err != nil {
		return nil, false, fmt.Errorf("read FieldsV1: %w", err)
	}
	return nodes, r.same, nil
}

// elements returns the elements in the object i and whether the path that leads here is a member.
func (r *fieldsReader) elements(i int32, t *structural.Type) (kids []node, isMember bool, err error) {
	if r.kind(i) != tokenObject && r.kind(i) != tokenNull {
		return nil, false, fmt.Errorf("%.40q is not an object", r.raw(i))
	}
	n := int(r.tokens[i].count)
	base := len(r.arena)
	r.arena = r.arena[:base+n] // never more than there are tokens
	kids = r.arena[base : base : base+n]
	sorted := true
	for c, end := i+1, r.tokens[i].next; c < end; c = r.tokens[c].next {
		key := r.key(c)
		if key == "." {
			isMember = true
			continue
		}
		e, known, err := parseElement(key)
		if err != nil {
			return nil, false, err
		}
		if !known {
			r.same = false
			continue
		}
		kid := node{element: e}
		below := childType(t, e)
		var in bool
		if kid.kids, in, err = r.elements(c, below); err != nil {
			return nil, false, err
		}
		if in {
			kid.marks = member
		}
		if len(kid.kids) > 0 && ownedWhole(below) {
			kid.kids, kid.marks, r.same = nil, member, false
		}
		sorted = sorted && (len(kids) == 0 || compareElements(kids[len(kids)-1].element, e) < 0)
		kids = append(kids, kid)
	}
	if !sorted {
		r.same = false
		kids = sortedOnce(kids)
	}
	return kids, isMember || len(kids) == 0, nil
}

// sortedOnce sorts nodes and joins equal ones.
func sortedOnce(nodes []node) []node {
	slices.SortStableFunc(nodes, compareNodes)
	out := nodes[:0]
	for _, n := range nodes {
		if last := len(out) - 1; last >= 0 && compareNodes(out[last], n) == 0 {
			out[last].marks |= n.marks
			out[last].kids = union(out[last].kids, n.kids)
			continue
		}
		out = append(out, n)
	}
	return out
}

// parseElement reads a key of FieldsV1. Kinds of elements that a later Kubernetes may invent are not known.
func parseElement(key string) (e element, known bool, err error) {
	if len(key) < 2 || key[1] != ':' {
		return element{}, false, fmt.Errorf("%.40q is not a path element", key)
	}
	text := key[2:]
	switch key[0] {
	case 'f':
		return element{text: text}, true, nil
	case 'i':
		return element{text: text, kind: byIndex}, true, nil
	case 'k', 'v':
		if key[0] == 'k' {
			text, err = canonicalKeys(text)
			return element{text: text, kind: byKey}, true, err
		}
		text, err = canonicalValue(text)
		return element{text: text, kind: byValue}, true, err
	}
	return element{}, false, nil
}

func canonicalValue(text string) (string, error) {
	d, err := newTape([]byte(text))
	if err != nil {
		return "", fmt.Errorf("path element v:%.40s: %w", text, err)
	}
	return canonical(d.raw(0), d.kind(0)), nil
}

// canonicalKeys reads the JSON object of a key and writes it sorted by name.
func canonicalKeys(text string) (string, error) {
	if isCanonical(text) {
		return text, nil
	}
	d, err := newTape([]byte(text))
	if err != nil {
		return "", fmt.Errorf("path element k:%.40s: %w", text, err)
	}
	if d.kind(0) != tokenObject {
		return "", fmt.Errorf("path element k:%.40s: not an object", text)
	}
	members := d.children(nil, 0)
	out := append(make([]byte, 0, len(text)), '{')
	for i, c := range members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendQuoted(out, d.key(c)), ':')
		out = append(out, canonical(d.raw(c), d.kind(c))...)
	}
	return string(append(out, '}')), nil
}

// isCanonical recognises the usual keys: plain names in order, with plain strings or whole numbers.
func isCanonical(text string) bool {
	if len(text) < 2 || text[0] != '{' || text[len(text)-1] != '}' {
		return false
	}
	last := ""
	for rest := text[1 : len(text)-1]; ; {
		name, value, after := nextPair(rest)
		if name <= last || !isPlainString(name) || !isPlainString(value) && !isWhole(value) {
			return false
		}
		switch used := len(name) + len(":") + len(value); {
		case rest[len(name)] != ':':
			return false
		case used == len(rest):
			return true
		case rest[used] != ',':
			return false
		}
		last, rest = name, after
	}
}

func isPlainString(s string) bool {
	return len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' && plain(s[1:len(s)-1])
}

// isWhole recognises positive numbers of at most 18 digits.
func isWhole(s string) bool {
	if s == "" || len(s) > 18 || s[0] == '0' && len(s) > 1 {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}

// childType returns the type at an element below t, or nil where the schema has none.
func childType(t *structural.Type, e element) *structural.Type {
	if t == nil {
		return nil
	}
	switch t.Kind() {
	case structural.Struct:
		if e.kind == byField {
			if f := t.Field(e.text); f != nil {
				return f.Type
			}
		}
	case structural.Map, structural.List:
		return t.Elem()
	}
	return nil
}

// ownedWhole reports whether managers own values of the type as a whole.
func ownedWhole(t *structural.Type) bool {
	return t != nil && (t.Atomic() || t.Kind() == structural.List && t.List() == structural.AtomicList)
}
