package server_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// BenchmarkGoodClients measures what good clients notice of the corpus: the p99 of four that read and write, without
// and with four others that send it at 50 requests a second each. The aim is less than twice.
func BenchmarkGoodClients(b *testing.B) {
	w := everything(b, prometheus.NewRegistry())
	w.furnish()
	g := newHostile(rand.New(rand.NewPCG(hostileSeed(b), 3)), w.r)
	corpus := make([]hostile, 0, 2000)
	for i := range cap(corpus) {
		corpus = append(corpus, g.next(i))
	}
	measure := func(requests int) time.Duration {
		var mu sync.Mutex
		var all []time.Duration
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				c := w.sender(true)
				for i := range requests {
					time.Sleep(5 * time.Millisecond)
					h := hostile{kind: "good", method: "GET", path: mapsPath + "/there", dry: true}
					if i%4 == 0 {
						h.method, h.path, h.header = "PATCH", mapsPath+"/other", typed("application/merge-patch+json")
						h.body = `{"metadata":{"labels":{"x":"` + time.Now().Format("150405.000000") + `"}}}`
					}
					begin := time.Now()
					_, fault := w.send(b.Context(), c, &h)
					took := time.Since(begin)
					mu.Lock()
					all = append(all, took)
					mu.Unlock()
					if fault != "" {
						panic(fault)
					}
				}
			})
		}
		wg.Wait()
		slices.Sort(all)
		return all[len(all)*99/100]
	}
	for b.Loop() {
		calm := measure(300)
		ctx, cancel := context.WithCancel(b.Context())
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() { attackWith(ctx, w, w.sender(i%2 == 0), corpus[i*500:(i+1)*500]) })
		}
		attacked := measure(300)
		cancel()
		wg.Wait()
		b.ReportMetric(float64(calm.Microseconds()), "calm-p99-µs")
		b.ReportMetric(float64(attacked.Microseconds()), "attacked-p99-µs")
		b.ReportMetric(float64(attacked)/float64(calm), "ratio")
	}
	require.NotEmpty(b, corpus)
}

func attackWith(ctx context.Context, w *world, c *http.Client, corpus []hostile) {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			_, _ = w.send(ctx, c, &corpus[i%len(corpus)]) // what it is answered with is the test's business
		}
	}
}
