package agent_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate/apimachinery/client"
)

// health answers probes: over HTTP/1 at /healthz, and as the gRPC health service over HTTP/2.
type health struct {
	*httptest.Server
	sick  atomic.Bool
	asked atomic.Int64
}

func newHealth(t *testing.T) *health {
	h := &health{}
	h.Server = httptest.NewUnstartedServer(h)
	h.Config.Protocols = new(http.Protocols)
	h.Config.Protocols.SetHTTP1(true)
	h.Config.Protocols.SetUnencryptedHTTP2(true)
	h.Start()
	t.Cleanup(h.Close)
	return h
}

func (h *health) port() string { return strconv.Itoa(h.Listener.Addr().(*net.TCPAddr).Port) }

func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.asked.Add(1)
	switch r.URL.Path {
	case "/grpc.health.v1.Health/Check":
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		serving := byte(1)
		if h.sick.Load() {
			serving = 2
		}
		_, _ = w.Write([]byte{0, 0, 0, 0, 2, 8, serving})
		w.Header().Set("Grpc-Status", "0")
	case "/away":
		http.Redirect(w, r, "http://198.51.100.1/", http.StatusFound)
	case "/healthz":
		if h.sick.Load() || r.Header.Get("X-Probe") != "yes" || r.Host != "web.example" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// TestReadiness: each kind of probe is followed both ways.
func TestReadiness(t *testing.T) {
	t.Parallel()
	n := start(t)
	h := newHealth(t)
	probe := func(probe string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			spec(`{hostNetwork: true, containers: [{name: c, readinessProbe: {periodSeconds: 1, failureThreshold: 1, ` + probe + `}}]}`)(p)
			p.Spec.Containers[0].Command = []string{"sh", "-c", idle}
		}
	}
	n.run("http", "", probe(`httpGet: {port: `+h.port()+`, path: /healthz, httpHeaders: [{name: X-Probe, value: "yes"}, {name: Host, value: web.example}]}`))
	n.run("grpc", "", probe(`grpc: {port: `+h.port()+`}`))
	n.run("tcp", "", probe(`tcpSocket: {port: `+h.port()+`}`))
	n.run("away", "", probe(`httpGet: {port: `+h.port()+`, path: /away}`))
	n.run("exec", "", probe(`exec: {command: [test, -e, /tmp/well]}`), func(p *corev1.Pod) {
		p.Spec.Containers[0].Command[2] = "trap 'rm /tmp/well' USR1; touch /tmp/well; echo up; while :; do sleep 1000 & wait; done"
	})
	n.run("closed", "", probe(`tcpSocket: {port: 1}`))
	for _, name := range []string{"http", "grpc", "tcp", "away", "exec"} {
		n.until(name, ready)
	}
	require.Equal(t, corev1.ConditionFalse, condition(n.until("closed", running), corev1.PodReady))

	h.sick.Store(true)
	for _, name := range []string{"http", "grpc"} {
		n.until(name, unready)
	}
	h.sick.Store(false)
	for _, name := range []string{"http", "grpc"} {
		require.Zero(t, status(n.until(name, ready), "c").RestartCount)
	}
	for _, c := range n.runtime.Containers() {
		if c.Spec.Labels["io.kubernetes.pod.name"] == "exec" {
			require.NoError(t, n.runtime.KillContainer(c.Spec.ID, 10))
		}
	}
	n.until("exec", unready)
}

// TestProbesInside: a pod without an address is asked inside its network namespace.
func TestProbesInside(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.run("web", "", spec(`{containers: [{name: c, ports: [{name: web, containerPort: 8080}],
		command: [sh, -c, "mkdir /www; echo ok >/www/index.html; exec httpd -f -p 127.0.0.1:8080 -h /www"],
		startupProbe: {periodSeconds: 1, tcpSocket: {port: web}}, readinessProbe: {periodSeconds: 1, httpGet: {port: web, path: /index.html}}}]}`))
	n.until("web", ready)
}

func TestStartupAndLiveness(t *testing.T) {
	t.Parallel()
	n := start(t)
	always := func(p *corev1.Pod) {
		p.Spec.RestartPolicy, p.Spec.TerminationGracePeriodSeconds = corev1.RestartPolicyAlways, seconds(30)
	}
	n.run("dies", "", spec(`{containers: [{name: c, command: [sh, -c, "trap 'exit 6' TERM; echo up; while :; do sleep 1000 & wait; done"],
		startupProbe: {periodSeconds: 1, timeoutSeconds: 30, exec: {command: ["true"]}},
		livenessProbe: {periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 2, exec: {command: [sh, -c, "echo sick; exit 1"]}}}]}`), always)
	n.run("slow", "", spec(`{containers: [{name: c, command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"],
		startupProbe: {periodSeconds: 1, failureThreshold: 1, exec: {command: [sleep, "1000"]}, terminationGracePeriodSeconds: 1}}]}`), always)
	p := n.until("dies", func(p *corev1.Pod) bool { return ptr.Deref(status(p, "c").Started, false) })
	require.Equal(t, corev1.ConditionTrue, condition(p, corev1.PodReady))
	p = n.until("dies", func(p *corev1.Pod) bool { return status(p, "c").RestartCount >= 1 })
	require.EqualValues(t, 6, status(p, "c").LastTerminationState.Terminated.ExitCode)
	require.True(t, n.said("dies", "Unhealthy", "Liveness probe failed", "sick"))
	require.True(t, n.said("dies", "Killing", "will be restarted"))

	p = n.until("slow", func(p *corev1.Pod) bool { return status(p, "c").RestartCount >= 1 })
	require.False(t, ptr.Deref(status(p, "c").Started, true))
	require.True(t, n.said("slow", "Unhealthy", "Startup probe failed"), "a probe that takes too long has failed")
}

func TestHooks(t *testing.T) {
	t.Parallel()
	n := start(t)
	h := newHealth(t)
	dir := t.TempDir()
	hooked := func(lifecycle string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			spec(`{hostNetwork: true, volumes: [{name: v, hostPath: {path: ` + dir + `}}], containers: [{name: c, volumeMounts: [{name: v, mountPath: /v}], lifecycle: {` + lifecycle + `}}]}`)(p)
			p.Spec.Containers[0].Command = []string{"sh", "-c", "trap 'echo term >>/v/log; exit 0' TERM; echo up; while :; do sleep 1000 & wait; done"}
			p.Spec.TerminationGracePeriodSeconds = seconds(60)
		}
	}
	n.run("good", "", hooked(`postStart: {exec: {command: [sh, -c, "echo start >>/v/log"]}}, preStop: {exec: {command: [sh, -c, "echo stop >>/v/log"]}}`))
	p := n.until("good", ready)
	n.up(p)
	n.delete("good")
	b, err := os.ReadFile(filepath.Join(dir, "log"))
	require.NoError(t, err)
	require.Equal(t, "start\nstop\nterm\n", string(b))

	n.run("asks", "", hooked(`postStart: {httpGet: {host: 127.0.0.1, port: `+h.port()+`, path: /nothing}}, preStop: {sleep: {seconds: 1}}`))
	p = n.until("asks", over)
	require.EqualValues(t, 1, h.asked.Load())
	require.True(t, n.said("asks", "FailedPostStartHook", "404"))
	require.False(t, n.said("asks", "Unhealthy"))

	// A hook that takes all the time there is leaves the container two seconds.
	n.run("hangs", "", hooked(`preStop: {exec: {command: [sleep, "1000"]}}`))
	n.up(n.until("hangs", ready))
	ended := n.watch("hangs", over)
	require.NoError(t, n.pods.Delete(t.Context(), n.Node, "hangs", client.Grace(1)))
	require.EqualValues(t, 0, status(<-ended, "c").State.Terminated.ExitCode)
	require.True(t, n.said("hangs", "FailedPreStopHook"))
}
