package wire

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/bedplate/bedplate/storage"
)

// maxLease is the longest lease that etcd grants.
const maxLease = 9_000_000_000 * time.Second

// Seconds returns a lease's time as etcd counts it.
func Seconds(ttl time.Duration) (int64, error) {
	switch {
	case ttl <= 0:
		return 0, errors.New("it must be positive")
	case ttl > maxLease:
		return 0, fmt.Errorf("the longest is %s", maxLease)
	}
	return int64((ttl + time.Second - 1) / time.Second), nil
}

// Commit translates the error of a transaction.
func Commit(err error, t storage.Txn) error {
	switch {
	case is(err, rpctypes.ErrKeyNotFound):
		return fmt.Errorf("keep the lease of a key: %w: %w", storage.ErrNotFound, err)
	case !is(err, rpctypes.ErrLeaseNotFound):
		return Err(err)
	}
	var lease int64
	for _, op := range t.Then {
		switch {
		case op.Lease == 0 || op.Lease == storage.KeepLease || op.Value == nil || op.Lease == lease:
		case lease != 0:
			return &storage.LeaseError{} // etcd does not say which of them it is
		default:
			lease = op.Lease
		}
	}
	return &storage.LeaseError{Lease: lease}
}

// Lease translates the error of a request for a lease.
func Lease(err error, id int64) error {
	if is(err, rpctypes.ErrLeaseNotFound) {
		return &storage.LeaseError{Lease: id}
	}
	return Err(err)
}
