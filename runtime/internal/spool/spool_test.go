//go:build linux

package spool

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/runtime/internal/proc"
)

func TestRecords(t *testing.T) {
	d := Dir(t.TempDir())
	w, err := d.Watch()
	require.NoError(t, err)
	at := time.Unix(1700000000, 123456789)
	for i, e := range []proc.Exit{{Code: 0}, {Code: 255}, {Code: 137, Signal: syscall.SIGKILL}} {
		_, _, err := d.Read(i, 5)
		require.ErrorIs(t, err, os.ErrNotExist)
		require.NoError(t, d.Write(i, 5, e, at), "not expected: not recorded")
		require.NoError(t, d.Expect(i, 5))
		_, done, err := d.Read(i, 5)
		require.NoError(t, err)
		require.False(t, done)
		changed := w.Changed()
		require.NoError(t, d.Write(i, 5, e, at))
		<-changed
		require.NoError(t, d.Write(i, 5, proc.Exit{Code: 99}, at), "the first one counts")
		r, done, err := d.Read(i, 5)
		require.NoError(t, err)
		require.True(t, done)
		require.Equal(t, e, r.Exit)
		require.True(t, at.Equal(r.At))
	}
	require.NoError(t, d.Remove(0, 5))
	require.NoError(t, d.Remove(0, 5))
	require.NoError(t, d.Prune(func(n string) bool { return n == Name(1, 5) }))
	left, err := filepath.Glob(string(d) + "/*")
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.NoError(t, w.Close())
}

// On a full disk a record takes the place that was kept for it.
func TestOverwrite(t *testing.T) {
	d := Dir(t.TempDir())
	require.NoError(t, d.Expect(1, 2))
	require.NoError(t, os.Mkdir(d.name(1, 2)+".go", 0o700), "in the way of the temporary file")
	require.NoError(t, d.Write(1, 2, proc.Exit{Code: 7}, time.Now()))
	r, done, err := d.Read(1, 2)
	require.NoError(t, err)
	require.True(t, done)
	require.Equal(t, 7, r.Code)
}
