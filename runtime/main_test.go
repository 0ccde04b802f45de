//go:build linux

package runtime

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bedplate/bedplate/runtime/internal/cg"
	"github.com/bedplate/bedplate/runtime/internal/crash"
	"github.com/bedplate/bedplate/runtime/internal/launcher"
	"github.com/bedplate/bedplate/runtime/internal/testroot"
)

// crashEnv has a process of this test binary die at a step: "step" or, to pass it a number
// of times before, "step:times".
const crashEnv = "RUNTIME_TEST_CRASH_AT"

// agentEnv makes this test binary an agent that a test can kill; see agent_test.go.
const agentEnv = "RUNTIME_TEST_AGENT"

var sharedRoot string

func TestMain(m *testing.M) {
	if step := os.Getenv(crashEnv); step != "" {
		crashAt(step)
	}
	Init()
	if name := os.Getenv(agentEnv); name != "" {
		os.Exit(agentMain(name))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", mine())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// Whatever the tests make is told by its name from what others have on the machine.
	if err := os.Setenv("TMPDIR", dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	sharedRoot = filepath.Join(dir, "root")
	if err := testroot.Make(sharedRoot); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	before := inventory()
	code := m.Run()
	if code == 0 {
		if left := before.leaked(inventory()); left != "" {
			fmt.Fprintln(os.Stderr, "left behind:\n"+left)
			code = 1
		}
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

// crashAt dies at a step once. A file remembers it over restarts, as a launcher that dies
// is started again with the same environment.
func crashAt(spec string) {
	step, mark, _ := strings.Cut(spec, "@")
	crash.Set(func(s string) {
		if s != step {
			return
		}
		f, err := os.OpenFile(mark, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return
		}
		_ = f.Close()
		os.Exit(7)
	})
}

// state is what a test may not leave behind.
type state struct{ mounts, cgroups, processes map[string]bool }

func inventory() state {
	s := state{map[string]bool{}, map[string]bool{}, map[string]bool{}}
	b, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 {
			s.mounts[f[4]] = true
		}
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, mine()) {
			s.cgroups[path] = true
		}
		return nil
	})
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		b, _ := os.ReadFile(p)
		if c := string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})); strings.Contains(c, mine()) {
			s.processes[p+" "+c] = true
		}
	}
	return s
}

func (s state) leaked(now state) string {
	var left []string
	for _, m := range []struct{ before, after map[string]bool }{
		{s.mounts, now.mounts}, {s.cgroups, now.cgroups}, {s.processes, now.processes},
	} {
		for k := range m.after {
			if !m.before[k] && strings.Contains(k, mine()) {
				left = append(left, k)
			}
		}
	}
	return strings.Join(left, "\n")
}

// mine is in the names of everything that these tests make.
func mine() string { return fmt.Sprintf("bedplate-test-%d-", os.Getpid()) }

var dirs atomic.Int64

// config is one of a folder for this test alone.
func config(t testing.TB) Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "state-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return Config{
		Dir: dir, CgroupParent: fmt.Sprintf("/%s%d", mine(), dirs.Add(1)),
		Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// open opens a Runtime that is shut down with the test, and shows the launcher's log if it fails.
func openFor(t testing.TB, cfg Config) *Runtime {
	t.Helper()
	r, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { shutdown(t, cfg, r) })
	return r
}

func shutdown(t testing.TB, cfg Config, r *Runtime) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	log, _ := os.ReadFile(filepath.Join(cfg.Dir, "launcher.log"))
	if r.ifOpen() != nil {
		return
	}
	// Tests don't wait for commands that ignore SIGTERM, as PID 1 does by default.
	for _, c := range r.Containers() {
		_ = r.StopContainer(ctx, c.Spec.ID, 0)
	}
	if err := r.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if t.Failed() {
		t.Logf("launcher.log:\n%s", log)
	}
	if g, err := cg.Open(cfg.CgroupParent); err != nil || g.Exists() {
		t.Errorf("cgroup %s is left: %v", cfg.CgroupParent, err)
	}
	if pid, err := launcher.KeeperPID(r.dir); err == nil {
		t.Errorf("keeper %d is left", pid)
	}
}

// both runs a test with and without a keeper.
func both(t *testing.T, f func(t *testing.T, r *Runtime)) {
	for _, in := range []bool{true, false} {
		t.Run(map[bool]string{true: "in process", false: "keeper"}[in], func(t *testing.T) {
			cfg := config(t)
			cfg.InProcess = in
			f(t, openFor(t, cfg))
		})
	}
}

// sandboxFor makes a sandbox with default settings.
func sandboxFor(t testing.TB, r *Runtime, id string) string {
	t.Helper()
	_, err := r.CreateSandbox(t.Context(), SandboxSpec{ID: id})
	require.NoError(t, err)
	return id
}

// sh is a spec that runs a shell script.
func sh(id, sandbox, script string) ContainerSpec {
	return ContainerSpec{
		ID: id, SandboxID: sandbox, Rootfs: sharedRoot, ReadOnlyRoot: true,
		Args: []string{"/bin/sh", "-c", script},
	}
}

// launch creates and starts.
func launch(t testing.TB, r *Runtime, spec ContainerSpec) {
	t.Helper()
	_, err := r.CreateContainer(t.Context(), spec)
	require.NoError(t, err)
	require.NoError(t, r.StartContainer(t.Context(), spec.ID))
}

// ended waits for the end.
func ended(t testing.TB, r *Runtime, id string) ContainerStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	st, err := r.Wait(ctx, id)
	require.NoError(t, err)
	return st
}

// output runs a spec to its end and returns what it wrote to both streams.
func output(t testing.TB, r *Runtime, spec ContainerSpec) (string, ContainerStatus) {
	t.Helper()
	spec.Log.Path = filepath.Join(t.TempDir(), spec.ID+".log")
	launch(t, r, spec)
	st := ended(t, r, spec.ID)
	return plain(t, spec.Log.Path), st
}

// plain is the text of a log.
func plain(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(line, " ", 4)
		require.Len(t, f, 4, line)
		if f[2] == "P" {
			f[3] = strings.TrimSuffix(f[3], "\n")
		}
		out.WriteString(f[3])
	}
	return out.String()
}
