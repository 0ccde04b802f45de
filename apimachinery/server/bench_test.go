//go:build unix

package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
	"github.com/bedplate/bedplate/storage/memory"
)

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measured runs the loop of a benchmark in some goroutines and reports the CPU time of the whole process for
// each operation, clients and store included.
func measured(b *testing.B, clients int, op func(i int)) {
	b.ReportAllocs()
	runtime.GC()
	before := cpu()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				if i > b.N {
					return
				}
				op(i)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpu()-before)/float64(time.Microsecond)/float64(b.N), "µs-cpu/op")
	b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "procs")
}

func benchWorld(b *testing.B) *world {
	m, err := memory.New(memory.Config{History: 2000})
	require.NoError(b, err)
	return benchOver(b, m)
}

func benchOver(b *testing.B, m storage.Backend) *world {
	return startOver(b, m, func(c *server.Config) {
		r, err := apimachinery.NewRegistry(append(resources(), core.Pods())...)
		require.NoError(b, err)
		c.Registry = r
	})
}

func doors(b *testing.B, bench func(b *testing.B, w *world, d apimachinery.Doer, clients int)) {
	b.Run("process/1", func(b *testing.B) { w := benchWorld(b); bench(b, w, w.s.As(tester), 1) })
	b.Run("process/16", func(b *testing.B) { w := benchWorld(b); bench(b, w, w.s.As(tester), 16) })
	b.Run("HTTPS/1", func(b *testing.B) { w := benchWorld(b); bench(b, w, w.conn, 1) })
	b.Run("HTTPS/16", func(b *testing.B) { w := benchWorld(b); bench(b, w, w.conn, 16) })
}

// BenchmarkCreate creates pods of 2.9 KB; the store is in memory.
func BenchmarkCreate(b *testing.B) {
	doors(b, func(b *testing.B, w *world, d apimachinery.Doer, clients int) {
		raw, err := json.Marshal(pod("x"))
		require.NoError(b, err)
		b.ReportMetric(float64(len(raw)), "B/object")
		one := pod("x")
		measured(b, clients, func(i int) {
			p := *one
			p.Name = fmt.Sprintf("pod-%d", i)
			resp, err := d.Do(context.Background(), &apimachinery.Request{Verb: "create", Resource: pods, Namespace: "default", Object: &p})
			drain(b, resp, err)
		})
		b.ReportMetric(float64(len(raw)), "B/object")
	})
}

func drain(b *testing.B, resp *apimachinery.Response, err error) {
	if err != nil {
		b.Error(err)
		return
	}
	if resp.Stream != nil {
		_, err = io.Copy(io.Discard, resp.Stream)
		resp.Stream.Close()
	}
	if err != nil {
		b.Error(err)
	}
}

// BenchmarkCreateEtcd creates the same pods in an etcd of this process, with every write synced to disk.
func BenchmarkCreateEtcd(b *testing.B) {
	for _, c := range []struct {
		door    string
		clients int
	}{{"process", 1}, {"process", 16}, {"HTTPS", 1}, {"HTTPS", 16}} {
		b.Run(fmt.Sprintf("%s/%d", c.door, c.clients), func(b *testing.B) {
			e, err := embedded.New(embedded.Config{Dir: b.TempDir()})
			require.NoError(b, err)
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- e.Run(ctx) }()
			<-e.Ready()
			b.Cleanup(func() {
				cancel()
				require.NoError(b, <-ended)
			})
			w := benchOver(b, e.Backend())
			d := w.s.As(tester)
			if c.door == "HTTPS" {
				d = w.conn
			}
			one := pod("x")
			measured(b, c.clients, func(i int) {
				p := *one
				p.Name = fmt.Sprintf("pod-%d", i)
				resp, err := d.Do(context.Background(), create(pods, &p))
				drain(b, resp, err)
			})
		})
	}
}

// BenchmarkGet gets one pod, linearizable.
func BenchmarkGet(b *testing.B) {
	doors(b, func(b *testing.B, w *world, d apimachinery.Doer, clients int) {
		must[corev1.Pod](b, w.s.As(tester), create(pods, pod("x")))
		measured(b, clients, func(int) {
			resp, err := d.Do(context.Background(), get(pods, "x"))
			drain(b, resp, err)
		})
	})
}

// BenchmarkPatch merges one label into one pod.
func BenchmarkPatch(b *testing.B) {
	doors(b, func(b *testing.B, w *world, d apimachinery.Doer, clients int) {
		for i := range clients {
			must[corev1.Pod](b, w.s.As(tester), create(pods, pod(fmt.Sprintf("x%d", i))))
		}
		measured(b, clients, func(i int) {
			resp, err := d.Do(context.Background(), patch(pods, fmt.Sprintf("x%d", i%clients), mergePatch, fmt.Sprintf(`{"metadata":{"labels":{"n":"v%d"}}}`, i)))
			drain(b, resp, err)
		})
	})
}

// BenchmarkList lists 5,000 pods.
func BenchmarkList(b *testing.B) {
	for _, door := range []string{"process", "HTTPS"} {
		b.Run(door, func(b *testing.B) {
			w := benchWorld(b)
			for i := range 5000 {
				must[corev1.Pod](b, w.s.As(tester), create(pods, pod(fmt.Sprintf("pod-%d", i))))
			}
			d := w.s.As(tester)
			if door == "HTTPS" {
				d = w.conn
			}
			measured(b, 1, func(int) {
				resp, err := d.Do(context.Background(), list(pods, metav1.ListOptions{}))
				drain(b, resp, err)
			})
		})
	}
}

// BenchmarkWatch sends each create to 100 watchers; an operation is one event at one watcher.
func BenchmarkWatch(b *testing.B) {
	const watchers = 100
	for _, door := range []string{"process", "HTTPS"} {
		b.Run(door, func(b *testing.B) {
			w := benchWorld(b)
			d := w.s.As(tester)
			if door == "HTTPS" {
				d = w.conn
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			creates := b.N/watchers + 1
			var wg sync.WaitGroup
			for range watchers {
				resp, err := d.Do(ctx, &apimachinery.Request{Verb: "watch", Resource: pods, Namespace: "default", Options: &metav1.ListOptions{}})
				require.NoError(b, err)
				wg.Go(func() {
					defer resp.Stream.Close()
					buf := make([]byte, 256<<10)
					for seen := 0; seen < creates; {
						n, err := resp.Stream.Read(buf)
						if err != nil {
							b.Error(err)
							return
						}
						for _, c := range buf[:n] {
							if c == '\n' {
								seen++
							}
						}
					}
				})
			}
			runtime.GC()
			before := cpu()
			b.ResetTimer()
			for i := range creates {
				p := pod(fmt.Sprintf("pod-%d", i))
				_, err := w.s.As(tester).Do(ctx, create(pods, p))
				require.NoError(b, err)
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(cpu()-before)/float64(time.Microsecond)/float64(creates*watchers), "µs-cpu/event")
		})
	}
}

// BenchmarkFloor is what the parts of a create cost that nobody can leave out: read the pod, write it.
func BenchmarkFloor(b *testing.B) {
	raw, err := json.Marshal(pod("x"))
	require.NoError(b, err)
	b.Run("decode", func(b *testing.B) {
		measured(b, 1, func(int) {
			if err := apimachinery.DecodeLoose(raw, &corev1.Pod{}); err != nil {
				b.Error(err)
			}
		})
	})
	q := apimachinery.NewQuickDecoder()
	b.Run("decode quick", func(b *testing.B) {
		measured(b, 1, func(int) {
			if _, err := q.Decode(raw, &corev1.Pod{}); err != nil {
				b.Error(err)
			}
		})
	})
	p := pod("x")
	b.Run("encode", func(b *testing.B) {
		measured(b, 1, func(int) {
			if _, err := apimachinery.Encode(p); err != nil {
				b.Error(err)
			}
		})
	})
}
