package seal

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/bedplate/bedplate/storage"
)

// Progress is how far a Rewrite has come.
type Progress struct {
	Done       int // keys looked at
	Total      int // keys that the rules cover; as of the start, or more
	Rewritten  int
	Unreadable int // corrupt, or sealed by nobody's key: left as they are
}

const (
	rewritePage    = 200 // keys in memory at a time
	rewriteWorkers = 8
	rewriteTries   = 100
)

// Rewrite seals every value that the rules cover by the first provider of its rule, unless it is already, or deletes
// the seal where that is Identity. Each is a transaction of its own on the condition that nobody wrote the key
// meanwhile: no write is lost. The key gets a new revision, keeps its lease, and watchers see a change to the same
// value. A lock of storage.Locks is lost by it: give the locks' prefix a rule of its own, with Identity. Progress may be nil; it is called after each page of keys, never concurrently.
//
// Rewrite can be stopped at any time: calling it again does what is left. A nil error means that each covered key was
// opened and found, or put, under the first provider; values that cannot be opened are left, counted, and the first
// of them is the error, a *storage.CorruptError, when all else is done. It is an error, too, if SetRules is called
// meanwhile.
//
// It waits for commits of this process by earlier rules, and knows nothing of other processes: each must write by the
// new key before Rewrite begins. A commit whose outcome was left open may still be applied by an etcd later, and
// history needs the old key until it is compacted: keep it for that long, then call Rewrite once more, see that it
// rewrites nothing, and drop the key.
func (s *Sealed) Rewrite(ctx context.Context, progress func(Progress)) (Progress, error) {
	rules, err := s.settle(ctx)
	if err != nil {
		return Progress{}, fmt.Errorf("rewrite sealed values: %w", err)
	}
	w := &rewriter{s: s, rules: rules}
	if progress == nil {
		progress = func(Progress) {}
	}
	err = w.run(ctx, progress)
	if err == nil && w.first != nil {
		err = w.first
	}
	if err != nil {
		return w.p, fmt.Errorf("rewrite sealed values: %w", err)
	}
	return w.p, nil
}

type rewriter struct {
	s     *Sealed
	rules *rules

	mu    sync.Mutex // guards what follows while a page is worked on
	p     Progress
	first error // a value that cannot be opened
}

func (w *rewriter) run(ctx context.Context, progress func(Progress)) error {
	err := w.pages(ctx, func(kvs []storage.KV) error {
		w.p.Total += len(kvs)
		return nil
	})
	if err != nil {
		return err
	}
	progress(w.p)
	return w.pages(ctx, func(kvs []storage.KV) error {
		if err := w.page(ctx, kvs); err != nil {
			return err
		}
		w.p.Done += len(kvs)
		w.p.Total = max(w.p.Total, w.p.Done)
		progress(w.p)
		return nil
	})
}

var errRulesChanged = errors.New("the rules were changed meanwhile")

// pages hands out all keys that the rules cover, as they are stored.
func (w *rewriter) pages(ctx context.Context, do func([]storage.KV) error) error {
	for _, prefix := range w.rules.cover() {
		r := storage.Range{Prefix: prefix, Limit: rewritePage}
		for more := true; more; {
			if w.s.rules.Load() != w.rules {
				return errRulesChanged
			}
			page, err := w.s.inner.Range(ctx, r)
			if err != nil {
				return err
			}
			if len(page.KVs) == 0 {
				break
			}
			if err := do(page.KVs); err != nil {
				return err
			}
			more, r.From = page.More, page.KVs[len(page.KVs)-1].Key+"\x00"
		}
	}
	return nil
}

// page rewrites the keys of a page, several at a time.
func (w *rewriter) page(ctx context.Context, kvs []storage.KV) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan storage.KV, len(kvs))
	for _, kv := range kvs {
		work <- kv
	}
	close(work)
	var wg sync.WaitGroup
	for range min(rewriteWorkers, len(kvs)) {
		wg.Go(func() {
			for kv := range work {
				if ctx.Err() != nil {
					return
				}
				if err := w.key(ctx, kv); err != nil {
					cancel(fmt.Errorf("%s: %w", kv.Key, err))
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// key sees to one key, again and again until nobody else writes it in between.
func (w *rewriter) key(ctx context.Context, kv storage.KV) error {
	for range rewriteTries {
		plain, current, err := w.rules.of(kv.Key).open(ctx, kv.Key, kv.Value)
		switch {
		case isLater(err):
			return err
		case err != nil:
			w.leave(kv, err)
			return nil
		case current:
			return nil
		}
		err = w.put(ctx, kv, plain)
		var conflict *storage.ConflictError
		switch {
		case err == nil:
			w.wrote()
			return nil
		case !errors.As(err, &conflict):
			return err
		}
		now, there, err := w.get(ctx, kv.Key)
		if err != nil || !there {
			return err
		}
		kv = now
	}
	return errors.New("somebody writes it all the time, and not by the first provider")
}

func (w *rewriter) put(ctx context.Context, kv storage.KV, plain []byte) error {
	r := w.s.enter()
	defer w.s.leave(r)
	if r != w.rules {
		return errRulesChanged
	}
	op := storage.Op{Key: kv.Key, Value: plain}
	if _, ok := w.s.inner.(storage.Leaser); ok {
		op.Lease = storage.KeepLease
	}
	_, err := w.s.commitBy(ctx, r, storage.Txn{If: []storage.Cond{{Key: kv.Key, Rev: kv.Rev}}, Then: []storage.Op{op}})
	return err
}

func (w *rewriter) get(ctx context.Context, key string) (storage.KV, bool, error) {
	page, err := w.s.inner.Range(ctx, storage.Range{Prefix: key, Limit: 1})
	if err != nil || len(page.KVs) == 0 || page.KVs[0].Key != key {
		return storage.KV{}, false, err
	}
	return page.KVs[0], true, nil
}

func (w *rewriter) wrote() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.p.Rewritten++
}

func (w *rewriter) leave(kv storage.KV, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.p.Unreadable++
	if w.first == nil {
		w.first = &storage.CorruptError{Key: kv.Key, Rev: kv.Rev, Err: why}
	}
}
