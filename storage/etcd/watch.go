package etcd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/internal/wire"
)

// Watch implements storage.Backend. The client takes a broken connection up again by itself; the watch ends
// when the server has lost its leader, or what it would have to resume from.
func (b *Backend) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[storage.Batch, error] {
	return func(yield func(storage.Batch, error) bool) {
		err := b.watch(ctx, prefix, after, func(batch storage.Batch) bool { return yield(batch, nil) })
		if err == nil {
			return // the caller left
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		yield(storage.Batch{}, fmt.Errorf("etcd watch %s: %w", prefix, err))
	}
}

var errWatchEnded = errors.New("the client ended the watch")

func (b *Backend) watch(parent context.Context, prefix string, after int64, yield func(storage.Batch) bool) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(parent))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	from, to := wire.Interval(storage.Range{Prefix: prefix})
	responses := b.c.Watch(ctx, from, clientv3.WithRange(to), clientv3.WithRev(after+1),
		clientv3.WithCreatedNotify(), clientv3.WithProgressNotify(), clientv3.WithFragment())

	var seen atomic.Int64
	seen.Store(after)
	wg.Go(func() { b.askProgress(ctx, &seen) })
	created := false
	for resp := range responses {
		if err := watchError(&resp, after); err != nil {
			return err
		}
		for _, batch := range batches(&resp, after, &created) {
			after = batch.Rev
			seen.Store(after)
			if !yield(batch) {
				return nil
			}
		}
	}
	if parent.Err() != nil {
		return parent.Err()
	}
	return errWatchEnded
}

// batches returns what a response tells. The client repeats the notice of creation when it resumes.
func batches(resp *clientv3.WatchResponse, after int64, created *bool) []storage.Batch {
	switch {
	case len(resp.Events) > 0:
		return wire.Batches(resp.Events)
	case resp.Created && !*created:
		*created = true
		return []storage.Batch{{Rev: after}}
	case resp.IsProgressNotify() && resp.Header.Revision > after:
		return []storage.Batch{{Rev: resp.Header.Revision}}
	}
	return nil
}

func watchError(resp *clientv3.WatchResponse, after int64) error {
	err := resp.Err()
	switch {
	case err == nil:
		return nil
	case resp.CompactRevision != 0:
		return &storage.TooOldError{Rev: after, Oldest: resp.CompactRevision}
	case errors.Is(err, rpctypes.ErrCompacted):
		return &storage.TooOldError{Rev: after, Oldest: after + 1}
	}
	return wire.Err(err)
}

// askProgress asks the server to tell how far the watch is, as long as it is behind what callers have seen.
func (b *Backend) askProgress(ctx context.Context, seen *atomic.Int64) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause := b.cfg.ProgressAfter
	for {
		want, learned := b.awaited()
		if seen.Load() >= want {
			pause = b.cfg.ProgressAfter
			select {
			case <-learned:
				continue
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if seen.Load() < want {
			// An error ends the watch itself, too; asking again does no harm.
			_ = b.c.RequestProgress(ctx)
			pause = min(2*pause, 100*time.Millisecond)
		}
	}
}
