package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/runtime/image"
	"github.com/bedplate/bedplate/runtime/node"
)

const (
	demoImage = "demo.local/hello:v1"
	busybox   = "/bin/busybox" // of the Debian package busybox-static
)

// demo makes an image of what the machine has, brings it to every node, and runs it.
func demo(ctx context.Context, c *client.Client, nodes []*node.Node) error {
	if _, err := os.Stat(busybox); errors.Is(err, fs.ErrNotExist) {
		fmt.Println("            no demo: it needs " + busybox + " (apt-get install busybox-static)")
		return nil
	}
	img, err := image.Build(map[string]image.File{
		"bin/busybox": {Source: busybox, Mode: 0o755}, "bin/sh": {Link: "busybox"},
	}, image.BuildOptions{Config: image.ContainerConfig{
		Cmd: []string{"sh", "-c", `trap exit TERM; while busybox date "+%T hello from $HOSTNAME"; do busybox sleep 1 & wait; done`},
		Env: []string{"PATH=/bin"},
	}})
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if _, err := n.Images(ctx).Load(ctx, demoImage, img); err != nil {
			return err
		}
	}
	labels := map[string]string{"app": "hello"}
	_, err = client.For[*appsv1.Deployment](c).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "hello", Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(3)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "hello", Image: demoImage}}},
			},
		},
	})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
