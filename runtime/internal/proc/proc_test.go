//go:build linux

package proc

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProcess(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	require.NoError(t, cmd.Start())
	start, _, err := Stat(cmd.Process.Pid)
	require.NoError(t, err)
	require.True(t, Alive(cmd.Process.Pid, start))
	_, err = Open(cmd.Process.Pid, start+1)
	require.ErrorIs(t, err, ErrGone, "another process of the same PID")
	p, err := Open(cmd.Process.Pid, start)
	require.NoError(t, err)
	ppid, command, err := Parent(cmd.Process.Pid)
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), ppid)
	require.Contains(t, command, os.Args[0])

	children, err := Children(os.Getpid())
	require.NoError(t, err)
	require.Equal(t, "sleep", children[cmd.Process.Pid])

	_, ended, err := p.Peek()
	require.NoError(t, err)
	require.False(t, ended)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, p.Wait(ctx), context.Canceled)

	require.NoError(t, p.Signal(syscall.SIGTERM))
	require.NoError(t, p.Wait(t.Context()))
	require.False(t, Alive(cmd.Process.Pid, start), "a zombie")
	for range 2 {
		e, ended, err := p.Peek()
		require.NoError(t, err)
		require.True(t, ended)
		require.Equal(t, Exit{Code: 143, Signal: syscall.SIGTERM}, e)
	}
	require.NoError(t, p.Reap())
	require.NoError(t, p.Reap())
	require.ErrorIs(t, p.Signal(syscall.SIGTERM), ErrGone)
	_, ended, err = p.Peek()
	require.NoError(t, err)
	require.False(t, ended)
	require.NoError(t, p.Close())
	_, err = Open(cmd.Process.Pid, start)
	require.ErrorIs(t, err, ErrGone)
}

func TestOthersChildren(t *testing.T) {
	p, err := Open(1, 0)
	require.NoError(t, err)
	defer p.Close()
	_, ended, err := p.Peek()
	require.NoError(t, err)
	require.False(t, ended)
}
