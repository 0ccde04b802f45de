package interop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/runtime/image/imagetest"
)

// cluster is examples/cluster as its users run it: a process.
type cluster struct {
	t      *testing.T
	dir    string
	listen string
	args   []string
	before []string // what the machine's network was like
	cmd    *exec.Cmd
	said   string // until it was ready
	exited chan error
}

func startCluster(t *testing.T, args ...string) *cluster {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	listen := l.Addr().String()
	require.NoError(t, l.Close())
	c := &cluster{t: t, dir: t.TempDir(), listen: listen, args: args, before: network(t)}
	c.start()
	t.Cleanup(func() {
		if c.cmd != nil {
			c.stop()
		}
	})
	return c
}

// start starts the process and waits until it says that all is there.
func (c *cluster) start() {
	c.t.Helper()
	cmd := exec.Command(filepath.Join(bin, "cluster"), append([]string{
		"-data-dir", c.dir, "-listen", c.listen, "-kubeconfig", c.kubeconfig(), "-demo=false",
	}, c.args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // tests that are killed leave no cluster behind
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	require.NoError(c.t, err)
	require.NoError(c.t, cmd.Start())
	c.cmd = cmd
	ready, exited := make(chan string, 1), make(chan error, 1)
	go func() {
		var said strings.Builder
		for s := bufio.NewScanner(out); s.Scan(); {
			fmt.Fprintln(&said, s.Text())
			if strings.Contains(s.Text(), "Ctrl-C ends it") {
				ready <- said.String()
			}
		}
		err := cmd.Wait()
		if c.t.Failed() {
			fmt.Fprintln(os.Stderr, log.String())
		}
		exited <- err
	}()
	c.exited = exited
	select {
	case c.said = <-ready:
	case err := <-exited:
		c.cmd = nil
		c.t.Fatalf("the cluster ended: %v\n%s", err, log.String())
	case <-time.After(2 * time.Minute):
		c.t.Fatalf("the cluster is not ready after two minutes\n%s", log.String())
	}
}

func (c *cluster) kubeconfig() string { return filepath.Join(c.dir, "admin.kubeconfig") }

// stop ends it as Ctrl-C does; it must exit with 0 and leave nothing behind but its folder.
func (c *cluster) stop() {
	c.t.Helper()
	made := groups(c.t, c.dir)
	require.NoError(c.t, c.cmd.Process.Signal(os.Interrupt))
	c.wait(true)
	require.Empty(c.t, leftovers(c.t, c.dir))
	require.Empty(c.t, existing(c.t, made))
	require.Equal(c.t, c.before, network(c.t), "the machine's network is as it was")
}

func (c *cluster) kill() {
	c.t.Helper()
	require.NoError(c.t, c.cmd.Process.Kill())
	c.wait(false)
}

func (c *cluster) wait(clean bool) {
	c.t.Helper()
	c.cmd = nil
	select {
	case err := <-c.exited:
		if clean {
			require.NoError(c.t, err, "the cluster must exit with 0")
		}
	case <-time.After(2 * time.Minute):
		c.t.Fatal("the cluster does not end")
	}
}

func (c *cluster) admin(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(c.kubeconfig())
	require.NoError(t, err)
	return b
}

// images starts a registry on loopback with two images of busybox.
func images(t *testing.T) map[string]string {
	t.Helper()
	host := imagetest.Registry(t)
	return map[string]string{
		"REGISTRY": host, "NAME": "busybox", "IMAGE": imagetest.PushImage(t, host, "busybox:v1", imagetest.BusyboxImage(t)), "OTHER": imagetest.PushImage(t, host, "busybox:v2", imagetest.BusyboxImage(t)),
	}
}

// leftovers are the mounts, cgroups and processes that a cluster in a folder has made. The folder's name is in all
// of them.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) {
			found = append(found, "mount "+line)
		}
	}
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, p := range procs {
		b, err := os.ReadFile(p)
		if err == nil && strings.Contains(string(b), dir) {
			found = append(found, "process "+p+" "+string(b))
		}
	}
	return found
}

// groups are the cgroups of the processes of a cluster in a folder, as long as they run.
func groups(t *testing.T, dir string) []string {
	t.Helper()
	name := regexp.MustCompile(`bedplate-[0-9a-f]+`)
	var found []string
	procs, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, p := range procs {
		cmdline, errA := os.ReadFile(p + "/cmdline")
		cgroup, errB := os.ReadFile(p + "/cgroup")
		if errA == nil && errB == nil && strings.Contains(string(cmdline), dir) {
			found = append(found, name.FindAllString(string(cgroup), -1)...)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// existing are the cgroups among these names that exist.
func existing(t *testing.T, names []string) []string {
	t.Helper()
	var found []string
	for _, name := range names {
		for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
			g, err := filepath.Glob(pattern + name)
			require.NoError(t, err)
			found = append(found, g...)
		}
	}
	return found
}

// TestCluster is the proof of steps S2 and S3: unmodified kubectl runs pods and Deployments, in one cluster, which
// leaves nothing behind when it is stopped.
func TestCluster(t *testing.T) {
	env := images(t)
	c := startCluster(t, "-nodes", "1")
	t.Run("pods", func(t *testing.T) { runScript(t, "pods.txt", c.admin(t), env) })
	t.Run("follow", func(t *testing.T) { follow(t, c, env["IMAGE"]) })
	t.Run("terminal", func(t *testing.T) { terminal(t, c, env["IMAGE"]) })
	t.Run("forward", func(t *testing.T) { forward(t, c, env["IMAGE"]) })
	t.Run("node", func(t *testing.T) { runScript(t, "kubectl-node.txt", c.admin(t), env) })
	t.Run("deployments", func(t *testing.T) { runScript(t, "deployments.txt", c.admin(t), env) })
	out, err := newKubectl(t, c.admin(t)).shell(t.Context(), "kubectl create deployment left --image="+env["IMAGE"]+" --replicas=3 -- sh -c 'trap exit TERM; sleep 1000 & wait' && kubectl rollout status deployment/left", "")
	require.NoError(t, err, out)
	require.NotEmpty(t, leftovers(t, c.dir), "the search must find what runs")
	require.NotEmpty(t, existing(t, groups(t, c.dir)), "the search must find what runs")
	require.NotEqual(t, c.before, network(t), "the search must find what runs")
	c.stop()
}

// follow reads a log as it grows.
func follow(t *testing.T, c *cluster, image string) {
	k := newKubectl(t, c.admin(t))
	out, err := k.shell(t.Context(), "kubectl run talk --image="+image+" --restart=Never -- sh -c 'mkfifo /in; while read line; do echo got $line; [ $line = stop ] && exit 0; done <> /in' && kubectl wait --for=condition=Ready pod/talk --timeout=60s", "")
	require.NoError(t, err, out)
	lines, stop := k.lines(t, "kubectl logs -f talk")
	defer stop()
	for _, word := range []string{"one", "two", "stop"} {
		out, err := k.shell(t.Context(), "kubectl exec talk -- sh -c 'echo "+word+" > /in'", "")
		require.NoError(t, err, out)
		next(t, lines, "got "+word)
	}
	for range lines { // the log ends with the container
	}
	out, err = k.shell(t.Context(), "kubectl wait --for=jsonpath={.status.phase}=Succeeded pod/talk --timeout=60s && kubectl delete pod talk", "")
	require.NoError(t, err, out)
}

// terminal works in a container as one does by hand.
func terminal(t *testing.T, c *cluster, image string) {
	k := newKubectl(t, c.admin(t))
	out, err := k.shell(t.Context(), "kubectl run term --image="+image+" -- sleep 1000 && kubectl wait --for=condition=Ready pod/term --timeout=60s", "")
	require.NoError(t, err, out)
	cmd := k.cmd(t.Context(), "exec kubectl exec -it term -- sh")
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 77})
	require.NoError(t, err)
	defer tty.Close()
	require.NoError(t, tty.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(tty, "tty; stty size; exit 5\n")
	require.NoError(t, err)
	b, _ := io.ReadAll(tty) // ends with an error, as terminals do
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit, "%s", b)
	require.Equal(t, 5, exit.ExitCode())
	require.Contains(t, string(b), "/dev/pts/0")
	require.Contains(t, string(b), "33 77")
	out, err = k.shell(t.Context(), "kubectl delete pod term --now", "")
	require.NoError(t, err, out)
}

// TestKilled kills the whole process, agent and control plane, with 20 containers running, and starts it again.
func TestKilled(t *testing.T) {
	env := images(t)
	c := startCluster(t, "-nodes", "1")
	k := newKubectl(t, c.admin(t))
	const marker = "86399.25"
	out, err := k.shell(t.Context(), "kubectl create deployment web --image="+env["IMAGE"]+" --replicas=20 -- sh -c 'trap exit TERM; sleep "+marker+" & wait' && kubectl rollout status deployment/web --timeout=100s", "")
	require.NoError(t, err, out)
	// A container runs a moment before its process is the command.
	require.Eventually(t, func() bool { return len(processes(t, "sleep", marker)) == 20 }, time.Minute, 10*time.Millisecond)
	before := processes(t, "sleep", marker)
	c.kill()
	require.Equal(t, before, processes(t, "sleep", marker))
	c.start()
	out, err = k.shell(t.Context(), "kubectl rollout status deployment/web --timeout=60s && kubectl get pods --no-headers", "")
	require.NoError(t, err, out)
	require.Equal(t, 20, strings.Count(out, "Running   0 "), out)
	require.Equal(t, before, processes(t, "sleep", marker))
	c.stop()
	require.Empty(t, processes(t, "sleep", marker))
}

// processes are the pids and start times of the processes whose command line begins with these words.
func processes(t *testing.T, words ...string) []string {
	t.Helper()
	var found []string
	dirs, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, dir := range dirs {
		b, err := os.ReadFile(dir + "/cmdline")
		if err != nil || !strings.HasPrefix(string(b), strings.Join(words, "\x00")) {
			continue
		}
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue // it has ended since
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		found = append(found, dir+" "+fields[19])
	}
	slices.Sort(found)
	return found
}

// TestWithoutRoot runs the control plane alone as nobody.
func TestWithoutRoot(t *testing.T) {
	dir, err := os.MkdirTemp("", "nobody")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	const nobody = 65534
	require.NoError(t, os.Chown(dir, nobody, nobody))
	require.NoError(t, os.Chmod(bin, 0o755))
	cmd := exec.Command(filepath.Join(bin, "cluster"), "-nodes", "0", "-data-dir", dir, "-listen", "127.0.0.1:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	s := bufio.NewScanner(out)
	for s.Scan() && !strings.Contains(s.Text(), "Ctrl-C ends it") {
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	for s.Scan() {
	}
	require.NoError(t, cmd.Wait())

	empty := t.TempDir()
	cmd = exec.Command(filepath.Join(bin, "cluster"), "-nodes", "1", "-data-dir", filepath.Join(empty, "data"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	text, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Equal(t, "cluster: running containers needs root: run it as root, or the control plane alone with -nodes 0\n", string(text))
	require.NoDirExists(t, filepath.Join(empty, "data"))
}

// TestRefusals: what can't be started says in one line what to do, and leaves nothing behind.
func TestRefusals(t *testing.T) {
	c := startCluster(t, "-nodes", "0")
	run := func(args ...string) string {
		out, err := exec.Command(filepath.Join(bin, "cluster"), args...).CombinedOutput()
		require.Error(t, err, "%s", out)
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return lines[len(lines)-1]
	}
	require.Contains(t, run("-nodes", "0", "-data-dir", t.TempDir(), "-listen", c.listen), "address already in use")
	require.Contains(t, run("-nodes", "0", "-data-dir", c.dir, "-listen", "127.0.0.1:0"), "another process")
	require.Contains(t, run("-nodes", "0", "-data-dir", t.TempDir(), "-listen", "nonsense"), "127.0.0.1:6443")
	damaged := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(damaged, "pki"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(damaged, "pki", "ca.crt"), []byte("junk"), 0o600))
	require.Contains(t, run("-nodes", "0", "-data-dir", damaged, "-listen", "127.0.0.1:0"), "ca.crt")
}
