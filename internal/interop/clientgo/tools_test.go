package clientgo

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/disk"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/features"
	featuretesting "k8s.io/client-go/features/testing"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	cachedopenapi "k8s.io/client-go/openapi/cached"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/retry"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/internal/interop/plane"
)

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	require.Eventually(t, done, 30*time.Second, 5*time.Millisecond)
}

func newClient(t *testing.T, c *rest.Config) *kubernetes.Clientset {
	t.Helper()
	k, err := kubernetes.NewForConfig(c)
	require.NoError(t, err)
	return k
}

// both runs a test in both forms of the wire.
func both(t *testing.T, config *rest.Config, do func(t *testing.T, config *rest.Config)) {
	t.Run("json", func(t *testing.T) { do(t, config) })
	t.Run("protobuf", func(t *testing.T) { do(t, plane.Protobuf(config)) })
}

func newMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"of": value}}, Data: map[string]string{"k": value}}
}

// TestInformers: shared informers follow by watch-list and without it, typed and dynamic, with what is there and what comes.
func TestInformers(t *testing.T) {
	_, config := plane.Start(t, bedplate.Config{})
	n := 0
	for _, list := range []bool{true, false} {
		t.Run(fmt.Sprintf("watchlist=%v", list), func(t *testing.T) {
			featuretesting.SetFeatureDuringTest(t, features.WatchListClient, list)
			both(t, config, func(t *testing.T, config *rest.Config) {
				n++
				inform(t, config, fmt.Sprint("i", n))
			})
		})
	}
}

func inform(t *testing.T, config *rest.Config, namespace string) {
	ctx, cancel := context.WithCancel(t.Context())
	k := newClient(t, config)
	_, err := k.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	require.NoError(t, err)
	maps := k.CoreV1().ConfigMaps(namespace)
	for i := range 30 {
		_, err := maps.Create(ctx, newMap(fmt.Sprint("m", i), namespace), metav1.CreateOptions{})
		require.NoError(t, err)
	}
	dyn, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	typed := informers.NewSharedInformerFactoryWithOptions(k, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "of=" + namespace }))
	untyped := dynamicinformer.NewFilteredDynamicSharedInformerFactory(dyn, 0, namespace, nil)
	a, b := typed.Core().V1().ConfigMaps().Informer(), untyped.ForResource(corev1.SchemeGroupVersion.WithResource("configmaps")).Informer()
	typed.Start(ctx.Done())
	untyped.Start(ctx.Done())
	require.True(t, cache.WaitForCacheSync(ctx.Done(), a.HasSynced, b.HasSynced))
	require.Len(t, a.GetStore().List(), 30)
	require.GreaterOrEqual(t, len(b.GetStore().List()), 30)
	_, err = maps.Patch(ctx, "m3", types.MergePatchType, []byte(`{"metadata":{"labels":{"of":null}}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	require.NoError(t, maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "of"}))
	made, err := maps.Create(ctx, newMap("late", namespace), metav1.CreateOptions{})
	require.NoError(t, err)
	for _, i := range []cache.SharedIndexInformer{a, b} {
		eventually(t, func() bool {
			o, ok, err := i.GetStore().GetByKey(namespace + "/late")
			if err != nil || !ok {
				return false
			}
			m, err := meta.Accessor(o)
			require.NoError(t, err)
			require.Equal(t, made.ResourceVersion, m.GetResourceVersion())
			return true
		})
	}
	require.Len(t, a.GetStore().List(), 1)
	cancel()
	typed.Shutdown()
	untyped.Shutdown()
}

// TestDiscovery: aggregated, cached and plain discovery say the same, and mappers find by all names.
func TestDiscovery(t *testing.T) {
	_, config := plane.Start(t, bedplate.Config{})
	d, err := discovery.NewDiscoveryClientForConfig(config)
	require.NoError(t, err)
	legacy := *d
	legacy.UseLegacyDiscovery = true
	onDisk, err := disk.NewCachedDiscoveryClientForConfig(config, t.TempDir(), t.TempDir(), time.Hour)
	require.NoError(t, err)
	names := func(d discovery.DiscoveryInterface) []string {
		_, lists, err := d.ServerGroupsAndResources()
		require.NoError(t, err)
		var out []string
		for _, l := range lists {
			for _, r := range l.APIResources {
				if strings.Contains(r.Name, "/") {
					r.SingularName = "" // aggregated discovery repeats that of the object
				}
				out = append(out, fmt.Sprint(l.GroupVersion, " ", r.Name, " ", r.Kind, " ", r.Namespaced, r.ShortNames, r.Categories, r.Verbs, r.SingularName))
			}
		}
		slices.Sort(out)
		return out
	}
	want := names(d)
	inMemory := memory.NewMemCacheClient(d)
	for what, d := range map[string]discovery.DiscoveryInterface{"legacy": &legacy, "memory": inMemory, "disk": onDisk} {
		require.Equal(t, want, names(d), what)
	}
	mapper := restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(inMemory), inMemory, nil)
	for short, kind := range map[string]string{"po": "Pod", "deploy": "Deployment", "cm": "ConfigMap", "hpa": "HorizontalPodAutoscaler", "netpol": "NetworkPolicy", "pc": "PriorityClass", "crd": "CustomResourceDefinition", "sts": "StatefulSet"} {
		gvk, err := mapper.KindFor(schema.GroupVersionResource{Resource: short})
		require.NoError(t, err)
		require.Equal(t, kind, gvk.Kind)
	}
	m, err := mapper.RESTMapping(schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"})
	require.NoError(t, err)
	require.Equal(t, "v2", m.Resource.Version)
	v, err := d.ServerVersion()
	require.NoError(t, err)
	require.Equal(t, "1", v.Major)

	paths, err := cachedopenapi.NewClient(d.OpenAPIV3()).Paths()
	require.NoError(t, err)
	require.Contains(t, paths, "apis/apps/v1")
	raw, err := paths["apis/apps/v1"].Schema(runtime.ContentTypeJSON)
	require.NoError(t, err)
	require.Contains(t, string(raw), "io.k8s.api.apps.v1.Deployment")
}

// TestElection: of several candidates one leads, and another follows it when it lets go.
func TestElection(t *testing.T) {
	_, config := plane.Start(t, bedplate.Config{})
	k := newClient(t, plane.Protobuf(config))
	leaders := make(chan string)
	campaign := func(name string) context.CancelFunc {
		ctx, cancel := context.WithCancel(t.Context())
		lock, err := resourcelock.New(resourcelock.LeasesResourceLock, "default", "crown", k.CoreV1(), k.CoordinationV1(), resourcelock.ResourceLockConfig{Identity: name})
		require.NoError(t, err)
		e, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: 60 * time.Second, RenewDeadline: 50 * time.Second, RetryPeriod: 20 * time.Millisecond, ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { leaders <- name }, OnStoppedLeading: func() {}},
		})
		require.NoError(t, err)
		done := make(chan struct{})
		go func() { defer close(done); e.Run(ctx) }()
		return func() { cancel(); <-done }
	}
	candidates := map[string]context.CancelFunc{"a": campaign("a"), "b": campaign("b"), "c": campaign("c")}
	for range 3 {
		leader := <-leaders
		lease, err := k.CoordinationV1().Leases("default").Get(t.Context(), "crown", metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, leader, *lease.Spec.HolderIdentity)
		candidates[leader]()
	}
}

// TestEvents: recorders of both groups write, and count, what both groups then show.
func TestEvents(t *testing.T) {
	_, config := plane.Start(t, bedplate.Config{})
	both(t, config, func(t *testing.T, config *rest.Config) {
		k := newClient(t, config)
		about, err := k.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "about-"}}, metav1.CreateOptions{})
		require.NoError(t, err)
		b := record.NewBroadcaster(record.WithContext(t.Context()))
		defer b.Shutdown()
		b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: k.CoreV1().Events("")})
		r := b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "interop"})
		for range 3 {
			r.Event(about, corev1.EventTypeNormal, "Happened", "it did")
		}
		of := metav1.ListOptions{FieldSelector: "involvedObject.name=" + about.Name + ",reason=Happened"}
		eventually(t, func() bool {
			l, err := k.CoreV1().Events("default").List(t.Context(), of)
			require.NoError(t, err)
			return len(l.Items) == 1 && l.Items[0].Count == 3
		})
		nb := events.NewBroadcaster(&events.EventSinkImpl{Interface: k.EventsV1()})
		defer nb.Shutdown()
		require.NoError(t, nb.StartRecordingToSinkWithContext(t.Context()))
		nb.NewRecorder(scheme.Scheme, "interop").Eventf(about, nil, corev1.EventTypeWarning, "Occurred", "Testing", "it did %d times", 2)
		eventually(t, func() bool {
			l, err := k.EventsV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "regarding.name=" + about.Name + ",reason=Occurred"})
			require.NoError(t, err)
			return len(l.Items) == 1 && l.Items[0].Note == "it did 2 times" && l.Items[0].ReportingController == "interop"
		})
		all, err := k.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(about.UID)})
		require.NoError(t, err)
		require.Len(t, all.Items, 2)
	})
}

// TestScale: the generic scale client reads and writes the replicas of whatever has some.
func TestScale(t *testing.T) {
	_, config := plane.Start(t, bedplate.Config{})
	d, err := discovery.NewDiscoveryClientForConfig(config)
	require.NoError(t, err)
	cached := memory.NewMemCacheClient(d)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	dyn, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	scales, err := scale.NewForConfig(config, mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(cached))
	require.NoError(t, err)
	for _, gvk := range []schema.GroupVersionKind{
		appsv1.SchemeGroupVersion.WithKind("Deployment"), appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), appsv1.SchemeGroupVersion.WithKind("StatefulSet"), corev1.SchemeGroupVersion.WithKind("ReplicationController"),
	} {
		m, err := mapper.RESTMapping(gvk.GroupKind())
		require.NoError(t, err)
		u := plane.Corpus(t, gvk, true)[0]
		_, err = dyn.Resource(m.Resource).Namespace("default").Create(t.Context(), u, metav1.CreateOptions{})
		require.NoError(t, err)
		gr := m.Resource.GroupResource()
		_, err = scales.Scales("default").Patch(t.Context(), m.Resource, u.GetName(), types.MergePatchType, []byte(`{"spec":{"replicas":1}}`), metav1.PatchOptions{})
		require.NoError(t, err, gvk)
		require.NoError(t, retry.RetryOnConflict(retry.DefaultRetry, func() error {
			s, err := scales.Scales("default").Get(t.Context(), gr, u.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			require.EqualValues(t, 1, s.Spec.Replicas)
			require.NotEmpty(t, s.Status.Selector)
			s.Spec = autoscalingv1.ScaleSpec{Replicas: 0}
			_, err = scales.Scales("default").Update(t.Context(), gr, s, metav1.UpdateOptions{})
			return err
		}), gvk)
		got, err := dyn.Resource(m.Resource).Namespace("default").Get(t.Context(), u.GetName(), metav1.GetOptions{})
		require.NoError(t, err)
		require.EqualValues(t, 0, got.Object["spec"].(map[string]any)["replicas"])
	}
}

// TestRetries: writers that collide all get their turn by client-go's own means.
func TestRetries(t *testing.T) {
	_, config := plane.Start(t, bedplate.Config{})
	both(t, config, func(t *testing.T, config *rest.Config) {
		k := newClient(t, config)
		made, err := k.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "count-"}}, metav1.CreateOptions{})
		require.NoError(t, err)
		errs := make(chan error, 8)
		patient := wait.Backoff{Steps: 1000, Duration: time.Millisecond, Factor: 1, Jitter: 1}
		for i := range 8 {
			go func() {
				errs <- retry.RetryOnConflict(patient, func() error {
					m, err := k.CoreV1().ConfigMaps("default").Get(t.Context(), made.Name, metav1.GetOptions{})
					if err != nil {
						return err
					}
					if m.Data == nil {
						m.Data = map[string]string{}
					}
					m.Data[fmt.Sprint(i)] = "x"
					_, err = k.CoreV1().ConfigMaps("default").Update(t.Context(), m, metav1.UpdateOptions{})
					return err
				})
			}()
		}
		for range 8 {
			require.NoError(t, <-errs)
		}
		got, err := k.CoreV1().ConfigMaps("default").Get(t.Context(), made.Name, metav1.GetOptions{})
		require.NoError(t, err)
		require.Len(t, got.Data, 8)
	})
}

// TestPages: a large list comes whole in pages and in one piece, while others write; a token that is too old offers a
// fresh start, which the pager takes.
func TestPages(t *testing.T) {
	_, config := plane.Start(t, bedplate.Config{})
	both(t, config, func(t *testing.T, config *rest.Config) {
		k := newClient(t, config)
		ns, err := k.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "pages-"}}, metav1.CreateOptions{})
		require.NoError(t, err)
		maps := k.CoreV1().ConfigMaps(ns.Name)
		const n = 1500
		for i := range n {
			_, err := maps.Create(t.Context(), newMap(fmt.Sprintf("m%04d", i), "x"), metav1.CreateOptions{})
			require.NoError(t, err)
		}
		seen, pages := map[string]bool{}, 0
		p := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			pages++
			if pages == 3 { // neither is in the list, which is of one moment
				_, err := maps.Create(ctx, newMap("m9999", "x"), metav1.CreateOptions{})
				require.NoError(t, err)
				require.NoError(t, maps.Delete(ctx, "m1499", metav1.DeleteOptions{}))
			}
			return maps.List(ctx, o)
		})
		p.PageSize = 100
		require.NoError(t, p.EachListItem(t.Context(), metav1.ListOptions{LabelSelector: "of=x"}, func(o runtime.Object) error {
			seen[o.(*corev1.ConfigMap).Name] = true
			return nil
		}))
		require.Len(t, seen, n)
		require.True(t, seen["m1499"])
		all, err := maps.List(t.Context(), metav1.ListOptions{LabelSelector: "of=x"})
		require.NoError(t, err)
		require.Len(t, all.Items, n)
		first, err := maps.List(t.Context(), metav1.ListOptions{Limit: 10})
		require.NoError(t, err)
		require.NotNil(t, first.RemainingItemCount)
		_, err = maps.List(t.Context(), metav1.ListOptions{Limit: 10, Continue: "nonsense"})
		require.True(t, apierrors.IsBadRequest(err), "%v", err)
	})
}

// TestTooMany: client-go waits as it is told to when it is refused for a while.
func TestTooMany(t *testing.T) {
	_, config := plane.Start(t, bedplate.Config{})
	var refused atomic.Int32
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(r)
			if err == nil && response.StatusCode == http.StatusTooManyRequests {
				refused.Add(1)
				if response.Header.Get("Retry-After") == "" {
					return nil, fmt.Errorf("%s: 429 without Retry-After", r.URL)
				}
			}
			return response, err
		})
	})
	k := newClient(t, config)
	errs := make(chan error, 600)
	for range 600 {
		go func() {
			_, err := k.CoreV1().ConfigMaps("").List(t.Context(), metav1.ListOptions{})
			errs <- err
		}()
	}
	for range 600 {
		require.NoError(t, <-errs)
	}
	t.Logf("%d were refused for a while", refused.Load())
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
