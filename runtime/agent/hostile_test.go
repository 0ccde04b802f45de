package agent_test

import (
	"net/http"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// TestAborts: clients of exec and attach that go away without a word, amid endless output that nobody reads, cost
// nothing afterwards (CVE-2022-31030, CVE-2025-64329).
func TestAborts(t *testing.T) {
	n := start(t)
	c := admin(t)
	p := n.run("web", "", spec(`{containers: [{name: c, stdin: true, command: [sh, -c, "trap 'exit 0' TERM; echo up; while :; do echo x; sleep 0.01; done"]}]}`))
	n.up(p)
	abort := func(sub string, query ...string) {
		s := n.session(c, "web", sub, query...)
		s.until("\n")
		require.NoError(t, s.conn.CloseNow())
	}
	abort("exec", command("yes")...) // what is made once is made
	abort("attach", "stdout=true", "stdin=true")
	c.CloseIdleConnections()
	before := heap()
	known := goleak.IgnoreCurrent()
	for range 50 {
		abort("exec", append(command("yes"), "stdin=true")...)
		abort("exec", append(command("yes"), "tty=true")...)
		abort("attach", "stdout=true", "stdin=true")
	}
	c.CloseIdleConnections()
	require.NoError(t, goleak.Find(known), "goroutines")
	require.Less(t, heap()-before, int64(16<<20), "bytes of memory")
	groups, err := filepath.Glob("/sys/fs/cgroup/*" + n.Cgroup + "/pod*/*/cgroup.procs")
	require.NoError(t, err)
	own, err := filepath.Glob("/sys/fs/cgroup" + n.Cgroup + "/pod*/*/cgroup.procs") // version 2
	require.NoError(t, err)
	groups = append(groups, own...)
	require.NotEmpty(t, groups)
	b, err := os.ReadFile(groups[0])
	require.NoError(t, err)
	require.LessOrEqual(t, len(strings.Fields(string(b))), 2, "commands whose client has gone have ended")
}

func heap() int64 {
	goruntime.GC()
	goruntime.GC()
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestLogsLeadNowhere: a log that was replaced by a link, under another name or by something else is not read
// (kubernetes#81125).
func TestLogsLeadNowhere(t *testing.T) {
	t.Parallel()
	n := start(t)
	c := admin(t)
	canary := filepath.Join(n.Dir, "canary")
	require.NoError(t, os.WriteFile(canary, []byte("2026-01-02T03:04:05Z stdout F secret\n"), 0o600))
	p := n.run("web", "echo mine", func(p *corev1.Pod) {
		p.Spec.Containers[0].TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	})
	n.until("web", over)
	log := n.logOf(p, "c", 0)
	own, err := os.ReadFile(log)
	require.NoError(t, err)
	for name, replace := range map[string]func() error{
		"symbolic link": func() error { return os.Symlink(canary, log) },
		"hard link":     func() error { return os.Link(canary, log) },
		"fifo":          func() error { return unix.Mkfifo(log, 0o600) },
		"folder":        func() error { return os.Mkdir(log, 0o700) },
		"device":        func() error { return unix.Mknod(log, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))) },
	} {
		require.NoError(t, os.RemoveAll(log))
		require.NoError(t, replace())
		for _, query := range []string{"follow=false", "follow=true", "tailLines=1"} {
			code, text := n.logs(c, "web", query)
			require.Equal(t, http.StatusInternalServerError, code, name)
			require.NotContains(t, text, "secret", name)
		}
	}
	// Nor is one in a folder that became a link.
	elsewhere := filepath.Join(n.Dir, "elsewhere")
	require.NoError(t, os.Mkdir(elsewhere, 0o700))
	require.NoError(t, os.Rename(canary, filepath.Join(elsewhere, "0.log")))
	require.NoError(t, os.RemoveAll(filepath.Dir(log)))
	require.NoError(t, os.Symlink(elsewhere, filepath.Dir(log)))
	code, text := n.logs(c, "web")
	require.Equal(t, http.StatusInternalServerError, code)
	require.NotContains(t, text, "secret")
	require.NoError(t, os.Remove(filepath.Dir(log)))
	require.NoError(t, os.Mkdir(filepath.Dir(log), 0o700))
	require.NoError(t, os.WriteFile(log, own, 0o600))
	code, text = n.logs(c, "web")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "mine\n", text)
}

// TestNodeIsOutOfReach: a pod on the node's network finds no socket that leads to the runtime, and nobody but root
// gets into the folders (CVE-2020-15257).
func TestNodeIsOutOfReach(t *testing.T) {
	t.Parallel()
	n := start(t)
	out := n.output("web", "cat /proc/net/unix", func(p *corev1.Pod) { p.Spec.HostNetwork = true })
	for _, line := range lines(out) {
		require.False(t, strings.Contains(line, "@") && strings.Contains(line, "bedplate"), line)
	}
	for _, dir := range []string{"agent", "agent/pods", "runtime", "images"} {
		st, err := os.Stat(filepath.Join(n.Dir, dir))
		require.NoError(t, err)
		require.Zero(t, st.Mode().Perm()&0o077, dir)
	}
}

// TestHostileVolume: what a container leaves in its volumes leads nowhere when they are removed (CVE-2017-1002102).
func TestHostileVolume(t *testing.T) {
	t.Parallel()
	n := start(t)
	host := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(host, "canary"), nil, 0o600))
	n.output("evil", "", spec(`{volumes: [{name: v, emptyDir: {}}], containers: [{name: c, volumeMounts: [{name: v, mountPath: /v}],
		command: [sh, -c, "ln -s `+host+` /v/link; ln -s / /v/root; mkdir -p /v/a/b; ln -s ../../../../.. /v/a/b/up; chmod 0 /v/a; mkfifo /v/fifo"]}]}`))
	n.delete("evil")
	n.idle()
	require.FileExists(t, filepath.Join(host, "canary"))
	n.empty()
}

// TestNoisyNeighbours: containers that use up what they were given harm nobody else, and their status says what
// happened.
func TestNoisyNeighbours(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.run("good", idle)
	n.until("good", ready)
	n.run("deaf", "trap '' TERM; echo up; sleep 1000")
	n.run("flood", "yes")
	n.run("hungry", "", spec(`{containers: [{name: c, command: [sh, -c, "tail /dev/zero"], resources: {limits: {memory: 128Mi}}}]}`))
	require.Equal(t, "OOMKilled", status(n.until("hungry", over), "c").State.Terminated.Reason)
	flood := n.until("flood", ready)
	n.awaitFile(n.logOf(flood, "c", 0) + ".1")
	var size int64
	require.NoError(t, filepath.WalkDir(filepath.Join(n.Dir, "agent"), func(_ string, d os.DirEntry, err error) error {
		if st, err := d.Info(); err == nil && st.Mode().IsRegular() {
			size += st.Size()
		}
		return err
	}))
	require.Less(t, size, int64(60<<20), "bytes of logs")
	n.run("next", "exit 0")
	n.until("next", over)
	good := n.until("good", ready)
	require.Zero(t, status(good, "c").RestartCount)
}
