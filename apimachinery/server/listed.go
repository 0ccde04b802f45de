package server

import (
	"context"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
	"github.com/bedplate/bedplate/storage"
)

// listed answers get and list of a resource whose objects are made for the request.
func (c *call) listed(ctx context.Context) (*apimachinery.Response, error) {
	objects, err := c.k.res.Listed(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]*storage.Entry, 0, len(objects))
	for _, o := range objects {
		e, err := c.k.seal(c.k.key(o.GetNamespace(), o.GetName()), o)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e.Entry)
	}
	if c.r.Verb == apimachinery.VerbList {
		return c.listOf(entries)
	}
	at := slices.IndexFunc(entries, func(e *storage.Entry) bool { return e.Key == c.key() })
	if at < 0 {
		return nil, apierrors.NewNotFound(c.v.gr, c.r.Name)
	}
	return c.answer(200, entries[at])
}

// listOf responds with what is selected of entries that no table has.
func (c *call) listOf(entries []*storage.Entry) (*apimachinery.Response, error) {
	o := listOptions(c.r)
	if err := invalidOptions("ListOptions", validateList(&o)); err != nil {
		return nil, err
	}
	sel, err := c.selection(&o)
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e *storage.Entry) bool {
		return !sel.filter.Match(e) || sel.keep != nil && !sel.keep(e)
	})
	slices.SortFunc(entries, func(a, b *storage.Entry) int { return strings.Compare(a.Key, b.Key) })
	if c.form.As.Kind == wire.AsTable {
		body, err := c.table(entries, 0, listMeta{})
		return c.body(200, body, err)
	}
	s := &listStream{c: c, entries: entries}
	s.open()
	if err := s.fill(1 << 62); err != nil {
		return nil, err
	}
	return c.body(200, s.buf, nil)
}
