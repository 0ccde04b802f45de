package agent_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/agent"
	"github.com/bedplate/bedplate/runtime/image"
	"github.com/bedplate/bedplate/volume/local"
)

// patience is how long a test waits for anything.
const patience = 60 * time.Second

// place says where a node keeps its things.
type place struct{ Dir, Cgroup, Node string }

func (p place) open(ctx context.Context, log *slog.Logger) (*runtime.Runtime, *image.Store, error) {
	images, err := image.Open(image.Config{Dir: filepath.Join(p.Dir, "images"), NoSync: true, Log: log})
	if err != nil {
		return nil, nil, err
	}
	r, err := runtime.Open(ctx, runtime.Config{Dir: filepath.Join(p.Dir, "runtime"), CgroupParent: p.Cgroup, Log: log})
	if err != nil {
		return nil, nil, errors.Join(err, images.Close())
	}
	return r, images, nil
}

var loopback = netip.MustParseAddr("127.0.0.1")

// agentOf configures an agent with everything that it needs.
func (p place) agentOf(access bedplate.NodeAccess, r *runtime.Runtime, images *image.Store, log *slog.Logger) (agent.Config, error) {
	volumes, err := local.New(local.Config{Dir: filepath.Join(p.Dir, "volumes"), Client: access.Client, Log: log})
	return agent.Config{
		NodeName: p.Node, Client: access.Client, Runtime: r, Images: images, Dir: filepath.Join(p.Dir, "agent"), Volumes: volumes,
		Addresses: []netip.Addr{loopback}, TLS: access.TLS, Callers: access.Callers, Log: log,
		Heartbeat: 500 * time.Millisecond, Refresh: 500 * time.Millisecond,
	}, err
}

// node is a node of the shared API: a place of its own and a namespace of its own.
type node struct {
	testing.TB
	place
	world   *world
	pods    client.Resource[*corev1.Pod]
	log     *testLog
	runtime *runtime.Runtime
	images  *image.Store

	agent  *agent.Agent
	cancel context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	events []string
}

var places atomic.Int64

// newNode makes a node, without an agent, that is checked for what it left behind when the test ends.
func newNode(t testing.TB) *node { return shared.node(t) }

func (w *world) node(t testing.TB) *node {
	t.Helper()
	name := fmt.Sprintf("n%d", places.Add(1))
	dir, err := os.MkdirTemp("", "bedplate-agent-")
	require.NoError(t, err)
	n := &node{
		TB: t, world: w, place: place{dir, fmt.Sprintf("/bedplate-agent-%d-%s", os.Getpid(), name), name},
		pods: client.For[*corev1.Pod](w.admin), log: &testLog{},
	}
	n.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	n.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "default"}})
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the node said:\n" + n.log.String())
		}
	})
	t.Cleanup(n.close)
	return n
}

// start is a node with its agent.
func start(t testing.TB, edits ...func(*agent.Config)) *node {
	t.Helper()
	n := newNode(t)
	n.open()
	n.startAgent(edits...)
	return n
}

// create makes any object.
func (n *node) create(o apimachinery.Object) {
	n.Helper()
	var err error
	switch o := o.(type) {
	case *corev1.Namespace:
		_, err = client.For[*corev1.Namespace](n.world.admin).Create(n.Context(), o)
	case *corev1.ServiceAccount:
		if _, err = client.For[*corev1.ServiceAccount](n.world.admin).Create(n.Context(), o); apierrors.IsAlreadyExists(err) {
			err = nil // its controller was faster
		}
	case *corev1.ConfigMap:
		o.Namespace = n.Node
		_, err = client.For[*corev1.ConfigMap](n.world.admin).Create(n.Context(), o)
	case *corev1.Secret:
		o.Namespace = n.Node
		_, err = client.For[*corev1.Secret](n.world.admin).Create(n.Context(), o)
	}
	require.NoError(n, err)
}

func (n *node) open() {
	n.Helper()
	var err error
	n.runtime, n.images, err = n.place.open(n.Context(), n.log.logger())
	require.NoError(n, err)
}

// startAgent starts an agent in this process, and waits until it is ready.
func (n *node) startAgent(edits ...func(*agent.Config)) {
	n.Helper()
	access, err := n.world.api.Node(n.Node, loopback)
	require.NoError(n, err)
	config, err := n.agentOf(access, n.runtime, n.images, n.log.logger())
	require.NoError(n, err)
	config.Events = func(pod *corev1.Pod, kind, reason, message string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.events = append(n.events, pod.Name+" "+kind+" "+reason+" "+message)
	}
	for _, edit := range edits {
		edit(&config)
	}
	n.agent, err = agent.New(config)
	require.NoError(n, err)
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.ended = cancel, make(chan error, 1)
	go func() { n.ended <- n.agent.Run(ctx) }()
	select {
	case <-n.agent.Ready():
	case err := <-n.ended:
		n.ended <- err
		require.FailNow(n, "the agent ended", "%v", err)
	case <-time.After(patience):
		require.FailNow(n, "the agent is not ready")
	}
}

// stopAgent ends the agent and leaves all containers running.
func (n *node) stopAgent() {
	n.Helper()
	if n.agent == nil {
		return
	}
	n.cancel()
	select {
	case err := <-n.ended:
		assert.NoError(n, err)
	case <-time.After(patience):
		assert.Fail(n, "the agent does not end")
	}
	n.agent = nil
}

// said tells whether an event with these words was recorded.
func (n *node) said(words ...string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.events, func(e string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(e, w) })
	})
}

// pod is a pod of one container "c" on this node that runs a script, changed by edits.
func (n *node) pod(name, script string, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: n.Node, Name: name},
		Spec: corev1.PodSpec{
			NodeName: n.Node, RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: new(int64), AutomountServiceAccountToken: new(bool),
			Containers: []corev1.Container{container("c", script)},
		},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

func container(name, script string) corev1.Container {
	return corev1.Container{Name: name, Image: shared.image, Command: []string{"sh", "-c", script}, ImagePullPolicy: corev1.PullIfNotPresent}
}

// idle is a script that runs until it is told to end, and then ends at once. Once it listens it says so: see up.
const idle = "trap 'exit 0' TERM; echo up; while :; do sleep 1000 & wait $!; done"

// says waits until a run of a container has said a text.
func (n *node) says(p *corev1.Pod, container string, attempt int, text string) {
	n.Helper()
	n.until(p.Name, func(p *corev1.Pod) bool {
		return status(p, container).RestartCount >= int32(attempt) && status(p, container).ContainerID != ""
	})
	n.awaitFolder(filepath.Dir(n.logOf(p, container, attempt)), func() bool { return strings.Contains(n.text(p, container, attempt), text) })
}

// awaitFolder waits until what is in a folder is as cond wants it.
func (n *node) awaitFolder(dir string, cond func() bool) {
	n.Helper()
	changed, stop, err := agent.WatchFolder(dir)
	require.NoError(n, err)
	defer stop()
	deadline := time.After(patience)
	for !cond() {
		select {
		case <-changed:
		case <-deadline:
			require.FailNow(n, "it does not come about", "in %s there is %v", dir, entries(n, dir))
		}
	}
}

// awaitFile waits until a file is there.
func (n *node) awaitFile(path string) {
	n.Helper()
	n.awaitFolder(filepath.Dir(path), func() bool { return slices.Contains(entries(n, filepath.Dir(path)), filepath.Base(path)) })
}

// up waits until container c, which is idle, listens to signals.
func (n *node) up(p *corev1.Pod) { n.Helper(); n.says(p, "c", 0, "up\n") }

func (n *node) logOf(p *corev1.Pod, container string, attempt int) string {
	return filepath.Join(n.Dir, "agent", "pods", string(p.UID), "logs", container, fmt.Sprint(attempt)+".log")
}

// run creates a pod.
func (n *node) run(name, script string, edits ...func(*corev1.Pod)) *corev1.Pod {
	n.Helper()
	p, err := n.pods.Create(n.Context(), n.pod(name, script, edits...))
	require.NoError(n, err)
	return p
}

// spec is a pod from YAML: its spec, beside what every pod here has.
func spec(text string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers = nil
		if err := yaml.UnmarshalStrict([]byte(text), &p.Spec); err != nil {
			panic(err)
		}
		for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
			for i := range list {
				if list[i].Image == "" {
					list[i].Image = shared.image
				}
			}
		}
	}
}

// until waits for a pod to be as cond wants it, and returns it. A nil pod is one that is gone.
func (n *node) until(name string, cond func(*corev1.Pod) bool) *corev1.Pod {
	n.Helper()
	p, err := await(n.Context(), n.pods, n.Node, name, cond)
	require.NoError(n, err)
	return p
}

func await(ctx context.Context, pods client.Resource[*corev1.Pod], namespace, name string, cond func(*corev1.Pod) bool) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last *corev1.Pod
	w, err := pods.Watch(ctx, client.InNamespace(namespace), client.Fields("metadata.name="+name), client.InitialEvents())
	if err != nil {
		return nil, err
	}
	for e, err := range w.All(ctx) {
		switch {
		case err != nil:
			return last, fmt.Errorf("wait for pod %s: %w: its status was %s", name, err, show(last))
		case e.Type == client.Bookmark:
			if last == nil && cond(nil) {
				return nil, nil
			}
			continue
		case e.Type == client.Deleted:
			last = nil
		default:
			last = e.Object
		}
		if cond(last) {
			return last, nil
		}
	}
	return last, fmt.Errorf("wait for pod %s: the watch ended: its status was %s", name, show(last))
}

func show(p *corev1.Pod) string {
	if p == nil {
		return "that it is gone"
	}
	b, err := yaml.Marshal(p.Status)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// The conditions that tests wait for.
func running(p *corev1.Pod) bool { return p != nil && p.Status.Phase == corev1.PodRunning }
func ready(p *corev1.Pod) bool {
	return p != nil && condition(p, corev1.PodReady) == corev1.ConditionTrue
}
func unready(p *corev1.Pod) bool {
	return p != nil && condition(p, corev1.PodReady) == corev1.ConditionFalse
}
func gone(p *corev1.Pod) bool { return p == nil }
func over(p *corev1.Pod) bool {
	return p != nil && (p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed)
}

func restarted(times int32) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return p != nil && running(p) && status(p, "c").RestartCount >= times }
}

// waiting is that container c waits for a reason.
func waiting(reason string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		return p != nil && status(p, "c").State.Waiting != nil && status(p, "c").State.Waiting.Reason == reason
	}
}

func condition(p *corev1.Pod, t corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range p.Status.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return ""
}

func status(p *corev1.Pod, name string) corev1.ContainerStatus {
	for _, s := range slices.Concat(p.Status.ContainerStatuses, p.Status.InitContainerStatuses) {
		if s.Name == name {
			return s
		}
	}
	return corev1.ContainerStatus{}
}

// output runs a script to its successful end and returns what it wrote.
func (n *node) output(name, script string, edits ...func(*corev1.Pod)) string {
	n.Helper()
	p := n.run(name, script, edits...)
	end := n.until(name, over)
	text := n.text(p, "c", 0)
	require.Equal(n, corev1.PodSucceeded, end.Status.Phase, "%s\n%s", show(end), text)
	return text
}

// text is what a run of a container wrote.
func (n *node) text(p *corev1.Pod, container string, attempt int) string {
	n.Helper()
	b, err := os.ReadFile(n.logOf(p, container, attempt))
	require.NoError(n, err)
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(line, " ", 4)
		require.Len(n, f, 4, line)
		out.WriteString(f[3])
	}
	return out.String()
}

// delete deletes a pod and waits until it is gone.
func (n *node) delete(name string, options ...client.Option) {
	n.Helper()
	require.NoError(n, n.pods.Delete(n.Context(), n.Node, name, options...))
	n.until(name, gone)
}

// close deletes all pods, stops everything and checks that nothing is left.
func (n *node) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if n.agent != nil {
		list, err := n.pods.List(ctx, client.InNamespace(n.Node))
		assert.NoError(n, err)
		for _, p := range list.Items {
			if err := n.pods.Delete(ctx, n.Node, p.Name, client.Grace(2)); !apierrors.IsNotFound(err) {
				assert.NoError(n, err)
			}
		}
		n.idle()
		n.stopAgent()
	}
	if n.runtime != nil {
		n.empty()
		assert.NoError(n, n.runtime.Shutdown(ctx))
		assert.NoError(n, n.images.Keep(nil))
		assert.NoError(n, n.images.Close())
	}
	assert.Empty(n, n.left(), "left behind")
	assert.NoError(n, os.RemoveAll(n.Dir))
}

// idle waits until no pod has a folder, which is what goes last.
func (n *node) idle() {
	n.Helper()
	dir := filepath.Join(n.Dir, "agent", "pods")
	require.NoError(n, os.MkdirAll(dir, 0o700))
	n.awaitFolder(dir, func() bool { return len(entries(n, dir)) == 0 })
}

// empty checks that nothing of any pod is left on the node.
func (n *node) empty() {
	n.Helper()
	assert.Empty(n, n.runtime.Containers(), "containers")
	assert.Empty(n, n.runtime.Sandboxes(), "sandboxes")
	assert.Empty(n, n.images.Mounts(), "root file systems")
	assert.Empty(n, entries(n, filepath.Join(n.Dir, "agent", "pods")), "folders of pods")
	assert.Empty(n, entries(n, filepath.Join(n.Dir, "volumes")), "volumes")
	assert.Empty(n, mounts(n.Dir), "mounts")
	assert.Equal(n, []string{"keeper"}, cgroups(n.Cgroup), "cgroups")
}

func entries(t require.TestingT, dir string) []string {
	list, err := os.ReadDir(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// mounts are the mounts below a folder.
func mounts(dir string) []string {
	var out []string
	b, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			out = append(out, f[4])
		}
	}
	return out
}

// cgroups are the groups directly below a parent, in any hierarchy.
func cgroups(parent string) []string {
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*" + parent + "/*")
	own, _ := filepath.Glob("/sys/fs/cgroup" + parent + "/*")
	var out []string
	for _, d := range append(dirs, own...) {
		if st, err := os.Stat(d); err == nil && st.IsDir() {
			out = append(out, filepath.Base(d))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// left is what is there of a node after everything was stopped.
func (n *node) left() []string {
	out := mounts(n.Dir)
	groups, _ := filepath.Glob("/sys/fs/cgroup/*" + n.Cgroup)
	own, _ := filepath.Glob("/sys/fs/cgroup" + n.Cgroup)
	out = append(out, append(groups, own...)...)
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		command, _ := os.ReadFile(p + "/cmdline")
		group, _ := os.ReadFile(p + "/cgroup")
		if len(command) == 0 {
			continue // it has ended, and waits for the machine's init to notice
		}
		if strings.Contains(string(command), n.Dir) || strings.Contains(string(group), n.Cgroup) {
			out = append(out, p+" "+string(command))
		}
	}
	return out
}

// testLog keeps what the parts say, for tests that fail.
type testLog struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *testLog) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
