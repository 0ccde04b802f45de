package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/structural"
	"github.com/bedplate/bedplate/storage"
)

// custom is a view of objects without a Go type of their own: what they are is said by a schema, and each says itself
// which version it has. Where other kinds have one hub type to which every version is converted, here an object of
// any version is one, and a request works in the version that it names.
type custom struct {
	schema func() (apimachinery.Schema, error)
}

func (u *custom) shape() (*structural.Type, error) {
	s, err := u.schema()
	if err != nil {
		return nil, err
	}
	return s.Shape()
}

// read decodes JSON into an object of the request's kind. What is doubled or unknown comes back as strict errors.
func (c *call) read(body []byte, into apimachinery.Object) ([]error, error) {
	if u, ok := into.(*unstructured.Unstructured); ok && c.v.custom != nil {
		return c.v.readCustom(body, u)
	}
	strict, err := c.s.quick.Decode(body, into)
	c.missing = nil
	if err != nil || c.v.found.View.Complete == nil || c.sub != nil && c.sub.New != nil {
		return strict, err
	}
	var full []byte
	if full, c.missing = c.v.found.View.Complete(body, c.r.Sub); !bytes.Equal(full, body) {
		reflect.ValueOf(into).Elem().SetZero()
		err = c.s.quick.DecodeLoose(full, into)
	}
	return strict, err
}

// readCustom decodes, checks the metadata, prunes and defaults.
func (v *view) readCustom(body []byte, into *unstructured.Unstructured) (strict []error, err error) {
	s, err := v.custom.schema()
	if err != nil {
		return nil, err
	}
	var o map[string]any
	if strict, err = apimachinery.Decode(body, &o); err != nil {
		return strict, err
	}
	if o == nil {
		return strict, errors.New("the body is not an object")
	}
	if err := checkTypeMeta(o); err != nil {
		return strict, err
	}
	more, err := coerceMeta(o)
	if err != nil {
		return strict, err
	}
	into.Object = o
	fillKind(into, v.gvk)
	if into.GroupVersionKind() != v.gvk {
		return strict, nil // it is of another kind, which is not judged by this schema
	}
	for _, path := range s.Prune(o) {
		more = append(more, fmt.Errorf("unknown field %q", path))
	}
	s.Default(o)
	unknown, err := s.Coerce(o, false)
	for _, path := range unknown {
		more = append(more, fmt.Errorf("unknown field %q", path))
	}
	return append(strict, more...), err
}

// fillKind writes what the object doesn't say of its kind.
func fillKind(u *unstructured.Unstructured, gvk schema.GroupVersionKind) {
	if u.GetAPIVersion() == "" {
		u.SetAPIVersion(gvk.GroupVersion().String())
	}
	if u.GetKind() == "" {
		u.SetKind(gvk.Kind)
	}
}

func checkTypeMeta(o map[string]any) error {
	for _, name := range []string{"apiVersion", "kind"} {
		switch o[name].(type) {
		case nil:
			delete(o, name)
		case string:
		default:
			return fmt.Errorf("json: cannot unmarshal %T into Go struct field .%s of type string", o[name], name)
		}
	}
	return nil
}

// coerceMeta makes an object's metadata what metadata may be: it must decode as ObjectMeta, and what that doesn't know
// is taken out and told of.
func coerceMeta(o map[string]any) ([]error, error) {
	meta, ok := o["metadata"].(map[string]any)
	switch {
	case o["metadata"] == nil:
		o["metadata"] = map[string]any{}
		return nil, nil
	case !ok:
		return nil, fmt.Errorf("json: cannot unmarshal %T into Go struct field .metadata of type v1.ObjectMeta", o["metadata"])
	case isPlainMeta(meta):
		return nil, nil
	}
	raw, err := apimachinery.Encode(meta)
	if err != nil {
		return nil, err
	}
	var typed struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	strict, err := apimachinery.Decode(append(append([]byte(`{"metadata":`), raw...), '}'), &typed)
	if err != nil {
		return nil, err
	}
	o["metadata"], err = runtime.DefaultUnstructuredConverter.ToUnstructured(&typed.Metadata)
	return strict, err
}

// isPlainMeta says whether metadata surely decodes as ObjectMeta and loses nothing by it.
func isPlainMeta(meta map[string]any) bool {
	for name, value := range meta {
		ok := false
		switch name {
		case "name", "generateName", "namespace", "uid", "resourceVersion", "selfLink":
			_, ok = value.(string)
		case "labels", "annotations":
			var pairs map[string]any
			pairs, ok = value.(map[string]any)
			for _, v := range pairs {
				_, text := v.(string)
				ok = ok && text
			}
		case "generation":
			_, ok = value.(int64)
		}
		if !ok {
			return false
		}
	}
	return true
}

// stored decodes what is stored in the view's version, pruned and defaulted by its schema of today.
func (v *view) stored(raw []byte) (apimachinery.Object, error) {
	s, err := v.custom.schema()
	if err != nil {
		return nil, fmt.Errorf("schema of %v: %w", v.gvk, err)
	}
	u := &unstructured.Unstructured{}
	if err := apimachinery.DecodeLoose(raw, &u.Object); err != nil {
		return nil, fmt.Errorf("decode stored %s: %w", v.kind.res.Name, err)
	}
	s.Prune(u.Object)
	s.Default(u.Object)
	_, err = s.Coerce(u.Object, true)
	return u, err
}

type tidyForm struct{ v *view }

// customForm is the entry's JSON in the view. What is stored in that version goes out as it is if the schema of today
// would change nothing; that is found out once for an entry.
func (v *view) customForm(e *storage.Entry) (form, error) {
	key := any(jsonForm{v})
	if e.Head.Encoding == v.encoding {
		key = tidyForm{v}
	}
	f, err := e.Form(key, func() (any, error) {
		o, err := v.object(e)
		if err != nil {
			return nil, err
		}
		raw, err := apimachinery.Encode(withoutRevision(o.(*unstructured.Unstructured)))
		if err != nil {
			return nil, err
		}
		if bytes.Equal(raw, e.Raw) {
			return form{e.Raw, e.Head.RevAt}, nil
		}
		return v.kind.scanned(raw)
	})
	if err != nil {
		return form{}, err
	}
	return f.(form), nil
}

// withoutRevision is an object's content less its resourceVersion. The object stays as it is.
func withoutRevision(u *unstructured.Unstructured) map[string]any {
	meta, ok := u.Object["metadata"].(map[string]any)
	if !ok {
		return u.Object
	}
	out := maps.Clone(u.Object)
	meta = maps.Clone(meta)
	delete(meta, "resourceVersion")
	out["metadata"] = meta
	return out
}

// plain is what of an object is encoded: of one without a Go type its content.
func plain(o apimachinery.Object) any {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return u.Object
	}
	return o
}

// keeps says whether a hub object, once encoded in this view, is what decoding the outcome gives.
func (v *view) keeps(hub apimachinery.Object) bool {
	if v.custom != nil {
		return hub.GetObjectKind().GroupVersionKind() == v.gvk
	}
	return v.found.Hub()
}

// hub is the entry as an object that this request works on: a hub object, or, where objects carry their version, one
// of the version that the request names. It is shared: read only.
func (c *call) hub(e *storage.Entry) (apimachinery.Object, error) {
	if c.v.custom != nil {
		return c.v.object(e)
	}
	return c.k.hub(e)
}

// convert brings the entries of a list into the request's version many at a time, where that is cheaper.
func (c *call) convert(ctx context.Context, entries []*storage.Entry) error {
	v := c.v
	if v.found.View.FromHubs == nil || c.wantsMetadata() {
		return nil
	}
	var others []*storage.Entry
	for _, e := range entries {
		if e.Head.Encoding != v.encoding {
			others = append(others, e)
		}
	}
	for len(others) > 0 {
		n := min(len(others), convertAtOnce)
		if err := v.convertSome(ctx, others[:n]); err != nil {
			return err
		}
		others = others[n:]
	}
	return nil
}

// convertAtOnce is how many objects are converted by one call at most.
const convertAtOnce = 500

// convertSome leaves the converted objects as forms of their entries. One that is dropped before it is used is made
// again by itself.
func (v *view) convertSome(ctx context.Context, entries []*storage.Entry) error {
	hubs := make([]apimachinery.Object, len(entries))
	for i, e := range entries {
		hub, err := v.kind.hub(e)
		if err != nil {
			return err
		}
		hubs[i] = deepCopy(hub)
	}
	converted, err := v.found.View.FromHubs(ctx, hubs)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if _, err := e.Form(viewForm{v}, func() (any, error) { return converted[i], nil }); err != nil {
			return err
		}
	}
	return nil
}

// awaited finds what serves a resource; where nothing does, after Config.Await was asked.
func (s *Server) awaited(ctx context.Context, gvr schema.GroupVersionResource) (*view, error) {
	v, err := s.view(gvr)
	if v != nil || err != nil || s.c.Await == nil {
		return v, err
	}
	s.c.Await(ctx, gvr)
	return s.view(gvr)
}

// replaced says whether an error is due to the resource of a view having left the registry since it was looked up: its
// table is closed, and nothing was done.
func (s *Server) replaced(v *view, err error) bool {
	if v.custom == nil || s.life.Err() != nil || !errors.Is(err, storage.ErrClosed) && !apierrors.IsServiceUnavailable(err) {
		return false
	}
	now, ok := s.c.Registry.Resource(v.kind.res.Name)
	return !ok || now != v.kind.res
}

// closed says that nothing may be created.
func (c *call) closed() bool { return c.k.res.Closed != nil && c.k.res.Closed() }
