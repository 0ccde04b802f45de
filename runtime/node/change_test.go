//go:build linux

package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
)

// deploy creates a Deployment of ready-probed web servers with a service of the same name.
func (k *cluster) deploy(name string, replicas int32, s corev1.PodSpec) {
	k.Helper()
	labels := map[string]string{"app": name}
	_, err := client.For[*appsv1.Deployment](k.c).Create(k.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: s},
		},
	})
	require.NoError(k, err)
	k.expose(name)
}

// deployed waits until a Deployment is as it shall be.
func (k *cluster) deployed(name string) {
	k.Helper()
	await(k, client.For[*appsv1.Deployment](k.c), "default", func(d *appsv1.Deployment) bool {
		n := *d.Spec.Replicas
		return d.Name == name && d.Status.ObservedGeneration == d.Generation && d.Status.UpdatedReplicas == n && d.Status.Replicas == n && d.Status.AvailableReplicas == n
	})
}

// of lists the pods of an app.
func (k *cluster) of(app string) (out []*corev1.Pod) {
	k.Helper()
	list, err := k.pods.List(k.Context(), client.InNamespace("default"), client.Labels("app="+app))
	require.NoError(k, err)
	for i := range list.Items {
		out = append(out, list.Items[i])
	}
	return out
}

// load asks a URL from a network namespace, with some clients, until it is stopped.
type load struct {
	stop    context.CancelFunc
	wg      sync.WaitGroup
	done    atomic.Int64
	enough  chan struct{} // closed at the thousandth answer
	mu      sync.Mutex
	refused []string // connections that weren't accepted
	lost    []string // connections that were, and gave no answer
}

func newLoad(clients int, space, address string) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{stop: stop, enough: make(chan struct{})}
	for range clients {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				l.ask(space, address)
			}
		})
	}
	return l
}

func (l *load) ask(space, address string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := connect(ctx, space, address)
	if err != nil {
		l.note(&l.refused, err)
		return
	}
	defer c.Close()
	if err = c.SetDeadline(time.Now().Add(patience)); err == nil {
		_, err = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
	}
	if err != nil {
		l.note(&l.lost, err)
		return
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		err = errors.Join(err, resp.Body.Close())
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		l.note(&l.lost, fmt.Errorf("%w %v", err, resp))
		return
	}
	if l.done.Add(1) == 1000 {
		close(l.enough)
	}
}

func (l *load) note(list *[]string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*list = append(*list, time.Now().Format(time.StampMilli)+" "+err.Error())
}

// lingering lets a server answer for some seconds more after its pod was deleted, as one that ends in good order does.
func lingering(s corev1.PodSpec, seconds int64) corev1.PodSpec {
	s.TerminationGracePeriodSeconds = new(seconds + 5)
	s.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: seconds}}}
	return s
}

// TestRollingUpdate replaces all pods of a Deployment while clients ask its service: each connection is accepted, and each
// that was is answered.
func TestRollingUpdate(t *testing.T) {
	k := newCluster(t, bedplate.Config{Dir: t.TempDir()}, nil, 1, 2)
	k.run("client", 1, spec(idle))
	k.deploy("web", 3, lingering(served(spec(web)), 3))
	from := k.up("client")
	k.deployed("web")
	old := k.of("web")
	k.addresses("web", exactly(old...))
	service, err := client.For[*corev1.Service](k.c).Get(t.Context(), "default", "web")
	require.NoError(t, err)

	l := newLoad(2, k.spaceOf(from), service.Spec.ClusterIP+":80")
	_, err = client.For[*appsv1.Deployment](k.c).Modify(t.Context(), "default", "web", func(d *appsv1.Deployment) error {
		d.Spec.Template.Spec.Containers[0].Env = append(d.Spec.Template.Spec.Containers[0].Env, corev1.EnvVar{Name: "VERSION", Value: "2"})
		return nil
	})
	require.NoError(t, err)
	k.deployed("web")
	for _, p := range old {
		k.gone(p.Name)
	}
	select {
	case <-l.enough:
	case <-time.After(patience):
	}
	l.stop()
	l.wg.Wait()
	require.GreaterOrEqual(t, l.done.Load(), int64(1000))
	require.Empty(t, l.refused, "refused, of %d", l.done.Load())
	require.Empty(t, l.lost, "lost, of %d", l.done.Load())
	fresh := k.of("web")
	require.Len(t, fresh, 3)
	for _, p := range fresh {
		require.False(t, slices.ContainsFunc(old, func(o *corev1.Pod) bool { return o.Name == p.Name }))
	}
}

// TestDeletedPodGetsNothingNew: once the endpoints of a service are without a pod, no new connection gets to it, although
// it would answer, and those that it has go on.
func TestDeletedPodGetsNothingNew(t *testing.T) {
	k := newCluster(t, bedplate.Config{}, nil, 1, 2)
	k.run("client", 2, spec(idle))
	k.run("web-1", 1, lingering(served(spec(web)), 30))
	k.run("web-2", 2, served(spec(web)))
	service := k.expose("web")
	from, one, two := k.up("client"), k.up("web-1"), k.up("web-2")
	k.addresses("web", exactly(one, two))
	k.both(k.spaceOf(from), "http://"+service.Spec.ClusterIP)

	require.NoError(t, k.pods.Delete(t.Context(), "default", "web-1"))
	k.addresses("web", exactly(two))
	for range 100 {
		k.sees(k.spaceOf(from), "http://"+service.Spec.ClusterIP, "web-2")
	}
	k.sees(k.spaceOf(from), "http://"+one.Status.PodIP+":8080", "web-1") // itself it is still there
	require.NoError(t, k.pods.Delete(t.Context(), "default", "web-1", client.Grace(0)))
	k.gone("web-1")
}

// TestNodeDies: a node that falls silent loses its pods to others; when it is back, what it has of them is removed.
func TestNodeDies(t *testing.T) {
	k := newCluster(t, bedplate.Config{NodeGrace: 5 * time.Second}, func(c *Config) { c.Heartbeat = 200 * time.Millisecond }, 1, 2)
	k.run("client", 1, spec(idle))
	s := served(spec(web))
	for _, key := range []string{corev1.TaintNodeUnreachable, corev1.TaintNodeNotReady} {
		s.Tolerations = append(s.Tolerations, corev1.Toleration{
			Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(1)),
		})
	}
	s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
		Weight: 100, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"node-2"},
		}}},
	}}}}
	k.deploy("web", 3, s)
	from := k.up("client")
	k.deployed("web")
	old := k.of("web")
	for _, p := range old {
		require.Equal(t, "node-2", p.Spec.NodeName)
	}
	dead := k.nodes[2]
	// The node dies: it is silent from now on, and its pods run on.
	k.kill(2)
	moved := func(got []string) bool {
		return len(got) == 3 && !slices.ContainsFunc(old, func(p *corev1.Pod) bool { return slices.Contains(got, p.Status.PodIP) })
	}
	k.addresses("web", moved)
	fresh := map[string]bool{}
	for _, p := range k.of("web") {
		if p.DeletionTimestamp == nil {
			require.Equal(t, "node-1", p.Spec.NodeName)
			fresh[p.Name] = true
		}
	}
	require.Len(t, fresh, 3)
	for range 20 { // by name: the dead node answers for none
		got := k.says(from, "wget -qO- http://web")
		require.True(t, fresh[got], got)
	}
	require.NotEmpty(t, k.processesOf(dead), "its pods run on")

	k.start(2)
	for _, p := range old {
		k.gone(p.Name)
	}
	require.Empty(t, k.nodes[2].runtime.Containers())
	require.Empty(t, k.nodes[2].runtime.Sandboxes())
	await(k, client.For[*corev1.Node](k.c), "", func(n *corev1.Node) bool { return n.Name == "node-2" && len(n.Spec.Taints) == 0 })
	// It takes pods again, and they reach the service.
	k.run("again", 2, spec(idle))
	require.True(t, fresh[k.says(k.up("again"), "wget -qO- http://web")])
}

// kill ends a node as a crash would, but for this process: nobody says so, and its pods are left running.
func (k *cluster) kill(number int) {
	k.Helper()
	k.nodes[number].c.StopPods = false
	require.NoError(k, k.halt(number))
}

// processesOf are the processes in the cgroups of a node.
func (k *cluster) processesOf(r *running) (out []string) {
	k.Helper()
	for _, c := range r.runtime.Containers() {
		if syscall.Kill(c.PID, 0) == nil {
			out = append(out, fmt.Sprint(c.PID))
		}
	}
	return out
}

// TestAdopt: the next node in a folder goes on with the pods that the one before it has left, and with their connections.
func TestAdopt(t *testing.T) {
	k := newCluster(t, bedplate.Config{}, nil, 1, 2)
	const echo = "trap 'exit 0' TERM; mkdir -p /tmp/www; hostname >/tmp/www/index.html; nc -ll -p 7000 -e cat & " +
		"until netstat -ltn | grep -q :7000; do :; done; httpd -f -p 8080 -h /tmp/www & wait"
	k.run("web-1", 1, served(spec(echo)))
	k.run("web-2", 2, served(spec(echo)))
	service := k.expose("web", func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "echo", Port: 7000})
		s.Spec.Ports[0].Name = "http"
	})
	pods := []*corev1.Pod{k.up("web-1"), k.up("web-2")}
	k.addresses("web", exactly(pods...))
	before := k.runs()
	require.Len(t, before, 2)
	// Connections between the nodes, directly and through the service, over the restart.
	var talks []*talk
	for i, p := range pods {
		space := k.spaceOf(pods[1-i])
		talks = append(talks, k.talk(space, p.Status.PodIP+":7000"), k.talk(space, service.Spec.ClusterIP+":7000"))
	}
	for _, n := range []int{1, 2} {
		k.kill(n)
		for _, talk := range talks {
			talk.says("nobody watches")
		}
		k.start(n)
		for _, talk := range talks {
			talk.says("somebody does")
		}
	}
	require.Equal(t, before, k.runs(), "PIDs and start times")
	for _, old := range pods {
		p, err := k.pods.Get(t.Context(), "default", old.Name)
		require.NoError(t, err)
		require.Equal(t, old.Status.PodIP, p.Status.PodIP)
		require.Zero(t, p.Status.ContainerStatuses[0].RestartCount)
		k.both(k.spaceOf(p), "http://"+service.Spec.ClusterIP)
	}
	k.run("web-3", 2, served(spec(web)))
	third := k.up("web-3")
	require.NotContains(t, []string{pods[0].Status.PodIP, pods[1].Status.PodIP}, third.Status.PodIP)
}

// runs are the processes of all containers.
func (k *cluster) runs() (out []string) {
	for _, n := range k.nodes {
		for _, c := range n.runtime.Containers() {
			out = append(out, fmt.Sprint(c.Spec.ID, " ", c.PID, " ", c.StartTime))
		}
	}
	slices.Sort(out)
	return out
}

// talk is a connection to a server that says again what it is told.
type talk struct {
	testing.TB
	io.ReadWriter
	from *bufio.Reader
}

func (k *cluster) talk(space, address string) *talk {
	k.Helper()
	ctx, cancel := context.WithTimeout(k.Context(), patience)
	defer cancel()
	c, err := connect(ctx, space, address)
	require.NoError(k, err)
	k.Cleanup(func() { c.Close() })
	t := &talk{k, c, bufio.NewReader(c)}
	t.says("hello")
	return t
}

func (t *talk) says(text string) {
	t.Helper()
	_, err := io.WriteString(t, text+"\n")
	require.NoError(t, err)
	got, err := t.from.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, text, strings.TrimSpace(got))
}

// TestTwice ends nodes with all that is theirs, and starts them again: the API brings the pods back.
func TestTwice(t *testing.T) {
	k := newCluster(t, bedplate.Config{}, nil)
	_, err := k.machines.Add(2) // the host stays, as a machine does
	require.NoError(t, err)
	before, err := inventory()
	require.NoError(t, err)
	for run := range 2 {
		for _, n := range []int{1, 2} {
			k.start(n)
		}
		if run == 0 {
			k.deploy("web", 4, served(spec(web)))
		}
		k.run(fmt.Sprintf("client-%d", run), 1, spec(idle))
		k.deployed("web")
		k.addresses("web", func(got []string) bool { return len(got) == 4 })
		require.NotEmpty(t, k.says(k.up(fmt.Sprintf("client-%d", run)), "wget -qO- http://web"))
		during, err := inventory()
		require.NoError(t, err)
		for _, kind := range []string{"link bp-", "nftables", "process", "/sys/fs/cgroup/", "mount " + k.dir} {
			require.True(t, slices.ContainsFunc(during, func(s string) bool { return strings.HasPrefix(s, kind) }), "the search must find %s", kind)
		}
		for _, n := range k.nodes {
			n.cancel()
		}
		for _, n := range []int{1, 2} {
			require.NoError(t, k.halt(n))
		}
		k.nothingLeft(before)
	}
}
