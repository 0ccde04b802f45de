//go:build linux

package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/netplug"
	"github.com/bedplate/bedplate/netplug/hosts"
	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/image/imagetest"
)

// patience is how long a test waits for anything.
const patience = time.Minute

var (
	podRange     = netip.MustParsePrefix("10.244.0.0/16")
	serviceRange = netip.MustParsePrefix("10.96.0.0/16")
	hostRange    = netip.MustParsePrefix("10.245.0.0/24")
	dnsAddress   = netip.MustParseAddr("10.96.0.10")
)

const busybox = "test.local/busybox:v1"

var busyboxImage = sync.OnceValue(func() v1.Image { return imagetest.BusyboxImage(fatal{}) })

// fatal makes what a test needs, outside of tests.
type fatal struct{ testing.TB }

func (fatal) Helper()                   {}
func (fatal) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

// cluster is a control plane with the machines for some nodes; node 1 is on the machine itself.
type cluster struct {
	testing.TB
	plane    *bedplate.ControlPlane
	machines *hosts.Hosts
	c        *client.Client
	pods     client.Resource[*corev1.Pod]
	dir      string
	log      *testLog
	edit     func(*Config)
	nodes    map[int]*running
}

// running is a node that runs.
type running struct {
	*Node
	name   string
	host   hosts.Host
	cancel context.CancelFunc
	ended  chan error
}

// newCluster starts a control plane and nodes with these numbers. All is stopped with the test, which fails if anything is
// left then.
func newCluster(t testing.TB, config bedplate.Config, edit func(*Config), numbers ...int) *cluster {
	t.Helper()
	before, err := inventory()
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "bedplate-node-")
	require.NoError(t, err)
	k := &cluster{TB: t, dir: dir, log: &testLog{}, edit: edit, nodes: map[int]*running{}}
	t.Cleanup(func() {
		assert.NoError(t, os.RemoveAll(dir))
		if t.Failed() {
			t.Log(k.log.String())
		}
		k.nothingLeft(before)
	})
	k.openMachines()
	t.Cleanup(func() { assert.NoError(t, k.machines.Remove()) })
	config.Advertise, config.DNS = k.machines.Machine().Address, dnsAddress
	config.Log = k.log.logger("plane")
	config.Pods, config.Services = []netip.Prefix{podRange}, []netip.Prefix{serviceRange}
	k.plane, err = bedplate.Start(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, k.plane.Stop()) })
	k.c = k.plane.Client()
	k.pods = client.For[*corev1.Pod](k.c)
	t.Cleanup(k.end)
	for _, n := range numbers {
		k.start(n)
	}
	await(k, client.For[*corev1.ServiceAccount](k.c), "default", func(a *corev1.ServiceAccount) bool { return a != nil && a.Name == "default" })
	return k
}

func (k *cluster) openMachines() {
	k.Helper()
	var err error
	k.machines, err = hosts.Open(hosts.Config{Name: "test", Range: hostRange, Inside: []netip.Prefix{podRange}})
	require.NoError(k, err)
}

// nothingLeft compares with what was there before.
func (k *cluster) nothingLeft(before []string) {
	k.Helper()
	after, err := inventory()
	require.NoError(k, err)
	less := func(a, b []string) []string {
		return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
	}
	assert.Empty(k, less(after, before), "left behind")
	assert.Empty(k, less(before, after), "taken away")
}

// end ends all nodes, with their pods.
func (k *cluster) end() {
	for n, r := range k.nodes {
		if r.c.StopPods {
			continue
		}
		assert.NoError(k, k.halt(n))
		k.start(n, func(c *Config) { c.StopPods = true })
	}
	for _, r := range k.nodes {
		r.cancel()
	}
	for n := range k.nodes {
		assert.NoError(k, k.halt(n))
	}
}

// config is that of a node with a number.
func (k *cluster) config(number int) (Config, hosts.Host) {
	k.Helper()
	host := k.machines.Machine()
	if number > 1 {
		var err error
		host, err = k.machines.Add(number)
		require.NoError(k, err)
	}
	name := "node-" + strconv.Itoa(number)
	access, err := k.plane.Node(name, host.Address)
	require.NoError(k, err)
	dir := filepath.Join(k.dir, name)
	dirsMu.Lock()
	if !slices.Contains(dirs, dir) {
		dirs = append(dirs, dir)
	}
	dirsMu.Unlock()
	return Config{
		Name: name, Dir: dir, Client: access.Client, TLS: access.TLS, Callers: access.Callers,
		Addresses: []netip.Addr{host.Address}, HostNetwork: host.Namespace, StopPods: true, Log: k.log.logger(name),
		Pods: &PodNetwork{
			Client: access.Network, Tables: access.Tables, Pods: []netip.Prefix{podRange}, Services: []netip.Prefix{serviceRange}, DNS: dnsAddress,
		},
	}, host
}

// start starts a node and waits until it is ready, and knows where names are.
func (k *cluster) start(number int, edits ...func(*Config)) *running {
	k.Helper()
	c, host := k.config(number)
	if k.edit != nil {
		k.edit(&c)
	}
	for _, edit := range edits {
		edit(&c)
	}
	n, err := New(c)
	require.NoError(k, err)
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Node: n, name: c.Name, host: host, cancel: cancel, ended: make(chan error, 1)}
	k.nodes[number] = r
	go func() { r.ended <- n.Run(ctx) }()
	select {
	case <-n.Ready():
	case err := <-r.ended:
		delete(k.nodes, number)
		cancel()
		require.FailNow(k, "the node ended", "%v", err)
	case <-time.After(patience):
		require.FailNow(k, "the node is not ready")
	}
	_, err = n.Images(k.Context()).Load(k.Context(), busybox, busyboxImage())
	require.NoError(k, err)
	await(k, client.For[*discoveryv1.EndpointSlice](k.c), "kube-system", func(s *discoveryv1.EndpointSlice) bool {
		return s != nil && s.Name == "kube-dns-"+c.Name && s.Endpoints[0].Addresses[0] == n.network.dnsAt.Addr().String() && *s.Ports[0].Port == int32(n.network.dnsAt.Port())
	})
	return r
}

// halt ends a node.
func (k *cluster) halt(number int) error {
	k.Helper()
	r := k.nodes[number]
	delete(k.nodes, number)
	r.cancel()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(3 * time.Minute):
		return errors.New("the node does not end")
	}
}

// idle ends at once when it is told to.
const idle = "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"

// web serves its host name at port 8080 until it is told to end, and then ends at once.
const web = "trap 'exit 0' TERM; mkdir -p /tmp/www; hostname >/tmp/www/index.html; httpd -f -p 8080 -h /tmp/www & wait"

// spec is that of a pod of one container that runs a script.
func spec(script string, ports ...corev1.ContainerPort) corev1.PodSpec {
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{{
			Name: "c", Image: busybox, Command: []string{"sh", "-c", script}, Ports: ports,
		}},
	}
}

// served makes a spec ready when its port 8080 answers.
func served(s corev1.PodSpec) corev1.PodSpec {
	s.Containers[0].ReadinessProbe = &corev1.Probe{
		PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(8080), Path: "/"}},
	}
	return s
}

// run creates a pod with the label app=<name up to its first dash> on a node; 0 is any.
func (k *cluster) run(name string, number int, s corev1.PodSpec) *corev1.Pod {
	k.Helper()
	app, _, _ := strings.Cut(name, "-")
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": app}}, Spec: s}
	if number > 0 {
		p.Spec.NodeName = "node-" + strconv.Itoa(number)
	}
	p, err := k.pods.Create(k.Context(), p)
	require.NoError(k, err)
	return p
}

// expose creates a service of the pods of an app: port 80 leads to 8080.
func (k *cluster) expose(app string, edits ...func(*corev1.Service)) *corev1.Service {
	k.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: app}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
	}}
	for _, edit := range edits {
		edit(s)
	}
	s, err := client.For[*corev1.Service](k.c).Create(k.Context(), s)
	require.NoError(k, err)
	return s
}

// await waits until an object in a namespace, or nil when there is none left of which it was so, is as cond wants it.
func await[T apimachinery.Object](k *cluster, r client.Resource[T], namespace string, cond func(T) bool) T {
	k.Helper()
	ctx, cancel := context.WithTimeout(k.Context(), patience)
	defer cancel()
	w, err := r.Watch(ctx, client.InNamespace(namespace), client.InitialEvents())
	require.NoError(k, err)
	defer w.Close()
	for {
		e, err := w.Next(ctx)
		require.NoError(k, err, "what was waited for did not come about")
		if e.Type != client.Bookmark && e.Type != client.Deleted && cond(e.Object) {
			return e.Object
		}
	}
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// up waits until a pod is ready.
func (k *cluster) up(name string) *corev1.Pod {
	k.Helper()
	return await(k, k.pods, "default", func(p *corev1.Pod) bool { return p.Name == name && ready(p) })
}

// gone waits until a pod is no longer there.
func (k *cluster) gone(name string) {
	k.Helper()
	ctx, cancel := context.WithTimeout(k.Context(), patience)
	defer cancel()
	w, err := k.pods.Watch(ctx, client.InNamespace("default"), client.Fields("metadata.name="+name), client.InitialEvents())
	require.NoError(k, err)
	defer w.Close()
	for there := false; ; {
		e, err := w.Next(ctx)
		require.NoError(k, err, "pod %s is still there", name)
		switch {
		case e.Type == client.Deleted || e.Type == client.Bookmark && !there:
			return
		case e.Type != client.Bookmark:
			there = true
		}
	}
}

// addresses waits until the ready endpoints of a service are such as cond wants them, and all nodes serve them.
func (k *cluster) addresses(service string, cond func([]string) bool) {
	k.Helper()
	s := await(k, client.For[*discoveryv1.EndpointSlice](k.c), "default", func(s *discoveryv1.EndpointSlice) bool {
		return s.Labels[discoveryv1.LabelServiceName] == service && cond(serving(s))
	})
	k.programmed(s.ResourceVersion)
}

// serving are the addresses of the endpoints that are ready.
func serving(s *discoveryv1.EndpointSlice) (out []string) {
	for _, e := range s.Endpoints {
		if e.Conditions.Ready == nil || *e.Conditions.Ready {
			out = append(out, e.Addresses...)
		}
	}
	slices.Sort(out)
	return out
}

func exactly(pods ...*corev1.Pod) func([]string) bool {
	var want []string
	for _, p := range pods {
		want = append(want, p.Status.PodIP)
	}
	slices.Sort(want)
	return func(got []string) bool { return slices.Equal(want, got) }
}

// programmed waits until all nodes serve what the API had at a revision.
func (k *cluster) programmed(version string) {
	k.Helper()
	rev, err := strconv.ParseInt(version, 10, 64)
	require.NoError(k, err)
	ctx, cancel := context.WithTimeout(k.Context(), patience)
	defer cancel()
	for _, n := range k.nodes {
		services, endpoints, err := n.network.services()
		require.NoError(k, err)
		require.NoError(k, services.WaitFor(ctx, rev))
		require.NoError(k, endpoints.WaitFor(ctx, rev))
		require.NoError(k, n.network.proxy.Wait(ctx))
	}
}

// on is the node that a pod is on.
func (k *cluster) on(p *corev1.Pod) *running {
	k.Helper()
	for _, n := range k.nodes {
		if n.name == p.Spec.NodeName {
			return n
		}
	}
	require.FailNow(k, "the pod's node does not run", "%s on %q", p.Name, p.Spec.NodeName)
	return nil
}

// exec runs a script in a pod and returns what it wrote.
func (k *cluster) exec(p *corev1.Pod, script string) (string, error) {
	k.Helper()
	ctx, cancel := context.WithTimeout(k.Context(), patience)
	defer cancel()
	var out bytes.Buffer
	id := k.containerOf(p)
	code, err := k.on(p).runtime.Exec(ctx, id, runtime.ExecSpec{Args: []string{"sh", "-c", script + " 2>&1"}, Streams: runtime.Streams{Stdout: &out}})
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s", code, out.String())
	}
	return strings.TrimSpace(out.String()), err
}

// says runs a script in a pod, which must succeed.
func (k *cluster) says(p *corev1.Pod, script string) string {
	k.Helper()
	out, err := k.exec(p, script)
	require.NoError(k, err)
	return out
}

func (k *cluster) containerOf(p *corev1.Pod) string {
	k.Helper()
	require.NotEmpty(k, p.Status.ContainerStatuses)
	_, id, ok := strings.Cut(p.Status.ContainerStatuses[0].ContainerID, "://")
	require.True(k, ok, p.Status.ContainerStatuses[0].ContainerID)
	return id
}

// spaceOf is the path of a pod's network namespace.
func (k *cluster) spaceOf(p *corev1.Pod) string {
	k.Helper()
	c, err := k.on(p).runtime.Container(k.containerOf(p))
	require.NoError(k, err)
	s, err := k.on(p).runtime.Sandbox(c.Spec.SandboxID)
	require.NoError(k, err)
	return s.NetnsPath
}

// connect connects from a network namespace.
func connect(ctx context.Context, space, address string) (c net.Conn, err error) {
	err = netplug.Inside(space, func() error {
		var d net.Dialer
		c, err = d.DialContext(ctx, "tcp", address)
		return err
	})
	return c, err
}

// browser is an HTTP client in a network namespace, with a connection for each request.
func browser(space string) *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, address string) (net.Conn, error) { return connect(ctx, space, address) },
	}}
}

// fetch is what a URL of an address says to a client in a network namespace.
func fetch(space, url string) (string, error) {
	resp, err := browser(space).Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return strings.TrimSpace(string(b)), err
}

// sees requires what a URL says to a client in a network namespace.
func (k *cluster) sees(space, url, want string) {
	k.Helper()
	got, err := fetch(space, url)
	require.NoError(k, err, url)
	require.Equal(k, want, got, url)
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

func (l *testLog) logger(of string) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn})).With("of", of)
}
