package embedded

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"
	clientv3 "go.etcd.io/etcd/client/v3"
	etcdbackend "go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"github.com/bedplate/bedplate/storage"
)

// Maintenance is the maintenance of the member, without a network between. Its methods have the signatures of
// clientv3.Maintenance, so that what is written for any etcd takes it too; the endpoint that some of them are
// given means nothing, the member is this one. They wait for Ready, and return storage.ErrClosed once Run is
// ending. All may be called concurrently.
type Maintenance struct{ b *backend }

// Maintenance returns the maintenance of the member. It may be taken at once.
func (s *Server) Maintenance() *Maintenance { return &Maintenance{s.backend} }

// Status tells of the member: its sizes and quota in bytes, the leader as it knows it, and in Errors what is
// wrong with it.
func (m *Maintenance) Status(ctx context.Context, _ string) (*clientv3.StatusResponse, error) {
	if err := m.b.enter(ctx); err != nil {
		return nil, err
	}
	defer m.b.leave()
	e := m.b.etcd
	r := &pb.StatusResponse{
		Header: m.header(), Version: version.Version, Leader: e.Lead(), IsLearner: e.IsLearner(),
		RaftIndex: e.CommittedIndex(), RaftAppliedIndex: e.AppliedIndex(), RaftTerm: e.Term(),
		DbSize: e.Backend().Size(), DbSizeInUse: e.Backend().SizeInUse(), DbSizeQuota: e.Config().QuotaBackendBytes,
	}
	if v := e.StorageVersion(); v != nil {
		r.StorageVersion = v.String()
	}
	if r.Leader == 0 {
		r.Errors = append(r.Errors, "the member knows no leader")
	}
	for _, a := range e.Alarms() {
		r.Errors = append(r.Errors, a.String())
	}
	return (*clientv3.StatusResponse)(r), nil
}

func (m *Maintenance) header() *pb.ResponseHeader {
	e := m.b.etcd
	return &pb.ResponseHeader{
		ClusterId: uint64(e.Cluster().ID()), MemberId: uint64(e.MemberID()), RaftTerm: e.Term(), Revision: e.KV().Rev(),
	}
}

// AlarmList returns the alarms that are up in the cluster.
func (m *Maintenance) AlarmList(ctx context.Context) (*clientv3.AlarmResponse, error) {
	return m.alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_GET})
}

// AlarmDisarm lifts an alarm of a member.
func (m *Maintenance) AlarmDisarm(ctx context.Context, a *clientv3.AlarmMember) (*clientv3.AlarmResponse, error) {
	return m.alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: a.MemberID, Alarm: a.Alarm})
}

func (m *Maintenance) alarm(ctx context.Context, r *pb.AlarmRequest) (*clientv3.AlarmResponse, error) {
	if err := m.b.enter(ctx); err != nil {
		return nil, err
	}
	defer m.b.leave()
	resp, err := m.b.etcd.Alarm(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("etcd alarm: %w", translate(err))
	}
	return (*clientv3.AlarmResponse)(resp), nil
}

// errReading: a defragmentation would stand still, and all writes with it, until a snapshot has been read.
var errReading = errors.New("a snapshot of the database is being read")

// Defragment rewrites the database file without its free space. The member reads and applies nothing
// meanwhile. It is refused while a snapshot of the member is being read: both would wait, and the writes.
func (m *Maintenance) Defragment(ctx context.Context, _ string) (*clientv3.DefragmentResponse, error) {
	if err := m.b.enter(ctx); err != nil {
		return nil, err
	}
	defer m.b.leave()
	if err := waitReaders(ctx, m.b.etcd.Backend()); err != nil {
		return nil, fmt.Errorf("defragment: %w", err)
	}
	if err := m.b.etcd.Defragment(); err != nil {
		return nil, fmt.Errorf("defragment: %w", err)
	}
	return &clientv3.DefragmentResponse{Header: m.header()}, nil
}

// waitReaders waits a while until nobody reads a snapshot. Etcd itself holds one read transaction, and for a
// moment more; it counts them when it commits.
func waitReaders(ctx context.Context, b etcdbackend.Backend) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 100 {
		b.ForceCommit()
		if b.OpenReadTxN() <= 1 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errReading
}

// HashKV returns the hash of all keys at a revision (0: the current one), by which members and stores are
// compared.
func (m *Maintenance) HashKV(ctx context.Context, _ string, rev int64) (*clientv3.HashKVResponse, error) {
	if err := m.b.enter(ctx); err != nil {
		return nil, err
	}
	defer m.b.leave()
	h, _, err := m.b.etcd.KV().HashStorage().HashByRev(rev)
	switch {
	case errors.Is(err, mvcc.ErrFutureRev):
		err = &storage.FutureError{Rev: rev, Current: m.b.etcd.KV().Rev()}
	case errors.Is(err, mvcc.ErrCompacted):
		err = &storage.TooOldError{Rev: rev, Oldest: m.b.etcd.KV().FirstRev()}
	}
	if err != nil {
		return nil, fmt.Errorf("etcd hash at %d: %w", rev, err)
	}
	return &clientv3.HashKVResponse{
		Header: m.header(), Hash: h.Hash, CompactRevision: h.CompactRevision, HashRevision: h.Revision,
	}, nil
}

// Snapshot returns the database at one moment, followed by its SHA-256, as a client's Snapshot does; every
// write that was acknowledged before is in it. Writes go on while it is read, and the file grows by what they
// replace. The caller closes it. It ends with storage.ErrClosed when Run is ending. The reader has a method
// Size() int64: how many bytes it yields.
func (m *Maintenance) Snapshot(ctx context.Context) (io.ReadCloser, error) {
	if err := m.b.enter(ctx); err != nil {
		return nil, err
	}
	defer m.b.leave()
	if err := m.b.etcd.LinearizableReadNotify(ctx); err != nil {
		return nil, fmt.Errorf("etcd snapshot: %w", translate(err))
	}
	snap := m.b.etcd.Backend().Snapshot()
	size := snap.Size() + sha256.Size
	pr, pw := io.Pipe()
	written := make(chan struct{})
	m.b.pumps.Go(func() {
		defer close(written)
		h := sha256.New()
		_, err := snap.WriteTo(io.MultiWriter(pw, h))
		if err = errors.Join(err, snap.Close()); err == nil {
			_, err = pw.Write(h.Sum(nil))
		}
		pw.CloseWithError(err) // nil: the end
	})
	m.b.pumps.Go(func() {
		select {
		case <-written:
		case <-ctx.Done():
			pw.CloseWithError(ctx.Err())
		case <-m.b.s.closing:
			pw.CloseWithError(storage.ErrClosed)
		}
	})
	return &snapshotReader{pr, size}, nil
}

type snapshotReader struct {
	*io.PipeReader
	size int64
}

// Size is how many bytes there are in all.
func (r *snapshotReader) Size() int64 { return r.size }
