package helm

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart"
	"helm.sh/helm/v4/pkg/chart/loader"
	"helm.sh/helm/v4/pkg/cli"
	"helm.sh/helm/v4/pkg/kube"
	"helm.sh/helm/v4/pkg/release"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/internal/interop/plane"
)

const (
	space = "measures"
	name  = "gauges"
	limit = time.Minute
)

// life is what a release goes through.
type life struct {
	*testing.T
	helm   *action.Configuration
	client kubernetes.Interface
	gauges dynamic.ResourceInterface
	chart  chart.Charter
}

// TestChart: a chart with a definition, hooks and a test is tried, installed, tested, upgraded, rolled back and
// uninstalled, by server-side apply and without it, and waited for.
func TestChart(t *testing.T) {
	for how, ssa := range map[string]bool{"server-side": true, "client-side": false} {
		t.Run(how, func(t *testing.T) {
			l := newLife(t)
			l.tried(ssa)
			l.installed(ssa)
			l.tested()
			l.triedUpgrade(ssa)
			l.upgraded(ssa)
			l.failed(ssa)
			l.rolledBack(ssa)
			l.uninstalled()
		})
	}
}

func newLife(t *testing.T) *life {
	p, config := plane.Start(t, bedplate.Config{})
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, p.WriteKubeconfig(file, "admin", "system:masters"))
	l := &life{T: t, helm: action.NewConfiguration()}
	settings := cli.New()
	settings.KubeConfig = file
	settings.SetNamespace(space)
	require.NoError(t, l.helm.Init(settings.RESTClientGetter(), space, "secret"))
	k, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	d, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	l.client, l.gauges = k, d.Resource(schema.GroupVersionResource{Group: "helm.example.com", Version: "v1", Resource: "gauges"}).Namespace(space)
	l.chart, err = loader.Load(filepath.Join("testdata", "gauges"))
	require.NoError(t, err)
	startNode(t, k)
	return l
}

func (l *life) install(ssa bool) *action.Install {
	i := action.NewInstall(l.helm)
	i.ReleaseName, i.Namespace, i.CreateNamespace, i.ServerSideApply, i.Timeout = name, space, true, ssa, limit
	i.WaitStrategy, i.WaitForJobs = kube.StatusWatcherStrategy, true
	return i
}

// tried renders with the help of the server, and stores nothing.
func (l *life) tried(ssa bool) {
	i := l.install(ssa)
	i.DryRunStrategy = action.DryRunServer
	_, err := i.Run(l.chart, nil)
	require.ErrorContains(l, err, "ensure CRDs are installed first", "what Helm says everywhere")
	_, err = l.client.CoreV1().Namespaces().Get(l.Context(), space, metav1.GetOptions{})
	require.True(l, apierrors.IsNotFound(err), "%v", err)
}

// triedUpgrade does so when the definition is there.
func (l *life) triedUpgrade(ssa bool) {
	u := l.upgrade(ssa)
	u.DryRunStrategy = action.DryRunServer
	r, err := u.Run(name, l.chart, map[string]any{"message": "tried"})
	require.NoError(l, err)
	require.Contains(l, l.access(r).Manifest(), `deployments: "yes"`)
	l.is("first", 3)
}

func (l *life) access(r release.Releaser) release.Accessor {
	l.Helper()
	a, err := release.NewAccessor(r)
	require.NoError(l, err)
	return a
}

func (l *life) installed(ssa bool) {
	r, err := l.install(ssa).Run(l.chart, map[string]any{"replicas": 3})
	require.NoError(l, err)
	require.Equal(l, "deployed", l.access(r).Status())
	require.Contains(l, l.access(r).Notes(), "It says first.")
	l.is("first", 3)
	system, err := l.client.CoreV1().Namespaces().Get(l.Context(), "kube-system", metav1.GetOptions{})
	require.NoError(l, err)
	m, err := l.client.CoreV1().ConfigMaps(space).Get(l.Context(), name, metav1.GetOptions{})
	require.NoError(l, err)
	require.Equal(l, string(system.UID), m.Data["uid"])
	require.Equal(l, ssa, m.ManagedFields[0].Operation == metav1.ManagedFieldsOperationApply)
	j, err := l.client.BatchV1().Jobs(space).Get(l.Context(), name+"-pre-install", metav1.GetOptions{})
	require.NoError(l, err)
	require.EqualValues(l, 1, j.Status.Succeeded)
	g, err := l.gauges.Get(l.Context(), name, metav1.GetOptions{})
	require.NoError(l, err)
	require.Equal(l, map[string]any{"limit": int64(50), "unit": "bar"}, g.Object["spec"])
	_, err = l.install(ssa).Run(l.chart, nil)
	require.ErrorContains(l, err, "still in use")
}

// is checks what a release came to.
func (l *life) is(message string, replicas int32) {
	l.Helper()
	m, err := l.client.CoreV1().ConfigMaps(space).Get(l.Context(), name, metav1.GetOptions{})
	require.NoError(l, err)
	require.Equal(l, message, m.Data["message"])
	d, err := l.client.AppsV1().Deployments(space).Get(l.Context(), name, metav1.GetOptions{})
	require.NoError(l, err)
	require.Equal(l, replicas, *d.Spec.Replicas)
	require.Equal(l, replicas, d.Status.AvailableReplicas, "it was waited for")
	require.Equal(l, message, d.Spec.Template.Annotations["message"])
	s, err := action.NewStatus(l.helm).Run(name)
	require.NoError(l, err)
	require.Equal(l, "deployed", l.access(s).Status())
}

func (l *life) tested() {
	test := action.NewReleaseTesting(l.helm)
	test.Namespace, test.Timeout = space, limit
	_, shutdown, err := test.Run(name)
	require.NoError(l, err)
	require.NoError(l, shutdown())
	_, err = l.client.CoreV1().Pods(space).Get(l.Context(), name+"-test", metav1.GetOptions{})
	require.True(l, apierrors.IsNotFound(err), "%v", err)
}

func (l *life) upgrade(ssa bool) *action.Upgrade {
	u := action.NewUpgrade(l.helm)
	u.Namespace, u.Timeout, u.WaitStrategy, u.WaitForJobs, u.ServerSideApply = space, limit, kube.StatusWatcherStrategy, true, "auto"
	if !ssa {
		u.ServerSideApply = "false"
	}
	return u
}

func (l *life) upgraded(ssa bool) {
	r, err := l.upgrade(ssa).Run(name, l.chart, map[string]any{"message": "second"})
	require.NoError(l, err)
	require.Equal(l, 2, l.access(r).Version())
	l.is("second", 2)
	_, err = l.client.BatchV1().Jobs(space).Get(l.Context(), name+"-post-upgrade", metav1.GetOptions{})
	require.NoError(l, err)
}

// failed upgrades to what the server refuses, which is told and leaves the rest as it was.
func (l *life) failed(ssa bool) {
	_, err := l.upgrade(ssa).Run(name, l.chart, map[string]any{"broken": true, "message": "third"})
	require.ErrorContains(l, err, "spec.limit")
	h, err := action.NewHistory(l.helm).Run(name)
	require.NoError(l, err)
	require.Equal(l, []string{"superseded", "deployed", "failed"}, l.statuses(h))
}

func (l *life) statuses(all []release.Releaser) []string {
	var out []string
	for _, r := range all {
		out = append(out, l.access(r).Status())
	}
	return out
}

func (l *life) rolledBack(ssa bool) {
	b := action.NewRollback(l.helm)
	b.Version, b.Timeout, b.WaitStrategy, b.WaitForJobs, b.ServerSideApply = 1, limit, kube.StatusWatcherStrategy, true, "auto"
	if !ssa {
		b.ServerSideApply = "false"
	}
	require.NoError(l, b.Run(name))
	l.is("first", 3)
	all, err := action.NewList(l.helm).Run()
	require.NoError(l, err)
	require.Len(l, all, 1)
	require.Equal(l, 4, l.access(all[0]).Version())
}

func (l *life) uninstalled() {
	u := action.NewUninstall(l.helm)
	u.WaitStrategy, u.Timeout, u.DeletionPropagation = kube.StatusWatcherStrategy, limit, "foreground"
	_, err := u.Run(name)
	require.NoError(l, err)
	// Helm stops to wait when all that it knows of is gone, and may not know of all by then.
	require.Eventually(l, func() bool {
		_, err = l.client.AppsV1().Deployments(space).Get(l.Context(), name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, limit, 5*time.Millisecond)
	_, err = l.gauges.Get(l.Context(), name, metav1.GetOptions{})
	require.True(l, apierrors.IsNotFound(err), "%v", err)
	list, err := l.gauges.List(l.Context(), metav1.ListOptions{})
	require.NoError(l, err, "Helm leaves definitions")
	require.Empty(l, list.Items)
	_, err = action.NewStatus(l.helm).Run(name)
	require.ErrorContains(l, err, "not found")
}
