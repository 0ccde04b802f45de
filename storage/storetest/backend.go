package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/bedplate/bedplate/storage"
)

var backendTests = []test{
	{"Revisions", testRevisions},
	{"Conditions", testConditions},
	{"AllOrNothing", testAllOrNothing},
	{"Range", testRange},
	{"RangeOfThePast", testRangePast},
	{"Pages", testPages},
	{"EmptyValue", testEmptyValue},
	{"SiblingPrefixes", testSiblingPrefixes},
	{"TooLarge", testTooLarge},
	{"BadTransactions", testBadTransactions},
	{"Watch", testBackendWatch},
	{"WatchResume", testBackendResume},
	{"WatchProgress", testBackendProgress},
	{"WatchEnds", testBackendWatchEnds},
	{"Compaction", testCompaction},
	{"Cancelled", testCancelled},
}

func testRevisions(e *env) {
	rev, err := e.b.Revision(e.ctx)
	e.NoError(err)
	e.EqualValues(1, rev, "an empty store is at revision 1")
	e.EqualValues(2, e.put("/a", "1"))
	e.EqualValues(3, e.raw(storage.Txn{Then: []storage.Op{{Key: "/a", Value: []byte("2")}, {Key: "/b", Value: []byte("1")}}}))
	e.EqualValues(3, e.del("/none"), "deleting nothing is no change")
	e.EqualValues(3, e.raw(storage.Txn{If: []storage.Cond{{Key: "/a", Rev: 3}}}), "checking is no change")
	_, err = e.b.Commit(e.ctx, storage.Txn{If: []storage.Cond{{Key: "/a"}}, Then: []storage.Op{{Key: "/a", Value: []byte("3")}}})
	e.ErrorIs(err, storage.ErrConflict)
	e.EqualValues(4, e.del("/a"))
	e.EqualValues(5, e.put("/a", "4"))
	page, err := e.b.Range(e.ctx, storage.Range{Prefix: "/"})
	e.NoError(err)
	e.Equal([]storage.KV{
		{Key: "/a", Value: []byte("4"), Rev: 5, Created: 5},
		{Key: "/b", Value: []byte("1"), Rev: 3, Created: 3},
	}, page.KVs)
	e.EqualValues(5, page.Rev)
	e.put("/b", "2")
	page, err = e.b.Range(e.ctx, storage.Range{Prefix: "/b"})
	e.NoError(err)
	e.Equal([]storage.KV{{Key: "/b", Value: []byte("2"), Rev: 6, Created: 3}}, page.KVs)
}

func testConditions(e *env) {
	a := e.put("/a", "1")
	for _, c := range []struct {
		cond storage.Cond
		want *storage.ConflictError
	}{
		{storage.Cond{Key: "/a", Rev: a}, nil},
		{storage.Cond{Key: "/none"}, nil},
		{storage.Cond{Key: "/a"}, &storage.ConflictError{Key: "/a", Have: a, Exists: true}},
		{storage.Cond{Key: "/a", Rev: a + 5}, &storage.ConflictError{Key: "/a", Want: a + 5, Have: a, Exists: true}},
		{storage.Cond{Key: "/none", Rev: a}, &storage.ConflictError{Key: "/none", Want: a}},
	} {
		_, err := e.b.Commit(e.ctx, storage.Txn{
			If:   []storage.Cond{{Key: "/x"}, c.cond},
			Then: []storage.Op{{Key: "/y", Value: []byte("1")}},
		})
		if c.want == nil {
			e.NoError(err, "%+v", c.cond)
			continue
		}
		var conflict *storage.ConflictError
		e.ErrorAs(err, &conflict)
		e.Equal(c.want, conflict)
		e.ErrorIs(err, storage.ErrConflict)
	}
}

func testAllOrNothing(e *env) {
	e.put("/a", "1")
	_, err := e.b.Commit(e.ctx, storage.Txn{
		If:   []storage.Cond{{Key: "/b"}, {Key: "/a", Rev: 99}},
		Then: []storage.Op{{Key: "/b", Value: []byte("1")}, {Key: "/a"}},
	})
	e.ErrorIs(err, storage.ErrConflict)
	page, err := e.b.Range(e.ctx, storage.Range{Prefix: "/"})
	e.NoError(err)
	e.Len(page.KVs, 1)
	rev := e.raw(storage.Txn{
		If:   []storage.Cond{{Key: "/b"}, {Key: "/a", Rev: 2}},
		Then: []storage.Op{{Key: "/b", Value: []byte("1")}, {Key: "/a"}},
	})
	page, err = e.b.Range(e.ctx, storage.Range{Prefix: "/"})
	e.NoError(err)
	e.Equal([]storage.KV{{Key: "/b", Value: []byte("1"), Rev: rev, Created: rev}}, page.KVs)
}

func keys(kvs []storage.KV) string {
	var out []string
	for _, kv := range kvs {
		out = append(out, kv.Key)
	}
	return strings.Join(out, " ")
}

func testRange(e *env) {
	for _, k := range []string{"/a/1", "/a/2", "/a/3", "/b/1", "/c"} {
		e.put(k, k)
	}
	for _, c := range []struct {
		r    storage.Range
		want string
		more bool
	}{
		{storage.Range{}, "/a/1 /a/2 /a/3 /b/1 /c", false},
		{storage.Range{Prefix: "/a/"}, "/a/1 /a/2 /a/3", false},
		{storage.Range{Prefix: "/a/", Limit: 2}, "/a/1 /a/2", true},
		{storage.Range{Prefix: "/a/", Limit: 3}, "/a/1 /a/2 /a/3", false},
		{storage.Range{Prefix: "/a/", From: "/a/2"}, "/a/2 /a/3", false},
		{storage.Range{Prefix: "/a/", From: "/a/2\x00"}, "/a/3", false},
		{storage.Range{Prefix: "/a/", From: "/"}, "/a/1 /a/2 /a/3", false},
		{storage.Range{Prefix: "/none/"}, "", false},
	} {
		page, err := e.b.Range(e.ctx, c.r)
		e.NoError(err)
		e.Equal(c.want, keys(page.KVs), "%+v", c.r)
		e.Equal(c.more, page.More, "%+v", c.r)
		e.EqualValues(6, page.Rev)
	}
}

func testRangePast(e *env) {
	r2, r3 := e.put("/a", "1"), e.put("/a", "2")
	r4, r5 := e.del("/a"), e.put("/b", "1")
	for rev, want := range map[int64]string{1: "", r2: "/a=1", r3: "/a=2", r4: "", r5: "/b=1"} {
		page, err := e.b.Range(e.ctx, storage.Range{Prefix: "/", At: rev})
		e.NoError(err)
		e.Equal(rev, page.Rev)
		got := ""
		for _, kv := range page.KVs {
			got += kv.Key + "=" + string(kv.Value)
		}
		e.Equal(want, got, "at revision %d", rev)
	}
	_, err := e.b.Range(e.ctx, storage.Range{Prefix: "/", At: r5 + 1})
	e.ErrorIs(err, storage.ErrFuture)
	var future *storage.FutureError
	e.ErrorAs(err, &future)
	e.Equal(r5+1, future.Rev)
}

func testPages(e *env) {
	for i := range 25 {
		e.put(fmt.Sprintf("/p/%02d", i), "x")
	}
	r := storage.Range{Prefix: "/p/", Limit: 7}
	var all []storage.KV
	for more := true; more; {
		page, err := e.b.Range(e.ctx, r)
		e.NoError(err)
		all = append(all, page.KVs...)
		more = page.More
		r.At, r.From = page.Rev, page.KVs[len(page.KVs)-1].Key+"\x00"
		e.put(fmt.Sprintf("/p/%02d.5", len(all)), "later") // must not be seen
		e.del(fmt.Sprintf("/p/%02d", len(all)))            // must still be seen
	}
	e.Len(all, 25)
}

func testEmptyValue(e *env) {
	rev := e.raw(storage.Txn{Then: []storage.Op{{Key: "/e", Value: []byte{}}}})
	page, err := e.b.Range(e.ctx, storage.Range{Prefix: "/e"})
	e.NoError(err)
	e.Equal([]storage.KV{{Key: "/e", Value: []byte{}, Rev: rev, Created: rev}}, page.KVs)
	batches := e.batches("/e", 1, 1)
	e.Equal([]storage.KV{{Key: "/e", Value: []byte{}, Rev: rev, Created: rev}}, batches[0].Events)
}

func testSiblingPrefixes(e *env) {
	for _, k := range []string{"/pods", "/pods/a", "/pods0", "/pods2/a", "/podsandmore/a", "/pod/a"} {
		e.put(k, k)
	}
	page, err := e.b.Range(e.ctx, storage.Range{Prefix: "/pods/"})
	e.NoError(err)
	e.Equal("/pods/a", keys(page.KVs))
	e.Equal("/pods/a", keys(e.batches("/pods/", 1, 1)[0].Events))
	e.put("/z\xff\xff", "end")
	page, err = e.b.Range(e.ctx, storage.Range{Prefix: "/z\xff"})
	e.NoError(err)
	e.Equal("/z\xff\xff", keys(page.KVs))
}

func testTooLarge(e *env) {
	e.put("/large", strings.Repeat("x", 1<<20))
	_, err := e.b.Commit(e.ctx, storage.Txn{Then: []storage.Op{{Key: "/l", Value: make([]byte, 64<<20)}}})
	e.ErrorIs(err, storage.ErrTooLarge)
	rev, err := e.b.Revision(e.ctx)
	e.NoError(err)
	e.EqualValues(2, rev)
}

func testBadTransactions(e *env) {
	_, err := e.b.Commit(e.ctx, storage.Txn{Then: []storage.Op{{Key: "/a", Value: []byte("1")}, {Key: "/a", Value: []byte("2")}}})
	e.Error(err)
	_, err = e.b.Commit(e.ctx, storage.Txn{Then: []storage.Op{{Value: []byte("1")}}})
	e.Error(err)
	rev, err := e.b.Revision(e.ctx)
	e.NoError(err)
	e.EqualValues(1, rev)
}

// batches watches until it has n batches with events.
func (e *env) batches(prefix string, after int64, n int) []storage.Batch {
	e.Helper()
	var out []storage.Batch
	last := after
	for b, err := range e.b.Watch(e.ctx, prefix, after) {
		e.NoError(err)
		if len(b.Events) > 0 {
			e.Greater(b.Rev, last, "revisions come in order, once")
			out = append(out, b)
		}
		e.GreaterOrEqual(b.Rev, last)
		last = b.Rev
		for _, kv := range b.Events {
			e.Equal(b.Rev, kv.Rev)
		}
		if len(out) == n {
			return out
		}
	}
	return out
}

func testBackendWatch(e *env) {
	started := make(chan struct{})
	type result struct {
		batches []storage.Batch
		err     error
	}
	got := make(chan result, 1)
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	go func() {
		var r result
		for b, err := range e.b.Watch(ctx, "/w/", 1) {
			if err != nil {
				r.err = err
				break
			}
			if b.Rev == 1 && len(b.Events) == 0 {
				close(started)
			}
			if len(b.Events) > 0 {
				r.batches = append(r.batches, b)
			}
			if len(r.batches) == 4 {
				break
			}
		}
		got <- r
	}()
	<-started
	e.put("/w/a", "1")
	e.put("/other", "1")
	e.raw(storage.Txn{Then: []storage.Op{
		{Key: "/w/a", Value: []byte("2")}, {Key: "/w/b", Value: []byte("1")}, {Key: "/other", Value: []byte("2")},
	}})
	e.del("/w/a")
	e.put("/w/a", "3")
	r := <-got
	e.NoError(r.err)
	e.Equal([]storage.Batch{
		{Rev: 2, Events: []storage.KV{{Key: "/w/a", Value: []byte("1"), Rev: 2, Created: 2}}},
		{Rev: 4, Events: []storage.KV{
			{Key: "/w/a", Value: []byte("2"), Rev: 4, Created: 2},
			{Key: "/w/b", Value: []byte("1"), Rev: 4, Created: 4},
		}},
		{Rev: 5, Events: []storage.KV{{Key: "/w/a", Rev: 5}}},
		{Rev: 6, Events: []storage.KV{{Key: "/w/a", Value: []byte("3"), Rev: 6, Created: 6}}},
	}, r.batches)
}

func testBackendResume(e *env) {
	const n = 12
	for i := range n {
		e.put(fmt.Sprintf("/w/%d", i%3), fmt.Sprint(i))
	}
	all := e.batches("/w/", 1, n)
	for after := int64(1); after <= n; after++ {
		e.Equal(all[after-1:], e.batches("/w/", after, n-int(after)+1), "after %d", after)
	}
}

func testBackendProgress(e *env) {
	rev := int64(0)
	for b, err := range e.b.Watch(e.ctx, "/w/", 1) {
		e.NoError(err)
		e.Empty(b.Events)
		switch {
		case rev == 0:
			e.put("/other", "1")
			var err error
			rev, err = e.b.Revision(e.ctx)
			e.NoError(err)
		case b.Rev >= rev:
			return
		}
	}
}

func testBackendWatchEnds(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	var last error
	for _, err := range e.b.Watch(ctx, "/w/", 1) {
		last = err
		cancel()
	}
	e.ErrorIs(last, context.Canceled)
	for range e.b.Watch(e.ctx, "/w/", 1) {
		break // leaving the loop ends the watch
	}
}

func testCompaction(e *env) {
	c, ok := e.b.(Compacter)
	if !ok {
		return
	}
	for i := range 10 {
		e.put("/c/a", fmt.Sprint(i))
	}
	e.del("/c/a")
	e.put("/c/b", "1") // revision 13
	e.NoError(c.Compact(e.ctx, 10))
	e.ErrorIs(c.Compact(e.ctx, 9), storage.ErrTooOld)
	_, err := e.b.Range(e.ctx, storage.Range{Prefix: "/c/", At: 9})
	e.ErrorIs(err, storage.ErrTooOld)
	page, err := e.b.Range(e.ctx, storage.Range{Prefix: "/c/", At: 10})
	e.NoError(err)
	e.Equal("/c/a", keys(page.KVs))
	e.EqualValues(10, page.KVs[0].Rev)
	for _, err := range e.b.Watch(e.ctx, "/c/", 5) {
		if err != nil {
			e.ErrorIs(err, storage.ErrTooOld)
			var old *storage.TooOldError
			e.True(errors.As(err, &old))
			e.GreaterOrEqual(old.Oldest, int64(10))
		}
	}
	e.Len(e.batches("/c/", 10, 3), 3)
}

func testCancelled(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	_, err := e.b.Commit(ctx, storage.Txn{Then: []storage.Op{{Key: "/a", Value: []byte("1")}}})
	e.Error(err)
}
