package server

import (
	"encoding/json"
	"errors"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/storage"
)

// bareForm is an entry's JSON without managedFields.
type bareForm struct {
	form
	of *storage.Entry
}

// bare is the entry's JSON in the request's view without managedFields. The last is kept, as most changes ask twice.
func (c *call) bare(e *storage.Entry) (form, error) {
	if c.live.of == e {
		return c.live.form, nil
	}
	f, err := c.v.form(e)
	if err != nil {
		return form{}, err
	}
	from, to, err := managedIn(f.raw)
	if err != nil {
		return form{}, err
	}
	if to > 0 {
		f.raw = slices.Concat(f.raw[:from], f.raw[to:])
		if f.revAt > from {
			f.revAt -= to - from
		}
	}
	c.live = bareForm{f, e}
	return f, nil
}

// managedIn finds metadata.managedFields in an object's JSON, with the comma before it; to is 0 if there is none.
func managedIn(raw []byte) (from, to int, err error) {
	var out scanned
	p := parser{b: raw}
	found := errors.New("found")
	err = p.object(func(key []byte) error {
		if string(key) != "metadata" {
			return p.skip()
		}
		p.space()
		out.metaFrom = p.i
		err := p.object(func(key []byte) error {
			if string(key) == "managedFields" {
				return out.skipManaged(&p, key)
			}
			return p.skip()
		})
		if err != nil {
			return err
		}
		return found
	})
	if errors.Is(err, found) {
		err = nil
	}
	return out.managedFrom, out.managedTo, err
}

// managedSize is about how long appendManaged's result is.
func managedSize(managed []metav1.ManagedFieldsEntry) int {
	n := 32
	for i := range managed {
		n += 192
		if f := managed[i].FieldsV1; f != nil {
			n += len(f.GetRawBytes())
		}
	}
	return n
}

// appendManaged appends managedFields as an encoder would write them, but takes the fields, which are the bulk of
// it and JSON already, as they are.
func appendManaged(dst []byte, managed []metav1.ManagedFieldsEntry) ([]byte, error) {
	dst = append(dst, '[')
	for i := range managed {
		if i > 0 {
			dst = append(dst, ',')
		}
		m := managed[i]
		fields, sub := m.FieldsV1, m.Subresource
		m.FieldsV1, m.Subresource = nil, ""
		raw, err := json.Marshal(&m)
		if err != nil {
			return dst, err
		}
		dst = append(dst, raw[:len(raw)-1]...)
		if fields != nil {
			dst = append(appendComma(dst), `"fieldsV1":`...)
			dst = append(dst, fields.GetRawBytes()...)
		}
		if sub != "" {
			raw, err := json.Marshal(sub)
			if err != nil {
				return dst, err
			}
			dst = append(append(appendComma(dst), `"subresource":`...), raw...)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']'), nil
}

// appendComma appends a comma unless an object has just begun.
func appendComma(dst []byte) []byte {
	if dst[len(dst)-1] == '{' {
		return dst
	}
	return append(dst, ',')
}
