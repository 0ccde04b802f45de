//go:build linux

package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func pair(t testing.TB) (a, b *Conn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	var c [2]*Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "")
		n, err := net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		c[i] = &Conn{UnixConn: n.(*net.UnixConn)}
		t.Cleanup(func() { _ = n.Close() })
	}
	return c[0], c[1]
}

func TestMessagesWithFiles(t *testing.T) {
	a, b := pair(t)
	ours, theirs, err := Pipe(true)
	require.NoError(t, err)
	big := strings.Repeat("x", 1<<20)
	go func() {
		_ = a.Send("plain")
		_ = a.Send(big, theirs)
		_ = theirs.Close()
		_ = a.Close()
	}()
	var s string
	files, err := b.Receive(&s)
	require.NoError(t, err)
	require.Empty(t, files)
	require.Equal(t, "plain", s)
	files, err = b.Receive(&s)
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Equal(t, big, s)
	_, err = b.Receive(&s)
	require.ErrorIs(t, err, io.EOF)

	// The other end of the pipe came over whole, and blocks as it should.
	flags, err := unix.FcntlInt(files[0].Fd(), unix.F_GETFL, 0)
	require.NoError(t, err)
	require.Zero(t, flags&unix.O_NONBLOCK)
	_, err = ours.Write([]byte("through"))
	require.NoError(t, errors.Join(err, ours.Close()))
	got, err := io.ReadAll(files[0])
	require.NoError(t, err)
	require.Equal(t, "through", string(got))
	Close(files...)
}

func TestHostileMessages(t *testing.T) {
	for name, raw := range map[string][]byte{
		"huge":      {0xff, 0xff, 0xff, 0xff},
		"cut head":  {0, 0},
		"cut body":  {0, 0, 0, 9, '{'},
		"no JSON":   {0, 0, 0, 1, 'x'},
		"zero size": {0, 0, 0, 0},
	} {
		a, b := pair(t)
		_, err := a.Write(raw)
		require.NoError(t, err)
		require.NoError(t, a.Close())
		var v any
		_, err = b.Receive(&v)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, io.EOF, name)
	}
	a, _ := pair(t)
	require.ErrorContains(t, a.Send(strings.Repeat("x", MaxMessage)), "exceeds")
}
