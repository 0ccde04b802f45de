package embedded

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/internal/wire"
)

// backend calls the member directly: no client, no stream, no copies but etcd's own.
type backend struct {
	s     *Server
	etcd  *etcdserver.EtcdServer // set before ready is closed
	kv    pb.KVServer            // checks requests and the quota, as for clients over the network
	calls sync.RWMutex           // held by calls; the member is stopped when they have ended
	pumps sync.WaitGroup
}

var _ storage.Backend = (*backend)(nil)

func (b *backend) open(e *etcdserver.EtcdServer) {
	b.etcd, b.kv = e, v3rpc.NewQuotaKVServer(e)
}

// drainTimeout bounds the waiting for calls that are under way. Etcd bounds the time of most of them, in a
// member that works.
const drainTimeout = 10 * time.Second

// close lets no call in and returns when all that were in have ended.
func (b *backend) close() {
	close(b.s.closing)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		b.calls.Lock()
		defer b.calls.Unlock()
		b.pumps.Wait()
	}()
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-drained:
	case <-timer.C:
	}
}

// enter waits until the member serves; the caller must leave.
func (b *backend) enter(ctx context.Context) error {
	select {
	case <-b.s.ready:
	default:
		select {
		case <-b.s.ready:
		case <-b.s.done:
			return storage.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for !b.calls.TryRLock() { // close waits for the calls there are
		select {
		case <-b.s.closing:
			return storage.ErrClosed
		default:
			runtime.Gosched()
		}
	}
	select {
	case <-b.s.closing:
		b.calls.RUnlock()
		return storage.ErrClosed
	default:
		return nil
	}
}

func (b *backend) leave() { b.calls.RUnlock() }

// Revision implements storage.Backend: raft's read index, then the store's own counter.
func (b *backend) Revision(ctx context.Context) (int64, error) {
	if err := b.enter(ctx); err != nil {
		return 0, err
	}
	defer b.leave()
	if err := b.read(ctx, func() error { return b.etcd.LinearizableReadNotify(ctx) }); err != nil {
		return 0, fmt.Errorf("etcd revision: %w", translate(err))
	}
	return b.etcd.KV().Rev(), nil
}

// read makes a read again that came to nothing because the leader changed; etcd bounds the time of each try.
func (b *backend) read(ctx context.Context, try func() error) error {
	limit := time.Now().Add(b.etcd.Cfg.ReqTimeout())
	for {
		err := try()
		if err == nil || time.Now().After(limit) {
			return err
		}
		if !errors.Is(err, etcderrors.ErrLeaderChanged) && !errors.Is(rpctypes.Error(err), rpctypes.ErrLeaderChanged) {
			return err
		}
	}
}

// Range implements storage.Backend.
func (b *backend) Range(ctx context.Context, r storage.Range) (storage.Page, error) {
	if err := b.enter(ctx); err != nil {
		return storage.Page{}, err
	}
	defer b.leave()
	from, to := wire.Interval(r)
	var resp *pb.RangeResponse
	err := b.read(ctx, func() (err error) {
		resp, err = b.kv.Range(ctx, &pb.RangeRequest{
			Key: []byte(from), RangeEnd: []byte(to), Revision: r.At, Limit: int64(r.Limit),
		})
		return err
	})
	if err != nil {
		return storage.Page{}, fmt.Errorf("etcd range %s: %w", r.Prefix, b.readError(err, r.At))
	}
	return wire.Page(r.At, resp), nil
}

func (b *backend) readError(err error, at int64) error {
	err = wire.Read(err, at, b.etcd.KV().Rev())
	var old *storage.TooOldError
	if errors.As(err, &old) {
		old.Oldest = max(old.Oldest, b.etcd.KV().FirstRev())
	}
	return translate(err)
}

// Commit implements storage.Backend.
func (b *backend) Commit(ctx context.Context, t storage.Txn) (int64, error) {
	if err := b.enter(ctx); err != nil {
		return 0, err
	}
	defer b.leave()
	resp, err := b.kv.Txn(ctx, request(t))
	switch {
	case err != nil:
		return 0, fmt.Errorf("etcd transaction: %w", translate(wire.Commit(err, t)))
	case !resp.Succeeded:
		return 0, wire.Conflict(t.If, resp.Responses)
	}
	return resp.Header.Revision, nil
}

// request makes etcd's transaction: the conditions, the writes, and reads that tell which condition failed.
func request(t storage.Txn) *pb.TxnRequest {
	r := &pb.TxnRequest{
		Compare: make([]*pb.Compare, len(t.If)),
		Success: make([]*pb.RequestOp, len(t.Then)),
		Failure: make([]*pb.RequestOp, len(t.If)),
	}
	for i, c := range t.If {
		key := []byte(c.Key)
		r.Compare[i] = &pb.Compare{
			Key: key, Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: c.Rev},
		}
		r.Failure[i] = &pb.RequestOp{Request: &pb.RequestOp_RequestRange{
			RequestRange: &pb.RangeRequest{Key: key, KeysOnly: true},
		}}
	}
	for i, op := range t.Then {
		r.Success[i] = write(op)
	}
	return r
}

func write(op storage.Op) *pb.RequestOp {
	if op.Value == nil {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(op.Key)},
		}}
	}
	put := &pb.PutRequest{Key: []byte(op.Key), Value: op.Value, Lease: op.Lease}
	if op.Lease == storage.KeepLease {
		put.Lease, put.IgnoreLease = 0, true
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}}
}

// translate turns the errors of a member that stops into storage's.
func translate(err error) error {
	if errors.Is(err, etcderrors.ErrStopped) || errors.Is(rpctypes.Error(err), rpctypes.ErrStopped) {
		return fmt.Errorf("%w: %w", storage.ErrClosed, err)
	}
	return err
}

// Compact forgets the history before rev.
func (b *backend) Compact(ctx context.Context, rev int64) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	if _, err := b.kv.Compact(ctx, &pb.CompactionRequest{Revision: rev}); err != nil {
		return fmt.Errorf("etcd compact to %d: %w", rev, b.readError(err, rev))
	}
	return nil
}
