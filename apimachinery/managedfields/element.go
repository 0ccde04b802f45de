package managedfields

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// elementKind says how an element of a path selects its child. The order is that of the encoding.
type elementKind uint8

const (
	byField elementKind = iota // a field of an object
	byKey                      // an item of a list, by its key fields
	byValue                    // an item of a set, by its value
	byIndex                    // an item of a list, by position; nobody writes it, but it may be read
)

var prefixes = [...]string{byField: "f:", byKey: "k:", byValue: "v:", byIndex: "i:"}

// element is one step of a path. Its text is the name of a field, or JSON in canonical form: keys sorted,
// no spaces, numbers and strings in one spelling. So equal elements have equal texts.
type element struct {
	text string
	kind elementKind
}

func compareElements(a, b element) int {
	if a.kind != b.kind {
		return cmp.Compare(a.kind, b.kind)
	}
	if a.kind == byField || a.text == b.text {
		return strings.Compare(a.text, b.text)
	}
	if a.kind == byKey {
		return compareKeys(a.text, b.text)
	}
	return compareScalars(a.text, b.text)
}

// compareKeys orders {"name":"a"} texts by their first difference in name, then value.
func compareKeys(a, b string) int {
	a, b = a[1:len(a)-1], b[1:len(b)-1]
	for a != "" && b != "" {
		var an, av, bn, bv string
		an, av, a = nextPair(a)
		bn, bv, b = nextPair(b)
		if c := strings.Compare(an, bn); c != 0 {
			return c
		}
		if c := compareScalars(av, bv); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// nextPair splits the first "name":value off a canonical text.
func nextPair(s string) (name, value, rest string) {
	end := quoted(s)
	name, s = s[:end], strings.TrimPrefix(s[end:], ":")
	end = strings.IndexByte(s, ',')
	if strings.HasPrefix(s, `"`) {
		end = quoted(s)
	} else if end < 0 {
		end = len(s)
	}
	return name, s[:end], strings.TrimPrefix(s[end:], ",")
}

// quoted returns the length of the JSON string that s begins with.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// compareScalars orders scalars as Kubernetes does: numbers, strings, booleans, null.
func compareScalars(a, b string) int {
	ra, rb := rank(a), rank(b)
	if ra != rb {
		return cmp.Compare(ra, rb)
	}
	switch ra {
	case 0:
		return compareNumbers(a, b)
	case 1:
		return strings.Compare(unquote(a), unquote(b))
	}
	return strings.Compare(a, b) // "false" is less than "true"
}

func rank(s string) int {
	switch {
	case s == "":
		return 6
	case s[0] == '"':
		return 1
	case s[0] == 't' || s[0] == 'f':
		return 2
	case s[0] == '[':
		return 3
	case s[0] == '{':
		return 4
	case s[0] == 'n':
		return 5
	}
	return 0
}

func compareNumbers(a, b string) int {
	x, errx := strconv.ParseInt(a, 10, 64)
	y, erry := strconv.ParseInt(b, 10, 64)
	if errx == nil && erry == nil {
		return cmp.Compare(x, y)
	}
	fx, _ := strconv.ParseFloat(a, 64)
	fy, _ := strconv.ParseFloat(b, 64)
	return cmp.Compare(fx, fy)
}

// unquote decodes a JSON string.
func unquote(s string) string {
	if len(s) < 2 {
		return s
	}
	inner := s[1 : len(s)-1]
	if strings.IndexByte(inner, '\\') < 0 {
		return inner
	}
	out := make([]byte, 0, len(inner))
	for i := 0; i < len(inner); i++ {
		c := inner[i]
		if c == '\\' && i+1 < len(inner) {
			i++
			if c = simpleEscape(inner[i]); c == 0 {
				return unquoteAny(s)
			}
		}
		out = append(out, c)
	}
	return string(out)
}

// simpleEscape returns what a backslash and c stand for, or 0 for others than these.
func simpleEscape(c byte) byte {
	switch c {
	case '"', '\\', '/':
		return c
	case 'n':
		return '\n'
	case 't':
		return '\t'
	case 'r':
		return '\r'
	}
	return 0
}

func unquoteAny(s string) string {
	var out string
	if json.Unmarshal([]byte(s), &out) != nil {
		return s
	}
	return out
}

// canonical returns the one spelling of a JSON value.
func canonical(raw string, kind tokenKind) string {
	switch kind {
	case tokenString:
		if plain(raw[1 : len(raw)-1]) {
			return raw
		}
		out, err := json.Marshal(unquote(raw))
		if err != nil {
			return raw
		}
		return string(out)
	case tokenNumber:
		return canonicalNumber(raw)
	case tokenObject, tokenArray:
		var v any
		if json.Unmarshal([]byte(raw), &v) != nil {
			return raw
		}
		out, err := json.Marshal(v)
		if err != nil {
			return raw
		}
		return string(out)
	}
	return raw
}

func canonicalNumber(raw string) string {
	if n, err := strconv.ParseInt(raw, 10, 64); err == nil {
		return strconv.FormatInt(n, 10)
	}
	f, err := strconv.ParseFloat(raw, 64)
	if err != nil {
		return raw
	}
	out, err := json.Marshal(f)
	if err != nil {
		return raw
	}
	return string(out)
}

// itemElement returns how an item of a set or of a list with keys is told apart.
func itemElement(t *structural.Type, d *tape, i int32) (element, error) {
	kind := d.kind(i)
	if t.List() == structural.SetList {
		if kind == tokenObject || kind == tokenArray || kind == tokenNull {
			return element{}, fmt.Errorf("%.60s can't be an item of a set", d.raw(i))
		}
		return element{kind: byValue, text: canonical(d.raw(i), kind)}, nil
	}
	if kind != tokenObject {
		return element{}, fmt.Errorf("%.60s can't be an item of a list with the keys %q", d.raw(i), t.KeyNames())
	}
	var buf [96]byte
	text := append(buf[:0], '{')
	for _, k := range t.Keys() {
		value := k.Default
		if c := d.member(i, k.Name); c != absent {
			value = canonical(d.raw(c), d.kind(c))
		}
		if value == "" {
			continue
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = append(appendQuoted(text, k.Name), ':')
		text = append(text, value...)
	}
	if len(text) == 1 {
		return element{}, fmt.Errorf("an item has none of its list's keys %q", t.KeyNames())
	}
	return element{kind: byKey, text: string(append(text, '}'))}, nil
}

// appendQuoted appends s as a JSON string in the spelling of FieldsV1: nothing is escaped that need not be.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	return append(appendEscaped(dst, s), '"')
}

func appendEscaped(dst []byte, s string) []byte {
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = fmt.Appendf(dst, `\u%04x`, c)
		}
	}
	return append(dst, s[from:]...)
}
