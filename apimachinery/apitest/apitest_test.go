package apitest_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/apitest"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/kubeconfig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

// TestStart: a client in the process, one over HTTPS, and a kubeconfig lead to the same API.
func TestStart(t *testing.T) {
	t.Parallel()
	api := apitest.Start(t)
	_, err := client.For[*corev1.ConfigMap](api.Client()).Create(t.Context(), configMap("a"))
	require.NoError(t, err)

	for name, connect := range map[string]func() (*client.Conn, error){
		"rest.Config": func() (*client.Conn, error) { return kubeconfig.New(api.RESTConfig()) },
		"kubeconfig": func() (*client.Conn, error) {
			file := filepath.Join(t.TempDir(), "kubeconfig")
			require.NoError(t, api.WriteKubeconfig(file))
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			return kubeconfig.Parse(text)
		},
	} {
		conn, err := connect()
		require.NoError(t, err, name)
		got, err := client.For[*corev1.ConfigMap](client.New(conn, api.Registry())).Get(t.Context(), "default", "a")
		require.NoError(t, err, name)
		require.Equal(t, "a", got.Name)
		require.NoError(t, conn.Close())
	}

	c, err := rest.HTTPClientFor(api.RESTConfig())
	require.NoError(t, err)
	defer c.CloseIdleConnections()
	resp, err := c.Get(api.URL() + "/apis/apps/v1")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

// TestTeardown: after Close nothing listens, and Close can be called again.
func TestTeardown(t *testing.T) {
	t.Parallel()
	api, err := apitest.Open(t.Context(), apitest.Config{RBAC: true, Controllers: true})
	require.NoError(t, err)
	c, err := rest.HTTPClientFor(api.RESTConfig())
	require.NoError(t, err)
	require.NoError(t, api.Close())
	require.NoError(t, api.Close())
	_, err = c.Get(api.URL() + "/readyz")
	require.Error(t, err)
}

// TestMany: a hundred in one process, each with objects of its own.
func TestMany(t *testing.T) {
	t.Parallel()
	for i := range 100 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			maps := client.For[*corev1.ConfigMap](apitest.Start(t).Client())
			_, err := maps.Create(t.Context(), configMap("same"))
			require.NoError(t, err)
			l, err := maps.List(t.Context())
			require.NoError(t, err)
			require.Len(t, l.Items, 1)
		})
	}
}

// TestUsers: what a user may do is what roles say.
func TestUsers(t *testing.T) {
	t.Parallel()
	api := apitest.Start(t, apitest.Config{RBAC: true})
	jane := api.Login(t, "jane", "devs")
	conn, err := kubeconfig.New(jane.RESTConfig())
	require.NoError(t, err)
	defer conn.Close()
	for name, c := range map[string]*client.Client{"in process": jane.Client(), "HTTPS": client.New(conn, api.Registry())} {
		_, err := client.For[*corev1.ConfigMap](c).List(t.Context(), client.InNamespace("default"))
		require.True(t, apierrors.IsForbidden(err), "%s: %v", name, err)
	}
	require.NoError(t, jane.Allow(t.Context(), "default", rbacv1.PolicyRule{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"configmaps"}}))
	for name, c := range map[string]*client.Client{"in process": jane.Client(), "HTTPS": client.New(conn, api.Registry())} {
		_, err := client.For[*corev1.ConfigMap](c).List(t.Context(), client.InNamespace("default"))
		require.NoError(t, err, name)
		_, err = client.For[*corev1.ConfigMap](c).List(t.Context(), client.InNamespace("kube-system"))
		require.True(t, apierrors.IsForbidden(err), "%s: %v", name, err)
	}
	require.NoError(t, jane.Allow(t.Context(), "", rbacv1.PolicyRule{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"namespaces"}}))
	_, err = client.For[*corev1.Namespace](jane.Client()).List(t.Context())
	require.NoError(t, err)
}

const thingCRD = `
apiVersion: v1
kind: ConfigMap
metadata: {name: not-a-definition}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: things, kind: Thing}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer, maximum: 3}}}}}}
`

type boxSpec struct {
	Size int `json:"size"`
}

// TestKinds: definitions of a folder, and kinds declared in Go.
func TestKinds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "things.yaml"), []byte(thingCRD), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README.md"), []byte("no YAML: at all"), 0o600))
	box := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Box"}
	api := apitest.Start(t, apitest.Config{
		CRDPaths: []string{dir}, Kinds: []apimachinery.Resource{apimachinery.Define[boxSpec, struct{}](box, "boxes")},
	})
	boxes := client.For[*apimachinery.Typed[boxSpec, struct{}]](api.Client())
	made, err := boxes.Create(t.Context(), &apimachinery.Typed[boxSpec, struct{}]{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "b"}, Spec: boxSpec{Size: 2},
	})
	require.NoError(t, err)
	require.Equal(t, 2, made.Spec.Size)

	things := client.Unstructured(api.Client(), schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Thing"}, "things", true)
	thing := things.New()
	thing.SetNamespace("default")
	thing.SetName("a")
	thing.Object["spec"] = map[string]any{"size": int64(4)}
	_, err = things.Create(t.Context(), thing)
	require.True(t, apierrors.IsInvalid(err), err)

	again, err := apitest.ReadCRDs(dir)
	require.NoError(t, err)
	require.Len(t, again, 1)
	require.NoError(t, api.InstallCRDs(t.Context(), again...), "what is there already is brought up to date")
}

// TestNamespaces: they end if controllers run.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	api := apitest.Start(t, apitest.Config{Controllers: true})
	namespaces, maps := client.For[*corev1.Namespace](api.Client()), client.For[*corev1.ConfigMap](api.Client())
	_, err := namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
	require.NoError(t, err)
	m := configMap("a")
	m.Namespace = "x"
	_, err = maps.Create(t.Context(), m)
	require.NoError(t, err)
	require.NoError(t, namespaces.Delete(t.Context(), "", "x"))
	require.Eventually(t, func() bool {
		_, err := namespaces.Get(t.Context(), "", "x")
		return apierrors.IsNotFound(err)
	}, 30*time.Second, 5*time.Millisecond)

	_, err = maps.Create(t.Context(), m)
	require.True(t, apierrors.IsNotFound(err), "there is no such namespace: %v", err)
}

// TestRefused: what can't be started says why, and leaves nothing.
func TestRefused(t *testing.T) {
	t.Parallel()
	_, err := apitest.Open(t.Context(), apitest.Config{CRDPaths: []string{filepath.Join(t.TempDir(), "missing")}})
	require.ErrorContains(t, err, "start an API: read definitions")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = apitest.Open(ctx, apitest.Config{})
	require.Error(t, err)
}
