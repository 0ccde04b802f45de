package storage

import (
	"context"
	"iter"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stuck is a backend whose revision grows and whose watch says nothing.
type stuck struct {
	rev  int64
	down error
}

func (s *stuck) Range(context.Context, Range) (Page, error) { return Page{}, s.down }
func (s *stuck) Commit(context.Context, Txn) (int64, error) { return 0, s.down }
func (s *stuck) Revision(context.Context) (int64, error)    { s.rev++; return s.rev, s.down }
func (s *stuck) Watch(ctx context.Context, _ string, after int64) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		if yield(Batch{Rev: after}, nil) {
			<-ctx.Done()
			yield(Batch{}, ctx.Err())
		}
	}
}

func TestConfigRefused(t *testing.T) {
	for _, c := range []Config{{Prefix: "/x"}, {Window: -1}, {Wait: -1}, {FormBytes: -1}} {
		_, err := New(&stuck{}, c)
		require.Error(t, err)
	}
	_, err := New(nil, Config{})
	require.Error(t, err)
}

func TestPending(t *testing.T) {
	var p pending
	p.reset(1)
	for rev := int64(2); rev < 10; rev++ {
		p.add([]KV{{Key: "a", Rev: rev, Value: []byte("xx")}, {Key: "b", Rev: rev}})
	}
	p.trim(100, 1<<20)
	require.EqualValues(t, 1, p.start)
	p.trim(5, 1<<20)
	require.EqualValues(t, 7, p.start, "whole revisions go")
	require.Len(t, p.kvs, 4)
	p.trim(100, 2*(kvOverhead+1)+2)
	require.EqualValues(t, 8, p.start)
	p.trim(100, 0)
	require.EqualValues(t, 9, p.start)
	require.Zero(t, p.bytes)
}

func TestWindow(t *testing.T) {
	db, err := New(&stuck{}, Config{})
	require.NoError(t, err)
	table, err := db.Table(Schema{Prefix: "/registry/x/"})
	require.NoError(t, err)
	var w writer
	w.fill(table, nil, 1)
	var bytes int64
	rev := int64(1)
	for i := range 2000 {
		rev++
		n := 1 + i%3
		if i == 500 {
			n = 1000 // more than a chunk: still in one
		}
		evs := make([]Event, n)
		for j := range evs {
			evs[j] = Event{New: &Entry{}, Rev: rev}
		}
		bytes += w.add(evs)
		w.rev = rev
		bytes -= w.trim(3000)
	}
	require.Equal(t, bytes, w.bytes)
	s := w.publishable()
	require.GreaterOrEqual(t, s.end-s.first(), uint64(3000))
	require.Less(t, s.end-s.first(), uint64(3000+1000+chunkMax))
	for since := s.start; since <= rev; since++ {
		n := s.after(since)
		if evs := s.from(n); since < rev {
			require.Equal(t, since+1, evs[0].Rev)
			if n > s.first() {
				require.Equal(t, since, s.from(n - 1)[0].Rev)
			}
		} else {
			require.Empty(t, evs)
		}
	}
}

func TestWindowBytes(t *testing.T) {
	db, err := New(&stuck{}, Config{WindowBytes: 1 << 20})
	require.NoError(t, err)
	a, err := db.Table(Schema{Prefix: "/registry/a/"})
	require.NoError(t, err)
	b, err := db.Table(Schema{Prefix: "/registry/b/"})
	require.NoError(t, err)
	for _, t := range []*Table{a, b} {
		t.w.fill(t, nil, 1)
		t.publish()
	}
	raw := []byte(strings.Repeat("x", 1000))
	for rev := int64(2); rev < 5000; rev++ {
		key := "/registry/a/x"
		if rev%100 == 0 {
			key = "/registry/b/x"
		}
		db.apply(Batch{Rev: rev, Events: []KV{{Key: key, Value: raw, Rev: rev, Created: 2}}})
		require.LessOrEqual(t, db.windowBytes, int64(1<<20))
	}
	require.Equal(t, a.w.bytes+b.w.bytes, db.windowBytes)
	require.EqualValues(t, 1, b.state.Load().start, "the quiet table keeps its window")
	require.Greater(t, a.state.Load().start, int64(3000))
}
