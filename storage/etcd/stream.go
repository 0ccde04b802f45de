package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/internal/wire"
)

var _ storage.Streamer = (*Backend)(nil)

// Stream implements storage.Streamer by etcd's range stream, which servers have from 3.7 on.
func (b *Backend) Stream(ctx context.Context, r storage.Range) iter.Seq2[storage.Page, error] {
	return func(yield func(storage.Page, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		from, to := wire.Interval(r)
		stream, err := b.c.GetStream(ctx, from, clientv3.WithRange(to), clientv3.WithRev(r.At), clientv3.WithLimit(int64(r.Limit)))
		if err != nil {
			cancel()
			yield(storage.Page{}, b.streamError(err, r))
			return
		}
		defer func() {
			cancel()
			for range stream { // until the client has ended it
			}
		}()
		whole := false
		for resp := range stream {
			if err := resp.Err(); err != nil {
				yield(storage.Page{}, b.streamError(err, r))
				return
			}
			whole = resp.Header != nil // the last part has one
			if !yield(wire.Chunk(r.At, resp.RangeResponse), nil) {
				return
			}
		}
		if !whole {
			yield(storage.Page{}, fmt.Errorf("etcd range %s: %w", r.Prefix, io.ErrUnexpectedEOF))
		}
	}
}

func (b *Backend) streamError(err error, r storage.Range) error {
	if status.Code(err) == codes.Unimplemented {
		return fmt.Errorf("etcd range stream: %w: %w", errors.ErrUnsupported, err)
	}
	return fmt.Errorf("etcd range %s: %w", r.Prefix, wire.Read(err, r.At, b.newest()))
}
