package agent_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/kubeconfig"
	"github.com/bedplate/bedplate/apimachinery/kinds/coordination"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/runtime/agent"
	"github.com/bedplate/bedplate/runtime/internal/engine"
	"github.com/bedplate/bedplate/runtime/internal/launcher"
)

// childConfig is what an agent in a process of its own is told.
type childConfig struct {
	Place      place
	Kubeconfig []byte
}

// childMain is such an agent. It says "ready", and ends in good order on SIGTERM.
func childMain(text string) int {
	var c childConfig
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		err = c.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (c childConfig) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	registry, err := apimachinery.NewRegistry(slices.Concat(core.Resources(), coordination.Resources())...)
	if err != nil {
		return err
	}
	conn, err := kubeconfig.Parse(c.Kubeconfig)
	if err != nil {
		return err
	}
	log := &testLog{}
	r, images, err := c.Place.open(ctx, log.logger())
	if err != nil {
		return err
	}
	config, err := c.Place.agentOf(bedplate.NodeAccess{Client: client.New(conn, registry)}, r, images, log.logger())
	if err != nil {
		return err
	}
	config.Network = cables(filepath.Join(c.Place.Dir, "net"))
	a, err := agent.New(config)
	if err != nil {
		return err
	}
	go func() {
		<-a.Ready()
		fmt.Println("ready")
	}()
	err = errors.Join(a.Run(ctx), r.Detach(), images.Close())
	if err != nil {
		err = errors.Join(err, errors.New(log.String()))
	}
	return err
}

// cables is a network of files: each sandbox that is attached has one.
type cables string

var _ agent.Network = cables("")

func (c cables) Attach(_ context.Context, _ *corev1.Pod, id, netns string) ([]netip.Addr, error) {
	if _, err := os.Stat(netns); err != nil {
		return nil, err
	}
	return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, errors.Join(os.MkdirAll(string(c), 0o700), os.WriteFile(filepath.Join(string(c), id), nil, 0o600))
}

func (c cables) Detach(_ context.Context, id string) error {
	return os.RemoveAll(filepath.Join(string(c), id))
}

func (c cables) Keep(ctx context.Context, ids []string) error {
	list, err := os.ReadDir(string(c))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range list {
		if !slices.Contains(ids, e.Name()) {
			err = errors.Join(err, c.Detach(ctx, e.Name()))
		}
	}
	return err
}

// child is such a process.
type child struct {
	n    *node
	cmd  *exec.Cmd
	out  strings.Builder
	said chan string // "ready"
	end  chan struct{}
}

// spawn starts an agent in a process of its own, that dies at a step if one is given.
func (n *node) spawn(step string) *child {
	n.Helper()
	config, err := shared.api.Kubeconfig("system:node:"+n.Node, "system:nodes")
	require.NoError(n, err)
	text, err := json.Marshal(childConfig{n.place, config})
	require.NoError(n, err)
	self, err := os.Executable()
	require.NoError(n, err)
	c := &child{n: n, cmd: exec.Command(self), said: make(chan string, 1), end: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	if step != "" {
		c.cmd.Env = append(c.cmd.Env, crashEnv+"="+step)
	}
	c.cmd.Stderr = &c.out
	stdout, err := c.cmd.StdoutPipe()
	require.NoError(n, err)
	require.NoError(n, c.cmd.Start())
	go func() {
		defer close(c.end)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			c.said <- s.Text()
		}
		_ = c.cmd.Wait()
	}()
	n.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.end
	})
	return c
}

// ready waits until the agent is.
func (c *child) ready() *child {
	c.n.Helper()
	select {
	case <-c.said:
	case <-c.end:
		require.FailNow(c.n, "the agent ended", "%v: %s", c.cmd.ProcessState, c.out.String())
	case <-time.After(patience):
		require.FailNow(c.n, "the agent is not ready")
	}
	return c
}

// wait returns the agent's exit code.
func (c *child) wait() int {
	c.n.Helper()
	select {
	case <-c.end:
	case <-time.After(patience):
		require.FailNow(c.n, "the agent does not end")
	}
	return c.cmd.ProcessState.ExitCode()
}

// stop ends the agent in good order.
func (c *child) stop() {
	c.n.Helper()
	require.NoError(c.n, c.cmd.Process.Signal(syscall.SIGTERM))
	require.Zero(c.n, c.wait(), "%s", &c.out)
}

// kill ends it as SIGKILL does.
func (c *child) kill() {
	c.n.Helper()
	require.NoError(c.n, c.cmd.Process.Kill())
	c.wait()
}

func (n *node) layout() engine.Layout { return engine.Layout(filepath.Join(n.Dir, "runtime")) }

// keeper and launcher are the processes that containers depend on.
func (n *node) keeper() int {
	pid, err := launcher.KeeperPID(n.layout())
	require.NoError(n, err)
	return pid
}

func (n *node) launcher() int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", n.keeper()))
	require.NoError(n, err)
	for _, f := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(f)
		require.NoError(n, err)
		if command, _ := os.ReadFile("/proc/" + f + "/cmdline"); strings.HasPrefix(string(command), "bedplate-launcher") {
			return pid
		}
	}
	require.FailNow(n, "there is no launcher")
	return 0
}

// kill9 kills a process that is not our child, and waits until it has ended.
func kill9(t require.TestingT, pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0))
	awaitEnd(t, fd)
}

func awaitEnd(t require.TestingT, pidfd int) {
	for deadline := time.Now().Add(patience); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		require.NoError(t, err)
		require.Equal(t, 1, n, "the process does not end")
		return
	}
}

// firsts are the first processes of all containers, by container ID: "pid start-time".
func (n *node) firsts() map[string]string {
	out := map[string]string{}
	procs, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(n, err)
	for _, p := range procs {
		group, _ := os.ReadFile(p + "/cgroup")
		status, _ := os.ReadFile(p + "/status")
		stat, _ := os.ReadFile(p + "/stat")
		_, after, ok := strings.Cut(string(group), n.Cgroup+"/pod")
		_, ns, _ := strings.Cut(string(status), "NSpid:")
		pids, _, _ := strings.Cut(ns, "\n")
		if f := strings.Fields(pids); !ok || len(f) != 2 || f[1] != "1" || strings.Contains(string(status), "State:\tZ") {
			continue
		}
		path, _, _ := strings.Cut(after, "\n")
		_, rest, _ := strings.Cut(string(stat), ") ")
		out[filepath.Base(path)] = filepath.Base(p) + " " + strings.Fields(rest)[19]
	}
	return out
}

// bare checks that nothing of any pod is left, without opening anything.
func (n *node) bare(step string) {
	n.Helper()
	for _, dir := range []string{"agent/pods", "volumes", "net", "images/containers", "runtime/containers", "runtime/sandboxes"} {
		assert.Empty(n, entries(n, filepath.Join(n.Dir, dir)), "%s: %s", step, dir)
	}
	assert.Empty(n, mounts(n.Dir), step)
	assert.Subset(n, []string{"keeper"}, cgroups(n.Cgroup), step)
	assert.Empty(n, n.firsts(), step)
}
