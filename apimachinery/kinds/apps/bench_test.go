package apps

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bedplate/bedplate/apimachinery"
)

// BenchmarkDeploymentWrite is what a write of a Deployment costs here: defaults, preparation and validation.
func BenchmarkDeploymentWrite(b *testing.B) {
	r := Deployments()
	write := func(b *testing.B, n, old apimachinery.Object) {
		r.Default(n)
		r.Prepare(b.Context(), n, old)
		if errs := r.Validate(b.Context(), n, old); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
	stored := workload()
	write(b, stored, nil)
	b.Run("create", func(b *testing.B) {
		b.ReportAllocs()
		for n := workload(); b.Loop(); {
			write(b, n, nil)
		}
	})
	b.Run("update", func(b *testing.B) {
		b.ReportAllocs()
		for n := stored.DeepCopy(); b.Loop(); {
			write(b, n, stored)
		}
	})
}

// workload is a Deployment of a usual size.
func workload() *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	c := corev1.Container{
		Name: "web", Image: "registry.example.com/team/web:v1.2.3", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("128Mi")},
			Limits:   corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("256Mi")},
		},
		VolumeMounts:   []corev1.VolumeMount{{Name: "config", MountPath: "/etc/web"}},
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(8080)}}},
	}
	for i := range 8 {
		c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", i), Value: "some value of the usual length"})
	}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{c},
					Volumes:    []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "web"}}}}},
				},
			},
		},
	}
}
