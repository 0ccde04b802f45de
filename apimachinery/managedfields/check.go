package managedfields

import (
	"fmt"
	"strings"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// checker compares an object with the shape of its kind.
type checker struct {
	d       *tape
	scratch []int32
	doubled bool // a member of an object occurs twice
}

// shapeErrors are all that is wrong with an object.
type shapeErrors []*ShapeError

// Error gives one on its line, or all, one a line.
func (e shapeErrors) Error() string {
	if len(e) == 1 {
		return e[0].Error()
	}
	lines := []string{"errors:"}
	for _, err := range e {
		lines = append(lines, "  "+err.Error())
	}
	return strings.Join(lines, "\n")
}

func (e shapeErrors) below(step element) shapeErrors {
	for i, err := range e {
		e[i] = err.below(step)
	}
	return e
}

// value returns what is wrong with a value of type t.
func (c *checker) value(t *structural.Type, i int32) shapeErrors {
	var err *ShapeError
	switch t.Kind() {
	case structural.Scalar:
		err = checkScalar(t, c.d, i)
	case structural.List:
		err = check(tokenArray, c.d, i)
	case structural.Struct, structural.Map:
		err = check(tokenObject, c.d, i)
	}
	if err != nil {
		return shapeErrors{err}
	}
	switch c.d.kind(i) {
	case tokenObject:
		return c.object(t, i)
	case tokenArray:
		return c.list(t, i)
	}
	return nil
}

// object returns what is wrong with the members, up to the first that the schema doesn't have.
func (c *checker) object(t *structural.Type, i int32) (errs shapeErrors) {
	mark, last := len(c.scratch), ""
	c.scratch = c.d.children(c.scratch, i)
	for at := mark; at < len(c.scratch); at++ {
		kid := c.scratch[at]
		name := c.d.key(kid)
		c.doubled = c.doubled || at > mark && name == last
		last = name
		below := memberType(t, name)
		if below == nil {
			errs = append(errs, misshapen("field not declared in schema").below(element{text: name}))
			break
		}
		errs = append(errs, c.value(below, kid).below(element{text: name})...)
	}
	c.scratch = c.scratch[:mark]
	return errs
}

func (c *checker) list(t *structural.Type, i int32) (errs shapeErrors) {
	below, keyed := untyped, t.Kind() == structural.List && t.List() != structural.AtomicList
	if t.Kind() == structural.List {
		below = t.Elem()
	}
	var seen map[string]bool
	if keyed {
		seen = make(map[string]bool, c.d.tokens[i].count)
	}
	n := 0
	for kid, end := i+1, c.d.tokens[i].next; kid < end; kid = c.d.tokens[kid].next {
		e := element{kind: byIndex}
		if keyed {
			var err error
			if e, err = itemElement(t, c.d, kid); err != nil {
				return append(errs, misshapen("element %d: %v", n, err))
			}
			if seen[e.text] {
				errs = append(errs, misshapen("duplicate entries for key %v", e))
			}
			seen[e.text] = true
		}
		if err := c.value(below, kid); len(err) > 0 {
			if !keyed {
				e.text = fmt.Sprint(n)
			}
			errs = append(errs, err.below(e)...)
		}
		n++
	}
	return errs
}

var _ error = shapeErrors(nil)
