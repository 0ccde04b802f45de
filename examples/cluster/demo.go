package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
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
	img, err := demoFiles(ctx)
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
	sites := client.For[*Website](c)
	site, err := sites.Create(ctx, &Website{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "hello"}})
	if apierrors.IsAlreadyExists(err) {
		site, err = sites.Get(ctx, metav1.NamespaceDefault, "hello")
	}
	if err != nil {
		return err
	}
	return watchDemo(ctx, c, int(site.Spec.Replicas), begin)
}

// demoFiles is an image of the machine's busybox, with all its names.
func demoFiles(ctx context.Context) (v1.Image, error) {
	names, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s what it can do: %w", busybox, err)
	}
	files := map[string]image.File{"bin/busybox": {Source: busybox, Mode: 0o755}, "tmp": {Dir: true, Mode: 0o777}}
	for _, name := range strings.Fields(string(names)) {
		if name != "busybox" {
			files["bin/"+name] = image.File{Link: "busybox"}
		}
	}
	return image.Build(files, image.BuildOptions{Config: image.ContainerConfig{Cmd: []string{"sh"}, Env: []string{"PATH=/bin"}}})
}

// watchDemo says when the pods run, and when the service answers.
func watchDemo(ctx context.Context, c *client.Client, replicas int, begin time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	pods, err := client.For[*corev1.Pod](c).Watch(ctx, client.InNamespace(metav1.NamespaceDefault), client.Labels("website=hello"), client.InitialEvents())
	if err != nil {
		return err
	}
	defer pods.Close()
	running, ready := map[string]bool{}, map[string]bool{}
	for len(ready) < replicas {
		e, err := pods.Next(ctx)
		if err != nil {
			return fmt.Errorf("%d of %d web servers are ready: kubectl describe pods says more: %w", len(ready), replicas, err)
		}
		p := e.Object
		made := !p.CreationTimestamp.Time.Before(begin.Truncate(time.Second)) // what older pods say may be of an earlier run
		if made && p.Status.Phase == corev1.PodRunning && !running[p.Name] {
			if running[p.Name] = true; len(running) == replicas {
				stage(fmt.Sprintf("from the start, %d web servers run", replicas), time.Since(begin))
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
	stage("from the start, web servers answer behind their service: "+says, time.Since(begin))
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
