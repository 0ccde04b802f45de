package server

import (
	"errors"
	"slices"

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
