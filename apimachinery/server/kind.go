package server

import (
	"context"
	"fmt"
	"slices"
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
	"github.com/bedplate/bedplate/apimachinery/wire"
	"github.com/bedplate/bedplate/storage"
)

// kind is a resource as the server runs it: its table, and what is worked out of its declaration once.
type kind struct {
	res   *apimachinery.Resource
	table *storage.Table // nil where the resource is virtual
	// behind is the table with the kind that reads its heads: the one that follows another may take it over.
	behind *behind
	life   context.Context // ends when the resource leaves the registry, or another takes its place
	retire context.CancelFunc
	views  []*view
	scan   *scanner
	index  []indexed
	quick  *apimachinery.QuickDecoder
	// written is the newest revision that this server has written to the table: what is changed next is read no
	// older than that, so that one's own writes are no conflicts.
	written atomic.Int64
	// viewed says that somebody in this process looks at the shared objects of the table.
	viewed atomic.Bool
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
	encoding uint32 // the Head.Encoding of bytes in this view: a number from 1, for as long as the table is open
	gvk      schema.GroupVersionKind
	gr       schema.GroupResource
	fields   map[string]int // selectable field → place in Head.Index
	protobuf bool           // the Go type has a protobuf encoding
	shape    func() (*structural.Type, error)
	renderer func() (*table.Renderer, error)
	resets   func() map[string]managedfields.Set
	// custom is set of views whose objects are *unstructured.Unstructured.
	custom *custom
	// deprecated is what everybody is warned of who uses the view; "" if it is not deprecated.
	deprecated string
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
	v.deprecated = declared.Deprecated
	if v.deprecated == "" {
		v.deprecated = deprecation(v.found.New(), v.gvk)
	}
	v.protobuf = apimachinery.HasProtobuf(v.found.New())
	v.shape = sync.OnceValues(func() (*structural.Type, error) { return types.Of(v.found.New()) })
	if declared.Schema != nil {
		v.custom = &custom{schema: sync.OnceValues(declared.Schema)}
		v.shape = v.custom.shape
	}
	v.renderer = sync.OnceValues(func() (*table.Renderer, error) { return table.New(declared, now) })
	v.resets = sync.OnceValue(v.makeResets)
	return v
}

// offer is what answers to a request may be.
func (v *view) offer(r *apimachinery.Request) wire.Offer {
	o := wire.Offer{Protobuf: v.protobuf, Stream: r.Verb == apimachinery.VerbWatch}
	if sub := v.kind.res.Subs[r.Sub]; r.Sub != "" && sub.New != nil {
		o.Protobuf = apimachinery.HasProtobuf(sub.New())
	}
	return o
}

// indexOf returns the place of a declared field in the index; fields that read the same paths share one.
func (k *kind) indexOf(f apimachinery.Field, slot func(string) int) int {
	paths := f.Paths
	if paths == nil {
		paths = []string{f.Name}
	}
	name := strings.Join(paths, "|") // a plain field's index has its name, for readers of Server.Table
	if f.Default != "" {
		name += "=" + f.Default
	}
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
	if k.res.Virtual != nil || k.res.Listed != nil {
		return nil
	}
	prefix := k.res.Prefix
	if prefix == "" {
		prefix = k.res.Name.Resource
	}
	k.behind = &behind{encodings: map[string]uint32{}}
	k.behind.kind.Store(k)
	k.behind.number(k)
	s := storage.Schema{Prefix: "/registry/" + prefix + "/", Head: k.behind.head, Rewrite: k.behind.rewrite}
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
