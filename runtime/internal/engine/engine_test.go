//go:build linux

package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func pipeAt(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(path, 0o600))
	return path
}

func TestAwaitWriter(t *testing.T) {
	for name, c := range map[string]struct {
		write    string
		deadline time.Time
		want     error
	}{
		"comes":                 {"0", time.Now().Add(time.Minute), nil},
		"closes":                {"", time.Now().Add(time.Minute), nil},
		"came before it is due": {"0", time.Unix(1, 0), nil},
	} {
		path := pipeAt(t)
		f, err := openFifo(path)
		require.NoError(t, err)
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = w.WriteString(c.write)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.NoError(t, f.SetReadDeadline(c.deadline))
		require.NoError(t, awaitWriter(f), name)
		require.NoError(t, f.Close())
	}
	f, err := openFifo(pipeAt(t))
	require.NoError(t, err)
	require.NoError(t, f.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	require.ErrorIs(t, awaitWriter(f), os.ErrDeadlineExceeded)
	require.NoError(t, f.Close())
}

// What was peeked at stays in the pipe for the next one, until it is consumed.
func TestFifo(t *testing.T) {
	path := pipeAt(t)
	r, err := openFifo(path)
	require.NoError(t, err)
	w, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	s, err := newFifo(r)
	require.NoError(t, err)
	write := func(text string) {
		_, err := w.WriteString(text)
		require.NoError(t, err)
	}
	peek := func(want string) {
		t.Helper()
		b, err := s.peek()
		require.NoError(t, err)
		require.Equal(t, want, string(b))
	}
	peek("")
	write("one\ntw")
	require.True(t, s.wait())
	peek("one\ntw")
	require.NoError(t, s.consume(4))
	woke := make(chan bool)
	go func() { woke <- s.wait() }()
	write("o")
	require.True(t, <-woke, "only new bytes wake")
	peek("two")
	require.NoError(t, s.Close())

	r, err = openFifo(path)
	require.NoError(t, err)
	s, err = newFifo(r)
	require.NoError(t, err)
	peek("two")
	require.NoError(t, s.consume(3))
	big := strings.Repeat("x", chunk)
	write(big)
	require.True(t, s.wait())
	peek(big)
	require.NoError(t, s.consume(chunk))
	go func() { woke <- s.wait() }()
	require.NoError(t, w.Close())
	require.False(t, <-woke, "the last writer closed")
	require.NoError(t, s.Close())
}

func TestInterrupt(t *testing.T) {
	path := pipeAt(t)
	r, err := openFifo(path)
	require.NoError(t, err)
	s, err := newFifo(r)
	require.NoError(t, err)
	woke := make(chan bool)
	go func() { woke <- s.wait() }()
	s.interrupt()
	require.False(t, <-woke)
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = w.WriteString("late")
	require.NoError(t, err)
	b, err := s.peek()
	require.NoError(t, err)
	require.Equal(t, "late", string(b), "what is there can still be read")
	require.NoError(t, s.consume(4))
	require.NoError(t, w.Close())
	require.NoError(t, s.Close())
}
