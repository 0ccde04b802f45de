package embedded

import (
	"context"
	"errors"
	"fmt"
	"iter"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/internal/wire"
)

var _ storage.Streamer = (*backend)(nil)

// Stream implements storage.Streamer: etcd's own range stream, called directly.
func (b *backend) Stream(ctx context.Context, r storage.Range) iter.Seq2[storage.Page, error] {
	return func(yield func(storage.Page, error) bool) {
		if err := b.enter(ctx); err != nil {
			yield(storage.Page{}, err)
			return
		}
		defer b.leave()
		from, to := wire.Interval(r)
		out := &pages{ctx: ctx, closing: b.s.closing, at: r.At, yield: yield}
		err := b.kv.RangeStream(&pb.RangeRequest{
			Key: []byte(from), RangeEnd: []byte(to), Revision: r.At, Limit: int64(r.Limit),
		}, out)
		switch {
		case err == nil || out.left:
		case out.closed:
			yield(storage.Page{}, storage.ErrClosed)
		default:
			yield(storage.Page{}, fmt.Errorf("etcd range %s: %w", r.Prefix, b.readError(err, r.At)))
		}
	}
}

// pages takes what a range stream sends.
type pages struct {
	grpc.ServerStream // nil: etcd uses the two methods below alone
	ctx               context.Context
	closing           <-chan struct{}
	at                int64
	yield             func(storage.Page, error) bool
	left              bool // the reader has had enough
	closed            bool // the member stops
}

var errReaderLeft = errors.New("the reader left")

func (p *pages) Context() context.Context { return p.ctx }

func (p *pages) Send(resp *pb.RangeStreamResponse) error {
	select {
	case <-p.closing:
		p.closed = true
		return storage.ErrClosed
	default:
	}
	if !p.yield(wire.Chunk(p.at, resp.RangeResponse), nil) {
		p.left = true
		return errReaderLeft
	}
	return nil
}
