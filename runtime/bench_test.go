//go:build linux

package runtime

import (
	"fmt"
	"os/exec"
	stdruntime "runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

func modes(b *testing.B, f func(b *testing.B, r *Runtime)) {
	for _, in := range []bool{true, false} {
		b.Run(map[bool]string{true: "inprocess", false: "launcher"}[in], func(b *testing.B) {
			cfg := config(b)
			cfg.InProcess, cfg.Log = in, nil
			r := openFor(b, cfg)
			f(b, r)
		})
	}
}

// BenchmarkTrue is a container from creation over start, exit and its code to removal. The
// floor is BenchmarkFloor; libcontainer alone takes several times that.
func BenchmarkTrue(b *testing.B) {
	modes(b, func(b *testing.B, r *Runtime) {
		sb := sandboxFor(b, r, "pod")
		var all []time.Duration
		for i := 0; b.Loop(); i++ {
			start := time.Now()
			runTrue(b, r, sb, fmt.Sprintf("c%d", i))
			all = append(all, time.Since(start))
		}
		percentiles(b, all)
	})
}

// BenchmarkFloor is what the kernel takes for it: five namespaces, a root and /bin/true.
func BenchmarkFloor(b *testing.B) {
	var all []time.Duration
	for b.Loop() {
		start := time.Now()
		cmd := exec.Command("/bin/true")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Chroot:     sharedRoot,
			Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWNET,
		}
		require.NoError(b, cmd.Run())
		all = append(all, time.Since(start))
	}
	percentiles(b, all)
}

func percentiles(b *testing.B, all []time.Duration) {
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(stdruntime.GOMAXPROCS(0)), "procs")
}

func runTrue(b *testing.B, r *Runtime, sb, id string) {
	ctx := b.Context()
	spec := sh(id, sb, "")
	spec.Args = []string{"/bin/true"}
	_, err := r.CreateContainer(ctx, spec)
	require.NoError(b, err)
	require.NoError(b, r.StartContainer(ctx, id))
	st, err := r.Wait(ctx, id)
	require.NoError(b, err)
	require.Zero(b, st.ExitCode)
	require.NoError(b, r.RemoveContainer(ctx, id))
}

// BenchmarkSandbox makes and removes a sandbox: namespaces, /dev/shm, cgroup. The floor
// for the namespaces is 0.3 ms.
func BenchmarkSandbox(b *testing.B) {
	cfg := config(b)
	cfg.InProcess, cfg.Log = true, nil
	r := openFor(b, cfg)
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprintf("s%d", i)
		sandboxFor(b, r, id)
		require.NoError(b, r.RemoveSandbox(b.Context(), id))
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/sandbox")
}

// BenchmarkExec runs /bin/true in a running container.
func BenchmarkExec(b *testing.B) {
	modes(b, func(b *testing.B, r *Runtime) {
		launch(b, r, sh("c", sandboxFor(b, r, "pod"), "exec sleep 100000"))
		for b.Loop() {
			code, err := r.Exec(b.Context(), "c", ExecSpec{Args: []string{"/bin/true"}})
			require.NoError(b, err)
			require.Zero(b, code)
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/exec")
	})
}

// Benchmark50 starts 50 containers at once, waits for all and removes them. libcontainer's
// own floor for the first part is 281 ms.
func Benchmark50(b *testing.B) {
	const n = 50
	modes(b, func(b *testing.B, r *Runtime) {
		sb := sandboxFor(b, r, "pod")
		for i := 0; b.Loop(); i++ {
			var g errgroup.Group
			for j := range n {
				g.Go(func() error { runTrue(b, r, sb, fmt.Sprintf("c%d-%d", i, j)); return nil })
			}
			require.NoError(b, g.Wait())
		}
		b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/50")
	})
}
