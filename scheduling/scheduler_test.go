package scheduling

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func schedulerConfig(bind func(context.Context, *load, string) error) SchedulerConfig[*load, box] {
	return SchedulerConfig[*load, box]{CycleConfig: cycleConfig(), Bind: bind}
}

// started runs a scheduler until the returned function is called, in a bubble.
func started(t *testing.T, c SchedulerConfig[*load, box]) (s *Scheduler[*load, box], stop func()) {
	t.Helper()
	s, err := New(c)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	return s, func() {
		cancel()
		require.NoError(t, <-ended)
	}
}

func TestSchedulerRetriesWithBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var tries []time.Duration
		var failures []string
		bound := make(chan string, 1)
		c := schedulerConfig(func(_ context.Context, _ *load, host string) error {
			if tries = append(tries, time.Since(start)); len(tries) < 4 {
				return errors.New("not now")
			}
			return nil
		})
		c.Failed = func(l *load, err error) { failures = append(failures, l.Name+": "+err.Error()) }
		c.Bound = func(_ *load, host string) { bound <- host }
		s, stop := started(t, c)
		defer stop()
		s.SetHost("a", &box{Slots: 1})
		require.NoError(t, s.SetItem(&load{Name: "x", Size: 1}))
		require.Equal(t, "a", <-bound)
		require.Equal(t, []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}, tries)
		require.Equal(t, []string{"x: bind to a: not now", "x: bind to a: not now", "x: bind to a: not now"}, failures)
		require.Equal(t, Counts{}, s.Len())
	})
}

func TestSchedulerWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bound := make(chan string, 1)
		failed := make(chan error, 1)
		c := schedulerConfig(func(_ context.Context, l *load, host string) error { bound <- l.Name + " on " + host; return nil })
		c.Failed = func(_ *load, err error) { failed <- err }
		s, stop := started(t, c)
		defer stop()
		require.NoError(t, s.SetItem(&load{Name: "x", Size: 3}))
		require.EqualError(t, <-failed, "no hosts to schedule on")
		s.SetHost("a", &box{Slots: 1})
		require.EqualError(t, <-failed, "0/1 hosts fit: 1 refused by room")
		why, err := s.Explain(t.Context(), &load{Name: "x", Size: 3})
		require.NoError(t, err)
		require.Equal(t, []Refusal{{Host: "a", Plugin: "room", Reasons: []string{"too small"}}}, why)
		s.SetHost("b", &box{Slots: 3})
		require.Equal(t, "x on b", <-bound)
	})
}

// Bindings are bounded, side by side for different hosts, and one after another,
// in order, for one host.
func TestSchedulerBindings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var under, most atomic.Int32
		var mu sync.Mutex
		order := map[string][]string{}
		busy := map[string]bool{}
		var done sync.WaitGroup
		done.Add(60)
		c := schedulerConfig(func(_ context.Context, l *load, host string) error {
			defer done.Done()
			most.Store(max(most.Load(), under.Add(1)))
			mu.Lock()
			require.False(t, busy[host], "two bindings to one host at once")
			busy[host] = true
			order[host] = append(order[host], l.Name)
			mu.Unlock()
			time.Sleep(time.Duration(len(l.Name)) * time.Millisecond)
			mu.Lock()
			busy[host] = false
			mu.Unlock()
			under.Add(-1)
			return nil
		})
		c.Bindings, c.Ahead = 3, 10
		s, stop := started(t, c)
		defer stop()
		for i := range 5 {
			s.SetHost(fmt.Sprint("box-", i), &box{Slots: 100})
		}
		for i := range 60 {
			require.NoError(t, s.SetItem(&load{Name: fmt.Sprintf("%03d", i), Size: 1}))
		}
		done.Wait()
		require.Equal(t, int32(3), most.Load())
		total := 0
		for host, names := range order {
			require.IsIncreasing(t, names, host)
			total += len(names)
		}
		require.Equal(t, 60, total)
	})
}

// A binding that hangs is cut off by its timeout, and by the end of Run.
func TestSchedulerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := make(chan error, 1)
		c := schedulerConfig(func(ctx context.Context, _ *load, _ string) error { <-ctx.Done(); return ctx.Err() })
		c.Failed = func(_ *load, err error) { failed <- err }
		s, stop := started(t, c)
		s.SetHost("a", &box{Slots: 100})
		start := time.Now()
		for i := range 200 { // more than may wait for a binding
			require.NoError(t, s.SetItem(&load{Name: fmt.Sprint(i)}))
		}
		require.ErrorIs(t, <-failed, context.DeadlineExceeded)
		require.Equal(t, 30*time.Second, time.Since(start))
		stop()
		require.EqualError(t, s.Run(t.Context()), "scheduling: Run was called before")
	})
}

func TestSchedulerConfig(t *testing.T) {
	_, err := New(SchedulerConfig[*load, box]{})
	require.EqualError(t, err, "scheduling: SchedulerConfig.Bind is nil")
	c := schedulerConfig(func(context.Context, *load, string) error { return nil })
	c.Bindings = -1
	_, err = New(c)
	require.EqualError(t, err, "scheduling: SchedulerConfig: a limit or timeout is negative")
	c.Bindings, c.HostOf = 0, nil
	_, err = New(c)
	require.EqualError(t, err, "scheduling: CycleConfig.HostOf is nil")
}
