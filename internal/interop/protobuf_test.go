package interop

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/bedplate/bedplate"
)

// inProtobuf is how Kubernetes' own components speak to the API.
func inProtobuf(t *testing.T) *rest.Config {
	plane, err := bedplate.Start(t.Context(), bedplate.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, plane.Stop()) })
	kubeconfig, err := plane.Kubeconfig("admin", "system:masters")
	require.NoError(t, err)
	c, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	require.NoError(t, err)
	c.ContentType = runtime.ContentTypeProtobuf
	c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	c.QPS = -1
	return c
}

// TestProtobufClient goes through every verb with client-go's typed client in protobuf.
func TestProtobufClient(t *testing.T) {
	c, err := kubernetes.NewForConfig(inProtobuf(t))
	require.NoError(t, err)
	ctx, maps := t.Context(), c.CoreV1().ConfigMaps("default")
	made, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-"}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	got, err := maps.Get(ctx, made.Name, metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, made, got)
	got.Data["k"] = "w"
	changed, err := maps.Update(ctx, got, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Equal(t, "w", changed.Data["k"])
	_, err = maps.Update(ctx, made, metav1.UpdateOptions{})
	require.True(t, apierrors.IsConflict(err), "%v", err)
	changed, err = maps.Patch(ctx, made.Name, types.MergePatchType, []byte(`{"data":{"x":"y"}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	require.Len(t, changed.Data, 2)
	events, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: changed.ResourceVersion})
	require.NoError(t, err)
	defer events.Stop()
	err = maps.Delete(ctx, made.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions("other")})
	require.True(t, apierrors.IsConflict(err), "%v", err)
	require.NoError(t, maps.Delete(ctx, made.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(made.UID))}))
	e := <-events.ResultChan()
	require.Equal(t, watch.Deleted, e.Type)
	require.Equal(t, changed.Data, e.Object.(*corev1.ConfigMap).Data)
	_, err = maps.Get(ctx, made.Name, metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), "%v", err)

	for i := range 5 {
		_, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c%d", i)}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	page, err := maps.List(ctx, metav1.ListOptions{Limit: 2})
	require.NoError(t, err)
	require.Len(t, page.Items, 2)
	require.NotEmpty(t, page.Continue)
	require.NoError(t, maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name=c3"}))
	_, err = maps.Get(ctx, "c3", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err))
}

// TestProtobufInformers lets informers, of objects and of metadata alone, follow by watch-list in protobuf.
func TestProtobufInformers(t *testing.T) {
	config := inProtobuf(t)
	c, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	maps := c.CoreV1().ConfigMaps("default")
	for i := range 20 {
		_, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c%d", i)}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	factory := informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithNamespace("default"))
	informer := factory.Core().V1().ConfigMaps().Informer()
	seen := make(chan string, 100)
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(o any) { seen <- o.(*corev1.ConfigMap).Name }})
	require.NoError(t, err)
	factory.Start(ctx.Done())
	require.True(t, cache.WaitForCacheSync(ctx.Done(), informer.HasSynced))
	require.GreaterOrEqual(t, len(informer.GetStore().List()), 20)
	require.NoError(t, maps.Delete(ctx, "c7", metav1.DeleteOptions{}))
	require.Equal(t, "c7", <-seen)

	metas, err := metadata.NewForConfig(config)
	require.NoError(t, err)
	list, err := metas.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace("default").List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(list.Items), 19)
	require.NotEmpty(t, list.Items[0].ResourceVersion)
	cancel()
	factory.Shutdown()
}
