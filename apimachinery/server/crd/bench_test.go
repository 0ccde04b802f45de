package crd_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// named is widgetDefinition in a group of its own.
func named(i int) string {
	return strings.ReplaceAll(widgetDefinition, "example.com", fmt.Sprintf("g%d.example.com", i))
}

// BenchmarkCreatedToServed is the time from the request that creates a definition to the answer to the first request
// that uses it, over HTTPS.
func BenchmarkCreatedToServed(b *testing.B) {
	w := start(b, nil)
	i := 0
	for b.Loop() {
		w.post(definitions, named(i)).is(201)
		w.post(fmt.Sprintf("/apis/g%d.example.com/v1/namespaces/default/widgets", i), strings.Replace(widget("a", "{color: red}"), "example.com", fmt.Sprintf("g%d.example.com", i), 1)).is(201)
		i++
	}
}

// BenchmarkIdle is what a definition costs that is established and that nobody uses: memory, the store's included.
func BenchmarkIdle(b *testing.B) {
	const n = 2000
	for b.Loop() {
		w := start(b, nil)
		before := heap()
		begun := time.Now()
		for i := range n {
			w.post(definitions, named(i)).is(201)
		}
		require.Eventually(b, func() bool { return len(w.r.All()) >= n }, time.Minute, 10*time.Millisecond)
		b.ReportMetric(time.Since(begun).Seconds()/n*1e6, "µs/definition")
		b.ReportMetric(float64(heap()-before)/n, "B/definition")
	}
}

func heap() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
