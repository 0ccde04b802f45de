package server

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/bedplate/bedplate/storage"
)

var errNotJSON = errors.New("not a JSON object with metadata")

// scanner reads heads: one pass over the stored JSON that looks at metadata and at declared paths, and skips the
// rest without decoding it.
type scanner struct {
	root   *node
	slots  int
	intern *interner
}

// node is a step of the declared paths. slot is where the value at the path goes; -1: nowhere.
type node struct {
	next map[string]*node
	slot int
}

// newScanner makes a scanner of paths ("spec.nodeName"); their values go to the slots of the same numbers.
func newScanner(paths []string, in *interner) *scanner {
	s := &scanner{root: &node{slot: -1}, slots: len(paths), intern: in}
	for i, p := range paths {
		n := s.root
		for step := range strings.SplitSeq(p, ".") {
			if n.next == nil {
				n.next = map[string]*node{}
			}
			if n.next[step] == nil {
				n.next[step] = &node{slot: -1}
			}
			n = n.next[step]
		}
		n.slot = i
	}
	return s
}

// scanned is what one pass finds.
type scanned struct {
	apiVersion, kind []byte
	metaFrom, metaTo int // the metadata object with its braces; metaTo 0: there is none
	uidEnd           int
	managedFrom      int // metadata.managedFields from the comma before it to its end; 0: there is none
	managedTo        int
	uid              string
	labels           []storage.Pair
	values           []string
	hasRevision      bool
}

func (s *scanner) scan(raw []byte) (*scanned, error) {
	out := &scanned{values: make([]string, s.slots)}
	p := parser{b: raw}
	err := p.object(func(key []byte) error {
		switch string(key) {
		case "apiVersion":
			return p.rawString(&out.apiVersion)
		case "kind":
			return p.rawString(&out.kind)
		case "metadata":
			return s.metadata(&p, out)
		}
		return s.value(&p, s.step(s.root, key), out)
	})
	if err == nil && out.metaTo == 0 {
		err = errNotJSON
	}
	return out, err
}

func (s *scanner) step(n *node, key []byte) *node {
	if n == nil || n.next == nil {
		return nil
	}
	return n.next[string(key)]
}

func (s *scanner) metadata(p *parser, out *scanned) error {
	p.space()
	out.metaFrom = p.i
	declared := s.step(s.root, []byte("metadata"))
	err := p.object(func(key []byte) error {
		switch string(key) {
		case "uid":
			uid, err := p.str()
			out.uid, out.uidEnd = uid, p.i
			return err
		case "resourceVersion":
			out.hasRevision = true
		case "managedFields":
			return out.skipManaged(p, key)
		case "labels":
			if s.step(declared, key) == nil {
				return s.readLabels(p, out)
			}
		}
		return s.value(p, s.step(declared, key), out)
	})
	out.metaTo = p.i
	return err
}

// skipManaged notes where managedFields stand, if they come behind another field: the encoder puts them last.
func (out *scanned) skipManaged(p *parser, key []byte) error {
	from := p.i - len(`,"":`) - len(key)
	err := p.skip()
	if from > out.metaFrom && p.b[from] == ',' {
		out.managedFrom, out.managedTo = from, p.i
	}
	return err
}

func (s *scanner) readLabels(p *parser, out *scanned) error {
	if p.null() {
		return nil
	}
	var buffer [8]storage.Pair
	labels := buffer[:0]
	err := p.object(func(key []byte) error {
		k := s.intern.get(key)
		var v []byte
		if err := p.rawString(&v); err != nil {
			return err
		}
		labels = append(labels, storage.Pair{Key: k, Value: s.intern.get(v)})
		return nil
	})
	slices.SortFunc(labels, func(a, b storage.Pair) int { return strings.Compare(a.Key, b.Key) })
	out.labels = append(out.labels, labels...)
	return err
}

// value reads or skips the value that comes, as the declared paths below n want it.
func (s *scanner) value(p *parser, n *node, out *scanned) error {
	if n == nil {
		return p.skip()
	}
	p.space()
	if p.i < len(p.b) && p.b[p.i] == '{' && n.next != nil {
		return p.object(func(key []byte) error { return s.value(p, n.next[string(key)], out) })
	}
	if n.slot < 0 {
		return p.skip()
	}
	text, err := p.scalar()
	if err == nil && text != nil {
		out.values[n.slot] = s.intern.get(text)
	}
	return err
}

// parser walks JSON. It accepts all that is JSON and some that is not: what it reads was written by an encoder.
type parser struct {
	b     []byte
	i     int
	depth int
}

func (p *parser) fail(what string) error {
	return fmt.Errorf("%s at offset %d of stored JSON", what, p.i)
}

func (p *parser) space() {
	for p.i < len(p.b) && (p.b[p.i] == ' ' || p.b[p.i] == '\n' || p.b[p.i] == '\t' || p.b[p.i] == '\r') {
		p.i++
	}
}

func (p *parser) expect(c byte) error {
	p.space()
	if p.i >= len(p.b) || p.b[p.i] != c {
		return p.fail(fmt.Sprintf("no %q", c))
	}
	p.i++
	return nil
}

func (p *parser) null() bool {
	p.space()
	if bytes.HasPrefix(p.b[p.i:], []byte("null")) {
		p.i += 4
		return true
	}
	return false
}

const maxDepth = 10_000

// object calls field for each key with the parser at its value, which field must consume.
func (p *parser) object(field func(key []byte) error) error {
	if p.depth++; p.depth > maxDepth {
		return p.fail("too deep")
	}
	if err := p.expect('{'); err != nil {
		return err
	}
	p.space()
	if p.i < len(p.b) && p.b[p.i] == '}' {
		p.i++
		p.depth--
		return nil
	}
	for {
		var key []byte
		if err := p.rawString(&key); err != nil {
			return err
		}
		if err := p.expect(':'); err != nil {
			return err
		}
		if err := field(key); err != nil {
			return err
		}
		p.space()
		if p.i >= len(p.b) {
			return p.fail("no end")
		}
		p.i++
		switch p.b[p.i-1] {
		case ',':
		case '}':
			p.depth--
			return nil
		default:
			return p.fail("no comma")
		}
	}
}

// rawString reads a string; the result lies in the JSON itself unless something was escaped.
func (p *parser) rawString(to *[]byte) error {
	p.space()
	from := p.i
	escaped, err := p.skipString()
	if err != nil {
		return err
	}
	if !escaped {
		*to = p.b[from+1 : p.i-1]
		return nil
	}
	var s string
	if err := json.Unmarshal(p.b[from:p.i], &s); err != nil {
		return err
	}
	*to = []byte(s)
	return nil
}

func (p *parser) str() (string, error) {
	var b []byte
	err := p.rawString(&b)
	return string(b), err
}

// scalar reads a string, number or boolean as text; nil for anything else.
func (p *parser) scalar() ([]byte, error) {
	p.space()
	if p.i < len(p.b) && p.b[p.i] == '"' {
		var b []byte
		err := p.rawString(&b)
		return b, err
	}
	from := p.i
	if err := p.skip(); err != nil {
		return nil, err
	}
	text := p.b[from:p.i]
	if text[0] == '{' || text[0] == '[' || text[0] == 'n' {
		return nil, nil
	}
	return text, nil
}

func (p *parser) skipString() (escaped bool, err error) {
	if p.i >= len(p.b) || p.b[p.i] != '"' {
		return false, p.fail("no string")
	}
	end, escaped := stringEnd(p.b, p.i+1)
	if end < 0 {
		return false, p.fail("no end of string")
	}
	p.i = end
	return escaped, nil
}

// stringEnd returns where the string ends whose content begins at i, behind its closing quote; -1: nowhere.
func stringEnd(b []byte, i int) (end int, escaped bool) {
	for {
		for len(b)-i >= 8 { // eight at a time, up to the first quote or backslash
			word := binary.LittleEndian.Uint64(b[i:])
			if found := zeroBytes(word^quotes) | zeroBytes(word^backslashes); found != 0 {
				i += bits.TrailingZeros64(found) / 8
				break
			}
			i += 8
		}
		for i < len(b) && b[i] != '"' && b[i] != '\\' {
			i++
		}
		switch {
		case i >= len(b):
			return -1, escaped
		case b[i] == '"':
			return i + 1, escaped
		}
		i, escaped = i+2, true
	}
}

const (
	eachByte    = 0x0101010101010101
	quotes      = '"' * eachByte
	backslashes = '\\' * eachByte
)

// zeroBytes has the highest bit set of the first byte that is zero. What it says of those behind it means nothing.
func zeroBytes(word uint64) uint64 { return (word - eachByte) &^ word & (0x80 * eachByte) }

// skip passes over one value.
func (p *parser) skip() error {
	p.space()
	if p.i < len(p.b) {
		switch p.b[p.i] {
		case '"':
			_, err := p.skipString()
			return err
		case '{', '[':
			return p.skipNested()
		}
	}
	from := p.i
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case '}', ']', ',', ' ', '\n', '\t', '\r':
			if p.i == from {
				return p.fail("no value")
			}
			return nil
		}
		p.i++
	}
	return p.fail("no end of value")
}

// skipNested passes over an object or a list by counting brackets.
func (p *parser) skipNested() error {
	b, i, depth := p.b, p.i, 0
	for i < len(b) {
		c := b[i]
		i++
		switch c {
		case '"':
			if i, _ = stringEnd(b, i); i < 0 {
				return p.fail("no end of string")
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				p.i = i
				return nil
			}
		}
	}
	return p.fail("no end of value")
}
