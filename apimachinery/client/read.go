package client

import (
	"context"
	"iter"

	"github.com/bedplate/bedplate/apimachinery"
)

// List is one answer to a list.
type List[T apimachinery.Object] struct {
	Items []T
	// ResourceVersion is that of the state which the list shows; a watch goes on from it.
	ResourceVersion string
	// Continue is the token of the next page; empty after the last.
	Continue string
	// Remaining is how many objects follow, nil if the server doesn't say.
	Remaining *int64
}

// wireList is a list as it travels.
type wireList[T any] struct {
	Metadata struct {
		ResourceVersion    string `json:"resourceVersion"`
		Continue           string `json:"continue"`
		RemainingItemCount *int64 `json:"remainingItemCount"`
	} `json:"metadata"`
	Items []T `json:"items"`
}

// defaultPage is the page size of [Resource.All].
const defaultPage = 500

// Get reads one object. namespace is empty for cluster-scoped kinds.
func (r Resource[T]) Get(ctx context.Context, namespace, name string, opts ...Option) (T, error) {
	o, err := r.get(ctx, namespace, name, opts)
	return o, r.op(apimachinery.VerbGet, namespace, name, "", err)
}

func (r Resource[T]) get(ctx context.Context, namespace, name string, opts []Option) (o T, err error) {
	if r.err != nil {
		return o, r.err
	}
	c, err := newCall(onGet, opts)
	if err != nil {
		return o, err
	}
	q := r.request(ctx, apimachinery.VerbGet, namespace, name, "", c)
	q.Options = c.getOptions()
	return r.one(ctx, q, c)
}

// List reads many objects: all, or one page if Limit is among the options.
func (r Resource[T]) List(ctx context.Context, opts ...Option) (*List[T], error) {
	c, err := newCall(onList, opts)
	if err != nil {
		return nil, r.op(apimachinery.VerbList, "", "", "", err)
	}
	l, err := r.list(ctx, c)
	return l, r.op(apimachinery.VerbList, c.namespace, "", "", err)
}

func (r Resource[T]) list(ctx context.Context, c *call) (*List[T], error) {
	if r.err != nil {
		return nil, r.err
	}
	q := r.request(ctx, apimachinery.VerbList, c.namespace, "", "", c)
	q.Options = c.listOptions(false)
	body, err := r.send(ctx, q, c)
	if err != nil {
		return nil, err
	}
	var l wireList[T]
	if err := apimachinery.DecodeLoose(body, &l); err != nil {
		return nil, err
	}
	for _, o := range l.Items {
		o.GetObjectKind().SetGroupVersionKind(r.kind)
	}
	return &List[T]{
		Items: l.Items, ResourceVersion: l.Metadata.ResourceVersion,
		Continue: l.Metadata.Continue, Remaining: l.Metadata.RemainingItemCount,
	}, nil
}

// Pages yields lists, page by page, all of one state; the last pair may hold an error. A page's size is Limit's,
// by default 500. If the server forgets the state on the way, the error is a Gone or Expired: begin again.
func (r Resource[T]) Pages(ctx context.Context, opts ...Option) iter.Seq2[*List[T], error] {
	return func(yield func(*List[T], error) bool) {
		c, err := newCall(onList, opts)
		if err != nil {
			yield(nil, r.op(apimachinery.VerbList, "", "", "", err))
			return
		}
		if c.limit == 0 {
			c.limit = defaultPage
		}
		for {
			l, err := r.list(ctx, c)
			if err != nil {
				yield(nil, r.op(apimachinery.VerbList, c.namespace, "", "", err))
				return
			}
			if !yield(l, nil) || l.Continue == "" {
				return
			}
			c.token, c.version, c.match = l.Continue, "", ""
		}
	}
}

// All yields every object, read in pages; the last pair may hold an error: see [Resource.Pages].
func (r Resource[T]) All(ctx context.Context, opts ...Option) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		for l, err := range r.Pages(ctx, opts...) {
			if err != nil {
				yield(zero, err)
				return
			}
			for _, o := range l.Items {
				if !yield(o, nil) {
					return
				}
			}
		}
	}
}
