// Package memory is an etcd in memory: the same revisions, transactions, history, watches and errors as
// storage/etcd, and nothing on disk. For tests, and for what may be lost with the process.
package memory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/tidwall/btree"

	"github.com/bedplate/bedplate/storage"
)

// Config configures a Backend. The zero value works.
type Config struct {
	// History is how many revisions are kept for reads and watches of the past; older ones are compacted
	// away. Default 10,000.
	History int
	// MaxBytes is the size in bytes of the largest transaction, keys and values together. Default 1.5 MiB,
	// as etcd's.
	MaxBytes int
}

func (c *Config) validate() error {
	if c.History < 0 || c.MaxBytes < 0 {
		return errors.New("a limit is negative")
	}
	return nil
}

// Backend implements storage.Backend in memory.
type Backend struct {
	c Config

	mu        sync.RWMutex
	keys      btree.Map[string, *history]
	rev       int64
	compacted int64           // reads before it are refused
	log       []storage.Batch // one batch for each revision from logFirst on
	logFirst  int64
	changed   chan struct{} // closed and replaced by each change
	leases    map[int64]*lease
	leaseOf   map[string]*lease // of the keys that have one
	lastLease int64
}

// history is the versions of one key, oldest first.
type history struct{ versions []storage.KV }

var _ storage.Backend = (*Backend)(nil)

// New makes an empty store.
func New(c Config) (*Backend, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("open memory store: %w", err)
	}
	if c.History == 0 {
		c.History = 10_000
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 3 << 19
	}
	return &Backend{
		c: c, rev: 1, logFirst: 2, changed: make(chan struct{}),
		leases: map[int64]*lease{}, leaseOf: map[string]*lease{},
	}, nil
}

// Revision implements storage.Backend.
func (b *Backend) Revision(ctx context.Context) (int64, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.rev, ctx.Err()
}

// Range implements storage.Backend.
func (b *Backend) Range(ctx context.Context, r storage.Range) (storage.Page, error) {
	if err := ctx.Err(); err != nil {
		return storage.Page{}, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	at := r.At
	switch {
	case at == 0:
		at = b.rev
	case at < b.compacted:
		return storage.Page{}, &storage.TooOldError{Rev: at, Oldest: b.compacted}
	case at > b.rev:
		return storage.Page{}, &storage.FutureError{Rev: at, Current: b.rev}
	}
	page := storage.Page{Rev: at}
	b.keys.Ascend(max(r.From, r.Prefix), func(key string, h *history) bool {
		if !strings.HasPrefix(key, r.Prefix) {
			return false
		}
		kv, ok := h.at(at)
		if !ok {
			return true
		}
		if r.Limit > 0 && len(page.KVs) == r.Limit {
			page.More = true
			return false
		}
		page.KVs = append(page.KVs, kv)
		return true
	})
	return page, nil
}

// at returns the key as it was at a revision; false if it did not exist.
func (h *history) at(rev int64) (storage.KV, bool) {
	for i := len(h.versions) - 1; i >= 0; i-- {
		if v := h.versions[i]; v.Rev <= rev {
			return v, v.Value != nil
		}
	}
	return storage.KV{}, false
}

// Commit implements storage.Backend.
func (b *Backend) Commit(ctx context.Context, t storage.Txn) (int64, error) {
	if err := b.check(ctx, t); err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range t.If {
		have := b.current(c.Key)
		if have.Rev != c.Rev {
			return 0, &storage.ConflictError{Key: c.Key, Want: c.Rev, Have: have.Rev, Exists: have.Rev != 0}
		}
	}
	if err := b.checkLeases(t.Then); err != nil {
		return 0, err
	}
	rev := b.rev + 1
	var events []storage.KV
	for _, op := range t.Then {
		if kv, changes := b.next(op, rev); changes {
			b.attach(op)
			events = append(events, kv)
		}
	}
	if len(events) == 0 {
		return b.rev, nil
	}
	b.append(storage.Batch{Rev: rev, Events: events})
	return rev, nil
}

func (b *Backend) check(ctx context.Context, t storage.Txn) error {
	size := 0
	seen := make(map[string]bool, len(t.Then))
	for _, op := range t.Then {
		switch {
		case op.Key == "":
			return errors.New("a key is empty")
		case seen[op.Key]:
			return fmt.Errorf("%s is written twice", op.Key)
		}
		seen[op.Key] = true
		size += len(op.Key) + len(op.Value)
	}
	if size > b.c.MaxBytes {
		return fmt.Errorf("a transaction of %d bytes, the limit is %d: %w", size, b.c.MaxBytes, storage.ErrTooLarge)
	}
	return ctx.Err()
}

// current returns the key as it is; its Rev is 0 if it does not exist.
func (b *Backend) current(key string) storage.KV {
	if h, ok := b.keys.Get(key); ok {
		if kv, ok := h.at(b.rev); ok {
			return kv
		}
	}
	return storage.KV{}
}

// next returns the change that an operation makes; false if it changes nothing.
func (b *Backend) next(op storage.Op, rev int64) (storage.KV, bool) {
	have := b.current(op.Key)
	if op.Value == nil {
		return storage.KV{Key: op.Key, Rev: rev}, have.Rev != 0
	}
	kv := storage.KV{Key: op.Key, Value: op.Value, Rev: rev, Created: have.Created}
	if have.Rev == 0 {
		kv.Created = rev
	}
	return kv, true
}

// append makes a revision: the caller holds mu.
func (b *Backend) append(batch storage.Batch) {
	for _, kv := range batch.Events {
		h, ok := b.keys.Get(kv.Key)
		if !ok {
			h = &history{}
			b.keys.Set(kv.Key, h)
		}
		h.versions = append(h.versions, kv)
	}
	b.rev = batch.Rev
	b.log = append(b.log, batch)
	if len(b.log) > b.c.History {
		b.compact(b.rev - int64(b.c.History))
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

// Compact forgets the history before rev: reads at an earlier revision and watches after one that is
// earlier by two get a *storage.TooOldError. It returns one itself if that is done already, and a
// *storage.FutureError for a revision that has not happened.
func (b *Backend) Compact(_ context.Context, rev int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case rev <= b.compacted:
		return &storage.TooOldError{Rev: rev, Oldest: b.compacted}
	case rev > b.rev:
		return &storage.FutureError{Rev: rev, Current: b.rev}
	}
	b.compact(rev)
	close(b.changed) // watches that fell behind learn of it
	b.changed = make(chan struct{})
	return nil
}

func (b *Backend) compact(rev int64) {
	if rev <= b.compacted {
		return
	}
	for len(b.log) > 0 && b.logFirst < rev {
		b.prune(b.log[0].Events, rev)
		b.log[0] = storage.Batch{}
		b.log = b.log[1:]
		b.logFirst++
	}
	if len(b.log) > 0 { // this revision's own events may still be watched, what they replaced is gone
		b.prune(b.log[0].Events, rev)
	}
	b.compacted = rev
}

// prune drops the versions of the keys that were replaced at or before a revision.
func (b *Backend) prune(events []storage.KV, rev int64) {
	for _, kv := range events {
		h, ok := b.keys.Get(kv.Key)
		if !ok {
			continue
		}
		keep := 0
		for keep+1 < len(h.versions) && h.versions[keep+1].Rev <= rev {
			keep++
		}
		h.versions = append([]storage.KV(nil), h.versions[keep:]...)
		if v := h.versions[0]; len(h.versions) == 1 && v.Value == nil && v.Rev <= rev {
			b.keys.Delete(kv.Key)
		}
	}
}
