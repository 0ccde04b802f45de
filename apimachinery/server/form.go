package server

import (
	"fmt"
	"strconv"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

// form is an object's JSON in some version, without resourceVersion.
type form struct {
	raw   []byte
	revAt int
}

// appendTo appends the JSON with a resourceVersion in its place; none if rev is 0.
func (f form) appendTo(dst []byte, rev int64) []byte {
	dst = append(dst, f.raw[:f.revAt]...)
	if rev > 0 {
		first := f.raw[f.revAt-1] == '{'
		if !first {
			dst = append(dst, ',')
		}
		dst = append(dst, `"resourceVersion":"`...)
		dst = strconv.AppendInt(dst, rev, 10)
		dst = append(dst, '"')
		if first && f.raw[f.revAt] != '}' {
			dst = append(dst, ',')
		}
	}
	return append(dst, f.raw[f.revAt:]...)
}

// size is an upper bound of what appendTo appends.
func (f form) size() int { return len(f.raw) + 48 }

type (
	jsonForm    struct{ v *view }
	hubForm     struct{ k *kind }
	viewForm    struct{ v *view }
	metaForm    struct{ version string }
	partialForm struct{}
)

// form returns the entry's JSON in the view: the stored bytes where that is what is stored, else a form of them
// that is made once.
func (v *view) form(e *storage.Entry) (form, error) {
	if v.custom != nil {
		return v.customForm(e)
	}
	if e.Head.Encoding == v.encoding {
		return form{e.Raw, e.Head.RevAt}, nil
	}
	f, err := e.Form(jsonForm{v}, func() (any, error) {
		hub, err := v.kind.hub(e)
		if err != nil {
			return nil, err
		}
		raw, err := v.encode(hub.DeepCopyObject().(apimachinery.Object))
		if err != nil {
			return nil, err
		}
		return v.kind.scanned(raw)
	})
	if err != nil {
		return form{}, err
	}
	return f.(form), nil
}

func (k *kind) scanned(raw []byte) (form, error) {
	sc, err := k.scan.scan(raw)
	if err != nil {
		return form{}, err
	}
	return form{raw, sc.revAt()}, nil
}

// metadata returns the entry as a PartialObjectMetadata in a version of meta.k8s.io.
func (v *view) metadata(e *storage.Entry, version string) (form, error) {
	f, err := e.Form(metaForm{version}, func() (any, error) {
		sc, err := v.kind.scan.scan(e.Raw)
		if err != nil {
			return nil, err
		}
		head := `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/` + version + `","metadata":`
		raw := make([]byte, 0, len(head)+sc.metaTo-sc.metaFrom+1)
		raw = append(raw, head...)
		raw = append(raw, e.Raw[sc.metaFrom:sc.metaTo]...)
		raw = append(raw, '}')
		return form{raw, sc.revAt() - sc.metaFrom + len(head)}, nil
	})
	if err != nil {
		return form{}, err
	}
	return f.(form), nil
}

// hub returns the entry as a hub object with its resourceVersion, decoded once. It is shared: read only.
func (k *kind) hub(e *storage.Entry) (apimachinery.Object, error) {
	o, err := e.Form(hubForm{k}, func() (any, error) {
		o, err := k.decodeHub(e.Raw, e.Head.Encoding)
		if err == nil && e.Rev > 0 {
			o.SetResourceVersion(strconv.FormatInt(e.Rev, 10))
		}
		return o, err
	})
	if err != nil {
		return nil, err
	}
	return o.(apimachinery.Object), nil
}

// object returns the entry as an object of the view's Go type, with its resourceVersion, made once. Read only.
func (v *view) object(e *storage.Entry) (apimachinery.Object, error) {
	if (v.found.Hub() || v.custom != nil) && e.Head.Encoding == v.encoding {
		return v.kind.hub(e)
	}
	o, err := e.Form(viewForm{v}, func() (any, error) {
		hub, err := v.kind.hub(e)
		if err != nil || v.found.Hub() && hub.GetObjectKind().GroupVersionKind() == v.gvk {
			return hub, err
		}
		return v.fromHub(hub.DeepCopyObject().(apimachinery.Object))
	})
	if err != nil {
		return nil, err
	}
	return o.(apimachinery.Object), nil
}

// partial returns the entry's metadata as an object, made once: of the hub object where others in the process have
// a use for that, else read from the bytes alone. Read only.
func (k *kind) partial(e *storage.Entry) (*metav1.PartialObjectMetadata, error) {
	o, err := e.Form(partialForm{}, func() (any, error) {
		o := &metav1.PartialObjectMetadata{}
		if err := k.metadata(e, &o.ObjectMeta); err != nil {
			return nil, fmt.Errorf("decode metadata: %w", err)
		}
		o.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata"))
		o.ResourceVersion = strconv.FormatInt(e.Rev, 10)
		return o, nil
	})
	if err != nil {
		return nil, err
	}
	return o.(*metav1.PartialObjectMetadata), nil
}

func (k *kind) metadata(e *storage.Entry, into *metav1.ObjectMeta) error {
	if !k.viewed.Load() {
		return apimachinery.DecodeMetadata(e.Raw, into)
	}
	hub, err := k.hub(e)
	if err != nil {
		return err
	}
	if a, ok := hub.(metav1.ObjectMetaAccessor); ok {
		if meta, ok := a.GetObjectMeta().(*metav1.ObjectMeta); ok {
			*into = *meta
			return nil
		}
	}
	return apimachinery.DecodeMetadata(e.Raw, into)
}

func (k *kind) decodeHub(raw []byte, encoding uint32) (apimachinery.Object, error) {
	v := k.encoded(encoding)
	if v == nil {
		return nil, fmt.Errorf("%s has no encoding %d", k.res.Name, encoding)
	}
	o := v.found.New()
	if v.custom != nil {
		return v.stored(raw)
	}
	if err := k.quick.DecodeLoose(raw, o); err != nil {
		return nil, fmt.Errorf("decode stored %s: %w", k.res.Name, err)
	}
	hub, err := v.toHub(o)
	if err == nil && k.res.Default != nil {
		k.res.Default(hub)
	}
	return hub, err
}

// rewrite is the storage.Schema's: decode, default, encode.
func (k *kind) rewrite(raw []byte, to uint32) ([]byte, error) {
	h, err := k.head(raw)
	if err != nil {
		return nil, err
	}
	v := k.encoded(to)
	if v == nil {
		return nil, fmt.Errorf("%s has no encoding %d", k.res.Name, to)
	}
	hub, err := k.decodeHub(raw, h.Encoding)
	if err != nil {
		return nil, err
	}
	return v.encode(hub)
}

// toHub converts an object of the view's type, which it may change.
func (v *view) toHub(o apimachinery.Object) (apimachinery.Object, error) {
	if v.found.Hub() {
		return o, nil
	}
	return v.found.View.ToHub(o)
}

// fromHub is the inverse of toHub, and sets apiVersion and kind.
func (v *view) fromHub(hub apimachinery.Object) (apimachinery.Object, error) {
	o := hub
	if !v.found.Hub() {
		var err error
		if o, err = v.found.View.FromHub(hub); err != nil {
			return nil, err
		}
	}
	apimachinery.SetKind(o, v.found.View)
	return o, nil
}

// encode returns a hub object, which it changes, as the view's JSON without resourceVersion.
func (v *view) encode(hub apimachinery.Object) ([]byte, error) {
	o, err := v.fromHub(hub)
	if err != nil {
		return nil, err
	}
	o.SetResourceVersion("")
	o.SetSelfLink("")
	return apimachinery.Encode(plain(o))
}

// sealed is a new state of an object on its way into the store.
type sealed struct {
	*storage.Entry // as storage will make it, less its revision
	made           *storage.Made
	hub            *written
}

// written is a hub object that its writer has done with. It becomes the shared form of its entry, so that what was
// just encoded need not be decoded.
type written struct {
	k    *kind
	once sync.Once
	hub  apimachinery.Object
}

// form gives the object the revision that it was stored at, once. It is shared from then on.
func (w *written) form(rev int64) (key, form any) {
	w.once.Do(func() { w.hub.SetResourceVersion(strconv.FormatInt(rev, 10)) })
	return hubForm{w.k}, w.hub
}

// stored completes the entry once it is in the store. The caller's hub object is shared from then on.
func (e *sealed) stored(rev, created int64) *storage.Entry {
	e.Rev, e.Created = rev, created
	if e.hub != nil && rev > 0 {
		e.Keep(e.hub.form(rev))
	}
	return e.Entry
}

// seal encodes a hub object, which it changes, as it is stored, and makes of it the entry that storage will make.
func (k *kind) seal(key string, hub apimachinery.Object) (*sealed, error) {
	raw, err := k.storage().encode(hub)
	if err != nil {
		return nil, err
	}
	e := &storage.Entry{Key: key, Raw: raw}
	if e.Head, err = k.head(raw); err != nil {
		return nil, err
	}
	out := &sealed{Entry: e, made: &storage.Made{Head: e.Head}}
	if k.storage().keeps(hub) {
		out.hub = &written{k: k, hub: hub}
		if k.viewed.Load() {
			out.made.Form = out.hub.form
		}
	}
	return out, nil
}

// wrote notes a revision of the table that this server made.
func (k *kind) wrote(rev int64) {
	for {
		before := k.written.Load()
		if rev <= before || k.written.CompareAndSwap(before, rev) {
			return
		}
	}
}

// recent is the minimum revision for the first try of a change.
func (k *kind) recent() int64 {
	if rev := k.written.Load(); rev > 0 {
		return rev
	}
	return storage.Cached
}
