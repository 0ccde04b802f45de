package pods_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/bedplate/bedplate/reconcile/informer"
	"github.com/bedplate/bedplate/scheduling/pods"
	corev1 "k8s.io/api/core/v1"
)

// BenchmarkSchedule decides on and places pods of 100m and 500Mi on 5,000 nodes of
// 4 CPU and 32Gi: the scheduler's part of kube-scheduler's basic benchmark,
// without an API server. Pods of one class keep their ranking; with own classes,
// every pod is judged on every node.
func BenchmarkSchedule(b *testing.B) {
	for _, nodes := range []int{500, 5000} {
		for _, classes := range []string{"one", "own"} {
			b.Run(fmt.Sprintf("nodes=%d/class=%s", nodes, classes), func(b *testing.B) {
				e, err := pods.NewEngine()
				if err != nil {
					b.Fatal(err)
				}
				for i := range nodes {
					n := node(fmt.Sprint("n", i), offers("cpu", "4", "memory", "32Gi", "pods", "110"), labelled("zone", "z1"))
					e.SetHost(n.Name, n)
				}
				var placed []string
				for i := 0; b.Loop(); i++ {
					p := pod(fmt.Sprint("p", i), requests("cpu", "100m", "memory", "500Mi"))
					if classes == "own" {
						p.Spec.Tolerations = []corev1.Toleration{{Key: p.Name}}
					}
					host, err := e.Schedule(context.Background(), p)
					if err != nil {
						b.Fatal(err)
					}
					e.Place(p, host, true)
					if placed = append(placed, pods.Key(p)); len(placed) > 10*nodes { // of 40 that fit
						e.Unplace(placed[0])
						placed = placed[1:]
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
				b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "procs")
			})
		}
	}
}

// BenchmarkDriver creates pods of 100m and 500Mi through the API of a server in
// memory, 200 in a row, and waits until the scheduler has bound them: everything
// but a disk and a node. The API server shares the process.
func BenchmarkDriver(b *testing.B) {
	for _, nodes := range []int{500, 5000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			c := newCluster(b)
			c.ctx = b.Context()
			for i := range nodes {
				c.addNodes(node(fmt.Sprint("n", i), offers("cpu", "4", "memory", "32Gi", "pods", "110"), labelled("zone", "z1")))
			}
			d := c.views(pods.DriverConfig{Client: c.c})
			bound := make(chan struct{}, 1000)
			d.Pods.Handle(informer.Handler[*corev1.Pod]{Change: func(ch informer.Change[*corev1.Pod]) {
				if !ch.Added && ch.Old.Spec.NodeName == "" && ch.New.Spec.NodeName != "" {
					bound <- struct{}{}
				}
			}})
			c.started(d)
			made := 0
			for b.Loop() {
				for range 200 {
					c.addPods(pod(fmt.Sprint("p", made), requests("cpu", "100m", "memory", "500Mi")))
					made++
				}
				for range 200 {
					<-bound
				}
			}
			b.ReportMetric(float64(made)/b.Elapsed().Seconds(), "pods/s")
			b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "procs")
		})
	}
}
