package seal

import (
	"context"
	"errors"
	"iter"

	"github.com/bedplate/bedplate/storage"
)

// backend is a Sealed as a storage.Backend.
type backend struct{ s *Sealed }

var (
	_ storage.Backend  = backend{}
	_ storage.Streamer = backend{}
)

// compacter is what a backend may offer beside storage.Backend.
type compacter interface {
	Compact(ctx context.Context, rev int64) error
}

// Backend returns the store with plain values. It has Compact, and is a storage.Leaser, if the store below is.
func (s *Sealed) Backend() storage.Backend {
	type leaser = storage.Leaser
	b := backend{s}
	c, compacts := s.inner.(compacter)
	l, leases := s.inner.(leaser)
	switch {
	case compacts && leases:
		return struct {
			backend
			compacter
			leaser
		}{b, c, l}
	case compacts:
		return struct {
			backend
			compacter
		}{b, c}
	case leases:
		return struct {
			backend
			leaser
		}{b, l}
	}
	return b
}

// Range implements storage.Backend. A value that cannot be opened comes as corrupt.
func (b backend) Range(ctx context.Context, r storage.Range) (storage.Page, error) {
	return b.s.read(ctx, r)
}

// Stream implements storage.Streamer, if the store below does. A value that cannot be opened comes as corrupt.
func (b backend) Stream(ctx context.Context, r storage.Range) iter.Seq2[storage.Page, error] {
	return func(yield func(storage.Page, error) bool) {
		below, ok := b.s.inner.(storage.Streamer)
		if !ok {
			yield(storage.Page{}, errors.ErrUnsupported)
			return
		}
		for page, err := range below.Stream(ctx, r) {
			if err == nil {
				page.KVs, err = b.s.open(ctx, page.KVs)
			}
			if !yield(page, err) || err != nil {
				return
			}
		}
	}
}

// Commit implements storage.Backend.
func (b backend) Commit(ctx context.Context, t storage.Txn) (int64, error) { return b.s.commit(ctx, t) }

// Watch implements storage.Backend. A value that cannot be opened comes as corrupt.
func (b backend) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[storage.Batch, error] {
	return b.s.watch(ctx, prefix, after)
}

// Revision implements storage.Backend.
func (b backend) Revision(ctx context.Context) (int64, error) { return b.s.inner.Revision(ctx) }
