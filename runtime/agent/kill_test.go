package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

const (
	staying = 14 // containers that go on
	leaving = 6  // containers that end while nobody is there
)

// TestKill kills the agent, the launcher and both with 20 containers running.
func TestKill(t *testing.T) {
	t.Parallel()
	for name, who := range map[string]struct{ agent, launcher bool }{
		"agent": {true, false}, "launcher": {false, true}, "both": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testKill(t, who.agent, who.launcher)
		})
	}
}

func testKill(t *testing.T, agent, launcher bool) {
	n := newNode(t)
	c := n.spawn("").ready()
	signs := t.TempDir()
	n.populate(signs)
	before := n.firsts()
	require.Len(t, before, staying+leaving)

	if launcher {
		kill9(t, n.launcher())
	}
	if agent {
		c.kill()
	}
	n.leave(signs, before)
	if agent {
		c = n.spawn("").ready()
	}
	for i := range leaving {
		p := n.until(leaver(i), over)
		require.EqualValues(t, 10+i, status(p, "c").State.Terminated.ExitCode, show(p))
	}
	n.unchanged(before)

	// Everything works as before.
	n.run("new", "exit 0")
	require.Equal(t, corev1.PodSucceeded, n.until("new", over).Status.Phase)
	n.depopulate(c)
}

// TestKillKeeper: what that costs are exit codes, never containers.
func TestKillKeeper(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.spawn("").ready()
	signs := t.TempDir()
	n.populate(signs)
	before := n.firsts()
	c.kill()
	kill9(t, n.keeper())
	n.leave(signs, before)
	c = n.spawn("").ready()
	for i := range leaving {
		p := n.until(leaver(i), over)
		require.EqualValues(t, 255, status(p, "c").State.Terminated.ExitCode)
		require.Equal(t, "ExitCodeLost", status(p, "c").State.Terminated.Reason)
	}
	n.unchanged(before)
	n.run("new", "exit 3")
	require.EqualValues(t, 3, status(n.until("new", over), "c").State.Terminated.ExitCode)
	n.depopulate(c)
}

// TestStopPods: an agent that takes everything down leaves nothing, and the next one starts the pods again, knowing
// that they ran before.
func TestStopPods(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.create(&corev1.ConfigMap{ObjectMeta: named("m"), Data: map[string]string{"a": "b"}})
	n.run("done", "exit 3")
	n.run("web", "", spec(`{volumes: [{name: m, configMap: {name: m}}], initContainers: [{name: i, command: ["true"]}],
		containers: [{name: c, command: [sh, -c, "`+idle+`"], volumeMounts: [{name: m, mountPath: /m}]}]}`),
		func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyAlways })
	n.until("web", ready)
	n.until("done", over)
	a := n.agent
	n.stopAgent()
	require.NoError(t, a.StopPods(t.Context()))
	n.empty()
	require.NoError(t, a.StopPods(t.Context()), "of nothing")
	require.ErrorContains(t, a.Run(t.Context()), "it ran already")

	n.startAgent()
	p := n.until("web", func(p *corev1.Pod) bool { return restarted(1)(p) && ready(p) })
	require.Equal(t, "ContainerStatusUnknown", status(p, "c").LastTerminationState.Terminated.Reason, show(p))
	p = n.until("done", over)
	require.EqualValues(t, 3, status(p, "c").State.Terminated.ExitCode, "what was over stays so")
}

func stayer(i int) string { return fmt.Sprintf("stays-%d", i) }
func leaver(i int) string { return fmt.Sprintf("leaves-%d", i) }

// populate runs containers that stay, and containers that leave when there is a sign for it.
func (n *node) populate(signs string) {
	n.Helper()
	for i := range staying {
		n.run(stayer(i), idle, func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyAlways })
	}
	for i := range leaving {
		n.run(leaver(i), "", spec(`{volumes: [{name: v, hostPath: {path: `+signs+`}}], containers: [{name: c, volumeMounts: [{name: v, mountPath: /v}],
			command: [sh, -c, "until [ -e /v/go ]; do sleep 0.1; done; exit `+strconv.Itoa(10+i)+`"]}]}`))
	}
	for i := range staying {
		n.until(stayer(i), ready)
	}
	for i := range leaving {
		n.until(leaver(i), ready)
	}
}

// leave has those leave who shall, and waits until they have.
func (n *node) leave(signs string, before map[string]string) {
	n.Helper()
	var ends []int
	for i := range leaving {
		p, err := n.pods.Get(n.Context(), n.Node, leaver(i))
		require.NoError(n, err)
		id := strings.TrimPrefix(status(p, "c").ContainerID, "bedplate://")
		pid, err := strconv.Atoi(strings.Fields(before[id])[0])
		require.NoError(n, err)
		fd, err := unix.PidfdOpen(pid, 0)
		require.NoError(n, err)
		ends = append(ends, fd)
	}
	require.NoError(n, os.WriteFile(filepath.Join(signs, "go"), nil, 0o600))
	for _, fd := range ends {
		awaitEnd(n, fd)
		require.NoError(n, unix.Close(fd))
	}
}

// unchanged checks that those who stay are the same processes, and that the API knows of no restart.
func (n *node) unchanged(before map[string]string) {
	n.Helper()
	now := n.firsts()
	for i := range staying {
		p := n.until(stayer(i), ready)
		c := status(p, "c")
		id := strings.TrimPrefix(c.ContainerID, "bedplate://")
		require.Zero(n, c.RestartCount)
		require.NotEmpty(n, before[id])
		require.Equal(n, before[id], now[id], "PID and start time")
	}
}

// depopulate deletes all pods and checks that nothing is left.
func (n *node) depopulate(c *child) {
	n.Helper()
	names := []string{"new"}
	for i := range staying {
		names = append(names, stayer(i))
	}
	for i := range leaving {
		names = append(names, leaver(i))
	}
	for _, name := range names {
		require.NoError(n, n.pods.Delete(n.Context(), n.Node, name))
	}
	n.idle()
	c.stop()
	n.bare("")
	n.open()
}
