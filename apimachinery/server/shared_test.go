package server_test

import (
	"reflect"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/server"
)

// TestSharedObjects: the object that a writer leaves to the caches is what its bytes decode to, through every way of
// writing, and so is what a client in the process gets.
func TestSharedObjects(t *testing.T) {
	w := start(t, func(c *server.Config) {
		r, err := apimachinery.NewRegistry(append(resources(), core.Pods())...)
		require.NoError(t, err)
		c.Registry = r
	})
	ctx := t.Context()
	table, ok := w.s.Table(pods.GroupResource())
	require.True(t, ok)
	door := client.For[*corev1.Pod](client.New(w.s.As(tester), w.r))
	written := 0
	same := func(got *corev1.Pod, err error) *corev1.Pod {
		t.Helper()
		require.NoError(t, err)
		rev, err := strconv.ParseInt(got.ResourceVersion, 10, 64)
		require.NoError(t, err)
		e, err := table.Get(ctx, "default/"+got.Name, rev)
		require.NoError(t, err)
		shared, err := w.s.Object(pods, e)
		require.NoError(t, err)
		fresh := &corev1.Pod{}
		require.NoError(t, apimachinery.DecodeLoose(e.Raw, fresh))
		fresh.ResourceVersion = strconv.FormatInt(e.Rev, 10)
		for _, o := range []*corev1.Pod{shared.(*corev1.Pod), got} {
			require.True(t, equality.Semantic.DeepEqual(fresh, o), "%v\n%v", fresh, o)
			require.Equal(t, fresh.ObjectMeta, o.ObjectMeta)
		}
		require.NotSame(t, shared, got, "the client's object is its own")
		partial, err := w.s.Metadata(pods.GroupResource(), e)
		require.NoError(t, err)
		require.Equal(t, fresh.ObjectMeta, partial.ObjectMeta)
		again, err := w.s.Object(pods, e)
		require.NoError(t, err)
		require.Same(t, shared, again)
		written++
		return got
	}
	p := same(door.Create(ctx, pod("a")))
	p = same(door.Create(ctx, pod("b"))) // from here on the cache holds what the writer left
	p.Labels["x"] = "y"
	p = same(door.Update(ctx, p))
	p.Status.Phase = corev1.PodRunning
	now := metav1.Now()
	p.Status.StartTime = &now
	p = same(door.UpdateStatus(ctx, p))
	same(door.Patch(ctx, "default", "b", types.MergePatchType, []byte(`{"metadata":{"labels":{"n":"1"}}}`)))
	same(door.Patch(ctx, "default", "b", types.StrategicMergePatchType, []byte(`{"metadata":{"finalizers":["example.com/f"]}}`)))
	one := pod("b")
	same(door.Apply(ctx, one, "applier", client.Force()))
	require.NoError(t, door.Delete(ctx, "default", "b"))
	same(door.Get(ctx, "default", "b"))
	require.Equal(t, 8, written)
}

// TestSharesOnlyWhatItIs: a request that shares gets bytes where the object is of another type, or another form.
func TestSharesOnlyWhatItIs(t *testing.T) {
	w := start(t, nil)
	cm := corev1.SchemeGroupVersion.WithResource("configmaps")
	do := func(q apimachinery.Request) *apimachinery.Response {
		q.Resource, q.Namespace, q.Name = cm, "default", "a"
		if q.Verb == "" {
			q.Verb = "get"
		}
		resp, err := w.s.As(tester).Do(t.Context(), &q)
		require.NoError(t, err)
		return resp
	}
	_, err := w.s.As(tester).Do(t.Context(), &apimachinery.Request{
		Verb: "create", Resource: cm, Namespace: "default", Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}},
	})
	require.NoError(t, err)
	own := reflect.TypeFor[*corev1.ConfigMap]()
	require.NotNil(t, do(apimachinery.Request{Shares: own}).Object)
	require.Nil(t, do(apimachinery.Request{Shares: own}).Body)
	for _, q := range []apimachinery.Request{
		{}, {Shares: reflect.TypeFor[*corev1.Pod]()}, {Shares: own, Accept: apimachinery.YAML},
		{Shares: own, Accept: "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"},
		{Shares: own, Accept: "application/json;as=Table;v=v1;g=meta.k8s.io"},
	} {
		require.Nil(t, do(q).Object, q.Accept)
		require.NotEmpty(t, do(q).Body)
	}
}
