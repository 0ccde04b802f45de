package care

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bedplate/bedplate/storage"
)

// turn is a place in the queue of those who defragment. See the package's documentation for why each has a
// ticket before it needs one. One goroutine uses it, but for alive.
type turn struct {
	b      storage.Backend
	l      storage.Leaser // nil: nobody else is there
	prefix string
	ttl    time.Duration

	lease   int64  // 0: none
	drawn   int    // tickets drawn with this lease
	ticket  string // the key; "": none
	wanting bool   // the key that asks for a turn is there
}

func newTurn(b storage.Backend, prefix string, interval time.Duration) *turn {
	l, _ := b.(storage.Leaser)
	return &turn{b: b, l: l, prefix: prefix, ttl: max(time.Minute, 4*interval)}
}

func (t *turn) want() string { return fmt.Sprintf("%swant/%016x", t.prefix, t.lease) }

// queue is what the keys say.
type queue struct {
	tickets, wants int
	first          string // the key of the ticket that was drawn first
}

func (t *turn) queue(ctx context.Context) (queue, error) {
	page, err := t.b.Range(ctx, storage.Range{Prefix: t.prefix})
	if err != nil {
		return queue{}, err
	}
	var q queue
	created := int64(0)
	for _, kv := range page.KVs {
		switch {
		case strings.HasPrefix(kv.Key, t.prefix+"want/"):
			q.wants++
		case strings.HasPrefix(kv.Key, t.prefix+"ticket/"):
			q.tickets++
			if created == 0 || kv.Created < created {
				q.first, created = kv.Key, kv.Created
			}
		}
	}
	return q, nil
}

// alive keeps the lease. It may be called while the turn is being used.
func (t *turn) alive(ctx context.Context, lease int64) error {
	if t.l == nil || lease == 0 {
		return nil
	}
	_, err := t.l.KeepAlive(ctx, lease)
	return err
}

// draw sees that there is a ticket. A full store gives none.
func (t *turn) draw(ctx context.Context) error {
	if t.l == nil {
		return nil
	}
	if err := t.alive(ctx, t.lease); err != nil {
		var ended *storage.LeaseError
		if !errors.As(err, &ended) {
			return err
		}
		t.lease, t.ticket, t.wanting = 0, "", false
	}
	if t.lease == 0 {
		lease, err := t.l.Grant(ctx, t.ttl)
		if err != nil {
			return err
		}
		t.lease, t.drawn = lease.ID, 0
	}
	if t.ticket != "" {
		return nil
	}
	return t.replace(ctx)
}

// replace tears up the ticket and draws another, at the end of the queue.
func (t *turn) replace(ctx context.Context) error {
	next := fmt.Sprintf("%sticket/%016x-%d", t.prefix, t.lease, t.drawn)
	ops := []storage.Op{{Key: next, Value: []byte{}, Lease: t.lease}}
	if t.ticket != "" {
		ops = append(ops, storage.Op{Key: t.ticket})
	}
	if t.wanting {
		ops = append(ops, storage.Op{Key: t.want()})
	}
	if _, err := t.b.Commit(ctx, storage.Txn{Then: ops}); err != nil {
		return err
	}
	t.ticket, t.wanting = next, false
	t.drawn++
	return nil
}

// mine says whether it is this one's turn, and asks for it if it is not.
func (t *turn) mine(ctx context.Context, full bool) (bool, error) {
	if t.l == nil {
		return true, nil
	}
	q, err := t.queue(ctx)
	switch {
	case err != nil:
		return false, err
	case t.ticket != "" && q.first == t.ticket:
		return true, nil
	case full:
		return q.tickets == 0, nil
	case t.wanting || t.lease == 0:
		return false, nil
	}
	op := storage.Op{Key: t.want(), Value: []byte{}, Lease: t.lease}
	if _, err := t.b.Commit(ctx, storage.Txn{Then: []storage.Op{op}}); err != nil {
		return false, err
	}
	t.wanting = true
	return false, nil
}

// pass lets others go first when they want to.
func (t *turn) pass(ctx context.Context) error {
	if t.l == nil || t.ticket == "" {
		return nil
	}
	q, err := t.queue(ctx)
	switch {
	case err != nil:
		return err
	case t.wanting || q.first == t.ticket && q.wants > 0:
		return t.replace(ctx)
	}
	return nil
}

// tear gives the ticket up, by deletions alone: in a full store nobody can say that he wants to be next.
func (t *turn) tear(ctx context.Context) error {
	if t.ticket == "" {
		return nil
	}
	ops := []storage.Op{{Key: t.ticket}}
	if t.wanting {
		ops = append(ops, storage.Op{Key: t.want()})
	}
	if _, err := t.b.Commit(ctx, storage.Txn{Then: ops}); err != nil {
		return err
	}
	t.ticket, t.wanting = "", false
	return nil
}

// leave gives up everything, under a context of its own.
func (t *turn) leave(ctx context.Context) {
	if t.l == nil || t.lease == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = t.l.Revoke(ctx, t.lease) // if the store is not there, the lease ends by itself
}
