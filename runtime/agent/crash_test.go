package agent_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery/client"
)

// The steps of a pod's start and stop at which an agent dies here.
var (
	starting = []string{
		"agent.dir", "sandbox.recorded", "sandbox.namespaces", "sandbox.shm", "sandbox.cgroup", "sandbox.ready", "agent.sandbox",
		"agent.attached", "agent.volumes", "agent.prepared", "agent.mounted", "container.written", "container.recorded",
		"agent.created", "agent.started", "agent.started:1",
	}
	stopping = []string{
		"exit.seen", "exit.recorded", "agent.stopped", "agent.told", "remove.cleaned", "remove.renamed", "agent.container-removed",
		"agent.run-removed", "agent.run-removed:1", "agent.detached", "sandbox.unready", "sandbox.cgroup-removed",
		"sandbox.unpinned", "sandbox.shm-unmounted", "agent.sandbox-removed", "agent.unmounted", "agent.released", "agent.dir-removed",
	}
)

// TestCrash: wherever an agent dies while a pod starts or stops, the next one takes the pod to where it should be,
// and of a pod that was deleted nothing is left.
func TestCrash(t *testing.T) {
	t.Parallel()
	const parts = 2
	for part := range parts {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			n.create(&corev1.ConfigMap{ObjectMeta: named("m"), Data: map[string]string{"a": "b"}})
			for i, step := range starting {
				if i%parts == part {
					n.crashStarting(step)
				}
			}
			for i, step := range stopping {
				if i%parts == part {
					n.crashStopping(step)
				}
			}
			n.open()
		})
	}
}

// whole is a pod with some of everything.
func (n *node) whole() {
	n.Helper()
	n.run("web", "", spec(`{volumes: [{name: e, emptyDir: {medium: Memory}}, {name: m, configMap: {name: m}}],
		initContainers: [{name: before, command: ["true"]}],
		containers: [{name: c, command: [sh, -c, "`+idle+`"], volumeMounts: [{name: e, mountPath: /e}, {name: m, mountPath: /one, subPath: a}]}]}`),
		func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyAlways })
}

func (n *node) crashStarting(step string) {
	n.Helper()
	c := n.spawn(step)
	n.whole()
	require.Equal(n, crashed, c.wait(), "%s: %s", step, &c.out)
	c = n.spawn("").ready()
	p := n.until("web", ready)
	require.Zero(n, status(p, "c").RestartCount, step)
	n.finish(c, step)
}

func (n *node) crashStopping(step string) {
	n.Helper()
	c := n.spawn("").ready()
	n.whole()
	n.until("web", ready)
	c.stop()
	c = n.spawn(step)
	require.NoError(n, n.pods.Delete(n.Context(), n.Node, "web", client.Grace(1)))
	require.Equal(n, crashed, c.wait(), "%s: %s", step, &c.out)
	n.finish(n.spawn("").ready(), step)
}

// finish deletes the pod and checks that nothing is left of it.
func (n *node) finish(c *child, step string) {
	n.Helper()
	p, err := n.pods.Get(n.Context(), n.Node, "web")
	if err == nil && p.DeletionTimestamp == nil {
		require.NoError(n, n.pods.Delete(n.Context(), n.Node, "web", client.Grace(1)))
	}
	n.until("web", gone)
	n.idle()
	c.stop()
	n.bare(step)
}
