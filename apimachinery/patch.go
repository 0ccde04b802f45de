package apimachinery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// ErrTooLarge says that a patch has too many operations, or that its outcome grew beyond the limit.
var ErrTooLarge = errors.New("too large")

// PatchSyntaxError says that a patch is not of its format; the document was not looked at.
type PatchSyntaxError struct{ Err error }

// Error says what is wrong.
func (e *PatchSyntaxError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *PatchSyntaxError) Unwrap() error { return e.Err }

// ErrTestFailed says that an operation "test" of a JSON patch found another value.
var ErrTestFailed = errors.New("testing value failed")

// JSONPatch applies a JSON patch (RFC 6902) of at most operations operations to a JSON document that may grow by
// copying to at most size bytes. An error is ErrTooLarge, a *PatchSyntaxError, or says which operation does not
// fit the document.
func JSONPatch(doc, patch []byte, operations, size int) ([]byte, error) {
	var ops []patchOperation
	if err := json.Unmarshal(patch, &ops); err != nil {
		return nil, &PatchSyntaxError{err}
	}
	if len(ops) > operations {
		return nil, fmt.Errorf("%w: the allowed maximum operations in a JSON patch is %d, got %d", ErrTooLarge, operations, len(ops))
	}
	p := jsonPatch{left: size - len(doc)}
	if err := DecodeLoose(doc, &p.doc); err != nil {
		return nil, fmt.Errorf("decode document: %w", err)
	}
	for i := range ops {
		if err := p.apply(&ops[i]); err != nil {
			return nil, fmt.Errorf("operation %d (%s %s): %w", i, ops[i].Op, ops[i].Path, err)
		}
	}
	return Encode(p.doc)
}

type patchOperation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	From  string          `json:"from"`
	Value json.RawMessage `json:"value"`
}

// jsonPatch is a document that is being patched. left is how many bytes copies may still add.
type jsonPatch struct {
	doc  any
	left int
}

func (p *jsonPatch) apply(op *patchOperation) error {
	path, err := pointer(op.Path)
	if err != nil {
		return err
	}
	switch op.Op {
	case "add", "replace", "test":
		return p.withValue(op, path)
	case "remove":
		_, err = p.remove(path)
		return err
	case "move", "copy":
		return p.fromPath(op, path)
	}
	return &PatchSyntaxError{fmt.Errorf("unknown operation %q", op.Op)}
}

func (p *jsonPatch) withValue(op *patchOperation, path []string) error {
	if op.Value == nil {
		return &PatchSyntaxError{errors.New("the value is missing")}
	}
	var v any
	if err := DecodeLoose(op.Value, &v); err != nil {
		return &PatchSyntaxError{err}
	}
	switch op.Op {
	case "add":
		return p.add(path, v)
	case "test":
		return p.test(path, v)
	}
	if len(path) == 0 {
		p.doc = v
		return nil
	}
	if _, err := p.get(path); err != nil {
		return err
	}
	parent, err := p.get(path[:len(path)-1])
	if err != nil {
		return err
	}
	last := path[len(path)-1]
	if list, ok := parent.([]any); ok {
		i, err := index(last, len(list)-1)
		if err != nil {
			return err
		}
		list[i] = v
		return nil
	}
	parent.(map[string]any)[last] = v
	return nil
}

func (p *jsonPatch) test(path []string, want any) error {
	have, err := p.get(path)
	if err != nil {
		return err
	}
	if !equal(have, want) {
		return ErrTestFailed
	}
	return nil
}

// equal compares JSON values; numbers by their value.
func equal(a, b any) bool {
	x, isNumber := number(a)
	if y, ok := number(b); ok && isNumber {
		return x == y
	}
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, equal)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	}
	return reflect.DeepEqual(a, b)
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func (p *jsonPatch) fromPath(op *patchOperation, path []string) error {
	from, err := pointer(op.From)
	if err != nil {
		return err
	}
	if op.Op == "copy" {
		v, err := p.get(from)
		if err != nil {
			return err
		}
		if v, err = p.clone(v); err != nil {
			return err
		}
		return p.add(path, v)
	}
	if len(path) > len(from) && slices.Equal(path[:len(from)], from) {
		return errors.New("a value can't be moved into itself")
	}
	v, err := p.remove(from)
	if err != nil {
		return err
	}
	return p.add(path, v)
}

// clone copies a value through its JSON, whose size counts against the limit.
func (p *jsonPatch) clone(v any) (any, error) {
	raw, err := Encode(v)
	if err != nil {
		return nil, err
	}
	if p.left -= len(raw); p.left < 0 {
		return nil, fmt.Errorf("%w: the copies outgrow the limit", ErrTooLarge)
	}
	var out any
	return out, DecodeLoose(bytes.Clone(raw), &out)
}

// pointer reads a JSON pointer (RFC 6901).
func pointer(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	if text[0] != '/' {
		return nil, &PatchSyntaxError{fmt.Errorf("the path %q does not begin with a slash", text)}
	}
	steps := strings.Split(text[1:], "/")
	for i, s := range steps {
		steps[i] = strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
	}
	return steps, nil
}

func index(step string, last int) (int, error) {
	i, err := strconv.Atoi(step)
	if err != nil || i < 0 || i > last || step != strconv.Itoa(i) {
		return 0, fmt.Errorf("no index %q in a list that ends at %d", step, last)
	}
	return i, nil
}

func (p *jsonPatch) get(path []string) (any, error) {
	v := p.doc
	for _, step := range path {
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[step]
			if !ok {
				return nil, fmt.Errorf("no member %q", step)
			}
			v = next
		case []any:
			i, err := index(step, len(x)-1)
			if err != nil {
				return nil, err
			}
			v = x[i]
		default:
			return nil, fmt.Errorf("nothing lies below a scalar: %q", step)
		}
	}
	return v, nil
}

func (p *jsonPatch) add(path []string, v any) error {
	if len(path) == 0 {
		p.doc = v
		return nil
	}
	return p.change(path, func(parent any, last string) (any, error) {
		switch x := parent.(type) {
		case map[string]any:
			x[last] = v
			return x, nil
		case []any:
			at := len(x)
			if last != "-" {
				var err error
				if at, err = index(last, len(x)); err != nil {
					return nil, err
				}
			}
			return slices.Insert(x, at, v), nil
		}
		return nil, fmt.Errorf("nothing lies below a scalar: %q", last)
	})
}

func (p *jsonPatch) remove(path []string) (removed any, err error) {
	if len(path) == 0 {
		return nil, errors.New("the whole document can't be removed")
	}
	err = p.change(path, func(parent any, last string) (any, error) {
		switch x := parent.(type) {
		case map[string]any:
			var ok bool
			if removed, ok = x[last]; !ok {
				return nil, fmt.Errorf("no member %q", last)
			}
			delete(x, last)
			return x, nil
		case []any:
			i, err := index(last, len(x)-1)
			if err != nil {
				return nil, err
			}
			removed = x[i]
			return slices.Delete(x, i, i+1), nil
		}
		return nil, fmt.Errorf("nothing lies below a scalar: %q", last)
	})
	return removed, err
}

// change replaces the parent of a path by what do makes of it: lists move when they grow.
func (p *jsonPatch) change(path []string, do func(parent any, last string) (any, error)) error {
	above := path[:len(path)-1]
	parent, err := p.get(above)
	if err != nil {
		return err
	}
	if parent, err = do(parent, path[len(path)-1]); err != nil {
		return err
	}
	if len(above) == 0 {
		p.doc = parent
		return nil
	}
	holder, err := p.get(above[:len(above)-1])
	if err != nil {
		return err
	}
	switch last := above[len(above)-1]; h := holder.(type) {
	case map[string]any:
		h[last] = parent
	case []any:
		i, err := index(last, len(h)-1)
		if err != nil {
			return err
		}
		h[i] = parent
	}
	return nil
}
