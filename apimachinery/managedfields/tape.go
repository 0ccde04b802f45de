package managedfields

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds the nesting of the JSON that is read, as encoding/json does.
const maxDepth = 10_000

// tokenKind is the JSON type of a token.
type tokenKind uint8

const (
	tokenNull tokenKind = iota
	tokenBool
	tokenNumber
	tokenString
	tokenObject
	tokenArray
)

// token is one JSON value. Its children, if any, follow it; next is the index behind the last of them.
type token struct {
	start, end       int32 // of the value in the text
	keyStart, keyEnd int32 // of its key, without quotes; 0, 0 for items and the root
	next             int32
	count            int32 // of children
	kind             tokenKind
	escaped          bool // the key has escapes
}

// tape is a JSON text and its values in the order of the text.
type tape struct {
	text   string
	tokens []token
}

const absent int32 = -1 // the index of a value that isn't there

func newTape(raw []byte) (*tape, error) {
	t := new(tape)
	return t, t.read(raw)
}

// read replaces the text of the tape, and uses its memory again.
func (t *tape) read(raw []byte) error {
	if len(raw) > 1<<30 {
		return errors.New("object exceeds 1 GiB")
	}
	t.text, t.tokens = string(raw), slices.Grow(t.tokens[:0], 16+len(raw)/12)
	p, err := t.value(t.space(0), 0, token{})
	if err != nil {
		return err
	}
	if p = t.space(p); p != len(t.text) {
		return t.bad(p)
	}
	return nil
}

func (t *tape) bad(p int) error { return fmt.Errorf("malformed JSON at byte %d", p) }

func (t *tape) space(p int) int {
	for p < len(t.text) {
		switch t.text[p] {
		case ' ', '\n', '\r', '\t':
			p++
		default:
			return p
		}
	}
	return p
}

// value reads the value at p into a token that has its key already, and returns the position behind it.
func (t *tape) value(p, depth int, tok token) (int, error) {
	if p >= len(t.text) || depth > maxDepth {
		return 0, t.bad(p)
	}
	i := len(t.tokens)
	tok.start = int32(p)
	t.tokens = append(t.tokens, tok)
	var err error
	kind := tokenNumber
	switch c := t.text[p]; c {
	case '{':
		kind = tokenObject
		p, err = t.object(p+1, i, depth)
	case '[':
		kind = tokenArray
		p, err = t.array(p+1, i, depth)
	case '"':
		kind = tokenString
		p, _, err = t.str(p)
	case 't', 'f', 'n':
		kind, p, err = t.literal(p)
	default:
		p, err = t.number(p)
	}
	if err != nil {
		return 0, err
	}
	tok2 := &t.tokens[i]
	tok2.kind, tok2.end, tok2.next = kind, int32(p), int32(len(t.tokens))
	return p, nil
}

func (t *tape) literal(p int) (tokenKind, int, error) {
	switch rest := t.text[p:]; {
	case strings.HasPrefix(rest, "true"):
		return tokenBool, p + 4, nil
	case strings.HasPrefix(rest, "false"):
		return tokenBool, p + 5, nil
	case strings.HasPrefix(rest, "null"):
		return tokenNull, p + 4, nil
	}
	return 0, 0, t.bad(p)
}

// number reads -?digits[.digits][(e|E)[+|-]digits], without leading zeros.
func (t *tape) number(p int) (int, error) {
	start := p
	p = t.skip(p, "-")
	first := p
	if p = t.digits(p); p == first || t.text[first] == '0' && p > first+1 {
		return 0, t.bad(start)
	}
	if frac := t.skip(p, "."); frac != p {
		if p = t.digits(frac); p == frac {
			return 0, t.bad(start)
		}
	}
	if exp := t.skip(p, "eE"); exp != p {
		exp = t.skip(exp, "+-")
		if p = t.digits(exp); p == exp {
			return 0, t.bad(start)
		}
	}
	return p, nil
}

// skip returns the position behind one of the given bytes, if there is one at p.
func (t *tape) skip(p int, set string) int {
	if p < len(t.text) && strings.IndexByte(set, t.text[p]) >= 0 {
		return p + 1
	}
	return p
}

func (t *tape) digits(p int) int {
	for p < len(t.text) && t.text[p] >= '0' && t.text[p] <= '9' {
		p++
	}
	return p
}

// str reads the string at p and returns the position behind its closing quote.
func (t *tape) str(p int) (end int, escaped bool, err error) {
	if p >= len(t.text) || t.text[p] != '"' {
		return 0, false, t.bad(p)
	}
	for p++; p < len(t.text); p++ {
		switch c := t.text[p]; {
		case c == '"':
			return p + 1, escaped, nil
		case c == '\\':
			escaped = true
			p++
		case c < ' ':
			return 0, false, t.bad(p)
		}
	}
	return 0, false, t.bad(p)
}

func (t *tape) object(p, self, depth int) (int, error) {
	p = t.space(p)
	if p < len(t.text) && t.text[p] == '}' {
		return p + 1, nil
	}
	for {
		end, escaped, err := t.str(p)
		if err != nil {
			return 0, err
		}
		key := token{keyStart: int32(p + 1), keyEnd: int32(end - 1), escaped: escaped}
		if p = t.space(end); p >= len(t.text) || t.text[p] != ':' {
			return 0, t.bad(p)
		}
		var last bool
		if p, last, err = t.child(p+1, self, depth, key, '}'); err != nil || last {
			return p, err
		}
	}
}

func (t *tape) array(p, self, depth int) (int, error) {
	p = t.space(p)
	if p < len(t.text) && t.text[p] == ']' {
		return p + 1, nil
	}
	for {
		var last bool
		var err error
		if p, last, err = t.child(p, self, depth, token{}, ']'); err != nil || last {
			return p, err
		}
	}
}

// child reads a value and what comes behind it: a comma, or the end of the container.
func (t *tape) child(p, self, depth int, tok token, end byte) (next int, last bool, err error) {
	if p, err = t.value(t.space(p), depth+1, tok); err != nil {
		return 0, false, err
	}
	t.tokens[self].count++
	if p = t.space(p); p >= len(t.text) {
		return 0, false, t.bad(p)
	}
	switch t.text[p] {
	case end:
		return p + 1, true, nil
	case ',':
		return t.space(p + 1), false, nil
	}
	return 0, false, t.bad(p)
}

func (t *tape) raw(i int32) string { return t.text[t.tokens[i].start:t.tokens[i].end] }

func (t *tape) kind(i int32) tokenKind { return t.tokens[i].kind }

// filled reports whether i is a container that has children.
func (t *tape) filled(i int32) bool { return i != absent && t.tokens[i].count > 0 }

// key returns the key of a member of an object.
func (t *tape) key(i int32) string {
	tok := &t.tokens[i]
	key := t.text[tok.keyStart:tok.keyEnd]
	if tok.escaped {
		return unquote(`"` + key + `"`)
	}
	return key
}

// member returns the index of the named member of the object i, or absent.
func (t *tape) member(i int32, name string) int32 {
	if i == absent || t.kind(i) != tokenObject {
		return absent
	}
	for c, end := i+1, t.tokens[i].next; c < end; c = t.tokens[c].next {
		if t.key(c) == name {
			return c
		}
	}
	return absent
}

// at returns the index of the value at a path of names, or absent.
func (t *tape) at(path ...string) int32 {
	i := int32(0)
	for _, name := range path {
		i = t.member(i, name)
	}
	return i
}

// stringAt returns the string at a path of names; "" if there is none.
func (t *tape) stringAt(path ...string) string {
	if i := t.at(path...); i != absent && t.kind(i) == tokenString {
		return unquote(t.raw(i))
	}
	return ""
}

// children appends the children of the object i, if it is one, to dst, sorted by key.
func (t *tape) children(dst []int32, i int32) []int32 {
	if i == absent || t.kind(i) != tokenObject {
		return dst
	}
	base := len(dst)
	for c, end := i+1, t.tokens[i].next; c < end; c = t.tokens[c].next {
		dst = append(dst, c)
	}
	list := dst[base:]
	if len(list) > 24 {
		slices.SortFunc(list, func(a, b int32) int { return strings.Compare(t.key(a), t.key(b)) })
		return dst
	}
	for i := 1; i < len(list); i++ {
		for j := i; j > 0 && t.key(list[j]) < t.key(list[j-1]); j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
	return dst
}

// plain reports whether the inside of a JSON string is in canonical form as it stands.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '\\' || c == '<' || c == '>' || c == '&' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
