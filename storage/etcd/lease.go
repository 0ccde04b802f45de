package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/internal/wire"
)

var _ storage.Leaser = (*Backend)(nil)

// lease is the lease of a put.
func lease(op storage.Op) clientv3.OpOption {
	if op.Lease == storage.KeepLease {
		return clientv3.WithIgnoreLease()
	}
	return clientv3.WithLease(clientv3.LeaseID(op.Lease))
}

// Grant implements storage.Leaser.
func (b *Backend) Grant(ctx context.Context, ttl time.Duration) (storage.Lease, error) {
	seconds, err := wire.Seconds(ttl)
	if err != nil {
		return storage.Lease{}, err
	}
	resp, err := b.c.Grant(ctx, seconds)
	switch {
	case err != nil:
		return storage.Lease{}, fmt.Errorf("etcd lease: %w", wire.Err(err))
	case resp.Error != "":
		return storage.Lease{}, fmt.Errorf("etcd lease: %w", errors.New(resp.Error))
	}
	return storage.Lease{ID: int64(resp.ID), TTL: time.Duration(resp.TTL) * time.Second}, nil
}

// KeepAlive implements storage.Leaser. It sends one request: the client's own KeepAliveOnce tries again
// without a pause while the server is away.
func (b *Backend) KeepAlive(ctx context.Context, lease int64) (time.Duration, error) {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel() // ends the stream
	resp, err := b.keepAlive(ctx, lease)
	switch {
	case err != nil:
		return 0, fmt.Errorf("etcd lease: %w", wire.Lease(clientv3.ContextError(ctx, err), lease))
	case resp.TTL <= 0:
		return 0, fmt.Errorf("etcd lease: %w", &storage.LeaseError{Lease: lease})
	}
	return time.Duration(resp.TTL) * time.Second, nil
}

func (b *Backend) keepAlive(ctx context.Context, lease int64) (*etcdserverpb.LeaseKeepAliveResponse, error) {
	stream, err := etcdserverpb.NewLeaseClient(b.c.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: lease}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return stream.Recv() // tells why, too, if the stream had ended
}

// Revoke implements storage.Leaser.
func (b *Backend) Revoke(ctx context.Context, lease int64) error {
	resp, err := b.c.Revoke(ctx, clientv3.LeaseID(lease))
	if err != nil {
		return fmt.Errorf("etcd lease: %w", wire.Lease(err, lease))
	}
	b.learn(resp.Header.Revision)
	return nil
}
