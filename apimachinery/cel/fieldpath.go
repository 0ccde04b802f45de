package cel

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

var errNoField = errors.New("does not refer to a valid field")

// fieldPath reads the fieldPath of a rule, steps of the form .name or ['name'] along properties and keys of maps.
func fieldPath(text string, n *node) (*field.Path, error) {
	var path *field.Path
	for text != "" {
		name, rest, err := step(text)
		if err != nil {
			return nil, err
		}
		switch {
		case n.props != nil:
			path, n = path.Child(name), n.props[name]
		case n.additional != nil:
			path, n = path.Key(name), n.additional
		default:
			return nil, errNoField
		}
		if n == nil {
			return nil, errNoField
		}
		text = rest
	}
	return path, nil
}

// step cuts the first step off.
func step(text string) (name, rest string, err error) {
	switch text[0] {
	case '.':
		rest = text[1:]
		end := strings.IndexAny(rest, ".[]")
		if end < 0 {
			end = len(rest)
		}
		if rest == "" {
			return "", "", errors.New("unexpected end of JSON path")
		}
		return rest[:end], rest[end:], nil
	case '[':
		return quotedStep(text[1:])
	}
	return "", "", fmt.Errorf("expected [ or . but got: %s", text)
}

// quotedStep reads 'name'].
func quotedStep(text string) (name, rest string, err error) {
	if !strings.HasPrefix(text, "'") {
		return "", "", fmt.Errorf("expected single quoted string but got %s", text)
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\'':
			rest, ok := strings.CutPrefix(text[i+1:], "]")
			if !ok {
				return "", "", errors.New("expected ] after a quoted string")
			}
			return b.String(), rest, nil
		case '\\':
			i++
			c, ok := unescaped(text, i)
			if !ok {
				return "", "", fmt.Errorf("invalid string literal: invalid escape in %s", text)
			}
			b.WriteByte(c)
		default:
			b.WriteByte(text[i])
		}
	}
	return "", "", errors.New("unexpected end of JSON path")
}

func unescaped(text string, i int) (byte, bool) {
	if i >= len(text) {
		return 0, false
	}
	at := strings.IndexByte(`abfnrtv'\`, text[i])
	if at < 0 {
		return 0, false
	}
	return "\a\b\f\n\r\t\v'\\"[at], true
}
