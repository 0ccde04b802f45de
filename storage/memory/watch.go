package memory

import (
	"context"
	"iter"
	"strings"

	"github.com/bedplate/bedplate/storage"
)

// watchChunk is how many revisions a watch takes at a time.
const watchChunk = 256

// Watch implements storage.Backend.
func (b *Backend) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[storage.Batch, error] {
	return func(yield func(storage.Batch, error) bool) {
		if err := b.watchable(after); err != nil {
			yield(storage.Batch{}, err)
			return
		}
		if !yield(storage.Batch{Rev: after}, nil) {
			return
		}
		for {
			batches, changed, err := b.since(after)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(storage.Batch{}, err)
				return
			}
			if len(batches) > 0 {
				after = batches[len(batches)-1].Rev
				if !deliver(batches, prefix, yield) {
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

func (b *Backend) watchable(after int64) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if after+1 < b.compacted {
		return &storage.TooOldError{Rev: after, Oldest: b.compacted}
	}
	return nil
}

// since returns the next revisions after one, and what tells of later ones.
func (b *Backend) since(after int64) ([]storage.Batch, <-chan struct{}, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	switch {
	case after >= b.rev:
		return nil, b.changed, nil
	case after+1 < b.compacted || after+1 < b.logFirst:
		return nil, nil, &storage.TooOldError{Rev: after, Oldest: max(b.compacted, b.logFirst-1)}
	}
	from := after + 1 - b.logFirst
	to := min(from+watchChunk, int64(len(b.log)))
	return append([]storage.Batch(nil), b.log[from:to]...), b.changed, nil
}

// deliver yields the batches that touch the prefix, and progress for the rest.
func deliver(batches []storage.Batch, prefix string, yield func(storage.Batch, error) bool) bool {
	last := batches[len(batches)-1].Rev
	for _, batch := range batches {
		own := storage.Batch{Rev: batch.Rev}
		for _, kv := range batch.Events {
			if strings.HasPrefix(kv.Key, prefix) {
				own.Events = append(own.Events, kv)
			}
		}
		if (len(own.Events) > 0 || own.Rev == last) && !yield(own, nil) {
			return false
		}
	}
	return true
}
