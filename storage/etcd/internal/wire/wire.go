// Package wire translates between storage's terms and etcd's messages, for the client and the embedded
// server alike.
package wire

import (
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bedplate/bedplate/storage"
)

// Interval returns the key range [from, to) of a Range.
func Interval(r storage.Range) (from, to string) {
	from, to = max(r.From, r.Prefix), PrefixEnd(r.Prefix)
	if from == "" {
		from = "\x00"
	}
	return from, to
}

// PrefixEnd returns the end of the range of keys that begin with a prefix, "\x00" for no end.
func PrefixEnd(prefix string) string {
	end := []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return string(end[:i+1])
		}
	}
	return "\x00"
}

// Page translates the answer to a range read at a revision; 0: the current one.
func Page(at int64, resp *etcdserverpb.RangeResponse) storage.Page {
	p := storage.Page{Rev: at, More: resp.More, KVs: make([]storage.KV, len(resp.Kvs))}
	if at == 0 {
		p.Rev = resp.Header.Revision
	}
	for i, kv := range resp.Kvs {
		p.KVs[i] = present(kv)
	}
	return p
}

func present(kv *mvccpb.KeyValue) storage.KV {
	v := storage.KV{Key: string(kv.Key), Value: kv.Value, Rev: kv.ModRevision, Created: kv.CreateRevision}
	if v.Value == nil {
		v.Value = []byte{}
	}
	return v
}

// Batches cuts the events of one watch response into revisions.
func Batches(events []*mvccpb.Event) []storage.Batch {
	var out []storage.Batch
	for start := 0; start < len(events); {
		rev, end := events[start].Kv.ModRevision, start+1
		for end < len(events) && events[end].Kv.ModRevision == rev {
			end++
		}
		b := storage.Batch{Rev: rev, Events: make([]storage.KV, 0, end-start)}
		for _, ev := range events[start:end] {
			b.Events = append(b.Events, change(ev))
		}
		out = append(out, b)
		start = end
	}
	return out
}

func change(ev *mvccpb.Event) storage.KV {
	if ev.Type == mvccpb.Event_DELETE {
		return storage.KV{Key: string(ev.Kv.Key), Rev: ev.Kv.ModRevision}
	}
	return present(ev.Kv)
}

// Conflict finds the condition that made a transaction fail, in the answers to its Else: one read per
// condition, without values. It returns ErrConflict itself if all of them hold, which cannot be.
func Conflict(conds []storage.Cond, answers []*etcdserverpb.ResponseOp) error {
	for i, c := range conds {
		if i >= len(answers) {
			break
		}
		var have int64
		if kvs := answers[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
			have = kvs[0].ModRevision
		}
		if have != c.Rev {
			return &storage.ConflictError{Key: c.Key, Want: c.Rev, Have: have, Exists: have != 0}
		}
	}
	return storage.ErrConflict
}

// Read translates the error of a read at a revision. Oldest and current are what the error will say if the
// revision is compacted away or to come; 0 if unknown.
func Read(err error, at, current int64) error {
	switch {
	case is(err, rpctypes.ErrCompacted):
		return &storage.TooOldError{Rev: at, Oldest: at + 1}
	case is(err, rpctypes.ErrFutureRev):
		return &storage.FutureError{Rev: at, Current: current}
	}
	return Err(err)
}

// Err translates any other error.
func Err(err error) error {
	switch {
	case err == nil:
		return nil
	case is(err, rpctypes.ErrRequestTooLarge), is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("%w: %w", storage.ErrTooLarge, err)
	case status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "larger than max"):
		return fmt.Errorf("%w: %w", storage.ErrTooLarge, err) // gRPC's own limit, on either side
	case is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: %w", storage.ErrNoSpace, err)
	}
	return err
}

func is(err, target error) bool {
	return errors.Is(rpctypes.Error(err), target)
}
