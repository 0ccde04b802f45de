//go:build linux

package soak

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	soakFor  = flag.Duration("soak", 0, "how long TestSoak goes on; 0: one short round")
	soakSeed = flag.Uint64("seed", 0, "the seed of TestSoak; 0: a random one")
)

func TestMain(m *testing.M) {
	if IsMember() {
		os.Exit(Member())
	}
	os.Exit(m.Run())
}

// shortDir is a folder whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "soak")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestSoak(t *testing.T) {
	c := Config{Dir: shortDir(t), Seed: *soakSeed, For: *soakFor, Out: os.Stdout}
	if *soakFor == 0 {
		c.Round, c.Out = 8*time.Second, nil
	}
	report, err := Run(t.Context(), c)
	t.Logf("%v", report)
	require.NoError(t, err)
	require.Empty(t, report.Problems)
	require.Zero(t, report.Lost())
}
