package reconcile_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
)

const many = 20_000

// BenchmarkAll measures the way from a new manager to 20,000 objects worked on once, and the memory that it takes.
func BenchmarkAll(b *testing.B) {
	for _, view := range []bool{true, false} {
		b.Run(fmt.Sprint("view=", view), func(b *testing.B) {
			env := start(b)
			fill(b, env.Client)
			c := reconcile.Config{Client: env.Client}
			if view {
				c.Tables = env.Server
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for b.Loop() {
				worked(b, c, func() {
					b.StopTimer()
					runtime.GC()
					runtime.ReadMemStats(&after)
					b.StartTimer()
				})
			}
			b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/many, "B/object")
		})
	}
}

func fill(b *testing.B, c *client.Client) {
	widgets := client.For[*Widget](c)
	for n := range many {
		_, err := widgets.Create(context.Background(), widget(fmt.Sprint("w", n), n))
		require.NoError(b, err)
	}
}

func worked(b *testing.B, c reconcile.Config, then func()) {
	m, err := reconcile.New(c)
	require.NoError(b, err)
	var count atomic.Int32
	all := make(chan struct{})
	require.NoError(b, reconcile.Add(m, reconcile.Controller[*Widget]{
		Workers: 4,
		Reconcile: func(context.Context, *Widget) (reconcile.Result, error) {
			if count.Add(1) == many {
				close(all)
			}
			return reconcile.Result{}, nil
		},
	}))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { require.NoError(b, m.Run(ctx)) })
	<-all
	then()
	cancel()
	wg.Wait()
}

// BenchmarkStatusUpdate measures objects per second whose status each run writes.
func BenchmarkStatusUpdate(b *testing.B) {
	env := start(b)
	widgets := client.For[*Widget](env.Client)
	for n := range 64 {
		_, err := widgets.Create(context.Background(), widget(fmt.Sprint("w", n), n))
		require.NoError(b, err)
	}
	m, err := reconcile.New(reconcile.Config{Client: env.Client, Tables: env.Server})
	require.NoError(b, err)
	done := make(chan struct{}, 1000)
	require.NoError(b, reconcile.Add(m, reconcile.Controller[*Widget]{
		Workers: 16,
		Reconcile: func(ctx context.Context, w *Widget) (reconcile.Result, error) {
			patch := fmt.Appendf(nil, `{"status":{"ready":%v}}`, !w.Status.Ready)
			_, err := widgets.PatchStatus(ctx, w.Namespace, w.Name, types.MergePatchType, patch)
			if err == nil {
				select {
				case done <- struct{}{}:
				case <-ctx.Done():
				}
			}
			return reconcile.Result{}, err
		},
	}))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { require.NoError(b, m.Run(ctx)) })
	for b.Loop() {
		<-done
	}
	cancel()
	wg.Wait()
}
