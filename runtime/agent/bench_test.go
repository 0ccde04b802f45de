package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	goruntime "runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/image"
)

// samples is how many pods a percentile is taken from.
const samples = 200

// BenchmarkPodStart is a pod from its creation, bound to the node, to the event that says that it runs: etcd with
// fsync, the API server, the agent and the container are all in it, the image is present, and the pod is on the
// host's network. The floor, in the same run, is a sandbox with a container of /bin/true, from nothing to its exit,
// through runtime alone.
func BenchmarkPodStart(b *testing.B) {
	n := newWorld(b, bedplate.Config{Dir: b.TempDir()}).node(b)
	n.open()
	n.startAgent()
	n.run("first", "exit 0", on(n.world.image))
	n.until("first", over)
	n.delete("first")
	shown := n.shown()
	var pods, floor []time.Duration
	for i := 0; b.Loop(); i++ {
		for j := range samples {
			name := fmt.Sprintf("p%d-%d", i, j)
			begin := time.Now()
			n.run(name, idle, on(n.world.image), func(p *corev1.Pod) { p.Spec.HostNetwork = true })
			require.Equal(b, name, (<-shown).Name)
			pods = append(pods, time.Since(begin))
			require.NoError(b, n.pods.Delete(b.Context(), n.Node, name, client.Grace(0)))
			n.idle()
			floor = append(floor, n.floor(name))
		}
	}
	raw, err := json.Marshal(n.pod("p", idle))
	require.NoError(b, err)
	b.ReportMetric(milliseconds(pods, 50), "p50-ms")
	b.ReportMetric(milliseconds(pods, 99), "p99-ms")
	b.ReportMetric(milliseconds(floor, 50), "floor-p50-ms")
	b.ReportMetric(milliseconds(floor, 99), "floor-p99-ms")
	b.ReportMetric(float64(len(raw)), "B/pod")
	b.ReportMetric(float64(len(pods)), "samples")
	b.ReportMetric(float64(goruntime.GOMAXPROCS(0)), "procs")
}

func on(image string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Image = image }
}

// shown gets each pod when the API first says that it runs.
func (n *node) shown() <-chan *corev1.Pod {
	n.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w, err := n.pods.Watch(ctx, client.InNamespace(n.Node), client.InitialEvents())
	require.NoError(n, err)
	ch := make(chan *corev1.Pod)
	done := make(chan struct{})
	go func() {
		defer close(done)
		seen := map[string]bool{}
		for e, err := range w.All(ctx) {
			if err != nil || e.Type == client.Bookmark || !running(e.Object) || seen[e.Object.Name] {
				continue
			}
			seen[e.Object.Name] = true
			select {
			case ch <- e.Object:
			case <-ctx.Done():
			}
		}
	}()
	n.Cleanup(func() { cancel(); <-done })
	return ch
}

// floor is what a sandbox and /bin/true take.
func (n *node) floor(id string) time.Duration {
	n.Helper()
	ctx := n.Context()
	img, ok := n.images.Present(n.world.image)
	require.True(n, ok)
	begin := time.Now()
	_, err := n.runtime.CreateSandbox(ctx, runtime.SandboxSpec{ID: "s" + id, HostNetwork: true})
	require.NoError(n, err)
	root, err := n.images.Mount(ctx, "c"+id, img, image.MountOptions{})
	require.NoError(n, err)
	_, err = n.runtime.CreateContainer(ctx, runtime.ContainerSpec{ID: "c" + id, SandboxID: "s" + id, Rootfs: root, Args: []string{"/bin/true"}})
	require.NoError(n, err)
	require.NoError(n, n.runtime.StartContainer(ctx, "c"+id))
	_, err = n.runtime.Wait(ctx, "c"+id)
	require.NoError(n, err)
	took := time.Since(begin)
	require.NoError(n, n.runtime.RemoveSandbox(ctx, "s"+id))
	require.NoError(n, n.images.Unmount("c"+id))
	return took
}

func milliseconds(all []time.Duration, percent int) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return float64(sorted[min(len(sorted)*percent/100, len(sorted)-1)].Microseconds()) / 1000
}
