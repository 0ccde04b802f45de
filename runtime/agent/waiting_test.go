package agent_test

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery/client"
)

// TestNotStarted: what keeps a container from starting is in its status, and is mended as soon as it can be.
func TestNotStarted(t *testing.T) {
	t.Parallel()
	n := start(t)
	one := func(fields string) func(*corev1.Pod) {
		return spec(`{containers: [{name: c, command: [sh, -c, "exit 0"], ` + fields + `}]}`)
	}
	n.run("absent", "", one(`image: "`+shared.registry+`/no/such:v1"`))
	n.run("never", "", one(`image: "`+shared.registry+`/busybox:never", imagePullPolicy: Never`))
	n.run("badname", "", one(`image: "UPPER//case"`))
	n.run("nomap", "", one(`envFrom: [{configMapRef: {name: later}}]`))
	n.run("nokey", "", one(`env: [{name: A, valueFrom: {secretKeyRef: {name: some, key: later}}}]`))
	n.run("nocommand", "", spec(`{containers: [{name: c, image: "`+shared.empty(t)+`"}]}`))
	n.create(&corev1.Secret{ObjectMeta: named("some")})

	for name, c := range map[string]struct{ reason, message string }{
		"absent": {"ErrImagePull", "no/such:v1"}, "never": {"ErrImageNeverPull", "is not present with pull policy of Never"},
		"badname": {"InvalidImageName", "UPPER//case"}, "nomap": {"CreateContainerConfigError", `configmap "later" not found`},
		"nokey":     {"CreateContainerConfigError", "couldn't find key later in Secret " + n.Node + "/some"},
		"nocommand": {"CreateContainerConfigError", "no command specified"},
	} {
		p := n.until(name, func(p *corev1.Pod) bool {
			// Between two attempts at a pull, which may be when we look, it says so.
			return waiting(c.reason)(p) || c.reason == "ErrImagePull" && waiting("ImagePullBackOff")(p)
		})
		require.Contains(t, status(p, "c").State.Waiting.Message, c.message, name)
		require.Equal(t, corev1.PodPending, p.Status.Phase, name)
		require.True(t, n.said(name, "Warning", "Failed"), name)
	}
	p := n.until("absent", waiting("ImagePullBackOff"))
	require.Contains(t, status(p, "c").State.Waiting.Message, "Back-off pulling image")

	n.create(&corev1.ConfigMap{ObjectMeta: named("later"), Data: map[string]string{"A": "b"}})
	shared.push(t, "no/such:v1")
	require.Equal(t, corev1.PodSucceeded, n.until("nomap", over).Status.Phase)
	require.Equal(t, corev1.PodSucceeded, n.until("absent", over).Status.Phase)
	for _, name := range []string{"never", "badname", "nokey", "nocommand"} {
		n.delete(name)
	}
}

// TestNotPrepared: what keeps a pod from being set up is told, and mended.
func TestNotPrepared(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.run("later", "cat /v/a", spec(`{volumes: [{name: v, configMap: {name: later}}], containers: [{name: c, command: [cat, /v/a], volumeMounts: [{name: v, mountPath: /v}]}]}`))
	n.run("shared", "", spec(`{shareProcessNamespace: true, containers: [{name: c}]}`))
	p := n.until("later", func(p *corev1.Pod) bool { return trouble(p) != "" })
	require.Contains(t, trouble(p), `configmaps "later" not found`)
	require.True(t, n.said("later", "FailedMount"))
	require.Equal(t, "ContainerCreating", status(p, "c").State.Waiting.Reason)
	n.create(&corev1.ConfigMap{ObjectMeta: named("later"), Data: map[string]string{"a": "b"}})
	p = n.until("later", over)
	require.Equal(t, corev1.PodSucceeded, p.Status.Phase)
	require.Empty(t, trouble(p), "what was said before is taken back")
	p = n.until("shared", func(p *corev1.Pod) bool { return trouble(p) != "" })
	require.Contains(t, trouble(p), "PID namespace")
	require.True(t, n.said("shared", "FailedCreatePodSandBox"))
}

// trouble is why a pod is not ready to start containers.
func trouble(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReadyToStartContainers {
			return c.Message
		}
	}
	return ""
}

// TestDeletedWhilePulling: a pod whose image takes for ever goes as soon as it is asked to.
func TestDeletedWhilePulling(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	connected := make(chan net.Conn, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(connected)
				return
			}
			connected <- c // and never answers
		}
	}()
	n := start(t)
	n.run("slow", "", spec(`{containers: [{name: c, image: "`+l.Addr().String()+`/hangs:v1"}]}`), func(p *corev1.Pod) {
		p.Spec.TerminationGracePeriodSeconds = seconds(30)
	})
	first := <-connected
	n.delete("slow")
	n.idle()
	n.empty()
	require.NoError(t, l.Close())
	require.NoError(t, first.Close())
	for c := range connected {
		require.NoError(t, c.Close())
	}
}

func TestDeletion(t *testing.T) {
	t.Parallel()
	n := start(t)
	long := func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = seconds(600) }
	deaf := "trap '' TERM; echo up; sleep 1000"

	// TERM is honoured: it ends long before its time, and tells how.
	honours := n.run("honours", "trap 'exit 4' TERM; echo up; while :; do sleep 1000 & wait $!; done", long)
	n.up(honours)
	ended := n.watch("honours", over)
	n.delete("honours")
	require.EqualValues(t, 4, status(<-ended, "c").State.Terminated.ExitCode)

	// KILL comes when the time is over.
	ignores := n.run("ignores", deaf, long)
	n.up(ignores)
	ended = n.watch("ignores", over)
	n.delete("ignores", client.Grace(1))
	require.EqualValues(t, 137, status(<-ended, "c").State.Terminated.ExitCode)

	// A stop that is under way becomes shorter.
	shortened := n.run("shortened", deaf, long)
	n.up(shortened)
	require.NoError(t, n.pods.Delete(t.Context(), n.Node, "shortened"))
	n.delete("shortened", client.Grace(1))

	// By force the pod goes from the API at once, and from the node soon; even while it is being stopped.
	for _, gently := range []bool{false, true} {
		forced := n.run("forced", deaf, long)
		n.up(forced)
		if gently {
			require.NoError(t, n.pods.Delete(t.Context(), n.Node, "forced"))
		}
		require.NoError(t, n.pods.Delete(t.Context(), n.Node, "forced", client.Grace(0)))
		again := n.run("forced", idle, long) // its successor has its name and nothing else of it
		n.up(again)
		n.delete("forced")
	}
	n.idle()
	n.empty()
}

// watch tells when a pod was as cond wants it, even if only for a moment.
func (n *node) watch(name string, cond func(*corev1.Pod) bool) <-chan *corev1.Pod {
	ctx, cancel := context.WithTimeout(n.Context(), patience)
	w, err := n.pods.Watch(ctx, client.InNamespace(n.Node), client.Fields("metadata.name="+name), client.InitialEvents())
	require.NoError(n, err)
	ch := make(chan *corev1.Pod, 1)
	go func() {
		defer cancel()
		defer close(ch)
		for e, err := range w.All(ctx) {
			if err == nil && e.Type != client.Bookmark && e.Type != client.Deleted && cond(e.Object) {
				ch <- e.Object
				return
			}
		}
	}()
	return ch
}

// TestFinalizers: a pod that others hold in the API is gone from the node, and its status stays true.
func TestFinalizers(t *testing.T) {
	t.Parallel()
	n := start(t)
	p := n.run("held", idle, func(p *corev1.Pod) {
		p.Finalizers = []string{"example.com/hold"}
		p.Spec.TerminationGracePeriodSeconds = seconds(30)
	})
	n.up(p)
	require.NoError(t, n.pods.Delete(t.Context(), n.Node, "held"))
	n.until("held", over)
	n.idle()
	n.stopAgent()
	n.startAgent() // another agent knows nothing of it and says nothing else
	n.run("next", "exit 0")
	n.until("next", over)
	p = n.until("held", over)
	require.Equal(t, "Completed", status(p, "c").State.Terminated.Reason, show(p))
	_, err := n.pods.Modify(t.Context(), n.Node, "held", func(p *corev1.Pod) error { p.Finalizers = nil; return nil })
	require.NoError(t, err)
	n.until("held", gone)
}
