package server

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/bedplate/bedplate/storage"
)

// behind is what lies behind a table: the kind that reads the heads of what is stored. Where a resource without a Go
// type is replaced by a newer state of itself, its table stays open, and the new kind steps behind it. What was
// derived of entries is the old kind's, and is made anew when it is asked for.
type behind struct {
	kind      atomic.Pointer[kind]
	encodings map[string]uint32 // by version, so that heads that were read stay true; guarded by Server.mu
}

func (b *behind) head(raw []byte) (storage.Head, error) { return b.kind.Load().head(raw) }

func (b *behind) rewrite(raw []byte, to uint32) ([]byte, error) {
	return b.kind.Load().rewrite(raw, to)
}

// number gives the views of a kind the encodings that their versions have.
func (b *behind) number(k *kind) {
	for _, v := range k.views {
		name := v.gvk.GroupVersion().String() + " " + v.gvk.Kind
		if b.encodings[name] == 0 {
			b.encodings[name] = uint32(len(b.encodings) + 1)
		}
		v.encoding = b.encodings[name]
	}
}

// encoded is the view in which bytes of an encoding are; nil if there is none any more.
func (k *kind) encoded(encoding uint32) *view {
	for _, v := range k.views {
		if v.encoding == encoding {
			return v
		}
	}
	return nil
}

// inherited hands the table of a kind that has left the registry to the one in its place, if that reads it alike. The
// watches of clients end, as what they show would be of yesterday's schema. The caller holds mu.
func (s *Server) inherited(old *kind) bool {
	now, ok := s.c.Registry.Resource(old.res.Name)
	if !ok || old.table == nil || old.storage().custom == nil || now.Prefix != old.res.Prefix || now.Namespaced != old.res.Namespaced {
		return false
	}
	k := s.newKind(now)
	same := func(a, b indexed) bool {
		return a.name == b.name && a.def == b.def && slices.Equal(a.slots, b.slots)
	}
	if k.storage().custom == nil || !slices.EqualFunc(k.index, old.index, same) {
		return false
	}
	k.life, k.retire = context.WithCancel(s.life)
	k.table, k.behind = old.table, old.behind
	k.written.Store(old.written.Load())
	k.viewed.Store(old.viewed.Load())
	k.behind.number(k)
	k.behind.kind.Store(k)
	s.kinds[now] = k
	old.retire()
	return true
}
