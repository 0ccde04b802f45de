package core

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// BenchmarkPodWrite is what a create costs here: defaults, preparation and validation of a pod such as workloads have.
func BenchmarkPodWrite(b *testing.B) {
	pod := workload()
	for b.Loop() {
		p := pod.DeepCopy()
		DefaultPod(p)
		preparePod(p, nil)
		if errs := validatePodWrite(b.Context(), p, nil); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

// BenchmarkPodUpdate is what a change of an image costs here.
func BenchmarkPodUpdate(b *testing.B) {
	old := workload()
	DefaultPod(old)
	preparePod(old, nil)
	for b.Loop() {
		p := old.DeepCopy()
		p.Spec.Containers[0].Image = "registry.example.com/team/web:2"
		DefaultPod(p)
		preparePod(p, old)
		if errs := validatePodWrite(b.Context(), p, old); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

func workload() *corev1.Pod {
	p := &corev1.Pod{}
	decode(`{"metadata":{"name":"web-1","namespace":"default","labels":{"app":"web"}},"spec":{
		"serviceAccountName":"web",
		"volumes":[{"name":"config","configMap":{"name":"web"}},{"name":"token","projected":{"sources":[{"serviceAccountToken":{"path":"token"}},{"configMap":{"name":"ca","items":[{"key":"ca.crt","path":"ca.crt"}]}}]}}],
		"containers":[{"name":"web","image":"registry.example.com/team/web:1","ports":[{"containerPort":8080,"name":"http"}],
			"env":[{"name":"A","value":"b"},{"name":"NODE","valueFrom":{"fieldRef":{"fieldPath":"spec.nodeName"}}}],
			"resources":{"limits":{"cpu":"500m","memory":"512Mi"},"requests":{"cpu":"100m"}},
			"livenessProbe":{"httpGet":{"path":"/healthz","port":"http"}},"readinessProbe":{"httpGet":{"path":"/readyz","port":"http"}},
			"volumeMounts":[{"name":"config","mountPath":"/etc/web"},{"name":"token","mountPath":"/var/run/secrets","readOnly":true}],
			"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}],
		"tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],
		"affinity":{"podAntiAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":1,"podAffinityTerm":{"topologyKey":"kubernetes.io/hostname","labelSelector":{"matchLabels":{"app":"web"}}}}]}}}}`, p)
	return p
}
