package storage

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSharedRevision: all who come while a request runs share the next one, and nobody joins the running.
func TestSharedRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := int64(0)
		release := make(chan struct{})
		s := sharedRevision{ask: func(context.Context) (int64, error) {
			asked++
			<-release
			return asked, nil
		}}
		got := make(chan int64, 20)
		get := func() {
			rev, err := s.get(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- rev
		}
		go get()
		synctest.Wait()
		for range 10 {
			go get()
		}
		synctest.Wait()
		require.EqualValues(t, 1, asked)
		release <- struct{}{}
		require.EqualValues(t, 1, <-got)
		synctest.Wait()
		require.Empty(t, got, "who came later does not get the earlier answer")
		release <- struct{}{}
		for range 10 {
			require.EqualValues(t, 2, <-got)
		}
	})
}

func TestSharedRevisionCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := sharedRevision{ask: func(context.Context) (int64, error) { <-release; return 0, errors.New("down") }}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.get(ctx)
		require.ErrorIs(t, err, context.Canceled)
		close(release)
		_, err = s.get(t.Context())
		require.EqualError(t, err, "down")
	})
}

func TestWaitList(t *testing.T) {
	var l waitList
	a, b, c := l.add(5), l.add(7), l.add(9)
	l.fire(7)
	<-a
	<-b
	select {
	case <-c:
		require.Fail(t, "9 has not come")
	default:
	}
	l.remove(c)
	require.Zero(t, l.n.Load())
}

func TestSignal(t *testing.T) {
	var s signal
	s.fire()
	var wg sync.WaitGroup
	ch := s.wait()
	for range 5 {
		wg.Go(func() { <-ch })
	}
	s.fire()
	wg.Wait()
	require.NotEqual(t, ch, s.wait())
}

// TestBehind: a watch that does not deliver makes consistent reads fail in time, with the reason.
func TestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := New(&stuck{}, Config{})
		require.NoError(t, err)
		table, err := db.Table(Schema{Prefix: "/registry/x/"})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- db.Run(ctx) }()
		begin := time.Now()
		_, err = table.Get(ctx, "a", 0)
		require.ErrorIs(t, err, ErrBehind)
		require.ErrorContains(t, err, "at revision 1, the store at")
		require.Equal(t, 3*time.Second, time.Since(begin))
		_, err = table.Get(ctx, "a", Cached)
		require.ErrorIs(t, err, ErrNotFound)
		cancel()
		require.NoError(t, <-ended)
	})
}

func TestNeverReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := New(&stuck{down: errors.New("no route")}, Config{})
		require.NoError(t, err)
		table, err := db.Table(Schema{Prefix: "/registry/x/"})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- db.Run(ctx) }()
		_, err = table.Snapshot(ctx, Cached, false)
		require.ErrorIs(t, err, ErrBehind)
		require.ErrorContains(t, err, "no route")
		cancel()
		require.NoError(t, <-ended)
	})
}
