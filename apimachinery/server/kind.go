package server

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/managedfields"
	"github.com/bedplate/bedplate/apimachinery/server/table"
	"github.com/bedplate/bedplate/apimachinery/structural"
	"github.com/bedplate/bedplate/storage"
)

// kind is a resource as the server runs it: its table, and what is worked out of its declaration once.
type kind struct {
	res   *apimachinery.Resource
	table *storage.Table // nil where the resource is virtual
	views []*view
	scan  *scanner
	index []indexed
	quick *apimachinery.QuickDecoder
	// written is the newest revision that this server has written to the table: what is changed next is read no
	// older than that, so that one's own writes are no conflicts.
	written atomic.Int64
}

// indexed is one declared field as the table's index has it.
type indexed struct {
	name  string
	slots []int
	def   string
}

// view is one version of a kind as the server serves it.
type view struct {
	kind     *kind
	found    apimachinery.Found
	encoding uint32 // the Head.Encoding of bytes in this view: its number, from 1
	gvk      schema.GroupVersionKind
	gr       schema.GroupResource
	fields   map[string]int // selectable field → place in Head.Index
	shape    func() (*structural.Type, error)
	renderer func() (*table.Renderer, error)
	resets   func() map[string]managedfields.Set
}

func (s *Server) newKind(res *apimachinery.Resource) *kind {
	k := &kind{res: res, quick: s.quick}
	var paths []string
	slot := func(path string) int {
		at := slices.Index(paths, path)
		if at < 0 {
			paths = append(paths, path)
			at = len(paths) - 1
		}
		return at
	}
	for i := range res.Views {
		v := k.newView(&res.Views[i], uint32(i+1), &s.types, s.c.Now)
		for _, f := range res.Views[i].Fields {
			v.fields[f.Name] = k.indexOf(f, slot)
		}
		k.views = append(k.views, v)
	}
	if res.TTL > 0 {
		slot(createdAt)
		k.index = append(k.index, indexed{name: createdAt, slots: []int{slices.Index(paths, createdAt)}})
	}
	k.scan = newScanner(paths, &s.intern)
	return k
}

func (k *kind) newView(declared *apimachinery.View, encoding uint32, types *structural.Types, now func() time.Time) *view {
	v := &view{
		kind: k, found: apimachinery.Found{Resource: k.res, View: declared}, encoding: encoding,
		gvk: declared.GroupVersionKind, gr: declared.Resource().GroupResource(), fields: map[string]int{},
	}
	v.shape = sync.OnceValues(func() (*structural.Type, error) { return types.Of(v.found.New()) })
	v.renderer = sync.OnceValues(func() (*table.Renderer, error) { return table.New(declared, now) })
	v.resets = sync.OnceValue(v.makeResets)
	return v
}

// indexOf returns the place of a declared field in the index; fields that read the same paths share one.
func (k *kind) indexOf(f apimachinery.Field, slot func(string) int) int {
	paths := f.Paths
	if paths == nil {
		paths = []string{f.Name}
	}
	name := strings.Join(paths, "|") + "=" + f.Default
	at := slices.IndexFunc(k.index, func(x indexed) bool { return x.name == name })
	if at >= 0 {
		return at
	}
	x := indexed{name: name, def: f.Default}
	for _, p := range paths {
		x.slots = append(x.slots, slot(p))
	}
	k.index = append(k.index, x)
	return len(k.index) - 1
}

// open opens the kind's table.
func (k *kind) open(db *storage.DB) error {
	if k.res.Virtual != nil {
		return nil
	}
	prefix := k.res.Prefix
	if prefix == "" {
		prefix = k.res.Name.Resource
	}
	s := storage.Schema{Prefix: "/registry/" + prefix + "/", Head: k.head, Rewrite: k.rewrite}
	for _, x := range k.index {
		s.Indexes = append(s.Indexes, x.name)
	}
	t, err := db.Table(s)
	k.table = t
	return err
}

// head is the storage.Schema's: it reads stored bytes without decoding them.
func (k *kind) head(raw []byte) (storage.Head, error) {
	sc, err := k.scan.scan(raw)
	if err != nil {
		return storage.Head{}, err
	}
	return k.headOf(sc)
}

func (k *kind) headOf(sc *scanned) (storage.Head, error) {
	if sc.hasRevision {
		return storage.Head{}, fmt.Errorf("the stored %s names a resourceVersion of its own", k.res.Name)
	}
	h := storage.Head{UID: sc.uid, Labels: sc.labels, RevAt: sc.revAt()}
	for _, v := range k.views {
		if string(sc.kind) == v.gvk.Kind && isVersion(sc.apiVersion, v.gvk) {
			h.Encoding = v.encoding
		}
	}
	if h.Encoding == 0 {
		return storage.Head{}, fmt.Errorf("no version of %s is a %s %s", k.res.Name, sc.apiVersion, sc.kind)
	}
	if len(k.index) > 0 {
		h.Index = k.indexValues(sc.values)
	}
	return h, nil
}

func (k *kind) indexValues(values []string) []string {
	out := make([]string, len(k.index))
	for i, x := range k.index {
		out[i] = x.def
		for _, slot := range x.slots {
			if values[slot] != "" {
				out[i] = values[slot]
				break
			}
		}
	}
	return out
}

func isVersion(apiVersion []byte, gvk schema.GroupVersionKind) bool {
	if gvk.Group == "" {
		return string(apiVersion) == gvk.Version
	}
	n := len(gvk.Group)
	return len(apiVersion) == n+1+len(gvk.Version) && string(apiVersion[:n]) == gvk.Group &&
		apiVersion[n] == '/' && string(apiVersion[n+1:]) == gvk.Version
}

// revAt is where the resourceVersion goes: behind the uid, where an encoder would put it, else first in metadata.
func (sc *scanned) revAt() int {
	if sc.uidEnd > 0 {
		return sc.uidEnd
	}
	return sc.metaFrom + 1
}

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
	jsonForm struct{ v *view }
	hubForm  struct{ k *kind }
	viewForm struct{ v *view }
	metaForm struct{ list bool }
)

// form returns the entry's JSON in the view: the stored bytes where that is what is stored, else a form of them
// that is made once.
func (v *view) form(e *storage.Entry) (form, error) {
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

// metadata returns the entry as a PartialObjectMetadata.
func (v *view) metadata(e *storage.Entry) (form, error) {
	f, err := e.Form(metaForm{}, func() (any, error) {
		sc, err := v.kind.scan.scan(e.Raw)
		if err != nil {
			return nil, err
		}
		const head = `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":`
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
	o, err := e.Form(viewForm{v}, func() (any, error) {
		hub, err := v.kind.hub(e)
		if err != nil {
			return nil, err
		}
		return v.fromHub(hub.DeepCopyObject().(apimachinery.Object))
	})
	if err != nil {
		return nil, err
	}
	return o.(apimachinery.Object), nil
}

func (k *kind) decodeHub(raw []byte, encoding uint32) (apimachinery.Object, error) {
	v := k.views[encoding-1]
	o := v.found.New()
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
	if to == 0 || int(to) > len(k.views) {
		return nil, fmt.Errorf("%s has no encoding %d", k.res.Name, to)
	}
	hub, err := k.decodeHub(raw, h.Encoding)
	if err != nil {
		return nil, err
	}
	return k.views[to-1].encode(hub)
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
	return apimachinery.Encode(o)
}

// seal encodes a hub object, which it changes, as it is stored, and makes of it the entry that storage will make.
func (k *kind) seal(key string, hub apimachinery.Object) (*storage.Entry, error) {
	managed := hub.GetManagedFields()
	hub.SetManagedFields(nil)
	raw, err := k.storage().encode(hub)
	hub.SetManagedFields(managed)
	if err != nil {
		return nil, err
	}
	sc, err := k.scan.scan(raw)
	if err != nil {
		return nil, err
	}
	e := &storage.Entry{Key: key, Raw: raw}
	if e.Head, err = k.headOf(sc); err != nil || len(managed) == 0 {
		return e, err
	}
	e.Raw = make([]byte, 0, len(raw)+managedSize(managed))
	e.Raw = append(e.Raw, raw[:sc.metaEnd]...)
	if sc.metaEnd > sc.metaFrom+1 {
		e.Raw = append(e.Raw, ',')
	}
	e.Raw = append(e.Raw, `"managedFields":`...)
	if e.Raw, err = appendManaged(e.Raw, managed); err != nil {
		return nil, err
	}
	e.Raw = append(e.Raw, raw[sc.metaEnd:]...)
	return e, nil
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

// storage is the view that is stored.
func (k *kind) storage() *view { return k.views[0] }

// key is the object's key in the table.
func (k *kind) key(namespace, name string) string {
	if !k.res.Namespaced {
		return name
	}
	return apimachinery.Key(namespace, name)
}

func deepCopy(o apimachinery.Object) apimachinery.Object {
	return o.DeepCopyObject().(apimachinery.Object)
}

func isDeleting(o metav1.Object) bool { return o.GetDeletionTimestamp() != nil }
