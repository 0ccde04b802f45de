//go:build linux

package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/runtime/internal/engine"
	"github.com/bedplate/bedplate/runtime/internal/launcher"
)

// Every refusal is one line that says what to do, and leaves nothing.
func TestOpenRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   error
		text   string
	}{
		"no folder":       {func(c *Config) { c.Dir = "" }, ErrInvalid, "Dir"},
		"relative folder": {func(c *Config) { c.Dir = "a" }, ErrInvalid, "absolute"},
		"comma":           {func(c *Config) { c.Dir += "/a,b" }, ErrInvalid, "comma"},
		"cgroup":          {func(c *Config) { c.CgroupParent = "/" }, ErrInvalid, "CgroupParent"},
		"seccomp":         {func(c *Config) { c.Seccomp = Seccomp{Mode: SeccompLocalhost, Path: "p"} }, nil, "eccomp"},
		"newer format": {func(c *Config) {
			_ = os.WriteFile(filepath.Join(c.Dir, "format"), []byte("999"), 0o600)
		}, ErrUnsupported, "newer version"},
		"not a folder": {func(c *Config) {
			c.Dir = filepath.Join(c.Dir, "file")
			_ = os.WriteFile(c.Dir, nil, 0o600)
		}, syscall.ENOTDIR, "not a directory"},
	} {
		cfg := config(t)
		c.change(&cfg)
		_, err := Open(t.Context(), cfg)
		require.Error(t, err, name)
		if c.want != nil {
			require.ErrorIs(t, err, c.want, name)
		}
		require.ErrorContains(t, err, c.text, name)
		require.NotContains(t, err.Error(), "\n", name)
	}
}

func TestInitForgotten(t *testing.T) {
	initialised.Store(false)
	defer initialised.Store(true)
	_, err := Open(t.Context(), config(t))
	require.ErrorIs(t, err, ErrNotInitialised)
	require.ErrorContains(t, err, "first line of main")
}

func TestNoRoot(t *testing.T) {
	cfg := config(t)
	// Its own copy of the binary, which nobody may read.
	bin := filepath.Join("/tmp", "bedplate-noroot-"+filepath.Base(cfg.Dir))
	b, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(bin, b, 0o755))
	defer os.Remove(bin)
	a := agent(t, "hold", cfg)
	var out strings.Builder
	a.Path, a.Stderr, a.Dir = bin, &out, "/"
	a.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var ee *exec.ExitError
	require.ErrorAs(t, a.Run(), &ee)
	require.Contains(t, out.String(), "needs root")
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
}

func TestInUse(t *testing.T) {
	cfg := config(t)
	r := openFor(t, cfg)
	_, err := Open(t.Context(), cfg)
	require.ErrorIs(t, err, ErrInUse)
	require.NoError(t, r.Detach())
	require.ErrorIs(t, r.Detach(), ErrClosed)
	in := cfg
	in.InProcess = true
	_, err = Open(t.Context(), in)
	require.ErrorIs(t, err, ErrInUse)
	openFor(t, cfg)
}

// What is detached goes on, and is what the next one finds.
func TestDetach(t *testing.T) {
	for _, in := range []bool{true, false} {
		t.Run(fmt.Sprintf("in process %v", in), func(t *testing.T) {
			cfg := config(t)
			cfg.InProcess = in
			ctl := ctlDir(t, 2)
			r := openFor(t, cfg)
			sandboxFor(t, r, "pod")
			launch(t, r, told("c0", "pod", ctl))
			launch(t, r, told("c1", "pod", ctl))
			before := look(t, cfg, 2)
			waited := make(chan error, 1)
			go func() {
				_, err := r.Wait(context.Background(), "c0")
				waited <- err
			}()
			require.NoError(t, r.Detach())
			require.ErrorIs(t, <-waited, ErrClosed)
			_, err := r.CreateSandbox(t.Context(), SandboxSpec{ID: "x"})
			require.ErrorIs(t, err, ErrClosed)
			tell(t, ctl, 0, 3)

			r = openFor(t, cfg)
			require.Equal(t, 3, ended(t, r, "c0").ExitCode)
			require.Equal(t, before[1], look1(t, r, "c1"))
			tell(t, ctl, 1, 4)
			require.Equal(t, 4, ended(t, r, "c1").ExitCode)
			s, err := r.Sandbox("pod")
			require.NoError(t, err)
			require.True(t, s.Ready)
		})
	}
}

// The keeper is in nobody's way: a session, a cgroup and a parent of its own.
func TestKeeperIsDetached(t *testing.T) {
	cfg := config(t)
	r := openFor(t, cfg)
	pid, err := launcher.KeeperPID(r.dir)
	require.NoError(t, err)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	require.NotEqual(t, fmt.Sprint(os.Getpid()), f[1], "parent")
	require.NotEqual(t, fmt.Sprint(syscall.Getpgrp()), f[2], "process group")
	cgroups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", launcherPID(t, cfg)))
	require.NoError(t, err)
	require.Regexp(t, ":(memory)?:"+cfg.CgroupParent+"/keeper\n", string(cgroups))
}

// Damaged state is removed, not tripped over.
func TestDamagedState(t *testing.T) {
	cfg := config(t)
	cfg.InProcess = true
	r := openFor(t, cfg)
	launch(t, r, sh("c", sandboxFor(t, r, "pod"), "exec sleep 1000"))
	require.NoError(t, r.StopContainer(t.Context(), "c", 0))
	sandboxFor(t, r, "other")
	require.NoError(t, r.Detach())
	require.NoError(t, os.WriteFile(r.containerFile("c", containerSpecFile), []byte("{"), 0o600))
	require.NoError(t, os.WriteFile(r.sandboxFile("other", sandboxSpecFile), nil, 0o600))
	r = openFor(t, cfg)
	require.Empty(t, r.Containers())
	require.Len(t, r.Sandboxes(), 1)
	sandboxFor(t, r, "other")
}

// A machine that restarted has neither processes nor namespaces.
func TestMachineRestarted(t *testing.T) {
	cfg := config(t)
	cfg.InProcess = true
	r := openFor(t, cfg)
	launch(t, r, sh("c", sandboxFor(t, r, "pod"), "exec sleep 1000"))
	require.NoError(t, r.Detach())
	run, err := r.dir.Run("c")
	require.NoError(t, err)
	run.Boot = "another"
	require.NoError(t, engine.Save(filepath.Join(r.dir.Container("c"), "run.json"), run))
	r = openFor(t, cfg)
	st := ended(t, r, "c")
	require.Equal(t, ReasonExitCodeLost, st.Reason)
	require.Contains(t, st.Message, "restarted")
	require.NoError(t, r.RemoveContainer(t.Context(), "c"))
}

func TestStartErrorUnwraps(t *testing.T) {
	cause := errors.New("cause")
	require.ErrorIs(t, &StartError{"c", cause}, cause)
}
