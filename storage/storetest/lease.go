package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/bedplate/bedplate/storage"
)

var leaseTests = []test{
	{"Grant", testGrant},
	{"Expiry", testExpiry},
	{"KeepAlive", testKeepAlive},
	{"Revoke", testRevoke},
	{"UnknownLease", testUnknownLease},
	{"Attachment", testAttachment},
	{"SeveralTables", testSeveralTables},
	{"NoLeases", testNoLeases},
}

// leaser returns the backend's leases; the tests of leases and locks run if it has any.
func (e *env) leaser() (storage.Leaser, bool) {
	l, ok := e.b.(storage.Leaser)
	return l, ok
}

func (e *env) grant(ttl time.Duration) storage.Lease {
	e.Helper()
	lease, err := e.b.(storage.Leaser).Grant(e.ctx, ttl)
	e.NoError(err)
	return lease
}

// with puts keys that go with a lease, in one transaction.
func (e *env) with(lease int64, keys ...string) int64 {
	e.Helper()
	var t storage.Txn
	for _, k := range keys {
		t.Then = append(t.Then, storage.Op{Key: k, Value: []byte("x"), Lease: lease})
	}
	return e.raw(t)
}

// stored returns the keys that there are.
func (e *env) stored(prefix string) string {
	e.Helper()
	page, err := e.b.Range(e.ctx, storage.Range{Prefix: prefix})
	e.NoError(err)
	return keys(page.KVs)
}

// leaseEnded checks an error that says so.
func (e *env) leaseEnded(err error, lease int64) {
	e.Helper()
	e.ErrorIs(err, storage.ErrNotFound)
	var ended *storage.LeaseError
	e.ErrorAs(err, &ended)
	e.Equal(lease, ended.Lease)
}

func testGrant(e *env) {
	l, ok := e.leaser()
	if !ok {
		return
	}
	for _, ttl := range []time.Duration{0, -time.Second, math.MaxInt64} {
		_, err := l.Grant(e.ctx, ttl)
		e.Error(err, "%s", ttl)
	}
	seen := map[int64]bool{}
	for _, ttl := range []time.Duration{1, time.Second, 1500 * time.Millisecond, time.Hour} {
		lease := e.grant(ttl)
		e.Positive(lease.ID)
		e.False(seen[lease.ID])
		seen[lease.ID] = true
		e.GreaterOrEqual(lease.TTL, ttl)
		e.GreaterOrEqual(lease.TTL, time.Second)
		e.Zero(lease.TTL % time.Second)
		again, err := l.KeepAlive(e.ctx, lease.ID)
		e.NoError(err)
		e.Equal(lease.TTL, again)
	}
	rev, err := e.b.Revision(e.ctx)
	e.NoError(err)
	e.EqualValues(1, rev, "leases are no revisions")
}

// testExpiry has a table see that the keys of a lease go, all at one revision, and not early.
func testExpiry(e *env) {
	if _, ok := e.leaser(); !ok {
		return
	}
	db := e.db(storage.Config{})
	t := e.pods(db)
	w := e.watch(t, 1, storage.Filter{})
	begin := time.Now()
	lease, err := db.Grant(e.ctx, time.Second)
	e.NoError(err)
	var writes []storage.Write
	for i := range 50 {
		writes = append(writes, storage.Write{Table: t, Key: fmt.Sprintf("%02d", i), Value: []byte("x"), Lease: lease.ID})
	}
	e.write(db, writes...)
	e.set(t, db, "stays", "x")
	e.events(w, 51)
	events, err := w.Next(e.ctx)
	e.NoError(err)
	e.GreaterOrEqual(time.Since(begin), lease.TTL)
	e.Len(events, 50, "in one revision")
	for i, ev := range events {
		e.Nil(ev.New)
		e.Equal(fmt.Sprintf("%02d", i), ev.Old.Key)
		e.EqualValues(4, ev.Rev)
	}
	e.Equal("/registry/pods/stays", e.stored("/"))
	_, err = db.KeepAlive(e.ctx, lease.ID)
	e.leaseEnded(err, lease.ID)
	e.leaseEnded(db.Revoke(e.ctx, lease.ID), lease.ID)
}

// testKeepAlive keeps one lease alive until a later one, which is not, has ended.
func testKeepAlive(e *env) {
	l, ok := e.leaser()
	if !ok {
		return
	}
	kept := e.grant(time.Second)
	e.with(kept.ID, "/l/kept")
	last := e.with(e.grant(time.Second).ID, "/l/control")
	ended := make(chan string)
	go func() {
		defer close(ended)
		for b, err := range e.b.Watch(e.ctx, "/l/", last) {
			if err != nil {
				return
			}
			for _, kv := range b.Events {
				ended <- kv.Key
			}
			if len(b.Events) > 0 && b.Events[0].Key == "/l/kept" {
				return
			}
		}
	}()
	beat := time.NewTicker(100 * time.Millisecond)
	defer beat.Stop()
	for going := true; going; {
		select {
		case key := <-ended:
			e.Equal("/l/control", key)
			going = false
		case <-beat.C:
			ttl, err := l.KeepAlive(e.ctx, kept.ID)
			e.NoError(err)
			e.Equal(kept.TTL, ttl)
		}
	}
	e.Equal("/l/kept", <-ended, "nobody keeps it alive any more")
	<-ended
}

func testRevoke(e *env) {
	l, ok := e.leaser()
	if !ok {
		return
	}
	lease, empty := e.grant(time.Hour), e.grant(time.Hour)
	rev := e.with(lease.ID, "/l/b", "/l/a", "/l/c")
	e.NoError(l.Revoke(e.ctx, empty.ID))
	now, err := e.b.Revision(e.ctx)
	e.NoError(err)
	e.Equal(rev, now, "a lease without keys ends without a revision")
	e.NoError(l.Revoke(e.ctx, lease.ID))
	e.Empty(e.stored("/"))
	e.Equal([]storage.Batch{{Rev: rev + 1, Events: []storage.KV{
		{Key: "/l/a", Rev: rev + 1}, {Key: "/l/b", Rev: rev + 1}, {Key: "/l/c", Rev: rev + 1},
	}}}, e.batches("/l/", rev, 1))
	e.leaseEnded(l.Revoke(e.ctx, lease.ID), lease.ID)
	_, err = l.KeepAlive(e.ctx, lease.ID)
	e.leaseEnded(err, lease.ID)
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	_, err = l.Grant(ctx, time.Second)
	e.Error(err)
}

func testUnknownLease(e *env) {
	l, ok := e.leaser()
	if !ok {
		return
	}
	ended, good := e.grant(time.Hour), e.grant(time.Hour)
	e.NoError(l.Revoke(e.ctx, ended.ID))
	rev := e.put("/there", "1")
	for _, lease := range []int64{ended.ID, 12345} {
		_, err := e.b.Commit(e.ctx, storage.Txn{
			If: []storage.Cond{{Key: "/there", Rev: rev}},
			Then: []storage.Op{
				{Key: "/a", Value: []byte("1")}, {Key: "/b", Value: []byte("1"), Lease: lease}, {Key: "/there"},
			},
		})
		e.leaseEnded(err, lease)
		_, err = e.b.Commit(e.ctx, storage.Txn{
			If:   []storage.Cond{{Key: "/there"}},
			Then: []storage.Op{{Key: "/b", Value: []byte("1"), Lease: lease}},
		})
		e.ErrorIs(err, storage.ErrConflict, "conditions come first")
	}
	_, err := e.b.Commit(e.ctx, storage.Txn{Then: []storage.Op{
		{Key: "/a", Value: []byte("1"), Lease: good.ID}, {Key: "/b", Value: []byte("1"), Lease: ended.ID},
	}})
	e.ErrorIs(err, storage.ErrNotFound)
	e.ErrorAs(err, new(*storage.LeaseError))
	e.Equal("/there", e.stored("/"), "nothing was written")
	now, err := e.b.Revision(e.ctx)
	e.NoError(err)
	e.Equal(rev, now)
	e.Equal(rev+1, e.raw(storage.Txn{Then: []storage.Op{{Key: "/there", Lease: ended.ID}}}), "a deletion has no lease")
	_, err = l.KeepAlive(e.ctx, 12345)
	e.leaseEnded(err, 12345)
}

// testAttachment: a key goes with the lease of its last write.
func testAttachment(e *env) {
	l, ok := e.leaser()
	if !ok {
		return
	}
	first, second := e.grant(time.Hour), e.grant(time.Hour)
	e.with(first.ID, "/freed", "/moved", "/made-anew", "/gone", "/own", "/kept")
	e.with(storage.KeepLease, "/kept", "/freed", "/moved")
	e.put("/freed", "without a lease")
	e.with(second.ID, "/moved")
	e.del("/made-anew")
	e.put("/made-anew", "without a lease")
	e.del("/gone")
	e.put("/late", "1")
	e.with(storage.KeepLease, "/moved")
	e.with(first.ID, "/late")
	_, err := e.b.Commit(e.ctx, storage.Txn{Then: []storage.Op{
		{Key: "/new", Value: []byte("1")}, {Key: "/none", Value: []byte("1"), Lease: storage.KeepLease},
	}})
	e.ErrorIs(err, storage.ErrNotFound)
	var ended *storage.LeaseError
	e.False(errors.As(err, &ended), "it is the key that is missing")
	e.NoError(l.Revoke(e.ctx, first.ID))
	e.Equal("/freed /made-anew /moved", e.stored("/"))
	e.with(storage.KeepLease, "/freed")
	e.NoError(l.Revoke(e.ctx, second.ID))
	e.Equal("/freed /made-anew", e.stored("/"))
}

// testSeveralTables writes keys of several tables under one lease, on conditions on others, and revokes it.
func testSeveralTables(e *env) {
	if _, ok := e.leaser(); !ok {
		return
	}
	db := e.db(storage.Config{})
	a, b := e.table(db, storage.Schema{Prefix: "/registry/a/"}), e.table(db, storage.Schema{Prefix: "/registry/b/"})
	c := e.table(db, storage.Schema{Prefix: "/registry/c/"})
	guard := e.set(c, db, "guard", "1")
	wa, wb := e.watch(a, guard, storage.Filter{}), e.watch(b, guard, storage.Filter{})
	lease, err := db.Grant(e.ctx, time.Hour)
	e.NoError(err)
	writes := func(guard int64) []storage.Write {
		return []storage.Write{
			{Table: a, Key: "x", Value: []byte("1"), Lease: lease.ID},
			{Table: b, Key: "x", Value: []byte("1"), Lease: lease.ID, If: []storage.Cond{{Key: c.Abs("guard"), Rev: guard}}},
			{Table: b, Key: "stays", Value: []byte("1")},
			{If: []storage.Cond{{Key: c.Abs("none")}}},
		}
	}
	_, err = db.Commit(e.ctx, writes(guard-1)...)
	e.ErrorIs(err, storage.ErrConflict)
	rev := e.write(db, writes(guard)...)
	e.Equal(guard+1, rev)
	e.NoError(db.Revoke(e.ctx, lease.ID))
	e.Equal([]string{fmt.Sprintf("+x=1@%d", rev), fmt.Sprintf("-x=1@%d", rev+1)}, e.events(wa, 2))
	e.Equal([]string{
		fmt.Sprintf("+x=1@%d", rev), fmt.Sprintf("+stays=1@%d", rev), fmt.Sprintf("-x=1@%d", rev+1),
	}, e.events(wb, 3))
	_, err = db.Commit(e.ctx, storage.Write{Table: a, Key: "y", Value: []byte("1"), Lease: lease.ID})
	e.leaseEnded(err, lease.ID)
}

// testNoLeases has a backend that hides its leases: a clear error, and no key that would stay for ever.
func testNoLeases(e *env) {
	db, err := storage.New(struct{ storage.Backend }{e.b}, storage.Config{})
	e.NoError(err)
	_, err = db.Grant(e.ctx, time.Second)
	e.ErrorIs(err, errors.ErrUnsupported)
	_, err = db.KeepAlive(e.ctx, 1)
	e.ErrorIs(err, errors.ErrUnsupported)
	e.ErrorIs(db.Revoke(e.ctx, 1), errors.ErrUnsupported)
	_, err = db.Commit(e.ctx, storage.Write{Key: "/a", Value: []byte("1"), Lease: 1})
	e.ErrorIs(err, errors.ErrUnsupported)
	e.True(strings.Contains(err.Error(), "/a"), "%v", err)
	_, err = storage.NewLocks(db, storage.LocksConfig{})
	e.ErrorIs(err, errors.ErrUnsupported)
	e.Empty(e.stored("/"))
}
