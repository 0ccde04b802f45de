package table

import (
	"bytes"
	"errors"
	"fmt"
)

var errNoObject = errors.New("not the JSON of an object with metadata")

// Metadata returns the value of the member "metadata" at the top of an object's JSON, as a part of raw. raw must
// be valid JSON; it is walked no further than to the end of the metadata.
func Metadata(raw []byte) ([]byte, error) { return member(raw, `"metadata"`) }

// member returns the value of a member at the top; quoted is its name with quotes, in a form without escapes.
func member(raw []byte, quoted string) ([]byte, error) {
	i := space(raw, 0)
	if i >= len(raw) || raw[i] != '{' {
		return nil, errNoObject
	}
	for i = space(raw, i+1); i < len(raw) && raw[i] == '"'; i = space(raw, i+1) {
		nameEnd := stringEnd(raw, i)
		from := space(raw, nameEnd)
		if from >= len(raw) || raw[from] != ':' {
			break
		}
		from = space(raw, from+1)
		to := valueEnd(raw, from)
		if string(raw[i:nameEnd]) == quoted {
			if to <= from {
				break
			}
			return raw[from:to], nil
		}
		i = space(raw, to)
		if i >= len(raw) || raw[i] != ',' {
			break
		}
	}
	return nil, errNoObject
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// stringEnd returns where the string that begins at i has ended.
func stringEnd(b []byte, i int) int {
	for i++; i < len(b); i++ {
		j := bytes.IndexByte(b[i:], '"')
		if j < 0 {
			return len(b)
		}
		slashes := 0
		for k := i + j - 1; k >= i && b[k] == '\\'; k-- {
			slashes++
		}
		i += j
		if slashes%2 == 0 {
			return i + 1
		}
	}
	return len(b)
}

// valueEnd returns where the value that begins at i has ended.
func valueEnd(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = stringEnd(b, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth <= 0 {
				if depth < 0 {
					return i
				}
				return i + 1
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

// AppendPartial appends the PartialObjectMetadata of an object's JSON, in a version of meta.k8s.io ("v1").
func AppendPartial(dst, raw []byte, version string) ([]byte, error) {
	m, err := Metadata(raw)
	if err != nil {
		return dst, fmt.Errorf("cut out the metadata: %w", err)
	}
	dst = append(dst, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/`...)
	dst = append(append(dst, version...), `","metadata":`...)
	return append(append(dst, m...), '}'), nil
}
