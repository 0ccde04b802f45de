package storage_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// view is what one watcher has made of a table's events.
type view map[string]int64

func (v view) apply(t *testing.T, events []storage.Event) (n int) {
	for _, ev := range events {
		switch {
		case ev.New != nil:
			if ev.New.Rev <= v[ev.New.Key] {
				t.Errorf("%s: revision %d after %d", ev.New.Key, ev.New.Rev, v[ev.New.Key])
			}
			v[ev.New.Key] = ev.New.Rev
		case ev.Old != nil:
			delete(v, ev.Old.Key)
		}
		n++
	}
	return n
}

// TestStalledWatchers: of 5,000 watchers 5 % stall. The others get every event, once and in order; the stalled are told
// that they are too late, list and go on, and then know what the others know; and what is kept for them is bounded.
func TestStalledWatchers(t *testing.T) {
	const watchers, stalled, rounds, burst, window = 5_000, 250, 20, 100, 500
	backend, err := memory.New(memory.Config{})
	require.NoError(t, err)
	db, err := storage.New(backend, storage.Config{Window: window})
	require.NoError(t, err)
	table, err := db.Table(storage.Schema{Prefix: "/registry/pods/"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	defer func() { cancel(); require.NoError(t, <-ended) }()
	_, err = table.Snapshot(t.Context(), 0, false)
	require.NoError(t, err)

	all := make([]*storage.Watcher, watchers)
	for i := range all {
		all[i], err = table.Watch(0, storage.Filter{})
		require.NoError(t, err)
		defer all[i].Close()
	}
	views := make([]view, watchers)
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	value := make([]byte, 2_000)
	for round := range rounds {
		var last int64
		for i := range burst {
			w := storage.Write{Table: table, Key: fmt.Sprint(i), Value: value, At: storage.AnyRev}
			if (round+i)%5 == 4 {
				w.Value = nil
			}
			last, err = db.Commit(t.Context(), w)
			require.NoError(t, err)
		}
		require.NoError(t, db.WaitFor(t.Context(), last))
		var wg sync.WaitGroup
		for n := range 8 { // each reads for many
			wg.Go(func() {
				for i := stalled + n; i < watchers; i += 8 {
					if views[i] == nil {
						views[i] = view{}
					}
					for all[i].Rev() < last {
						events, err := all[i].Next(t.Context())
						if err != nil {
							t.Errorf("watcher %d, who keeps up: %v", i, err)
							return
						}
						views[i].apply(t, events)
					}
				}
			})
		}
		wg.Wait()
	}
	var after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&after)
	kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	require.Less(t, kept, int64(watchers*burst*200), "views, a window and nothing for each watcher")

	now, err := table.Snapshot(t.Context(), 0, false)
	require.NoError(t, err)
	want := view{}
	for e := range now.All(storage.Filter{}, "") {
		want[e.Key] = e.Rev
	}
	for i, w := range all {
		if i < stalled {
			_, err := w.Next(t.Context())
			var old *storage.TooOldError
			require.True(t, errors.As(err, &old), "%v", err)
			views[i] = view{}
			for e := range now.All(storage.Filter{}, "") {
				views[i][e.Key] = e.Rev
			}
			all[i], err = table.Watch(now.Rev(), storage.Filter{})
			require.NoError(t, err)
			defer all[i].Close()
		}
		require.Equal(t, want, views[i], i)
	}
	rev, err := db.Commit(t.Context(), storage.Write{Table: table, Key: "last", Value: value})
	require.NoError(t, err)
	for i, w := range all {
		events, err := w.Next(t.Context())
		require.NoError(t, err)
		require.Len(t, events, 1)
		require.Equal(t, rev, events[0].Rev, i)
	}
}
