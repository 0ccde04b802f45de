package controllers_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/apps"
	"github.com/bedplate/bedplate/apimachinery/kinds/coordination"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/kinds/discovery"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/controllers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is an API server with the controllers, and a kubelet that only says that pods run.
type cluster struct {
	t       *testing.T
	env     *clienttest.Env
	pods    client.Resource[*corev1.Pod]
	sets    client.Resource[*appsv1.ReplicaSet]
	web     client.Resource[*appsv1.Deployment]
	maps    client.Resource[*corev1.ConfigMap]
	spaces  client.Resource[*corev1.Namespace]
	secrets client.Resource[*corev1.Secret]
}

type tokens struct{}

func (tokens) IssueSecretToken(_ context.Context, sa *corev1.ServiceAccount, _ *corev1.Secret) (string, error) {
	return "token of " + sa.Name, nil
}

func start(t *testing.T, view bool) *cluster {
	c := open(t)
	c.run(view, c.env.Client)
	return c
}

// open starts a cluster without controllers.
func open(t *testing.T) *cluster {
	resources := slices.Concat(core.Resources(), apps.Resources(), discovery.Resources())
	resources = append(resources, coordination.Resources()...)
	env := clienttest.Start(t, clienttest.Config{Resources: append(resources, clienttest.Widgets())})
	c := &cluster{
		t: t, env: env,
		pods: client.For[*corev1.Pod](env.Client), sets: client.For[*appsv1.ReplicaSet](env.Client),
		web: client.For[*appsv1.Deployment](env.Client), maps: client.For[*corev1.ConfigMap](env.Client),
		spaces: client.For[*corev1.Namespace](env.Client), secrets: client.For[*corev1.Secret](env.Client),
	}
	c.namespace("default")
	return c
}

// run runs the controllers, and returns what stops them.
func (c *cluster) run(view bool, through *client.Client) (stop func()) {
	config := reconcile.Config{Client: through, Log: slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if view {
		config.Tables = c.env.Server
	}
	m, err := reconcile.New(config)
	require.NoError(c.t, err)
	require.NoError(c.t, controllers.Add(m, controllers.Config{CA: []byte("pem"), Issuer: tokens{}}))
	require.NoError(c.t, kubelet(m, c.pods))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(c.t, <-done)
	})
	c.t.Cleanup(stop)
	return stop
}

// kubelet makes pods ready, and ends those that are to end.
func kubelet(m *reconcile.Manager, pods client.Resource[*corev1.Pod]) error {
	return reconcile.Add(m, reconcile.Controller[*corev1.Pod]{
		Name: "kubelet",
		Reconcile: func(ctx context.Context, p *corev1.Pod) (reconcile.Result, error) {
			var err error
			switch {
			case p.DeletionTimestamp != nil:
				err = pods.Delete(ctx, p.Namespace, p.Name, client.Grace(0), client.IfUID(p.UID))
			case p.Status.Phase != corev1.PodRunning && p.Annotations["never"] == "":
				p.Status.Phase = corev1.PodRunning
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
				_, err = pods.UpdateStatus(ctx, p)
			}
			if apierrors.IsNotFound(err) {
				err = nil
			}
			return reconcile.Result{}, err
		},
	})
}

func (c *cluster) namespace(name string) *corev1.Namespace {
	ns, err := c.spaces.Create(c.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	require.NoError(c.t, err)
	return ns
}

func (c *cluster) deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	d, err := c.web.Create(c.t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "one"}}},
			},
		},
	})
	require.NoError(c.t, err)
	return d
}

func (c *cluster) image(name, image string) {
	_, err := c.web.Modify(c.t.Context(), "default", name, func(d *appsv1.Deployment) error {
		d.Spec.Template.Spec.Containers[0].Image = image
		return nil
	})
	require.NoError(c.t, err)
}

// rolledOut is what kubectl rollout status waits for.
func (c *cluster) rolledOut(name string) bool {
	d, err := c.web.Get(c.t.Context(), "default", name)
	require.NoError(c.t, err)
	n := *d.Spec.Replicas
	return d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == n && d.Status.Replicas == n && d.Status.AvailableReplicas == n
}

func (c *cluster) images(namespace string) map[string]int {
	l, err := c.pods.List(c.t.Context(), client.InNamespace(namespace))
	require.NoError(c.t, err)
	out := map[string]int{}
	for _, p := range l.Items {
		out[p.Spec.Containers[0].Image]++
	}
	return out
}

func (c *cluster) eventually(f func() bool) {
	c.t.Helper()
	require.Eventually(c.t, f, 30*time.Second, 5*time.Millisecond)
}

func both(t *testing.T, test func(c *cluster)) {
	for _, view := range []bool{true, false} {
		t.Run(fmt.Sprint("view=", view), func(t *testing.T) { test(start(t, view)) })
	}
}

func TestDeployment(t *testing.T) {
	both(t, func(c *cluster) {
		t, ctx := c.t, c.t.Context()
		c.deployment("web", 3)
		c.eventually(func() bool { return c.rolledOut("web") })
		require.Equal(t, map[string]int{"one": 3}, c.images("default"))

		c.image("web", "two")
		c.eventually(func() bool { return c.rolledOut("web") })
		require.Equal(t, map[string]int{"two": 3}, c.images("default"))
		d, err := c.web.Get(ctx, "default", "web")
		require.NoError(t, err)
		require.Equal(t, "2", d.Annotations["deployment.kubernetes.io/revision"])

		_, err = c.web.Patch(ctx, "default", "web", types.MergePatchType, []byte(`{"spec":{"replicas":5}}`))
		require.NoError(t, err)
		c.eventually(func() bool { return c.rolledOut("web") && c.images("default")["two"] == 5 })

		l, err := c.pods.List(ctx)
		require.NoError(t, err)
		require.NoError(t, c.pods.Delete(ctx, "default", l.Items[0].Name))
		c.eventually(func() bool {
			_, err := c.pods.Get(ctx, "default", l.Items[0].Name)
			return apierrors.IsNotFound(err) && c.rolledOut("web") && c.images("default")["two"] == 5
		})
		events, err := client.For[*corev1.Event](c.env.Client).List(ctx, client.Fields("involvedObject.kind=Deployment"))
		require.NoError(t, err)
		require.NotEmpty(t, events.Items)
		require.Equal(t, controllers.Deployment, events.Items[0].Source.Component)
	})
}

func TestReplicaSetAdoptsAndReleases(t *testing.T) {
	both(t, func(c *cluster) {
		t, ctx := c.t, c.t.Context()
		labels := map[string]string{"app": "x"}
		orphan, err := c.pods.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "orphan", Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		})
		require.NoError(t, err)
		two := int32(2)
		_, err = c.sets.Create(ctx, &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"},
			Spec: appsv1.ReplicaSetSpec{Replicas: &two, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: orphan.Spec,
			}},
		})
		require.NoError(t, err)
		owned := func() int {
			l, err := c.pods.List(ctx)
			require.NoError(t, err)
			n := 0
			for _, p := range l.Items {
				if metav1.GetControllerOf(p) != nil {
					n++
				}
			}
			return n
		}
		c.eventually(func() bool { return owned() == 2 })
		adopted, err := c.pods.Get(ctx, "default", "orphan")
		require.NoError(t, err)
		require.NotNil(t, metav1.GetControllerOf(adopted))
		_, err = c.pods.Patch(ctx, "default", "orphan", types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"y"}}}`))
		require.NoError(t, err)
		c.eventually(func() bool {
			p, err := c.pods.Get(ctx, "default", "orphan")
			require.NoError(t, err)
			return metav1.GetControllerOf(p) == nil && owned() == 2
		})
	})
}

func TestPropagation(t *testing.T) {
	both(t, func(c *cluster) {
		t, ctx := c.t, c.t.Context()
		count := func() (sets, pods int) {
			s, err := c.sets.List(ctx)
			require.NoError(t, err)
			p, err := c.pods.List(ctx)
			require.NoError(t, err)
			return len(s.Items), len(p.Items)
		}
		for _, p := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground} {
			c.deployment("web", 2)
			c.eventually(func() bool { return c.rolledOut("web") })
			require.NoError(t, c.web.Delete(ctx, "default", "web", client.Propagation(p)))
			c.eventually(func() bool {
				_, err := c.web.Get(ctx, "default", "web")
				sets, pods := count()
				if p == metav1.DeletePropagationForeground && apierrors.IsNotFound(err) {
					require.Zero(t, sets+pods, "the owner went before its dependents")
				}
				return apierrors.IsNotFound(err) && sets == 0 && pods == 0
			})
		}
		c.deployment("web", 2)
		c.eventually(func() bool { return c.rolledOut("web") })
		require.NoError(t, c.web.Delete(ctx, "default", "web", client.Propagation(metav1.DeletePropagationOrphan)))
		c.eventually(func() bool {
			_, err := c.web.Get(ctx, "default", "web")
			return apierrors.IsNotFound(err)
		})
		sets, pods := count()
		require.Equal(t, []int{1, 2}, []int{sets, pods})
		s, err := c.sets.List(ctx)
		require.NoError(t, err)
		require.Empty(t, s.Items[0].OwnerReferences)
	})
}

func TestOwnersThatAreNotThere(t *testing.T) {
	both(t, func(c *cluster) {
		t, ctx := c.t, c.t.Context()
		make := func(name string, owners ...metav1.OwnerReference) {
			_, err := c.maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, OwnerReferences: owners}})
			require.NoError(t, err)
		}
		ref := func(kind, name string, uid types.UID) metav1.OwnerReference {
			return metav1.OwnerReference{APIVersion: "v1", Kind: kind, Name: name, UID: uid}
		}
		make("owner")
		owner, err := c.maps.Get(ctx, "default", "owner")
		require.NoError(t, err)
		make("solid", ref("ConfigMap", "owner", owner.UID))
		make("absent", ref("ConfigMap", "nobody", "u1"))
		make("other-uid", ref("ConfigMap", "owner", "u2"))
		make("other-name", ref("ConfigMap", "another", owner.UID))
		make("both", ref("ConfigMap", "owner", owner.UID), ref("ConfigMap", "nobody", "u1"))
		make("unknown", metav1.OwnerReference{APIVersion: "example.org/v1", Kind: "Thing", Name: "x", UID: "u3"})
		names := func() (names []string) {
			l, err := c.maps.List(ctx, client.InNamespace("default"), client.Fields("metadata.name!=kube-root-ca.crt"))
			require.NoError(t, err)
			for _, o := range l.Items {
				names = append(names, o.Name)
			}
			return names
		}
		c.eventually(func() bool { return len(names()) == 4 })
		require.Equal(t, []string{"both", "owner", "solid", "unknown"}, names())
		c.eventually(func() bool {
			o, err := c.maps.Get(ctx, "default", "both")
			require.NoError(t, err)
			return len(o.OwnerReferences) == 1
		})
		require.NoError(t, c.maps.Delete(ctx, "default", "owner"))
		c.eventually(func() bool { return len(names()) == 1 })
	})
}

func TestNamespace(t *testing.T) {
	both(t, func(c *cluster) {
		t, ctx := c.t, c.t.Context()
		c.namespace("team")
		c.eventually(func() bool {
			_, err := client.For[*corev1.ServiceAccount](c.env.Client).Get(ctx, "team", "default")
			cm, mapErr := c.maps.Get(ctx, "team", "kube-root-ca.crt")
			return err == nil && mapErr == nil && cm.Data["ca.crt"] == "pem"
		})
		_, err := c.maps.Patch(ctx, "team", "kube-root-ca.crt", types.MergePatchType, []byte(`{"data":{"ca.crt":"evil"}}`))
		require.NoError(t, err)
		require.NoError(t, client.For[*corev1.ServiceAccount](c.env.Client).Delete(ctx, "team", "default"))
		c.eventually(func() bool {
			_, err := client.For[*corev1.ServiceAccount](c.env.Client).Get(ctx, "team", "default")
			cm, mapErr := c.maps.Get(ctx, "team", "kube-root-ca.crt")
			return err == nil && mapErr == nil && cm.Data["ca.crt"] == "pem"
		})
		held, err := c.maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "held", Finalizers: []string{"example.org/hold"}}})
		require.NoError(t, err)
		_, err = c.pods.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "p"},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}, NodeName: "n"},
		})
		require.NoError(t, err)
		require.NoError(t, c.spaces.Delete(ctx, "", "team"))
		c.eventually(func() bool {
			ns, err := c.spaces.Get(ctx, "", "team")
			require.NoError(t, err)
			for _, cond := range ns.Status.Conditions {
				if cond.Type == corev1.NamespaceFinalizersRemaining && cond.Status == corev1.ConditionTrue {
					require.Contains(t, cond.Message, "example.org/hold in 1 resource instances")
					return true
				}
			}
			return false
		})
		_, err = c.maps.Patch(ctx, "team", held.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
		require.NoError(t, err)
		c.eventually(func() bool {
			_, err := c.spaces.Get(ctx, "", "team")
			return apierrors.IsNotFound(err)
		})
		l, err := c.maps.List(ctx, client.InNamespace("team"))
		require.NoError(t, err)
		require.Empty(t, l.Items)
	})
}

func TestTokenSecrets(t *testing.T) {
	both(t, func(c *cluster) {
		t, ctx := c.t, c.t.Context()
		accounts := client.For[*corev1.ServiceAccount](c.env.Client)
		_, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "robot"}})
		require.NoError(t, err)
		_, err = c.secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s", Annotations: map[string]string{corev1.ServiceAccountNameKey: "robot"}},
			Type:       corev1.SecretTypeServiceAccountToken,
		})
		require.NoError(t, err)
		c.eventually(func() bool {
			s, err := c.secrets.Get(ctx, "default", "s")
			require.NoError(t, err)
			return string(s.Data["token"]) == "token of robot" && string(s.Data["namespace"]) == "default" && string(s.Data["ca.crt"]) == "pem"
		})
		require.NoError(t, accounts.Delete(ctx, "default", "robot"))
		c.eventually(func() bool {
			_, err := c.secrets.Get(ctx, "default", "s")
			return apierrors.IsNotFound(err)
		})
	})
}

// crashing is a Doer that fails for good at the nth write: before it, or after it without telling.
type crashing struct {
	apimachinery.Doer
	mu   sync.Mutex
	left int
	told bool
	dead chan struct{}
}

func (c *crashing) Do(ctx context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	switch r.Verb {
	case apimachinery.VerbGet, apimachinery.VerbList, apimachinery.VerbWatch:
		return c.Doer.Do(ctx, r)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
	switch {
	case c.left > 0:
		return c.Doer.Do(ctx, r)
	case c.left == 0:
		close(c.dead)
		if c.told {
			if _, err := c.Doer.Do(ctx, r); err != nil {
				return nil, err
			}
		}
	}
	return nil, errors.New("the process has crashed")
}

// TestCrashes lets the controllers end at one of their writes after the other, before it and after it: those that
// come next finish the rollout, with no pod too many and no set twice.
func TestCrashes(t *testing.T) {
	c := open(t)
	for round := range 14 {
		through := &crashing{Doer: c.env.Client.Doer(), left: 1 + round/2, told: round%2 == 0, dead: make(chan struct{})}
		stop := c.run(true, client.New(through, c.env.Client.Registry()))
		name := fmt.Sprint("web", round)
		c.deployment(name, 3)
		<-through.dead
		stop()
		stop = c.run(true, c.env.Client)
		c.eventually(func() bool { return c.rolledOut(name) })
		sets, err := c.sets.List(t.Context(), client.Labels("app="+name))
		require.NoError(t, err)
		require.Len(t, sets.Items, 1)
		pods, err := c.pods.List(t.Context(), client.Labels("app="+name))
		require.NoError(t, err)
		require.Len(t, pods.Items, 3)
		require.NoError(t, c.web.Delete(t.Context(), "default", name, client.Propagation(metav1.DeletePropagationForeground)))
		c.eventually(func() bool {
			_, err := c.web.Get(t.Context(), "default", name)
			return apierrors.IsNotFound(err)
		})
		stop()
	}
}

// skewed is a Doer whose watches are late, each by something else, and leave out what a later event supersedes.
type skewed struct {
	apimachinery.Doer
	mu sync.Mutex
	r  *rand.Rand
}

func (s *skewed) pick(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.IntN(n)
}

func (s *skewed) Do(ctx context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	resp, err := s.Doer.Do(ctx, r)
	if err != nil || r.Verb != apimachinery.VerbWatch {
		return resp, err
	}
	from := resp.Stream
	out, in := io.Pipe()
	lines := make(chan []byte, 10_000)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(from); scan.Scan(); {
			lines <- append(bytes.Clone(scan.Bytes()), '\n')
		}
	}()
	go func() {
		defer in.Close()
		for line := range lines {
			select {
			case <-time.After(time.Duration(s.pick(30)) * time.Millisecond):
			case <-ctx.Done():
			}
			batch := [][]byte{line}
			for len(lines) > 0 {
				batch = append(batch, <-lines)
			}
			if _, err := in.Write(bytes.Join(newest(batch), nil)); err != nil {
				from.Close()
			}
		}
	}()
	resp.Stream = struct {
		io.Reader
		io.Closer
	}{out, closers{from, out}}
	return resp, nil
}

type closers []io.Closer

func (c closers) Close() (err error) {
	for _, each := range c {
		err = errors.Join(err, each.Close())
	}
	return err
}

// newest leaves out changes that are followed by another change of the same object.
func newest(lines [][]byte) (out [][]byte) {
	type event struct {
		Type   string
		Object struct{ Metadata struct{ UID string } }
	}
	read := func(line []byte) (e event) {
		_ = json.Unmarshal(line, &e)
		return e
	}
	for i, line := range lines {
		e := read(line)
		superseded := e.Type == "MODIFIED" && slices.ContainsFunc(lines[i+1:], func(l []byte) bool {
			return read(l).Object.Metadata.UID == e.Object.Metadata.UID
		})
		if !superseded {
			out = append(out, line)
		}
	}
	return out
}

// TestSkewedCaches runs the controllers on caches that are late, each by something else, and that miss states in
// between: the end is the same, and no pod is made that was not called for.
func TestSkewedCaches(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	c := open(t)
	through := &skewed{Doer: c.env.Client.Doer(), r: rand.New(rand.NewPCG(seed, 0))}
	c.run(false, client.New(through, c.env.Client.Registry()))
	w, err := c.pods.Watch(t.Context())
	require.NoError(t, err)
	defer w.Close()
	for n := range 4 {
		c.deployment(fmt.Sprint("web", n), 3)
	}
	for _, image := range []string{"one", "two", "three"} {
		for n := range 4 {
			c.image(fmt.Sprint("web", n), image)
		}
		c.eventually(func() bool {
			return c.rolledOut("web0") && c.rolledOut("web1") && c.rolledOut("web2") && c.rolledOut("web3") && c.images("default")[image] == 12 && len(c.images("default")) == 1
		})
	}
	_, err = c.pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "end"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	})
	require.NoError(t, err)
	made := 0
	for e, err := range w.All(t.Context()) {
		require.NoError(t, err)
		if e.Object.Name == "end" {
			break
		}
		if e.Type == client.Added {
			made++
		}
	}
	require.Equal(t, 36, made)
}
