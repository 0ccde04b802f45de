package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	etcdlease "go.etcd.io/etcd/server/v3/lease"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/internal/wire"
)

var _ storage.Leaser = (*backend)(nil)

// Grant implements storage.Leaser.
func (b *backend) Grant(ctx context.Context, ttl time.Duration) (storage.Lease, error) {
	seconds, err := wire.Seconds(ttl)
	if err != nil {
		return storage.Lease{}, err
	}
	if err := b.enter(ctx); err != nil {
		return storage.Lease{}, err
	}
	defer b.leave()
	resp, err := v3rpc.NewQuotaLeaseServer(b.etcd).LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: seconds})
	switch {
	case err != nil:
		return storage.Lease{}, fmt.Errorf("etcd lease: %w", translate(wire.Err(err)))
	case resp.Error != "":
		return storage.Lease{}, fmt.Errorf("etcd lease: %w", errors.New(resp.Error))
	}
	return storage.Lease{ID: resp.ID, TTL: time.Duration(resp.TTL) * time.Second}, nil
}

// KeepAlive implements storage.Leaser. A member that does not lead asks the one that does.
func (b *backend) KeepAlive(ctx context.Context, lease int64) (time.Duration, error) {
	if err := b.enter(ctx); err != nil {
		return 0, err
	}
	defer b.leave()
	ttl, err := b.etcd.LeaseRenew(ctx, etcdlease.LeaseID(lease))
	switch {
	case errors.Is(err, etcdlease.ErrLeaseNotFound):
		return 0, fmt.Errorf("etcd lease: %w", &storage.LeaseError{Lease: lease})
	case err != nil:
		return 0, fmt.Errorf("etcd lease: %w", translate(err))
	}
	return time.Duration(ttl) * time.Second, nil
}

// Revoke implements storage.Leaser.
func (b *backend) Revoke(ctx context.Context, lease int64) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	if _, err := v3rpc.NewLeaseServer(b.etcd).LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: lease}); err != nil {
		return fmt.Errorf("etcd lease: %w", translate(wire.Lease(err, lease)))
	}
	return nil
}
