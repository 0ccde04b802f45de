package agent

import (
	"bytes"
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
