//go:build linux

package local_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/volume/local"
)

// A pod's configMap as a folder, and what a container mounts of it.
func Example() {
	ctx := context.Background()
	api, err := bedplate.Start(ctx, bedplate.Config{})
	check(err)
	defer func() { check(api.Stop()) }()
	_, err = client.For[*corev1.ConfigMap](api.Client()).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}, Data: map[string]string{"colour": "red"},
	})
	check(err)

	dir, err := os.MkdirTemp("", "volumes-")
	check(err)
	defer os.RemoveAll(dir)
	volumes, err := local.New(local.Config{Dir: dir, Client: api.Client()})
	check(err)
	source := corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}
	mounts, err := volumes.Mount(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "7f1c"},
		Spec: corev1.PodSpec{
			Volumes:    []corev1.Volume{{Name: "v", VolumeSource: source}},
			Containers: []corev1.Container{{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/etc/settings"}}}},
		},
	})
	check(err)
	m := mounts["c"][0]
	text, err := os.ReadFile(filepath.Join(m.Source, "colour"))
	check(err)
	fmt.Println(m.Destination, m.Options, string(text))
	check(volumes.Unmount(ctx, "7f1c"))
	// Output: /etc/settings [rbind rprivate ro] red
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
