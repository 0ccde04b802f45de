package kubeconfig_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/client/kubeconfig"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t clienttest.TB) *clienttest.Env {
	return clienttest.Start(t, clienttest.Config{Resources: []apimachinery.Resource{core.ConfigMaps()}, HTTPS: true})
}

func TestLoad(t *testing.T) {
	env := start(t)
	path := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(path, env.Kubeconfig, 0o600))
	conn, namespace, err := kubeconfig.Load(path, "")
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, "default", namespace)
	maps := client.For[*corev1.ConfigMap](client.New(conn, env.Client.Registry()))
	_, err = maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "one"}})
	require.NoError(t, err)

	_, _, err = kubeconfig.Load(path, "elsewhere")
	require.ErrorContains(t, err, "elsewhere")
	_, _, err = kubeconfig.Load(path+"x", "")
	require.ErrorContains(t, err, "load the kubeconfig")
	_, err = kubeconfig.Parse([]byte("{"))
	require.ErrorContains(t, err, "parse the kubeconfig")
}

func Example() {
	t := clienttest.NoTest()
	defer t.End()
	env := start(t)
	conn, err := kubeconfig.Parse(env.Kubeconfig)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	l, err := client.For[*corev1.ConfigMap](client.New(conn, env.Client.Registry())).List(t.Context())
	fmt.Println(len(l.Items), err)
	// Output: 0 <nil>
}
