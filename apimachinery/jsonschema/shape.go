package jsonschema

import (
	"encoding/json"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// Shape returns what managed fields and apply need to know: list types and keys, what is owned as a whole, and where
// unknown fields may be. It is made once, and its parts when they are first asked for. The root and embedded
// resources have apiVersion, kind and the metadata of ObjectMeta, whatever the schema says of these.
func (s *Schema) Shape() *structural.Type {
	if s == nil {
		return structural.New(structural.Shape{Kind: structural.Any})
	}
	s.shapeOnce.Do(func() {
		sh := shaper{made: map[shaped]*structural.Type{}}
		s.shape = sh.of(s.root, false, true)
	})
	return s.shape
}

// objectMetaType is the type of metadata, which all schemas share.
var objectMetaType = sync.OnceValue(func() *structural.Type {
	t, err := structural.Of(metav1.ObjectMeta{})
	if err != nil {
		return structural.New(structural.Shape{Kind: structural.Any}) // a struct is never refused
	}
	return t
})

// shaper makes one Type for each node in each surroundings.
type shaper struct {
	mu   sync.Mutex
	made map[shaped]*structural.Type
}

type shaped struct {
	node     *node
	keeps    bool
	resource bool
}

// of returns the type of a node. Below one that preserves unknown fields, objects do, too.
func (sh *shaper) of(n *node, keeps, resource bool) *structural.Type {
	keeps = keeps || n.marks.has(preserve)
	key := shaped{n, keeps, resource || n.marks.has(embedded)}
	sh.mu.Lock()
	t := sh.made[key]
	sh.mu.Unlock()
	if t != nil {
		return t
	}
	t = sh.make(n, keeps, key.resource)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if first := sh.made[key]; first != nil {
		return first
	}
	sh.made[key] = t
	return t
}

func (sh *shaper) make(n *node, keeps, resource bool) *structural.Type {
	scalar := func(k structural.ScalarKind) *structural.Type {
		return structural.New(structural.Shape{Kind: structural.Scalar, Scalar: k, Format: n.limits().format})
	}
	switch n.types {
	case tString:
		if n.marks.has(formatted) {
			return scalar(structural.AnyScalar)
		}
		return scalar(structural.String)
	case tInteger, tNumber:
		return scalar(structural.Number)
	case tBoolean:
		return scalar(structural.Boolean)
	case tArray:
		return sh.list(n, keeps)
	case tObject:
		return sh.object(n, keeps, resource)
	}
	if n.props != nil && !n.marks.has(intOrString) { // an object in all likelihood
		return sh.structure(n, keeps, true, resource)
	}
	return structural.New(structural.Shape{Kind: structural.Any})
}

func (sh *shaper) list(n *node, keeps bool) *structural.Type {
	s := structural.Shape{Kind: structural.List}
	if n.list != nil {
		switch n.list.kind {
		case "set":
			s.List = structural.SetList
		case "map":
			s.List, s.Keys = structural.MapList, n.list.keys
		}
	}
	if n.items == nil {
		s.Elem = structural.New(structural.Shape{Kind: structural.Any, Atomic: true})
	} else {
		s.Elem = sh.of(n.items, keeps, false)
	}
	return structural.New(s)
}

func (sh *shaper) object(n *node, keeps, resource bool) *structural.Type {
	if resource || n.props != nil {
		open := n.marks.has(additional) && !n.marks.has(deniesAdditional) || !n.marks.has(additional) && keeps
		return sh.structure(n, keeps, open, resource)
	}
	s := structural.Shape{Kind: structural.Map, Atomic: n.marks.has(atomicMap)}
	switch {
	case n.extra != nil:
		s.Elem = sh.of(n.extra, keeps, false)
	case n.marks.has(deniesAdditional):
		return sh.structure(n, keeps, false, false)
	default:
		s.Elem = structural.New(structural.Shape{Kind: structural.Any})
	}
	return structural.New(s)
}

func (sh *shaper) structure(n *node, keeps, open, resource bool) *structural.Type {
	return structural.New(structural.Shape{
		Kind: structural.Struct, Atomic: n.marks.has(atomicMap), Open: open,
		Fields: func() []*structural.Field { return sh.fields(n, keeps, resource) },
	})
}

func (sh *shaper) fields(n *node, keeps, resource bool) []*structural.Field {
	fields := make([]*structural.Field, 0, len(n.props)+3)
	if resource {
		text := structural.New(structural.Shape{Kind: structural.Scalar, Scalar: structural.String})
		fields = append(fields, &structural.Field{Name: "apiVersion", Type: text}, &structural.Field{Name: "kind", Type: text},
			&structural.Field{Name: "metadata", Type: objectMetaType()})
	}
	for _, p := range n.props {
		if resource && typeMeta(p.name) {
			continue
		}
		f := &structural.Field{Name: p.name, Type: sh.of(p.node, keeps, false)}
		if p.node.fallback != nil {
			if raw, err := json.Marshal(p.node.fallback); err == nil {
				f.Default = string(raw)
			}
		}
		fields = append(fields, f)
	}
	return fields
}
