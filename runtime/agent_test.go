//go:build linux

package runtime

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/internal/launcher"
	"github.com/bedplate/bedplate/runtime/internal/proc"
)

// An agent is this test binary as a process of its own, which can be killed. It is told by
// its environment what to do.
const (
	agentDirEnv    = "RUNTIME_TEST_DIR"
	agentParentEnv = "RUNTIME_TEST_PARENT"
	agentRootEnv   = "RUNTIME_TEST_ROOT"
	agentCtlEnv    = "RUNTIME_TEST_CTL"
	agentCountEnv  = "RUNTIME_TEST_COUNT"
	agentModeEnv   = "RUNTIME_TEST_INPROCESS"
)

// agentMain does what the environment says and then says so on standard output.
func agentMain(name string) int {
	cfg := Config{Dir: os.Getenv(agentDirEnv), CgroupParent: os.Getenv(agentParentEnv), InProcess: os.Getenv(agentModeEnv) != ""}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	sharedRoot = os.Getenv(agentRootEnv)
	if err := map[string]func(context.Context, Config) error{"hold": agentHold, "life": agentLife}[name](ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// agentHold starts containers and holds still until it is killed.
func agentHold(ctx context.Context, cfg Config) error {
	r, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(os.Getenv(agentCountEnv))
	if err != nil {
		return err
	}
	if _, err := r.CreateSandbox(ctx, SandboxSpec{ID: "pod"}); err != nil {
		return err
	}
	for i := range n {
		spec := told(fmt.Sprintf("c%d", i), "pod", os.Getenv(agentCtlEnv))
		if _, err := r.CreateContainer(ctx, spec); err != nil {
			return err
		}
		if err := r.StartContainer(ctx, spec.ID); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1))
	return errors.New("let go")
}

// agentLife leads one container through its life, dying on the way if it is told to.
func agentLife(ctx context.Context, cfg Config) error {
	r, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	if _, err := r.CreateSandbox(ctx, SandboxSpec{ID: "pod"}); err != nil {
		return err
	}
	if _, err := r.CreateContainer(ctx, sh("c", "pod", "exec sleep 1000")); err != nil {
		return err
	}
	return errors.Join(
		r.StartContainer(ctx, "c"),
		r.StopContainer(ctx, "c", 0),
		r.RemoveContainer(ctx, "c"),
		r.RemoveSandbox(ctx, "pod"),
		r.Shutdown(ctx),
	)
}

// told is a container that ends with the exit code that tell gives it.
func told(id, sandbox, ctl string) ContainerSpec {
	s := sh(id, sandbox, "read code < /run/"+id+"; exit $code")
	s.Mounts = []specs.Mount{{Destination: "/run", Source: ctl, Options: []string{"rbind", "rw"}}}
	return s
}

// ctlDir has a pipe for each of n containers.
func ctlDir(t testing.TB, n int) string {
	dir := t.TempDir()
	for i := range n {
		require.NoError(t, unix.Mkfifo(filepath.Join(dir, fmt.Sprintf("c%d", i)), 0o600))
	}
	return dir
}

// tell has container number i exit. It waits until the container listens.
func tell(t testing.TB, ctl string, i, code int) {
	require.NoError(t, os.WriteFile(filepath.Join(ctl, fmt.Sprintf("c%d", i)), fmt.Appendln(nil, code), 0))
}

// agent runs this binary as one.
func agent(t testing.TB, name string, cfg Config, env ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"agent"}
	cmd.Env = append(os.Environ(), agentEnv+"="+name, agentDirEnv+"="+cfg.Dir, agentParentEnv+"="+cfg.CgroupParent, agentRootEnv+"="+sharedRoot)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = testWriter{t}
	return cmd
}

// held starts an agent that holds n containers.
func held(t testing.TB, cfg Config, ctl string, n int) *exec.Cmd {
	a := agent(t, "hold", cfg, agentCtlEnv+"="+ctl, agentCountEnv+"="+strconv.Itoa(n))
	_, err := a.StdinPipe()
	require.NoError(t, err)
	out, err := a.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, a.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	return a
}

func kill9(t testing.TB, a *exec.Cmd) {
	require.NoError(t, a.Process.Kill())
	_ = a.Wait()
}

// killPID kills a process that is not our child, and waits until it is gone.
func killPID(t testing.TB, pid int) {
	p, err := proc.Open(pid, 0)
	require.NoError(t, err)
	defer p.Close()
	require.NoError(t, p.Signal(syscall.SIGKILL))
	require.NoError(t, p.Wait(t.Context()))
}

// launcherPID asks the launcher; one that is about to end may go away over it, and the keeper starts another.
func launcherPID(t testing.TB, cfg Config) int {
	c := launcher.Client{Dir: (&Runtime{}).dirOf(cfg)}
	pid, err := c.Hello(t.Context())
	for tries := 0; errors.Is(err, launcher.ErrLost) && tries < 3; tries++ {
		pid, err = c.Hello(t.Context())
	}
	require.NoError(t, err)
	return pid
}

// identity is what must survive.
type identity struct {
	pid   int
	start uint64
}

// look reads identities from disk, as a Runtime isn't open.
func look(t testing.TB, cfg Config, n int) []identity {
	all := make([]identity, n)
	for i := range n {
		run, err := (&Runtime{}).dirOf(cfg).Run(fmt.Sprintf("c%d", i))
		require.NoError(t, err)
		all[i] = identity{run.PID, run.StartTime}
		require.True(t, proc.Alive(run.PID, run.StartTime))
	}
	return all
}

const many = 20

func TestKillAgent(t *testing.T)    { testKill(t, true, false) }
func TestKillLauncher(t *testing.T) { testKill(t, false, true) }
func TestKillBoth(t *testing.T)     { testKill(t, true, true) }

// testKill kills the agent, the launcher or both with containers running; a third of them
// ends while nobody is there, a third with the next agent.
func testKill(t *testing.T, killAgent, killLauncher bool) {
	cfg := config(t)
	ctl := ctlDir(t, many)
	a := held(t, cfg, ctl, many)
	before := look(t, cfg, many)
	if killLauncher {
		killPID(t, launcherPID(t, cfg))
	}
	if killAgent {
		kill9(t, a)
	}
	for i := range many / 3 {
		tell(t, ctl, i, i+10)
	}
	if !killAgent {
		kill9(t, a)
	}
	r := openFor(t, cfg)
	require.Len(t, r.Containers(), many)
	for i := range many / 3 {
		st := ended(t, r, fmt.Sprintf("c%d", i))
		require.Equal(t, i+10, st.ExitCode, st)
		require.False(t, st.FinishedAt.Before(st.StartedAt))
	}
	for i := many / 3; i < many; i++ {
		st, err := r.Container(fmt.Sprintf("c%d", i))
		require.NoError(t, err)
		require.Equal(t, StateRunning, st.State)
		require.Equal(t, before[i], identity{st.PID, st.StartTime})
	}
	for i := many / 3; i < 2*many/3; i++ {
		tell(t, ctl, i, i+10)
		require.Equal(t, i+10, ended(t, r, fmt.Sprintf("c%d", i)).ExitCode)
	}
	checkWorks(t, r, fmt.Sprintf("c%d", many-1))
}

// checkWorks executes in an adopted container and runs a new one.
func checkWorks(t *testing.T, r *Runtime, id string) {
	code, err := r.Exec(t.Context(), id, ExecSpec{Args: []string{"sh", "-c", "exit 9"}})
	require.NoError(t, err)
	require.Equal(t, 9, code)
	out, st := output(t, r, sh("new", "pod", "echo fresh; exit 8"))
	require.Equal(t, "fresh\n", out)
	require.Equal(t, 8, st.ExitCode)
}

// TestKillKeeper: exit codes of what runs are lost, and nothing else.
func TestKillKeeper(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		t.Run(fmt.Sprintf("reopen=%v", reopen), func(t *testing.T) {
			cfg := config(t)
			ctl := ctlDir(t, 3)
			r, err := Open(t.Context(), cfg)
			require.NoError(t, err)
			sandboxFor(t, r, "pod")
			for i := range 3 {
				launch(t, r, told(fmt.Sprintf("c%d", i), "pod", ctl))
			}
			before := look(t, cfg, 3)
			keeper, err := launcher.KeeperPID(r.dir)
			require.NoError(t, err)
			if reopen {
				require.NoError(t, r.Detach())
			}
			killPID(t, keeper)
			if reopen {
				r, err = Open(t.Context(), cfg)
				require.NoError(t, err)
			}
			t.Cleanup(func() { shutdown(t, cfg, r) })
			tell(t, ctl, 0, 3)
			st := ended(t, r, "c0")
			require.Equal(t, ReasonExitCodeLost, st.Reason)
			require.Equal(t, 255, st.ExitCode)
			require.Equal(t, before, append(before[:1], look1(t, r, "c1"), look1(t, r, "c2")))
			checkWorks(t, r, "c1")
		})
	}
}

func look1(t testing.TB, r *Runtime, id string) identity {
	st, err := r.Container(id)
	require.NoError(t, err)
	require.Equal(t, StateRunning, st.State)
	require.True(t, proc.Alive(st.PID, st.StartTime))
	return identity{st.PID, st.StartTime}
}

// TestKeeperMemory: what a keeper costs.
func TestKeeperMemory(t *testing.T) {
	cfg := config(t)
	r := openFor(t, cfg)
	pid, err := launcher.KeeperPID(r.dir)
	require.NoError(t, err)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	require.NoError(t, err)
	var private int
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); strings.HasPrefix(f[0], "Private_") {
			n, err := strconv.Atoi(f[1])
			require.NoError(t, err)
			private += n
		}
	}
	t.Logf("keeper: %d KiB private", private)
	require.Less(t, private, 1024)
}

// TestLogSurvivesLauncher: no line is missing, whenever the launcher is killed.
func TestLogSurvivesLauncher(t *testing.T) {
	cfg := config(t)
	r := openFor(t, cfg)
	spec := sh("c", sandboxFor(t, r, "pod"), "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; done")
	spec.Log.Path = filepath.Join(t.TempDir(), "log")
	launch(t, r, spec)
	for range 5 {
		killPID(t, launcherPID(t, cfg))
	}
	require.Zero(t, ended(t, r, "c").ExitCode)
	// What the last launcher found in the pipe it writes before it answers.
	launcherPID(t, cfg)
	last := 0
	for _, f := range strings.Fields(plain(t, spec.Log.Path)) {
		n, err := strconv.Atoi(f)
		require.NoError(t, err, f)
		require.LessOrEqual(t, n, last+1, "lines are missing")
		last = max(last, n)
	}
	require.Equal(t, 3000, last)
}

// An exec ends with its launcher, and its caller is told.
func TestExecLosesLauncher(t *testing.T) {
	cfg := config(t)
	r := openFor(t, cfg)
	launch(t, r, sh("c", sandboxFor(t, r, "pod"), "exec sleep 1000"))
	started := newExpect("up")
	done := make(chan error, 1)
	go func() {
		_, err := r.Exec(t.Context(), "c", ExecSpec{Args: []string{"sh", "-c", "echo up; exec sleep 1000"}, Streams: Streams{Stdout: started}})
		done <- err
	}()
	<-started.seen
	killPID(t, launcherPID(t, cfg))
	require.ErrorIs(t, <-done, launcher.ErrLost)
	checkWorks(t, r, "c")
}

// agentCrashes are the steps at which an agent may die, in a keeper's world and without.
var agentCrashes = []string{
	"sandbox.recorded", "sandbox.pinned.net", "sandbox.pinned.ipc", "sandbox.namespaces", "sandbox.shm", "sandbox.cgroup", "sandbox.ready",
	"container.written", "container.recorded", "stop.killed", "exit.seen", "exit.recorded", "remove.cleaned", "remove.renamed",
	"sandbox.unready", "sandbox.cgroup-removed", "sandbox.unpinned", "sandbox.shm-unmounted",
}

var engineCrashes = []string{"start.state", "start.connected", "start.created", "start.recorded", "start.released", "exit.spooled"}

// TestCrashAgent has an agent die at each step; the next one finds what it must, removes it, and
// nothing is left.
func TestCrashAgent(t *testing.T) {
	for _, in := range []string{"", "yes"} {
		steps := agentCrashes
		if in != "" {
			steps = append(engineCrashes, agentCrashes...)
		}
		for _, step := range steps {
			t.Run(step+in, func(t *testing.T) {
				t.Parallel()
				cfg := config(t)
				cfg.InProcess = in != ""
				err := agent(t, "life", cfg, agentModeEnv+"="+in, crashEnv+"="+step+"@"+filepath.Join(t.TempDir(), "mark")).Run()
				var ee *exec.ExitError
				require.ErrorAs(t, err, &ee)
				require.Equal(t, 7, ee.ExitCode(), "the step was not reached")
				r := openFor(t, cfg)
				for _, c := range r.Containers() {
					require.NoError(t, r.RemoveContainer(t.Context(), c.Spec.ID))
				}
				for _, s := range r.Sandboxes() {
					require.True(t, s.Ready)
					require.NoError(t, r.RemoveSandbox(t.Context(), s.Spec.ID))
				}
				checkEmpty(t, r)
			})
		}
	}
}

// TestCrashLauncher has a launcher die at each step; nobody notices.
func TestCrashLauncher(t *testing.T) {
	for _, step := range engineCrashes {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			cfg := config(t)
			mark := filepath.Join(t.TempDir(), "mark")
			cfg.env = []string{crashEnv + "=" + step + "@" + mark}
			r := openFor(t, cfg)
			out, st := output(t, r, sh("c", sandboxFor(t, r, "pod"), "echo fine; exit 6"))
			require.Eventually(t, func() bool { // after the spool has told us, for the last step
				_, err := os.Stat(mark)
				return err == nil
			}, 30*time.Second, time.Millisecond)
			require.Equal(t, 6, st.ExitCode)
			launcherPID(t, cfg)
			require.Contains(t, out+plain(t, st.Spec.Log.Path), "fine\n")
			require.NoError(t, r.RemoveSandbox(t.Context(), "pod"))
			checkEmpty(t, r)
		})
	}
}

// checkEmpty wants nothing on disk of containers and sandboxes that are all removed.
func checkEmpty(t testing.TB, r *Runtime) {
	require.Empty(t, r.Containers())
	require.Empty(t, r.Sandboxes())
	for _, d := range []string{r.dir.Containers(), r.dir.Sandboxes(), r.dir.Libcontainer(), string(r.dir.Spool())} {
		entries, err := os.ReadDir(d)
		require.NoError(t, err)
		require.Empty(t, entries, d)
	}
}
