//go:build linux

package netplug

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const otherEnv = "NETPLUG_TEST_OTHER"

// otherProcess is another process, with the host's namespace as file 3 and a pod's as 4. It opens the network and waits
// for its end, or it is killed at a step of New, or of Remove.
func otherProcess(what string) error {
	var act string
	var mode, at int
	if _, err := fmt.Sscan(what, &act, &mode, &at); err != nil {
		return err
	}
	n, err := newNetwork(Config{Host: "/proc/self/fd/3", Ranges: []netip.Prefix{podRange}, Mode: Mode(mode)})
	if err != nil {
		return err
	}
	kill := func(string) error {
		if at--; at == 0 {
			return unix.Kill(os.Getpid(), unix.SIGKILL)
		}
		return nil
	}
	if act == "new" {
		n.hook = kill
	}
	if _, err := n.start(); err != nil || act == "new" {
		return err
	}
	if act == "hold" {
		fmt.Println("open")
		select {}
	}
	if _, err := n.Attach(context.Background(), podWith(tcp(8080, 80)), "a", "/proc/self/fd/4"); err != nil {
		return err
	}
	n.hook = kill
	return n.Remove(context.Background())
}

func startOther(t *testing.T, host, pod *space, what string, mode Mode, at int) (cmd *exec.Cmd, out *bufio.Reader) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd = exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d", otherEnv, what, mode, at))
	cmd.ExtraFiles = []*os.File{host.File, pod.File}
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return cmd, bufio.NewReader(pipe)
}

// While a process has a network open, no other may open it; after a kill -9 one may, at once.
func TestOtherProcess(t *testing.T) {
	host, outside := newHost(t)
	before := state(t, host)
	serve(t, outside, 80)
	cmd, out := startOther(t, host, newSpace(t), "hold", Routed, 0)
	said, err := out.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "open\n", said)
	theirs := state(t, host)
	c := configOf(host, Routed)
	_, err = New(c)
	require.ErrorContains(t, err, "open network: another network is open in this network namespace")
	require.Equal(t, theirs, state(t, host), "what is refused changes nothing")
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	end(t, host, Routed, before, true)
}

// A process is killed at every step of New, and of Remove while a pod has its network. The next one works, and leaves
// nothing.
func TestKillAtEveryStep(t *testing.T) {
	inModes(t, func(t *testing.T, mode Mode) {
		host, outside := newHost(t)
		hardened(t, host)
		before := state(t, host)
		serve(t, outside, 80)
		for _, what := range []string{"new", "remove"} {
			for at, passed := 1, false; !passed; at++ {
				pod := newSpace(t)
				cmd, out := startOther(t, host, pod, what, mode, at)
				said, err := io.ReadAll(out)
				require.NoError(t, err)
				err = cmd.Wait()
				require.Empty(t, string(said))
				passed = err == nil
				require.True(t, !passed || at > 4)
				if !passed {
					require.EqualError(t, err, "signal: killed")
				}
				pod.end()
				end(t, host, mode, before, at%2 == 0)
			}
		}
	})
}

// What two networks of one namespace must not share.
func TestInOneNamespace(t *testing.T) {
	host, other := newSpace(t), newSpace(t)
	c := configOf(host, Routed)
	n := start(t, c)
	for _, refused := range []Config{c, {Host: c.Host, Prefix: "bq"}, {Host: c.Host, Protocol: 91}} {
		_, err := New(refused)
		require.ErrorContains(t, err, "another network is open in this network namespace")
	}
	two := start(t, Config{Host: c.Host, Prefix: "bq", Protocol: 91}) // and those that were refused have kept nothing
	there := start(t, configOf(other, Routed))
	require.NoError(t, n.Close())
	require.NoError(t, start(t, c).Remove(t.Context()), "Close lets go")
	require.NoError(t, start(t, c).Remove(t.Context()), "and so does Remove")
	require.NoError(t, two.Remove(t.Context()))
	require.NoError(t, there.Remove(t.Context()))
}
