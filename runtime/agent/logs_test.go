package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestSeekTail compares the search from the end with counting from the start.
func TestSeekTail(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		var log, want bytes.Buffer
		var texts []string
		text := ""
		for range rapid.IntRange(0, 40).Draw(t, "entries") {
			tag, size := "F", rapid.SampledFrom([]int{0, 1, 50, 4000, 16 << 10}).Draw(t, "size")
			if rapid.Bool().Draw(t, "partial") {
				tag = "P"
			}
			part := strings.Repeat("x", size)
			fmt.Fprintf(&log, "2026-01-02T03:04:05.000000000Z stdout %s %s\n", tag, part)
			if text += part; tag == "F" {
				texts, text = append(texts, text+"\n"), ""
			}
		}
		if text != "" || bytes.HasSuffix(log.Bytes(), []byte(" P \n")) {
			texts = append(texts, text)
		}
		n := rapid.IntRange(0, 45).Draw(t, "n")
		want.WriteString(strings.Join(texts[max(len(texts)-n, 0):], ""))
		path := filepath.Join(dir, "log")
		require.NoError(t, os.WriteFile(path, log.Bytes(), 0o600))
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		require.NoError(t, seekTail(f, int64(n)))
		var have bytes.Buffer
		require.NoError(t, (&lines{w: &have}).copy(f))
		require.Equal(t, want.String(), have.String())
	})
}

func TestLogOptions(t *testing.T) {
	of := func(pairs ...string) (logOptions, error) {
		return logOptionsOf(func(name string) string {
			for _, p := range pairs {
				if k, v, _ := strings.Cut(p, "="); k == name {
					return v
				}
			}
			return ""
		})
	}
	o, err := of("follow=true", "tailLines=3", "limitBytes=7", "stream=Stdout", "timestamps=true")
	require.NoError(t, err)
	require.Equal(t, logOptions{follow: true, timestamps: true, tail: 3, limit: 7, stream: "Stdout"}, o)
	o, err = of()
	require.NoError(t, err)
	require.EqualValues(t, -1, o.tail)
	for _, bad := range []string{"tailLines=-1", "tailLines=x", "limitBytes=1.5", "sinceSeconds=-3", "sinceTime=today", "stream=both"} {
		_, err := of(bad)
		require.Error(t, err, bad)
	}
}

// TestRotations: a reader that was away while a log was rotated, however often, misses nothing that is still there.
func TestRotations(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	write := func(text string) {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		_, err = fmt.Fprintf(f, "2026-01-02T03:04:05.000000000Z stdout F %s\n", text)
		require.NoError(t, errors.Join(err, f.Close()))
	}
	const kept = 4
	rotate := func() {
		for n := kept - 1; n > 0; n-- {
			if err := os.Rename(fmt.Sprint(path, ".", n), fmt.Sprint(path, ".", n+1)); !errors.Is(err, os.ErrNotExist) {
				require.NoError(t, err)
			}
		}
		require.NoError(t, os.Rename(path, path+".1"))
		_ = os.Remove(fmt.Sprint(path, ".", kept))
	}
	var have bytes.Buffer
	r := &tail{root: dir, path: path, lines: lines{w: &have}}
	defer func() { r.close() }()
	require.NoError(t, r.next())
	write("a")
	for rotations := range 4 {
		require.NoError(t, r.next())
		want := have.String()
		for n := range rotations {
			write(fmt.Sprint("before ", n))
			rotate()
			want += fmt.Sprintf("before %d\n", n)
		}
		write("then")
		require.NoError(t, r.next())
		require.Equal(t, want+"then\n", have.String())
	}
	for range kept + 2 {
		rotate()
		write("late")
	}
	require.NoError(t, r.next())
	require.Equal(t, kept, strings.Count(have.String(), "late\n"), "what is not kept is lost")
}
