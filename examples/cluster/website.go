package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
)

// Website is the demo's own kind: a page, served by a few pods behind a service.
type (
	Website     = apimachinery.Typed[WebsiteSpec, WebsiteStatus]
	WebsiteSpec struct {
		Text     string `json:"text,omitempty"`
		Replicas int32  `json:"replicas,omitempty"`
	}
	WebsiteStatus struct {
		Ready int32 `json:"ready"`
	}
)

// Websites declares the kind.
func Websites() apimachinery.Resource {
	r := apimachinery.Define[WebsiteSpec, WebsiteStatus](
		schema.GroupVersionKind{Group: "demo.bedplate.io", Version: "v1", Kind: "Website"}, "websites")
	r.Views[0].Short = []string{"web"}
	r.Views[0].Columns = []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("Ready", "string", func(w *Website) any { return fmt.Sprintf("%d/%d", w.Status.Ready, w.Spec.Replicas) }),
		apimachinery.AgeColumn(),
	}
	return r
}

// Default fills in what was left out.
func (s *WebsiteSpec) Default() {
	s.Text, s.Replicas = cmp.Or(s.Text, "hello"), cmp.Or(s.Replicas, 3)
}

// Validate says what is wrong.
func (s *WebsiteSpec) Validate(path *field.Path) field.ErrorList {
	if s.Replicas < 1 || s.Replicas > 100 {
		return field.ErrorList{field.Invalid(path.Child("replicas"), s.Replicas, "must be between 1 and 100")}
	}
	return nil
}

// runWebsites runs the controller until ctx ends.
func runWebsites(ctx context.Context, c *client.Client, log *slog.Logger) error {
	m, err := reconcile.New(reconcile.Config{Client: c, Name: "websites", Log: log})
	if err != nil {
		return err
	}
	err = reconcile.Add(m, reconcile.Controller[*Website]{
		Reconcile: func(ctx context.Context, w *Website) (reconcile.Result, error) {
			return reconcile.Result{}, serve(ctx, c, w)
		},
		Watches: []reconcile.Watch{reconcile.Owns[*appsv1.Deployment](), reconcile.Owns[*corev1.Service]()},
	})
	if err != nil {
		return err
	}
	return m.Run(ctx)
}

// serve makes the world what a Website says, and writes back how it stands.
func serve(ctx context.Context, c *client.Client, w *Website) error {
	if w.DeletionTimestamp != nil {
		return nil // what it owns goes with it
	}
	deployment, service := parts(w)
	if _, err := reconcile.Apply(ctx, c, w, service, "websites"); err != nil {
		return err
	}
	deployment, err := reconcile.Apply(ctx, c, w, deployment, "websites")
	if err != nil {
		return err
	}
	now := WebsiteStatus{Ready: deployment.Status.ReadyReplicas}
	if w.Status == now {
		return nil
	}
	w.Status = now
	_, err = client.For[*Website](c).UpdateStatus(ctx, w)
	return err
}

// parts are what a Website is made of.
func parts(w *Website) (*appsv1.Deployment, *corev1.Service) {
	const port = 8080
	meta := metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name}
	labels := map[string]string{"website": w.Name}
	script := fmt.Sprintf(`mkdir /tmp/www; echo "$TEXT from $HOSTNAME" >/tmp/www/index.html; exec busybox httpd -f -p %d -h /tmp/www`, port)
	answers := corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(port)}}
	return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
			Replicas: &w.Spec.Replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{TerminationGracePeriodSeconds: new(int64), Containers: []corev1.Container{{
					Name: "web", Image: demoImage, Command: []string{"sh", "-c", script},
					Env:            []corev1.EnvVar{{Name: "TEXT", Value: w.Spec.Text}},
					Ports:          []corev1.ContainerPort{{Name: "http", ContainerPort: port}},
					ReadinessProbe: &corev1.Probe{ProbeHandler: answers, PeriodSeconds: 1},
				}}},
			},
		}}, &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
			Selector: labels, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}},
		}}
}
