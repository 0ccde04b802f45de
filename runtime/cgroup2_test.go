//go:build linux

package runtime

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/stretchr/testify/require"
)

// cgroup2 skips a test where there is no version 2 of cgroups alone; "make vmtest" runs it there.
func cgroup2(t *testing.T) {
	t.Helper()
	if !cgroups.IsCgroup2UnifiedMode() {
		t.Skip("this machine has cgroup version 1")
	}
}

// group reads a file of a cgroup.
func group(t *testing.T, path, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", path, file))
	require.NoError(t, err)
	return strings.TrimSpace(string(b))
}

// Limits arrive in the files of version 2, and controllers are enabled all along the way, where no process is.
func TestCgroup2Limits(t *testing.T) {
	cgroup2(t)
	r := openFor(t, config(t))
	limits := Resources{Memory: 64 << 20, CPUShares: 1024, CPUQuota: 25_000, CPUPeriod: 50_000, CPUs: "0", Pids: 20}
	_, err := r.CreateSandbox(t.Context(), SandboxSpec{ID: "pod", CgroupPath: "burstable/pod", Resources: limits})
	require.NoError(t, err)
	s := sh("c", "pod", "exec sleep 1000")
	s.Resources = limits
	launch(t, r, s)
	parent := r.cfg.CgroupParent
	pod := parent + "/burstable/pod"
	own := pod + "/c"
	for _, g := range []string{pod, own} {
		for file, want := range map[string]string{
			"memory.max": "67108864", "cpu.weight": "100", "cpu.max": "25000 50000", "cpuset.cpus": "0", "pids.max": "20",
		} {
			require.Equal(t, want, group(t, g, file), "%s of %s", file, g)
		}
	}
	require.Equal(t, "0", group(t, own, "memory.swap.max"))
	require.Equal(t, "1", group(t, own, "memory.oom.group"))
	for _, g := range []string{parent, parent + "/burstable", pod} {
		require.Subset(t, strings.Fields(group(t, g, "cgroup.subtree_control")), []string{"cpu", "memory", "pids", "cpuset"}, g)
		require.Empty(t, group(t, g, "cgroup.procs"), g)
	}
	require.Len(t, strings.Fields(group(t, own, "cgroup.procs")), 1)
	require.Len(t, strings.Fields(group(t, parent+"/keeper", "cgroup.procs")), 2)
	require.Empty(t, group(t, parent+"/keeper", "cgroup.subtree_control"))
	stats, err := r.SandboxStats("pod")
	require.NoError(t, err)
	require.Equal(t, uint64(64<<20), stats.Limit)
	require.Positive(t, stats.Pids)
	require.Positive(t, stats.Memory)
	require.Positive(t, stats.CPU)
}

// A container sees its own cgroup as the root, and can't change it; nor can what is run in it later.
func TestCgroup2Namespace(t *testing.T) {
	cgroup2(t)
	both(t, func(t *testing.T, r *Runtime) {
		look := "cat /proc/self/cgroup; ls -d /sys/fs/cgroup/bedplate* /sys/fs/cgroup/c; mkdir /sys/fs/cgroup/x; echo 0 >/sys/fs/cgroup/cgroup.procs; cat /sys/fs/cgroup/pids.max"
		sees := func(out string) {
			require.Contains(t, out, "0::/\n")
			require.Contains(t, out, "mkdir: can't create directory '/sys/fs/cgroup/x': Read-only file system")
			require.Contains(t, out, "can't create /sys/fs/cgroup/cgroup.procs: Read-only file system")
			require.Equal(t, 2, strings.Count(out, "No such file or directory"), out)
			require.Contains(t, out, "\n20\n")
		}
		s := sh("c", sandboxFor(t, r, "pod"), look)
		s.Resources.Pids = 20
		out, _ := output(t, r, s)
		sees(out)
		s = sh("later", "pod", "exec sleep 1000")
		s.Resources.Pids = 20
		launch(t, r, s)
		var later bytes.Buffer
		_, err := r.Exec(t.Context(), "later", ExecSpec{Args: []string{"sh", "-c", look}, Streams: Streams{Stdout: &later, Stderr: &later}})
		require.NoError(t, err)
		sees(later.String())
	})
}

// One process that takes too much memory ends the whole container.
func TestCgroup2OOM(t *testing.T) {
	cgroup2(t)
	r := inProcess(t)
	s := sh("c", sandboxFor(t, r, "pod"), "tail -c 200m /dev/zero; sleep 1000")
	s.Resources.Memory = 32 << 20
	_, st := output(t, r, s)
	require.Equal(t, ReasonOOMKilled, st.Reason)
	require.Equal(t, 137, st.ExitCode)
	stats, err := r.SandboxStats("pod")
	require.NoError(t, err)
	require.Positive(t, stats.OOMKills)
}

// What is frozen can be stopped, and what shares the machine's PIDs ends with all of its children.
func TestCgroup2Kill(t *testing.T) {
	cgroup2(t)
	r := inProcess(t)
	_, err := r.CreateSandbox(t.Context(), SandboxSpec{ID: "pod", HostPID: true})
	require.NoError(t, err)
	launch(t, r, sh("c", "pod", "sleep 1000 & sleep 1000 & sleep 1000 & wait"))
	st, err := r.Sandbox("pod")
	require.NoError(t, err)
	own := st.CgroupPath + "/c"
	await := func(file, want string) {
		require.Eventually(t, func() bool { return strings.Contains(group(t, own, file), want) }, 30*time.Second, time.Millisecond)
	}
	await("pids.current", "4")
	require.NoError(t, os.WriteFile(filepath.Join("/sys/fs/cgroup", own, "cgroup.freeze"), []byte("1"), 0))
	await("cgroup.events", "frozen 1")
	require.NoError(t, r.StopContainer(t.Context(), "c", 0))
	require.Equal(t, syscall.SIGKILL, ended(t, r, "c").Signal)
	await("cgroup.events", "populated 0")
}
