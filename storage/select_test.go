package storage

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// watched is a loaded table with objects "<label> <index>".
func watched(t *testing.T) *Table {
	db, err := New(&stuck{}, Config{Window: 16})
	require.NoError(t, err)
	table, err := db.Table(Schema{Prefix: "/registry/x/", Indexes: []string{"i"}, Head: func(raw []byte) (Head, error) {
		return Head{Labels: []Pair{{"l", string(raw[:1])}}, Index: []string{string(raw[1:])}}, nil
	}})
	require.NoError(t, err)
	table.w.fill(table, nil, 1)
	table.publish()
	return table
}

func (t *Table) put(key, raw string) {
	rev := t.w.rev + 1
	kv := KV{Key: t.Abs(key), Rev: rev, Created: rev}
	if raw != "" {
		kv.Value = []byte(raw)
	}
	t.db.apply(Batch{Rev: rev, Events: []KV{kv}})
}

// TestTermsWake: those who wait for a value are woken by a change to or from it, and by nothing else.
func TestTermsWake(t *testing.T) {
	table := watched(t)
	filters := map[string]Filter{
		"label": {LabelIs: []Pair{{"l", "r"}}}, "index": {IndexIs: []Pair{{"i", "1"}}, LabelIs: []Pair{{"l", "other"}}},
		"key": {Key: "a/1"}, "space": {Prefix: "a/"}, "longer": {Prefix: "a/1"},
		"function": {Labels: func(p []Pair) bool { return p[0].Value == "r" }},
	}
	woken := map[string]<-chan struct{}{}
	for name, f := range filters {
		w, err := table.Watch(0, f)
		require.NoError(t, err)
		defer w.Close()
		if k := w.listed(); k != nil {
			woken[name] = k.signal.wait()
		} else {
			require.True(t, table.sleepers.enter(w))
			woken[name] = w.alarm
		}
	}
	check := func(want ...string) {
		t.Helper()
		for name, ch := range woken {
			select {
			case <-ch:
				require.Contains(t, want, name)
				delete(woken, name)
			default:
				require.NotContains(t, want, name)
			}
		}
	}
	table.put("b/1", "b2")
	check()
	table.put("b/1", "")
	check()
	table.put("c", "b2")
	check()
	table.put("c", "b1")
	check("index")
	table.put("a/12", "b2")
	check("space", "longer")
	table.put("c", "r2")
	check("label", "function")
	table.put("a/1", "b2")
	check("key")
	require.Empty(t, woken)
}

// TestBucketsGo: what is kept for watchers goes with the last of them.
func TestBucketsGo(t *testing.T) {
	table := watched(t)
	f := Filter{LabelIs: []Pair{{"l", "r"}}}
	a, err := table.Watch(0, f)
	require.NoError(t, err)
	b, err := table.Watch(0, f)
	require.NoError(t, err)
	require.Same(t, a.listed(), b.listed())
	for i := range 1000 {
		table.put("x", "rb"[i%2:i%2+1]+"1")
	}
	require.LessOrEqual(t, len(a.listed().numbers), 2*(16+chunkMax), "no more than the window has")
	a.Close()
	a.Close()
	require.Len(t, table.buckets.kinds, 1)
	_, err = b.Next(t.Context())
	require.ErrorIs(t, err, ErrTooOld)
	require.Empty(t, table.buckets.kinds, "who is cut off leaves")
	b.Close()

	c, err := table.Watch(0, Filter{Labels: func([]Pair) bool { return false }})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Next(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, table.sleepers.list)
}

// TestSleep: nobody goes to sleep with something to look at, and a gap wakes all.
func TestSleep(t *testing.T) {
	table := watched(t)
	w, err := table.Watch(0, Filter{Labels: func(p []Pair) bool { return p[0].Value == "r" }})
	require.NoError(t, err)
	defer w.Close()
	table.put("a", "b1")
	require.False(t, table.sleepers.enter(w))
	_, err = w.take(table.state.Load())
	require.NoError(t, err)
	require.True(t, table.sleepers.enter(w))
	table.put("a", "b2")
	require.Len(t, table.sleepers.list, 1, "it sleeps on")
	require.Equal(t, table.state.Load().end, w.cursor.Load())
	table.w.refill(table, nil, 9)
	table.publish()
	require.Len(t, w.alarm, 1)
	require.Empty(t, table.sleepers.list)
	_, err = w.Next(t.Context())
	require.ErrorIs(t, err, ErrTooOld)
}

// TestPastBytes: what is kept of the past is bounded by bytes, too, but for the last.
func TestPastBytes(t *testing.T) {
	table := watched(t)
	table.db.c.WindowBytes = 100 * pastShare
	p := &table.past
	p.mu.Lock()
	for rev := range int64(3) {
		p.keep(&Snapshot{rev: rev}, 40)
	}
	require.EqualValues(t, 80, p.bytes)
	require.Nil(t, p.find(0))
	p.keep(&Snapshot{rev: 9}, 1000)
	require.Len(t, p.list, 1)
	require.NotNil(t, p.find(9))
	p.mu.Unlock()
	p.clear()
	require.Zero(t, p.bytes)
	require.Nil(t, p.timer)
}

// TestPastExpires: what nobody asks for any more goes after a while.
func TestPastExpires(t *testing.T) {
	table := watched(t)
	table.past.mu.Lock()
	table.past.keep(&Snapshot{rev: 1}, 1)
	table.past.list[0].used = table.past.list[0].used.Add(-pastIdle)
	table.past.keep(&Snapshot{rev: 2}, 1)
	table.past.mu.Unlock()
	table.past.expire()
	require.Len(t, table.past.list, 1)
	table.past.list[0].used = table.past.list[0].used.Add(-pastIdle)
	table.past.expire()
	require.Empty(t, table.past.list)
	require.Zero(t, table.past.bytes)
}

// TestPastEnds: reads of the past end with Run.
func TestPastEnds(t *testing.T) {
	table := watched(t)
	table.db.runCtx, table.db.phase = t.Context(), phaseEnded
	_, err := table.past.read(t.Context(), 1)
	require.ErrorIs(t, err, ErrClosed)
	table.db.phase = phaseKnown
	table.db.b.(*stuck).down = errors.New("no connection")
	_, err = table.past.read(t.Context(), 1)
	require.ErrorContains(t, err, "no connection")
	table.db.loads.Wait()
	require.Empty(t, table.past.reading, "the next one tries again")
}

// TestPastShared: who wants what is being read joins, and who leaves cancels nothing that others want.
func TestPastShared(t *testing.T) {
	table := watched(t)
	table.db.runCtx, table.db.phase = t.Context(), phaseKnown
	p := &table.past
	p.turn <- struct{}{}
	a, _, err := p.join(1)
	require.NoError(t, err)
	b, _, err := p.join(1)
	require.NoError(t, err)
	require.Same(t, a, b)
	p.leave(a)
	c, _, err := p.join(1)
	require.NoError(t, err)
	require.Same(t, a, c, "it goes on")
	p.leave(a)
	p.leave(a)
	<-a.done
	require.ErrorIs(t, a.err, ErrClosed)
	require.Empty(t, p.reading)
	<-p.turn
	table.db.loads.Wait()
}

func BenchmarkHistory(b *testing.B) {
	db, err := New(&stuck{}, Config{})
	require.NoError(b, err)
	table, err := db.Table(Schema{Prefix: "/registry/x/"})
	require.NoError(b, err)
	table.w.fill(table, nil, 1)
	table.publish()
	for i := range 10_000 {
		key := fmt.Sprintf("ns/object-%d", i%1000)
		if i > 2000 && i < 9000 {
			key += "-other"
		}
		table.put(key, "xx")
	}
	table.put("ns/object-3", "")
	st := table.state.Load()
	for name, key := range map[string]string{"there=3versions": "ns/object-4", "gone": "ns/object-3", "never": "ns/object-x"} {
		b.Run(name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				n = 0
				for range st.backwards(key) {
					n++
				}
			}
			b.ReportMetric(float64(n), "events")
		})
	}
}
