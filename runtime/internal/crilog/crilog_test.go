//go:build linux

package crilog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("", 3600))

func entries(b []byte, flush bool) (string, int) {
	var out bytes.Buffer
	n := Entries(b, "stdout", noon, flush, func(e []byte) { out.Write(e) })
	return out.String(), n
}

func TestEntries(t *testing.T) {
	const head = "2026-01-02T02:04:05.000006000Z stdout "
	full := strings.Repeat("x", MaxLine)
	for name, c := range map[string]struct {
		in      string
		flush   bool
		out     string
		covered int
	}{
		"nothing":    {"", true, "", 0},
		"line":       {"a\n", false, head + "F a\n", 2},
		"empty line": {"\n", false, head + "F \n", 1},
		"unfinished": {"a\nbc", false, head + "F a\n", 2},
		"flushed":    {"a\nbc", true, head + "F a\n" + head + "P bc\n", 4},
		"full":       {full + "\n", false, head + "F " + full + "\n", MaxLine + 1},
		"long":       {full + "y\n", false, head + "P " + full + "\n" + head + "F y\n", MaxLine + 2},
		"full, open": {full, false, head + "P " + full + "\n", MaxLine},
	} {
		out, n := entries([]byte(c.in), c.flush)
		require.Equal(t, c.out, out, name)
		require.Equal(t, c.covered, n, name)
	}
}

// Whatever is written in whatever pieces is what can be read.
func TestEntriesLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOf(rapid.Custom(func(t *rapid.T) []byte {
			b := bytes.Repeat([]byte("z"), rapid.IntRange(0, MaxLine*2).Draw(t, "n"))
			if len(b) > 0 && rapid.Bool().Draw(t, "newline") {
				b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = '\n'
			}
			return b
		})).Draw(t, "pieces")
		var pending, want []byte
		var out strings.Builder
		for i, p := range pieces {
			want, pending = append(want, p...), append(pending, p...)
			text, n := entries(pending, i == len(pieces)-1)
			out.WriteString(text)
			pending = pending[n:]
		}
		require.Empty(t, pending)
		var got []byte
		for line := range strings.Lines(out.String()) {
			f := strings.SplitN(line, " ", 4)
			if f[2] == "P" {
				f[3] = strings.TrimSuffix(f[3], "\n")
			}
			got = append(got, f[3]...)
		}
		require.Equal(t, string(want), string(got))
	})
}

func TestMend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for text, want := range map[string]string{"a\nb": "a\n", "a\n": "a\n", "": "", "cut": ""} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		l, err := Open(path, 1000, 1)
		require.NoError(t, err)
		require.NoError(t, l.Add([]byte("next\n")))
		require.NoError(t, l.Close())
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want+"next\n", string(b))
	}
}

func TestRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, files := range []int{1, 3} {
		l, err := Open(path, 10, files)
		require.NoError(t, err)
		for i := range 20 {
			require.NoError(t, l.Add(fmt.Appendf(nil, "%04d\n", i)))
		}
		require.NoError(t, l.Close())
		all, err := filepath.Glob(path + "*")
		require.NoError(t, err)
		require.Len(t, all, files)
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "0018\n0019\n", string(b))
	}
}

func BenchmarkEntries(b *testing.B) {
	text := bytes.Repeat([]byte("a line of the usual length, or so one would think\n"), 1000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Entries(text, "stdout", noon, false, func([]byte) {})
	}
}
