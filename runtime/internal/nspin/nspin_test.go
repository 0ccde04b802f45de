//go:build linux

package nspin

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSysctlPath(t *testing.T) {
	for name, want := range map[string]string{
		"net.ipv4.ip_forward":               "/proc/sys/net/ipv4/ip_forward",
		"net/ipv4/ip_forward":               "/proc/sys/net/ipv4/ip_forward",
		"net.ipv4.conf.eth0/100.forwarding": "/proc/sys/net/ipv4/conf/eth0.100/forwarding",
		"net/ipv4/conf/eth0.100/forwarding": "/proc/sys/net/ipv4/conf/eth0.100/forwarding",
		"net/../../../etc/passwd":           "/proc/sys/etc/passwd",
	} {
		require.Equal(t, want, SysctlPath(name), name)
	}
}

func TestPins(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ns")
	require.NoError(t, os.Mkdir(dir, 0o700))
	s := Spec{Net: true, IPC: true, UTS: true, Hostname: "x"}
	require.False(t, Pinned(dir, s))
	require.NoError(t, Create(dir, s))
	require.True(t, Pinned(dir, s))
	for _, n := range []string{Net, IPC, UTS} {
		host, err := os.Stat("/proc/self/ns/" + n)
		require.NoError(t, err)
		pin, err := os.Stat(filepath.Join(dir, n))
		require.NoError(t, err)
		require.False(t, os.SameFile(host, pin))
	}
	require.Error(t, Create(dir, s), "the files are there")
	require.NoError(t, Remove(dir))
	require.NoError(t, Remove(dir))
	require.NoDirExists(t, dir)
}

func BenchmarkCreate(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		ns := filepath.Join(dir, "ns")
		require.NoError(b, os.Mkdir(ns, 0o700))
		require.NoError(b, Create(ns, Spec{Net: true, IPC: true, UTS: true, Hostname: "x"}))
		require.NoError(b, Remove(ns))
	}
}
