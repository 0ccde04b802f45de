//go:build linux

package node

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/netplug"
	"github.com/bedplate/bedplate/netplug/overlay"
	"github.com/bedplate/bedplate/runtime"
)

// The steps at which a node dies here.
var (
	opening = []string{
		"node.dir", "node.runtime", "node.images", "network.plug", "network.between", "network.proxy", "network.dns",
		"node.assembled", "node.runs", "node.ready", "network.published",
	}
	starting = []string{ // of its first pod; the agent's own tests have all of them
		"sandbox.recorded", "sandbox.namespaces", "sandbox.ready", "agent.attached", "container.recorded", "agent.started",
	}
	adopting = []string{ // with pods that run
		"node.runtime", "network.plug", "network.between", "network.proxy", "node.assembled", "node.runs", "network.published",
	}
	stopping = []string{
		"node.ended", "remove.renamed", "sandbox.unready", "sandbox.unpinned", "node.pods-stopped", "node.stopped", "node.images-closed",
		"network.ended", "network.proxy-removed", "network.between-closed", "network.plug-removed", "network.closed", "node.removed",
	}
	leaving = []string{"node.ended", "network.ended", "network.between-closed", "network.closed", "node.images-closed"}
	parts   = []string{"1/8", "2/8", "3/8", "4/8", "5/8", "6/8", "7/8"} // of the changes of the network
)

// lanes is how many nodes die at a time, each at a step of its own: an end in good order takes a second with the race
// detector, which they spend together.
const lanes = 7

// crashes is a cluster whose nodes die.
type crashes struct {
	*cluster
	idle         []string // what there is when no node runs
	files        []string // in their folders
	round        int
	began, ended [lanes]int64 // changes of the network until a pod is up, and during a stop
}

// TestCrash: wherever a node dies while it starts or stops, the next one in its folder becomes ready, runs the pods (those
// that run already as they are), and when that ends, nothing is left.
func TestCrash(t *testing.T) {
	const grace = time.Hour // nobody minds that nodes are away
	k := &crashes{cluster: newCluster(t, bedplate.Config{NodeGrace: grace}, func(c *Config) {
		c.Pods.Between = overlay.VXLAN
		if n := c.Name[len(c.Name)-1]; n%2 == 0 {
			c.Pods.Mode = netplug.Bridge
		}
	})}
	for n := 2; n <= lanes; n++ {
		_, err := k.machines.Add(n) // the host stays, as a machine does
		require.NoError(k, err)
	}
	k.expose("web")
	k.idle = k.everything()
	k.unharmed()
	for _, phase := range []struct {
		name  string
		steps []string
		die   func(steps []string) (kept map[string]string)
	}{
		{"start", slices.Concat(opening, starting), k.dieStarting},
		{"start with pods", adopting, k.dieAdopting},
		{"stop", stopping, k.dieStopping},
		{"stop and leave pods", leaving, k.dieLeaving},
		{"killed during a start", parts, k.killedStarting},
		{"killed during a stop", parts, k.killedStopping},
	} {
		ok := t.Run(phase.name, func(t *testing.T) {
			outer := k.TB
			k.TB = t
			defer func() { k.TB = outer }()
			for steps := range slices.Chunk(phase.steps, lanes) {
				k.round++
				k.populate(len(steps))
				kept := phase.die(steps)
				k.revive(steps, kept)
			}
		})
		if !ok {
			return // its nodes may run yet
		}
	}
}

// TestCrashThenRefused: a node that can't start takes away what one before it has left that died, too.
func TestCrashThenRefused(t *testing.T) {
	k := newCluster(t, bedplate.Config{}, func(c *Config) { c.Pods.Between = overlay.VXLAN }, 2)
	taken, err := net.Listen("tcp", netip.AddrPortFrom(k.machines.Machine().Address, 0).String())
	require.NoError(t, err)
	defer taken.Close()
	before, err := inventory()
	require.NoError(t, err)
	for _, step := range []string{"node.runtime", "network.proxy", "network.published"} {
		k.spawn(1, step, true).died(step)
		c, _ := k.config(1)
		k.edit(&c)
		c.Listen, c.StopPods = taken.Addr().String(), false
		n, err := New(c)
		require.NoError(t, err)
		require.ErrorContains(t, n.Run(t.Context()), "address already in use")
		k.nothingLeft(before)
		require.NoDirExists(t, filepath.Join(c.Dir, "runtime"), step)
	}
}

// pod is the name of the round's pod in a lane; it is on the node of the next number.
func (k *crashes) pod(lane int) string { return fmt.Sprintf("web-%d-%d", k.round, lane+1) }

// populate creates the round's pods.
func (k *crashes) populate(pods int) {
	k.Helper()
	for i := range pods {
		k.run(k.pod(i), i+1, spec(web, corev1.ContainerPort{ContainerPort: 8080, HostPort: 18080}))
	}
}

// unharmed is how it goes when nobody dies, which the rounds are compared with.
func (k *crashes) unharmed() {
	k.Helper()
	k.populate(lanes)
	for i := range lanes {
		k.start(i + 1) // has the image from here on
	}
	for i := range lanes {
		k.nodes[i+1].cancel()
	}
	for i := range lanes {
		require.NoError(k, k.halt(i+1))
	}
	k.files = k.tree()
	nodes := k.spawnAll(make([]string, lanes), true)
	k.allUp(nodes)
	for i, c := range nodes {
		k.began[i] = c.changes.count.Load()
		c.stop()
	}
	for i, c := range nodes {
		c.over()
		k.ended[i] = c.changes.count.Load() - k.began[i]
		require.True(k, c.cmd.ProcessState.Success(), "%v: %s", c.cmd.ProcessState, &c.out)
		require.Greater(k, min(k.began[i], k.ended[i]), int64(6), "changes that are seen")
	}
	k.clear(lanes)
}

func (k *crashes) spawnAll(steps []string, stopPods bool) (out []*child) {
	k.Helper()
	for i, step := range steps {
		out = append(out, k.spawn(i+1, step, stopPods))
	}
	return out
}

func (k *crashes) dieStarting(steps []string) map[string]string {
	k.Helper()
	for i, c := range k.spawnAll(steps, true) {
		c.died(steps[i])
	}
	return nil
}

// dieAdopting kills nodes with pods, and the next ones as these start.
func (k *crashes) dieAdopting(steps []string) map[string]string {
	k.Helper()
	nodes := k.spawnAll(make([]string, len(steps)), true)
	kept := k.allUp(nodes)
	for _, c := range nodes {
		c.kill()
	}
	k.dieStarting(steps)
	return kept
}

func (k *crashes) dieStopping(steps []string) map[string]string {
	k.Helper()
	k.dieEnding(steps, true)
	return nil
}

func (k *crashes) dieLeaving(steps []string) map[string]string {
	k.Helper()
	return k.dieEnding(steps, false)
}

func (k *crashes) dieEnding(steps []string, stopPods bool) map[string]string {
	k.Helper()
	nodes := k.spawnAll(steps, stopPods)
	kept := k.allUp(nodes)
	for _, c := range nodes {
		c.stop()
	}
	for i, c := range nodes {
		c.died(steps[i])
	}
	return kept
}

// allUp waits until the round's pods are, and returns their containers.
func (k *crashes) allUp(nodes []*child) map[string]string {
	k.Helper()
	containers := map[string]string{}
	for i, c := range nodes {
		c.up()
		containers[k.pod(i)] = k.containerOf(k.up(k.pod(i)))
	}
	return containers
}

// killedStarting kills nodes at some part of the changes that a start makes: in between the steps, and in the middle of
// what the network's own goroutines do.
func (k *crashes) killedStarting(parts []string) map[string]string {
	k.Helper()
	nodes := k.spawnAll(make([]string, len(parts)), true)
	for i, c := range nodes {
		c.dieAt(part(k, parts[i], k.began[i]))
	}
	for i, c := range nodes {
		k.upOrDead(k.pod(i), c)
		c.kill()
	}
	return nil
}

func (k *crashes) killedStopping(parts []string) map[string]string {
	k.Helper()
	nodes := k.spawnAll(make([]string, len(parts)), true)
	k.allUp(nodes)
	for i, c := range nodes {
		c.dieAt(part(k, parts[i], k.ended[i]))
		c.stop()
	}
	for _, c := range nodes {
		c.over() // in good order, if it was too quick
	}
	return nil
}

func part(k *crashes, text string, of int64) int64 {
	var a, b int64
	_, err := fmt.Sscanf(text, "%d/%d", &a, &b)
	require.NoError(k, err)
	return max(1, of*a/b)
}

// upOrDead waits until a pod is ready or its node has died.
func (k *crashes) upOrDead(pod string, c *child) {
	k.Helper()
	ctx, cancel := context.WithTimeout(k.Context(), patience)
	defer cancel()
	go func() {
		select {
		case <-c.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	w, err := k.pods.Watch(ctx, client.InNamespace("default"), client.InitialEvents())
	if err != nil {
		require.Error(k, ctx.Err(), err)
		return
	}
	defer w.Close()
	for {
		e, err := w.Next(ctx)
		if err != nil {
			require.ErrorIs(k, ctx.Err(), context.Canceled, "the pod is not up, and its node lives")
			return
		}
		if e.Type != client.Bookmark && e.Object.Name == pod && ready(e.Object) {
			return
		}
	}
}

// revive starts the nodes again, which shall run the round's pods, and ends them in good order. kept are the
// containers that shall have gone on.
func (k *crashes) revive(steps []string, kept map[string]string) {
	k.Helper()
	for i := range steps {
		k.start(i + 1)
	}
	var pods []*corev1.Pod
	names := map[string]bool{}
	for i, step := range steps {
		p := k.runsAgain(i+1, k.pod(i))
		if id := kept[p.Name]; id != "" {
			require.Equal(k, id, k.containerOf(p), "%s: the container goes on", step)
			require.Zero(k, p.Status.ContainerStatuses[0].RestartCount, step)
		}
		pods, names[p.Name] = append(pods, p), true
	}
	k.addresses("web", exactly(pods...))
	for i, p := range pods {
		got := k.says(p, "until wget -qO- http://web 2>/dev/null; do :; done")
		require.True(k, names[got], "%s: %s", steps[i], got)
	}
	for i := range steps {
		k.nodes[i+1].cancel()
	}
	for i, step := range steps {
		require.NoError(k, k.halt(i+1), step)
	}
	k.clear(len(steps))
	if k.Failed() {
		require.FailNow(k, "after", "%s", steps)
	}
}

// runsAgain waits until a pod is ready by a container that runs on this node.
func (k *crashes) runsAgain(number int, name string) *corev1.Pod {
	k.Helper()
	return await(k.cluster, k.pods, "default", func(p *corev1.Pod) bool {
		if p.Name != name || !ready(p) {
			return false
		}
		c, err := k.nodes[number].runtime.Container(k.containerOf(p))
		return err == nil && c.State == runtime.StateRunning
	})
}

// clear takes the round's pods out of the API, and sees that there is nothing but what was there before.
func (k *crashes) clear(pods int) {
	k.Helper()
	for i := range pods {
		require.NoError(k, k.pods.Delete(k.Context(), "default", k.pod(i), client.Grace(0)))
	}
	same := func(before, after []string) {
		k.Helper()
		assert.Empty(k, without(after, before), "left behind")
		assert.Empty(k, without(before, after), "taken away")
	}
	same(k.idle, k.everything())
	same(k.files, k.tree())
}

func without(list, some []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(some, s) })
}

// everything is the inventory, with what is in the nodes' own network namespaces.
func (k *crashes) everything() []string {
	k.Helper()
	list, err := inventory()
	require.NoError(k, err)
	for n := 2; n <= lanes; n++ {
		_, host := k.config(n)
		for _, part := range []func() ([]string, error){links, addresses, routes, tables, sysctls} {
			require.NoError(k, netplug.Inside(host.Namespace, func() error {
				l, err := part()
				for _, s := range l {
					list = append(list, host.Namespace+" "+s)
				}
				return err
			}))
		}
	}
	return list
}

// tree are the files and folders of all nodes.
func (k *crashes) tree() (out []string) {
	k.Helper()
	require.NoError(k, filepath.WalkDir(k.dir, func(path string, _ fs.DirEntry, err error) error {
		out = append(out, strings.TrimPrefix(path, k.dir))
		return err
	}))
	return out
}
