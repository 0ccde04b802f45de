package kubeconfig_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/client/kubeconfig"
	"github.com/bedplate/bedplate/apimachinery/kinds"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// DatabaseSpec and DatabaseStatus make a kind of one's own.
type (
	DatabaseSpec   struct{ Size int }
	DatabaseStatus struct{ Ready bool }
	Database       = apimachinery.Typed[DatabaseSpec, DatabaseStatus]
)

func Databases() apimachinery.Resource {
	return apimachinery.Define[DatabaseSpec, DatabaseStatus](
		schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: "Database"}, "databases")
}

// A client of built-in kinds and of one's own.
func ExampleClient() {
	path, stop := server()
	defer stop()
	// The kinds that are spoken of; append(kinds.All(), Databases())... names every built-in one.
	c, conn, err := kubeconfig.Client(path, core.ConfigMaps(), core.Namespaces(), Databases())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	configs, err := client.For[*corev1.ConfigMap](c).List(context.Background())
	fmt.Println(len(configs.Items), err)
	databases, err := client.For[*Database](c).List(context.Background())
	fmt.Println(len(databases.Items), err)
	_, err = client.For[*corev1.Pod](c).List(context.Background())
	fmt.Println(err)
	// Output:
	// 0 <nil>
	// 0 <nil>
	// list *v1.Pod: *v1.Pod is not a kind of this client: add its Resource to the registry (the packages below apimachinery/kinds have the built-in ones, kinds.All has them all)
}

// server serves all these kinds; path is a kubeconfig that leads to it.
func server() (path string, stop func()) {
	t := clienttest.NoTest()
	env := clienttest.Start(t, clienttest.Config{Resources: append(kinds.All(), Databases()), HTTPS: true})
	dir, err := os.MkdirTemp("", "")
	if err == nil {
		path = filepath.Join(dir, "config")
		err = os.WriteFile(path, env.Kubeconfig, 0o600)
	}
	if err != nil {
		fmt.Println(err)
	}
	return path, func() {
		t.End()
		os.RemoveAll(dir)
	}
}
