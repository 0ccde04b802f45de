package queue_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/reconcile/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func Example() {
	now := time.Unix(0, 0)
	q := queue.New[string](queue.Config{})
	q.Add(now, "default/a", 0)
	q.Add(now, "default/b", 10)
	q.Add(now, "default/a", 0) // known already
	for {
		key, _, ok := q.Next(now)
		if !ok {
			break
		}
		fmt.Println(key)
		q.Done(now, key)
	}
	// Output:
	// default/b
	// default/a
}

// model says what a queue must do, the slow way.
type model struct {
	ready, busy, again map[int]bool
	due                map[int]time.Time
	failures           map[int]int
}

func (m *model) add(k int) {
	delete(m.due, k)
	if m.busy[k] {
		m.again[k] = true
	} else {
		m.ready[k] = true
	}
}

func (m *model) addAfter(now time.Time, k int, d time.Duration) {
	if d <= 0 {
		m.add(k)
		return
	}
	if m.ready[k] || m.again[k] {
		return
	}
	if at, ok := m.due[k]; !ok || now.Add(d).Before(at) {
		m.due[k] = now.Add(d)
	}
}

func (m *model) tick(now time.Time) {
	for k, at := range m.due {
		if !at.After(now) {
			m.add(k)
		}
	}
}

func TestQueueDoesWhatItsModelDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := queue.New[int](queue.Config{First: time.Millisecond, Last: 100 * time.Millisecond, Fair: 3})
		m := &model{map[int]bool{}, map[int]bool{}, map[int]bool{}, map[int]time.Time{}, map[int]int{}}
		now := time.Unix(0, 0)
		key := rapid.IntRange(0, 6)
		priority := rapid.IntRange(0, 3)
		delay := rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.IntRange(0, 50).Draw(t, "ms")) * time.Millisecond
		})
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				require.Equal(t, len(m.ready), q.Len())
			},
			"add": func(t *rapid.T) {
				k := key.Draw(t, "key")
				m.tick(now)
				q.Add(now, k, priority.Draw(t, "priority"))
				m.add(k)
			},
			"addAfter": func(t *rapid.T) {
				k, d := key.Draw(t, "key"), delay.Draw(t, "delay")
				m.tick(now)
				q.AddAfter(now, k, priority.Draw(t, "priority"), d)
				m.addAfter(now, k, d)
			},
			"time": func(t *rapid.T) {
				now = now.Add(delay.Draw(t, "delay"))
			},
			"next": func(t *rapid.T) {
				m.tick(now)
				k, _, ok := q.Next(now)
				require.Equal(t, len(m.ready) > 0, ok)
				if ok {
					require.True(t, m.ready[k], "key %d was not ready", k)
					delete(m.ready, k)
					m.busy[k] = true
				} else if at, ok := q.Due(); ok {
					require.True(t, at.After(now))
				}
			},
			"done": func(t *rapid.T) {
				k := key.Draw(t, "key")
				if !m.busy[k] {
					t.Skip("not in work")
				}
				m.tick(now)
				q.Done(now, k)
				delete(m.busy, k)
				if m.again[k] {
					delete(m.again, k)
					m.ready[k] = true
				}
			},
			"retry": func(t *rapid.T) {
				k := key.Draw(t, "key")
				if !m.busy[k] {
					t.Skip("not in work")
				}
				want := min(time.Millisecond<<m.failures[k], 100*time.Millisecond)
				m.tick(now)
				require.Equal(t, want, q.Retry(now, k, 0))
				m.failures[k]++
				require.Equal(t, m.failures[k], q.Failures(k))
				m.addAfter(now, k, want)
			},
			"forget": func(t *rapid.T) {
				k := key.Draw(t, "key")
				q.Forget(k)
				m.failures[k] = 0
			},
		})
	})
}

func TestLowPriorityIsNotStarved(t *testing.T) {
	q, now := queue.New[int](queue.Config{Fair: 8}), time.Unix(0, 0)
	q.Add(now, 0, 0)
	for n := 1; n <= 3; n++ {
		q.Add(now, n, 10)
	}
	for n := range 8 {
		k, _, ok := q.Next(now)
		require.True(t, ok)
		q.Done(now, k)
		if k == 0 {
			require.Less(t, n, 8)
			return
		}
		q.Add(now, k, 10)
	}
	t.Fatal("the key of low priority never came")
}

func TestEqualPrioritiesComeInOrder(t *testing.T) {
	q, now := queue.New[int](queue.Config{}), time.Unix(0, 0)
	for n := range 100 {
		q.Add(now, n, 0)
	}
	var got []int
	for range 100 {
		k, _, _ := q.Next(now)
		got = append(got, k)
	}
	require.True(t, slices.IsSorted(got))
}

func TestChurnLeavesNothingBehind(t *testing.T) {
	q, now := queue.New[int](queue.Config{}), time.Unix(0, 0)
	for n := range 50 {
		q.Add(now, n, 0)
	}
	for n := range 100_000 {
		q.Add(now, 1000+n%7, 1+n%3)
		k, _, ok := q.Next(now)
		require.True(t, ok)
		q.Done(now, k)
	}
	require.LessOrEqual(t, q.Keys(), 57)
}

func TestBlockingHandsEverythingToItsWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		q := queue.NewBlocking[int](queue.Config{})
		got := make(chan int, 100)
		for range 4 {
			go func() {
				for {
					k, err := q.Next(ctx)
					if err != nil {
						return
					}
					got <- k
					q.Forget(k)
					q.Done(k, 0)
				}
			}()
		}
		for n := range 10 {
			q.Add(n, 0)
			q.AddAfter(100+n, 0, time.Duration(n)*time.Second)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, got, 20)
		require.Zero(t, q.Metrics().Known)
		require.EqualValues(t, 20, q.Metrics().Done)
		cancel()
		synctest.Wait()
	})
}

func BenchmarkAddNextDone(b *testing.B) {
	q, now := queue.New[int](queue.Config{}), time.Unix(0, 0)
	for n := range 20_000 {
		q.Add(now, n, 0)
	}
	b.ReportAllocs()
	for b.Loop() {
		k, _, _ := q.Next(now)
		q.Done(now, k)
		q.Add(now, k, 0)
	}
}
