package agent_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestEnds(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.run("good", "echo hello; exit 0")
	n.run("bad", "echo farewell >/dev/termination-log; exit 3")
	n.run("log", "echo first; echo last; exit 1", spec(`{containers: [{name: c, command: [sh, -c, "echo first; echo last; exit 1"],
		terminationMessagePolicy: FallbackToLogsOnError}]}`))
	n.run("missing", "", spec(`{containers: [{name: c, command: [/no/such/command]}]}`))
	n.run("oom", "", spec(`{containers: [{name: c, command: [sh, -c, "tail /dev/zero"], resources: {limits: {memory: 128Mi}}}]}`))

	good := n.until("good", over)
	require.Equal(t, corev1.PodSucceeded, good.Status.Phase)
	end := status(good, "c").State.Terminated
	require.Equal(t, "Completed", end.Reason)
	require.False(t, end.StartedAt.IsZero() || end.FinishedAt.IsZero())
	require.Equal(t, corev1.ConditionTrue, condition(good, corev1.PodInitialized))
	require.Equal(t, corev1.ConditionTrue, condition(good, corev1.PodScheduled))
	require.Equal(t, corev1.ConditionFalse, condition(good, corev1.PodReady))
	require.NotNil(t, good.Status.StartTime)
	require.Equal(t, "127.0.0.1", good.Status.HostIP)
	for _, c := range good.Status.Conditions {
		if c.Type == corev1.PodReady {
			require.Equal(t, "PodCompleted", c.Reason)
			require.Empty(t, c.Message, "what was said before is taken back")
		}
	}
	for name, want := range map[string]struct {
		code            int32
		reason, message string
	}{
		"bad": {3, "Error", "farewell\n"}, "log": {1, "Error", "first\nlast\n"},
		"missing": {128, "StartError", "/no/such/command"}, "oom": {137, "OOMKilled", ""},
	} {
		p := n.until(name, over)
		require.Equal(t, corev1.PodFailed, p.Status.Phase, name)
		end := status(p, "c").State.Terminated
		require.Equal(t, want.code, end.ExitCode, name)
		require.Equal(t, want.reason, end.Reason, name)
		require.Contains(t, end.Message, want.message, name)
	}
	require.True(t, n.said("good", "Normal", "Pulled"))
	require.True(t, n.said("good", "Normal", "Started"))
}

func TestRunningAndDeleted(t *testing.T) {
	t.Parallel()
	n := start(t)
	p := n.run("web", idle)
	p = n.until("web", ready)
	require.Equal(t, corev1.PodRunning, p.Status.Phase)
	c := status(p, "c")
	require.True(t, c.Ready && *c.Started)
	require.NotNil(t, c.State.Running)
	require.Equal(t, shared.image, c.Image)
	require.Contains(t, c.ImageID, "@sha256:")
	n.delete("web")
	n.idle()
	n.empty()
}

func TestRestartPolicies(t *testing.T) {
	t.Parallel()
	n := start(t)
	policy := func(r corev1.RestartPolicy) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.RestartPolicy = r }
	}
	n.run("always", "echo run; exit 0", policy(corev1.RestartPolicyAlways))
	n.run("failing", "echo run; exit 5", policy(corev1.RestartPolicyOnFailure))
	n.run("succeeding", "exit 0", policy(corev1.RestartPolicyOnFailure))
	n.run("never", "exit 5", policy(corev1.RestartPolicyNever))

	// The first restart comes at once, the second after a pause.
	for name, code := range map[string]int32{"always": 0, "failing": 5} {
		p := n.until(name, waiting("CrashLoopBackOff"))
		c := status(p, "c")
		require.EqualValues(t, 1, c.RestartCount, name)
		require.Equal(t, corev1.PodRunning, p.Status.Phase, name)
		require.Equal(t, code, c.LastTerminationState.Terminated.ExitCode, name)
		require.Contains(t, c.State.Waiting.Message, "back-off 10s restarting failed container=c pod="+name+"_", name)
		require.True(t, n.said(name, "Warning", "BackOff"))
	}
	require.Equal(t, corev1.PodSucceeded, n.until("succeeding", over).Status.Phase)
	require.Equal(t, corev1.PodFailed, n.until("never", over).Status.Phase)
	require.Zero(t, status(n.until("never", over), "c").RestartCount)
}

func TestInitContainersAndSidecars(t *testing.T) {
	t.Parallel()
	n := start(t)
	p := n.run("order", "", spec(`
volumes: [{name: v, emptyDir: {}}]
initContainers:
- {name: first, command: [sh, -c, "echo first >>/v/order"], volumeMounts: [{name: v, mountPath: /v}]}
- {name: beside, restartPolicy: Always, command: [sh, -c, "echo beside >>/v/order; trap 'echo stopped >>/v/order; exit 0' TERM; while :; do sleep 1000 & wait; done"],
   startupProbe: {exec: {command: [grep, beside, /v/order]}, periodSeconds: 1}, volumeMounts: [{name: v, mountPath: /v}]}
- {name: second, command: [sh, -c, "echo second >>/v/order"], volumeMounts: [{name: v, mountPath: /v}]}
containers:
- {name: c, command: [sh, -c, "cat /v/order"], volumeMounts: [{name: v, mountPath: /v}]}
`), func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = seconds(30) })
	end := n.until("order", over)
	require.Equal(t, corev1.PodSucceeded, end.Status.Phase, show(end))
	require.Equal(t, "first\nbeside\nsecond\n", n.text(p, "c", 0))
	require.True(t, status(end, "first").Ready)
	require.NotNil(t, status(end, "beside").State.Terminated)
	require.EqualValues(t, 0, status(end, "beside").State.Terminated.ExitCode, "it was asked to end")

	n.run("stuck", "", spec(`
initContainers: [{name: bad, command: ["false"]}, {name: later, command: ["true"]}]
containers: [{name: c, command: ["true"]}]`))
	end = n.until("stuck", over)
	require.Equal(t, corev1.PodFailed, end.Status.Phase)
	require.EqualValues(t, 1, status(end, "bad").State.Terminated.ExitCode)
	require.Equal(t, "PodInitializing", status(end, "later").State.Waiting.Reason)
	require.Equal(t, "PodInitializing", status(end, "c").State.Waiting.Reason)
	require.Equal(t, corev1.ConditionFalse, condition(end, corev1.PodInitialized))
}

func seconds(n int64) *int64 { return &n }

func TestActiveDeadline(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.run("late", idle, func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = seconds(1) })
	p := n.until("late", over)
	require.Equal(t, corev1.PodFailed, p.Status.Phase)
	require.Equal(t, "DeadlineExceeded", p.Status.Reason)
	n.until("late", func(p *corev1.Pod) bool { return status(p, "c").State.Terminated != nil })
}

// TestImageChange: a new image restarts the container where it is, whatever its restart policy, and at once.
func TestImageChange(t *testing.T) {
	t.Parallel()
	n := start(t)
	p := n.run("web", "", spec(`{containers: [{name: c, command: [sh, -c, "`+idle+`"]}, {name: other, command: [sh, -c, "`+idle+`"]}]}`),
		func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = seconds(30) })
	n.up(p)
	newer := shared.push(t, "busybox:newer")
	_, err := n.pods.Patch(t.Context(), n.Node, p.Name, types.StrategicMergePatchType, []byte(`{"spec":{"containers":[{"name":"c","image":"`+newer+`"}]}}`))
	require.NoError(t, err)
	p = n.until("web", func(p *corev1.Pod) bool { return restarted(1)(p) && ready(p) })
	require.Equal(t, newer, status(p, "c").Image)
	require.EqualValues(t, 0, status(p, "c").LastTerminationState.Terminated.ExitCode, "it was asked to end")
	require.Zero(t, status(p, "other").RestartCount)
	require.True(t, n.said("Killing", "definition changed"))
}

func TestReadinessGates(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.run("web", idle, func(p *corev1.Pod) {
		p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/fed"}}
	})
	p := n.until("web", func(p *corev1.Pod) bool { return condition(p, corev1.ContainersReady) == corev1.ConditionTrue })
	require.Equal(t, corev1.ConditionFalse, condition(p, corev1.PodReady))
	_, err := n.pods.PatchStatus(t.Context(), n.Node, "web", types.StrategicMergePatchType, []byte(`{"status":{"conditions":[{"type":"example.com/fed","status":"True"}]}}`))
	require.NoError(t, err)
	p = n.until("web", ready)
	require.Equal(t, corev1.ConditionTrue, condition(p, "example.com/fed"), "others' conditions stay")
}

// TestStatusIsRepaired: what others write over the truth about a pod does not stay.
func TestStatusIsRepaired(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.run("web", idle)
	n.until("web", ready)
	p, err := n.pods.PatchStatus(t.Context(), n.Node, "web", types.StrategicMergePatchType, []byte(`{"status":{"phase":"Pending","containerStatuses":[],
		"podIP":"192.0.2.9","podIPs":[{"ip":"192.0.2.9"}],"conditions":[{"type":"Ready","status":"False"},{"type":"example.com/mine","status":"True"}]}}`))
	require.NoError(t, err)
	require.False(t, ready(p))
	p = n.until("web", ready)
	require.Equal(t, corev1.PodRunning, p.Status.Phase)
	require.Len(t, p.Status.ContainerStatuses, 1)
	require.Empty(t, p.Status.PodIP, "it has none")
	require.Equal(t, corev1.ConditionTrue, condition(p, "example.com/mine"))
}

// TestAlone: containers have their own processes and file systems, and share network and host name.
func TestAlone(t *testing.T) {
	t.Parallel()
	n := start(t)
	out := n.output("web", "hostname; cat /etc/hostname; ls /sys/class/net; grep localhost /etc/hosts | head -1; id -u; echo $$$$; ls -d /etc/resolv.conf; grep CapInh /proc/self/status; echo more >>/etc/hosts")
	lines := strings.Fields(out)
	require.Equal(t, []string{"web", "web", "lo", "127.0.0.1", "localhost", "0", "1", "/etc/resolv.conf", "CapInh:", "0000000000000000"}, lines)
	start := time.Now()
	out = n.output("host", "hostname; ls /sys/class/net", func(p *corev1.Pod) { p.Spec.HostNetwork = true })
	require.NotContains(t, strings.Fields(out), "host")
	require.Less(t, time.Since(start), patience)
}
