package agent_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/runtime"
	"github.com/bedplate/bedplate/runtime/agent"
	"github.com/bedplate/bedplate/runtime/image"
)

// A node that runs a pod for an API in the same process. main, and here TestMain, begins with runtime.Init().
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	api, err := bedplate.Start(ctx, bedplate.Config{})
	check(err)
	dir, err := os.MkdirTemp("", "bedplate-example-")
	check(err)
	defer os.RemoveAll(dir)
	r, err := runtime.Open(ctx, runtime.Config{Dir: filepath.Join(dir, "runtime")})
	check(err)
	images, err := image.Open(image.Config{Dir: filepath.Join(dir, "images")})
	check(err)
	hello, err := image.Build(map[string]image.File{"bin/busybox": {Source: "/bin/busybox", Mode: 0o755}},
		image.BuildOptions{Config: image.ContainerConfig{Entrypoint: []string{"busybox", "echo"}}})
	check(err)
	_, err = images.Load(ctx, "example/hello:v1", hello)
	check(err)

	as := apimachinery.User{Name: "system:node:here", Groups: []string{"system:nodes"}}
	node, err := agent.New(agent.Config{
		NodeName: "here", Client: client.New(api.As(as), api.Registry()), Runtime: r, Images: images, Dir: filepath.Join(dir, "agent"),
	})
	check(err)
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()
	<-node.Ready()

	accounts, pods := client.For[*corev1.ServiceAccount](api.Client()), client.For[*corev1.Pod](api.Client())
	_, _ = accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}})
	_, err = pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hello"},
		Spec: corev1.PodSpec{
			NodeName: "here", RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: new(bool),
			Containers: []corev1.Container{{Name: "c", Image: "example/hello:v1", ImagePullPolicy: corev1.PullNever, Args: []string{"hello"}}},
		},
	})
	check(err)
	p, err := await(ctx, pods, "default", "hello", over)
	check(err)
	fmt.Println(p.Status.Phase, p.Status.ContainerStatuses[0].State.Terminated.Reason)

	stop() // the agent alone: what runs would run on
	check(<-ended)
	check(node.StopPods(context.Background()))
	check(r.Shutdown(context.Background()))
	check(images.Close())
	check(api.Stop())
	// Output: Succeeded Completed
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
