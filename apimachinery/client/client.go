package client

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// Client talks to one API. It is safe for concurrent use and holds nothing that needs closing.
type Client struct {
	do       apimachinery.Doer
	registry *apimachinery.Registry
	quick    *apimachinery.QuickDecoder
	manager  string // of the fields that are written; empty: the server sees to it
}

// New returns a client that sends through d and knows the kinds of r.
func New(d apimachinery.Doer, r *apimachinery.Registry) *Client {
	return &Client{do: d, registry: r, quick: apimachinery.NewQuickDecoder()}
}

// Doer is what the client sends through.
func (c *Client) Doer() apimachinery.Doer { return c.do }

// Registry is the set of kinds that the client knows.
func (c *Client) Registry() *apimachinery.Registry { return c.registry }

// WithFieldManager returns the same client, but what it writes has this field manager where the call names none, as
// [FieldManager] would name it: at most 128 printable characters, or the server refuses the write. Applies are left
// alone: they always name theirs.
func (c *Client) WithFieldManager(name string) *Client {
	named := *c
	named.manager = name
	return &named
}

// FieldManager is what [Client.WithFieldManager] has set; empty: the user agent's first word, and in this process,
// where there is none, "unknown".
func (c *Client) FieldManager() string { return c.manager }

// Resource is the door to one resource: all its calls, typed. It is a value; copies are equal, and all are safe
// for concurrent use.
type Resource[T apimachinery.Object] struct {
	c          *Client
	gvr        schema.GroupVersionResource
	kind       schema.GroupVersionKind // of what travels
	name       schema.GroupResource    // of what is stored
	namespaced bool
	accept     string
	fresh      func() T
	err        error // why every call fails
}

// For returns the door to the objects of Go type T. If the registry has no such type, every call fails and says so.
func For[T apimachinery.Object](c *Client) Resource[T] {
	var zero T
	f, ok := c.registry.ForType(zero)
	if !ok {
		return Resource[T]{err: fmt.Errorf("%T is not a kind of this client: add its Resource to the registry "+
			"(the packages below apimachinery/kinds have the built-in ones, kinds.All has them all)", zero)}
	}
	return Resource[T]{
		c: c, gvr: f.View.Resource(), kind: f.View.GroupVersionKind, name: f.Resource.Name,
		namespaced: f.Resource.Namespaced,
		fresh:      func() T { return f.New().(T) },
	}
}

// PartialJSON is the media type that asks for objects' metadata alone.
const PartialJSON = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"

// partialListJSON is [PartialJSON] for answers that are lists: a server refuses to make one object of them.
const partialListJSON = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

// Metadata returns the door to the metadata of any resource, known to the registry or not. Objects can be read,
// watched, patched and deleted through it; to create or update one takes its whole type.
func Metadata(c *Client, gvr schema.GroupVersionResource, namespaced bool) Resource[*metav1.PartialObjectMetadata] {
	return Resource[*metav1.PartialObjectMetadata]{
		c: c, gvr: gvr, name: gvr.GroupResource(), namespaced: namespaced, accept: PartialJSON,
		kind:  metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata"),
		fresh: func() *metav1.PartialObjectMetadata { return &metav1.PartialObjectMetadata{} },
	}
}

// Name is the plural and group under which the objects are stored; empty where the type is not known.
func (r Resource[T]) Name() schema.GroupResource { return r.name }

// GroupVersionResource is what the requests name.
func (r Resource[T]) GroupVersionResource() schema.GroupVersionResource { return r.gvr }

// Namespaced says whether the objects live in namespaces.
func (r Resource[T]) Namespaced() bool { return r.namespaced }

// New makes an empty object, with its apiVersion and kind set; nil where the type is not known.
func (r Resource[T]) New() T {
	var zero T
	if r.err != nil {
		return zero
	}
	o := r.fresh()
	o.GetObjectKind().SetGroupVersionKind(r.kind)
	return o
}

// Err says why no call of this door can work, if that is so.
func (r Resource[T]) Err() error { return r.err }

func (r Resource[T]) whole() error {
	if r.err == nil && r.accept != "" {
		return errors.New("metadata alone is no object: use the kind's own type")
	}
	return r.err
}

// op names an operation in errors: "get pods default/web".
func (r Resource[T]) op(verb, namespace, name, sub string, err error) error {
	if err == nil {
		return nil
	}
	what := r.gvr.GroupResource().String()
	if sub != "" {
		what += "/" + sub
	}
	if what == "" {
		var zero T
		what = fmt.Sprintf("%T", zero)
	}
	switch {
	case name != "":
		what += " " + apimachinery.Key(namespace, name)
	case namespace != "":
		what += " in " + namespace
	}
	return fmt.Errorf("%s %s: %w", verb, what, err)
}

func (r Resource[T]) decode(body []byte) (T, error) {
	o := r.fresh()
	if err := r.c.quick.DecodeLoose(body, o); err != nil {
		return o, fmt.Errorf("decode the answer: %w", err)
	}
	o.GetObjectKind().SetGroupVersionKind(r.kind)
	return o, nil
}

// acceptOf is the media type to ask for with a verb.
func (r Resource[T]) acceptOf(verb string) string {
	if r.accept == PartialJSON && (verb == apimachinery.VerbList || verb == apimachinery.VerbDeleteCollection) {
		return partialListJSON
	}
	return r.accept
}

// request prepares what all requests share.
func (r Resource[T]) request(ctx context.Context, verb, namespace, name, sub string, c *call) *apimachinery.Request {
	q := &apimachinery.Request{
		Verb: verb, Resource: r.gvr, Namespace: namespace, Name: name, Sub: sub,
		Accept: r.acceptOf(verb), Fence: c.fence, Seen: c.seen,
	}
	if s, ok := scopeOf(ctx); ok && q.Fence == "" && writes(verb) {
		q.Fence = s.Fence
	}
	return q
}

// send does a request and reads the whole answer.
func (r Resource[T]) send(ctx context.Context, q *apimachinery.Request, c *call) ([]byte, error) {
	resp, err := r.c.do.Do(ctx, q)
	if err != nil {
		return nil, err
	}
	c.warned(resp)
	return readAll(resp)
}

// one does a request whose answer is one object, and returns the caller's own: decoded, or a copy of what a server in
// this process has decoded already.
func (r Resource[T]) one(ctx context.Context, q *apimachinery.Request, c *call) (out T, err error) {
	if r.accept == "" {
		q.Shares = reflect.TypeFor[T]()
	}
	resp, err := r.c.do.Do(ctx, q)
	if err != nil {
		return out, err
	}
	c.warned(resp)
	if shared, ok := resp.Object.(T); ok {
		return shared.DeepCopyObject().(T), nil
	}
	body, err := readAll(resp)
	if err != nil {
		return out, err
	}
	return r.decode(body)
}

func (c *call) warned(resp *apimachinery.Response) {
	if c.warn == nil {
		return
	}
	for _, w := range resp.Warnings {
		c.warn(w)
	}
}

// encode returns o as JSON with the door's apiVersion and kind in front where o has none.
func (r Resource[T]) encode(o runtime.Object, kind schema.GroupVersionKind) ([]byte, error) {
	body, err := apimachinery.Encode(o)
	if err != nil {
		return nil, err
	}
	switch have := o.GetObjectKind().GroupVersionKind(); have {
	case kind:
		return body, nil
	case schema.GroupVersionKind{}:
		return withKind(body, kind), nil
	default:
		return nil, fmt.Errorf("the object says that it is a %v, not a %v", have, kind)
	}
}

func withKind(body []byte, kind schema.GroupVersionKind) []byte {
	head := fmt.Appendf(make([]byte, 0, len(body)+96), `{"apiVersion":%q,"kind":%q`, kind.GroupVersion().String(), kind.Kind)
	if len(body) > 2 {
		head = append(head, ',')
	}
	return append(head, body[1:]...)
}
