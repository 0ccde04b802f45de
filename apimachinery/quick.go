package apimachinery

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// QuickDecoder decodes like [Decode] and [DecodeLoose], several times as fast where the input is what it should be.
// It works out once how each Go type is read, and keeps that. Where the input has anything unusual (an unknown field
// in strict decoding, a name twice, invalid UTF-8, a number that does not fit), it begins again with Kubernetes' own
// decoder, which then decides, and says what is wrong in its own words. Make one and keep it; it is safe for
// concurrent use. What it has decoded shares no memory with the input.
type QuickDecoder struct {
	plans  sync.Map // reflect.Type → *decodePlan
	making sync.Mutex
	states sync.Pool // of *decoding
}

// NewQuickDecoder makes a QuickDecoder.
func NewQuickDecoder() *QuickDecoder { return &QuickDecoder{} }

// Decode is [Decode], except that what into held before is lost.
func (q *QuickDecoder) Decode(data []byte, into any) (strict []error, err error) {
	if q.try(data, into, true) {
		return nil, nil
	}
	return Decode(data, into)
}

// DecodeLoose is [DecodeLoose], except that what into held before is lost.
func (q *QuickDecoder) DecodeLoose(data []byte, into any) error {
	if q.try(data, into, false) {
		return nil
	}
	return DecodeLoose(data, into)
}

// MergePatch applies a JSON merge patch (RFC 7396) to a JSON document. What the patch doesn't name is copied as it
// stands. An error is a *PatchSyntaxError, or about the document.
func MergePatch(doc, patch []byte) ([]byte, error) {
	var p any
	if err := DecodeLoose(patch, &p); err != nil {
		return nil, &PatchSyntaxError{err}
	}
	change, ok := p.(map[string]any)
	if !ok {
		return nil, &PatchSyntaxError{errors.New("a merge patch must be a JSON object")}
	}
	out, err := merge(make([]byte, 0, len(doc)+len(patch)), doc, change)
	if err != nil {
		return nil, fmt.Errorf("merge patch: %w", err)
	}
	return out, nil
}

// merge appends doc with the changes made; a doc that is no object counts as an empty one.
func merge(dst, doc []byte, changes map[string]any) ([]byte, error) {
	left := make(map[string]any, len(changes))
	for k, v := range changes {
		left[k] = v
	}
	open := len(dst)
	dst = append(dst, '{')
	d := jsontext.NewDecoder(bytes.NewBuffer(doc), jsontext.AllowDuplicateNames(true))
	if len(doc) > 0 && d.PeekKind() == '{' {
		if _, err := d.ReadToken(); err != nil {
			return dst, err
		}
		var err error
		if dst, err = mergeMembers(dst, open, d, left); err != nil {
			return dst, err
		}
	}
	for name, v := range left {
		if v == nil {
			continue
		}
		var err error
		if dst, err = appendMember(dst, open, name); err != nil {
			return dst, err
		}
		if dst, err = mergeValue(dst, nil, v); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// mergeMembers appends the members of an object, and takes from left what it has done.
func mergeMembers(dst []byte, open int, d *jsontext.Decoder, left map[string]any) ([]byte, error) {
	for d.PeekKind() != '}' {
		token, err := d.ReadToken()
		if err != nil {
			return dst, err
		}
		name := token.String()
		value, err := d.ReadValue()
		if err != nil {
			return dst, err
		}
		v, changed := left[name]
		delete(left, name)
		if changed && v == nil {
			continue
		}
		if dst, err = appendMember(dst, open, name); err != nil {
			return dst, err
		}
		if !changed {
			dst = append(dst, value...)
		} else if dst, err = mergeValue(dst, value, v); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

func mergeValue(dst, doc []byte, v any) ([]byte, error) {
	if changes, ok := v.(map[string]any); ok {
		return merge(dst, doc, changes)
	}
	return AppendEncode(dst, v)
}

func appendMember(dst []byte, open int, name string) ([]byte, error) {
	if len(dst) > open+1 {
		dst = append(dst, ',')
	}
	dst, err := jsontext.AppendQuote(dst, name)
	return append(dst, ':'), err
}
