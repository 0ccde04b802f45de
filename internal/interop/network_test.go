package interop

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/runtime/image"
	"github.com/bedplate/bedplate/runtime/image/imagetest"
)

// tools pushes an image of kubectl beside busybox.
func tools(t *testing.T, host string) string {
	t.Helper()
	files := map[string]image.File{
		"bin/busybox": {Source: imagetest.BusyboxPath, Mode: 0o755}, "bin/kubectl": {Source: filepath.Join(bin, "kubectl"), Mode: 0o755},
		"tmp": {Dir: true, Mode: 0o777},
	}
	for _, name := range []string{"sh", "cat", "sleep", "timeout"} {
		files["bin/"+name] = image.File{Link: "busybox"}
	}
	img, err := image.Build(files, image.BuildOptions{Config: image.ContainerConfig{Env: []string{"PATH=/bin", "HOME=/tmp"}}})
	require.NoError(t, err)
	return imagetest.PushImage(t, host, "tools:v1", img)
}

// TestNetwork: pods of two nodes, services, names, and the API from a pod.
func TestNetwork(t *testing.T) {
	env := images(t)
	env["TOOLS"] = tools(t, env["REGISTRY"])
	c := startCluster(t, "-nodes", "2")
	runScript(t, "network.txt", c.admin(t), env)
	c.stop()
}

// TestVXLAN: pods of two nodes reach each other, their services and names through a tunnel, too.
func TestVXLAN(t *testing.T) {
	c := startCluster(t, "-nodes", "2", "-vxlan")
	runScript(t, "vxlan.txt", c.admin(t), images(t))
	c.stop()
}

// TestDemo is what a newcomer sees, and what is there after Ctrl-C and another start.
func TestDemo(t *testing.T) {
	c := startCluster(t, "-demo")
	require.Contains(t, c.said, "3 web servers run\n")
	require.Contains(t, c.said, "web servers answer behind their service: hello from hello-")
	require.Contains(t, c.said, "kubectl delete website hello\n")
	runScript(t, "demo.txt", c.admin(t), nil)
	c.stop()
	c.start()
	require.Contains(t, c.said, "web servers answer behind their service: hello from hello-")
	runScript(t, "demo-again.txt", c.admin(t), nil)
	c.stop()
}

// relay is a web server that leads on what is sent to it: /cgi-bin/to?10.1.2.3/80.
const relay = `mkdir -p /tmp/www/cgi-bin; printf '#!/bin/sh\necho; exec nc ${QUERY_STRING%%/*} ${QUERY_STRING#*/}\n' >/tmp/www/cgi-bin/to
chmod +x /tmp/www/cgi-bin/to; exec httpd -f -p 8642 -h /tmp/www`

// TestKilledNetwork kills the whole process while pods of two nodes talk, directly and through a service: they go on,
// those that were connected and those that connect while no process runs. The next start takes all of it over.
func TestKilledNetwork(t *testing.T) {
	env := images(t)
	env["RELAY"] = strings.ReplaceAll(relay, "\n", "\n        ")
	c := startCluster(t, "-nodes", "2")
	runScript(t, "killed.txt", c.admin(t), env)
	k := newKubectl(t, c.admin(t))
	get := func(what string) string {
		out, err := k.shell(t.Context(), "kubectl get "+what, "")
		require.NoError(t, err, out)
		return strings.TrimSpace(out)
	}
	via := net.JoinHostPort(get("pod relay -o jsonpath={.status.podIP}"), "8642")
	pod := get("pod -l app=web -o jsonpath={.items[0].status.podIP}") + "/8642"
	service := get("svc web -o jsonpath={.spec.clusterIP}") + "/80"
	const same = "pods -o jsonpath={.items[*].metadata.uid}{.items[*].status.containerStatuses[0].containerID}{.items[*].status.containerStatuses[0].restartCount}"
	pods, running := get(same), webServers(t)
	require.Len(t, running, 4)

	require.Contains(t, open(t, via, pod).finish(), "web-")
	require.Contains(t, open(t, via, service).finish(), "web-")
	direct, through := open(t, via, pod), open(t, via, service)
	own := dialService(t, strings.Replace(service, "/", ":", 1))
	c.kill()
	require.Contains(t, direct.finish(), "web-", "a pod's connection to a pod")
	require.Contains(t, through.finish(), "web-", "a pod's connection to a service")
	require.Contains(t, own.finish(), "web-", "the machine's connection to a service")
	require.Contains(t, open(t, via, pod).finish(), "web-", "a new one")
	require.Contains(t, open(t, via, service).finish(), "web-", "a new one")
	require.Contains(t, dialService(t, strings.Replace(service, "/", ":", 1)).finish(), "web-", "a new one")

	c.start()
	require.Equal(t, running, webServers(t))
	require.Contains(t, open(t, via, service).finish(), "web-")
	require.Equal(t, pods, get(same), "the same containers, without a restart")
	runScript(t, "killed-again.txt", c.admin(t), env)
	require.Equal(t, 4, strings.Count(get("pods --no-headers"), "Running   0 "))
	c.stop()
}

// webServers are the first processes of the containers that serve, without those that they fork for a connection.
func webServers(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(processes(t, "httpd", "-f", "-p", "8642"), func(p string) bool {
		dir, _, _ := strings.Cut(p, " ")
		status, err := os.ReadFile(dir + "/status")
		return err != nil || !regexp.MustCompile(`(?m)^NSpid:.*\t1$`).Match(status)
	})
}

// request is a request for a page of which only the first half was sent.
type request struct {
	t    *testing.T
	conn net.Conn
	rest string
}

func begin(t *testing.T, address, first, rest string) *request {
	t.Helper()
	d := net.Dialer{Timeout: 30 * time.Second}
	conn, err := d.DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = io.WriteString(conn, first)
	require.NoError(t, err)
	return &request{t: t, conn: conn, rest: rest}
}

// dialService connects from here.
func dialService(t *testing.T, address string) *request {
	t.Helper()
	return begin(t, address, "GET / HTTP/1.0\r\n", "\r\n")
}

// open connects from the relay to an address ("10.1.2.3/80").
func open(t *testing.T, relay, address string) *request {
	t.Helper()
	const first, rest = "GET / HTTP/1.0\r\n", "\r\n"
	return begin(t, relay, fmt.Sprintf("POST /cgi-bin/to?%s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", address, len(first+rest), first), rest)
}

// finish sends the other half and returns the answer.
func (r *request) finish() string {
	r.t.Helper()
	defer r.conn.Close()
	_, err := io.WriteString(r.conn, r.rest)
	require.NoError(r.t, err)
	b, err := io.ReadAll(r.conn)
	require.NoError(r.t, err)
	return string(b)
}

// TestMachineInUse: a range that leads elsewhere already is refused, and so is a second cluster on the machine. Both say
// what to do, and leave all as it was.
func TestMachineInUse(t *testing.T) {
	ip := func(args ...string) {
		out, err := exec.Command(imagetest.BusyboxPath, append([]string{"ip", "route"}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	before := network(t)
	ip("add", "10.245.0.0/25", "dev", "lo")
	require.Equal(t, "cluster: open hosts bedplate: the range 10.245.0.0/24 is in use: lo has a route to 10.245.0.0/25: choose another range\n", refused(t))
	ip("del", "10.245.0.0/25", "dev", "lo")
	require.Equal(t, before, network(t))
	for _, r := range [][2]string{{"10.244.7.0/24", "10.244.0.0/16"}, {"10.96.0.0/12", "10.96.0.0/16"}} {
		ip("add", r[0], "dev", "lo")
		require.Equal(t, "cluster: the range "+r[1]+" is in use: lo has a route to "+r[0]+": choose another range\n", refused(t))
		ip("del", r[0], "dev", "lo")
	}
	require.Equal(t, before, network(t))

	c := startCluster(t, "-nodes", "1")
	ranged := func() bool { return strings.Contains(strings.Join(network(t), "\n"), "route 10.244.0.0/24 ") }
	require.Eventually(t, ranged, 30*time.Second, 10*time.Millisecond, "the node gets its range")
	require.Regexp(t, `^cluster: open hosts bedplate: another process has them: end it, or use another name and range \(.* is locked\)\n$`, refused(t))
	out, err := newKubectl(t, c.admin(t)).shell(t.Context(), "kubectl get nodes", "")
	require.NoError(t, err, out)
	c.stop()
}

// refused starts a cluster that can't be, and returns the line that it says. Nothing is changed by it.
func refused(t *testing.T) string {
	t.Helper()
	before := network(t)
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "cluster"), "-data-dir", dir, "-listen", "127.0.0.1:0")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", out)
	require.Equal(t, 1, exit.ExitCode(), "%s", out)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
	require.Empty(t, leftovers(t, dir))
	require.Equal(t, before, network(t))
	return string(out)
}
