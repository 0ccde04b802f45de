// Package etcd is a storage backend over any etcd v3, through its client. Keys are used as they are, so
// that etcdctl shows what one expects.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/internal/wire"
)

// Config configures a Backend. The zero value works.
type Config struct {
	// ProgressAfter is how long a watch waits for events that tell it of a revision it must reach before it
	// asks the server for progress. It is what a consistent read costs at most after a write to other
	// prefixes. Default 2 ms.
	ProgressAfter time.Duration
}

// Backend implements storage.Backend over an etcd client.
type Backend struct {
	c   *clientv3.Client
	cfg Config

	mu      sync.Mutex
	known   int64         // the newest revision that a caller has seen
	learned chan struct{} // closed and replaced when known rises
}

var _ storage.Backend = (*Backend)(nil)

// New makes a backend over a client, which stays the caller's to close, after everything that uses the
// backend has ended.
func New(c *clientv3.Client, cfg Config) (*Backend, error) {
	switch {
	case c == nil:
		return nil, errors.New("open etcd: no client")
	case cfg.ProgressAfter < 0:
		return nil, errors.New("open etcd: ProgressAfter is negative")
	case cfg.ProgressAfter == 0:
		cfg.ProgressAfter = 2 * time.Millisecond
	}
	return &Backend{c: c, cfg: cfg, learned: make(chan struct{})}, nil
}

// Revision implements storage.Backend: it reads a key that does not exist.
func (b *Backend) Revision(ctx context.Context) (int64, error) {
	resp, err := b.c.Get(ctx, "\x00", clientv3.WithLimit(1), clientv3.WithKeysOnly())
	if err != nil {
		return 0, fmt.Errorf("etcd revision: %w", wire.Err(err))
	}
	b.learn(resp.Header.Revision)
	return resp.Header.Revision, nil
}

// Range implements storage.Backend.
func (b *Backend) Range(ctx context.Context, r storage.Range) (storage.Page, error) {
	from, to := wire.Interval(r)
	resp, err := b.c.Get(ctx, from, clientv3.WithRange(to), clientv3.WithRev(r.At), clientv3.WithLimit(int64(r.Limit)))
	if err != nil {
		return storage.Page{}, fmt.Errorf("etcd range %s: %w", r.Prefix, wire.Read(err, r.At, b.newest()))
	}
	return wire.Page(r.At, (*etcdserverpb.RangeResponse)(resp)), nil
}

// Commit implements storage.Backend.
func (b *Backend) Commit(ctx context.Context, t storage.Txn) (int64, error) {
	cmps := make([]clientv3.Cmp, len(t.If))
	reads := make([]clientv3.Op, len(t.If))
	for i, c := range t.If {
		cmps[i] = clientv3.Compare(clientv3.ModRevision(c.Key), "=", c.Rev)
		reads[i] = clientv3.OpGet(c.Key, clientv3.WithKeysOnly())
	}
	ops := make([]clientv3.Op, len(t.Then))
	for i, op := range t.Then {
		if op.Value == nil {
			ops[i] = clientv3.OpDelete(op.Key)
		} else {
			ops[i] = clientv3.OpPut(op.Key, string(op.Value), lease(op))
		}
	}
	resp, err := b.c.Txn(ctx).If(cmps...).Then(ops...).Else(reads...).Commit()
	switch {
	case err != nil:
		return 0, fmt.Errorf("etcd transaction: %w", wire.Commit(err, t))
	case !resp.Succeeded:
		return 0, wire.Conflict(t.If, resp.Responses)
	}
	b.learn(resp.Header.Revision)
	return resp.Header.Revision, nil
}

// learn notes a revision that all watches have to reach.
func (b *Backend) learn(rev int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if rev > b.known {
		b.known = rev
		close(b.learned)
		b.learned = make(chan struct{})
	}
}

func (b *Backend) newest() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.known
}

// awaited returns the revision to reach and what tells of a newer one.
func (b *Backend) awaited() (int64, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.known, b.learned
}

// Compact forgets the history before rev, for all users of the etcd. It returns a *storage.TooOldError if
// that is done already.
func (b *Backend) Compact(ctx context.Context, rev int64) error {
	if _, err := b.c.Compact(ctx, rev); err != nil {
		return fmt.Errorf("etcd compact to %d: %w", rev, wire.Read(err, rev, b.newest()))
	}
	return nil
}
