package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/runtime/image"
)

const (
	demoImage = "demo.local/busybox:v1"
	busybox   = "/bin/busybox" // of the Debian package busybox-static
)

const tryThis = `  kubectl get websites
  curl http://%s                                 # the service hello, from this machine
  kubectl exec deploy/hello -- wget -qO- http://hello      # by name, from one of its pods
  kubectl patch website hello --type merge -p '{"spec":{"replicas":5}}'
  kubectl delete website hello
`

// demo makes an image of what the machine has, brings it to every node, and creates a Website, for which the controller
// makes a Deployment of three web servers behind a Service.
func (n *nodes) demo(ctx context.Context, begin time.Time) error {
	if _, err := os.Stat(busybox); errors.Is(err, fs.ErrNotExist) {
		fmt.Println("\nThere is no demo: it needs " + busybox + " (apt-get install busybox-static).")
		return nil
	}
	img, err := image.Build(map[string]image.File{
		"bin/busybox": {Source: busybox, Mode: 0o755}, "bin/sh": {Link: "busybox"}, "bin/wget": {Link: "busybox"},
		"bin/nslookup": {Link: "busybox"}, "tmp": {Dir: true, Mode: 0o777},
	}, image.BuildOptions{Config: image.ContainerConfig{Cmd: []string{"sh"}, Env: []string{"PATH=/bin"}}})
	if err != nil {
		return err
	}
	for _, one := range n.running {
		if _, err := one.Images(ctx).Load(ctx, demoImage, img); err != nil {
			return err
		}
	}
	c := n.plane.Client()
	n.wg.Go(func() {
		if err := runWebsites(ctx, c, n.log); err != nil {
			n.fail(err)
		}
	})
	_, err = client.For[*Website](c).Create(ctx, &Website{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "hello"}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return n.watchDemo(ctx, c, begin)
}

// watchDemo says when the pods run, and when the service answers.
func (n *nodes) watchDemo(ctx context.Context, c *client.Client, begin time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	pods, err := client.For[*corev1.Pod](c).Watch(ctx, client.InNamespace(metav1.NamespaceDefault), client.Labels("website=hello"), client.InitialEvents())
	if err != nil {
		return err
	}
	defer pods.Close()
	running, ready := map[string]bool{}, map[string]bool{}
	for len(ready) < 3 {
		e, err := pods.Next(ctx)
		if err != nil {
			return fmt.Errorf("wait for the web servers: %d run, %d are ready: %w", len(running), len(ready), err)
		}
		p := e.Object
		made := !p.CreationTimestamp.Time.Before(begin.Truncate(time.Second)) // what older pods say may be of an earlier run
		if made && p.Status.Phase == corev1.PodRunning && !running[p.Name] {
			if running[p.Name] = true; len(running) == 3 {
				stage("from the start, three web servers run", time.Since(begin))
			}
		}
		for _, cond := range p.Status.Conditions {
			if cond.Type == corev1.PodReady && cond.Status == corev1.ConditionTrue {
				ready[p.Name] = true
			}
		}
	}
	service, err := client.For[*corev1.Service](c).Get(ctx, metav1.NamespaceDefault, "hello")
	if err != nil {
		return err
	}
	says, err := answer(ctx, "http://"+service.Spec.ClusterIP)
	if err != nil {
		return err
	}
	stage("from the start, they answer behind their service: "+says, time.Since(begin))
	fmt.Printf(tryThis, service.Spec.ClusterIP)
	return nil
}

// answer asks until there is an answer.
func answer(ctx context.Context, url string) (string, error) {
	for {
		resp, err := http.Get(url)
		if err == nil {
			defer resp.Body.Close()
			b, err := io.ReadAll(io.LimitReader(resp.Body, 100))
			return string(b), err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return "", err
		}
	}
}
