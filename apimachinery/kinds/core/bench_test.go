package core

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// BenchmarkPodCreate is what a create costs here: defaults, preparation and validation of a new pod.
func BenchmarkPodCreate(b *testing.B) {
	pod := workload()
	writes(b, func() (*corev1.Pod, *corev1.Pod) { return pod.DeepCopy(), nil })
}

// BenchmarkPodUpdate is what an update costs here.
func BenchmarkPodUpdate(b *testing.B) {
	stored := workload()
	DefaultPod(stored)
	preparePod(stored, nil)
	for name, change := range map[string]func(*corev1.Pod){
		"label": func(p *corev1.Pod) { p.Labels = map[string]string{"app": "other"} },
		"image": func(p *corev1.Pod) { p.Spec.Containers[0].Image = "registry.example.com/team/web:v1.2.4" },
	} {
		b.Run(name, func(b *testing.B) {
			writes(b, func() (*corev1.Pod, *corev1.Pod) {
				n := stored.DeepCopy()
				change(n)
				return n, stored
			})
		})
	}
}

// BenchmarkPodStatus is what an update of the status costs here.
func BenchmarkPodStatus(b *testing.B) {
	stored := workload()
	DefaultPod(stored)
	preparePod(stored, nil)
	n := stored.DeepCopy()
	n.Status.Phase, n.Status.PodIP, n.Status.PodIPs = corev1.PodRunning, "10.0.0.1", []corev1.PodIP{{IP: "10.0.0.1"}}
	n.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}, {Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	n.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c0"}, {Name: "c1"}}
	b.ReportAllocs()
	for b.Loop() {
		DefaultPod(n)
		preparePodStatus(b.Context(), n, stored)
		if errs := validatePodStatus(b.Context(), n, stored); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

// writes measures writes of pods that next makes; making them is not counted.
func writes(b *testing.B, next func() (n, old *corev1.Pod)) {
	const batch = 32
	var pods [batch][2]*corev1.Pod
	raw, err := json.Marshal(workload())
	require.NoError(b, err)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%batch == 0 {
			b.StopTimer()
			for j := range pods {
				pods[j][0], pods[j][1] = next()
			}
			b.StartTimer()
		}
		write(b, pods[i%batch][0], pods[i%batch][1])
	}
	b.ReportMetric(float64(len(raw)), "bytes-of-json")
}

func write(b *testing.B, n, old *corev1.Pod) {
	DefaultPod(n)
	if old == nil {
		preparePod(n, nil)
		if errs := validatePodWrite(b.Context(), n, nil); len(errs) > 0 {
			b.Fatal(errs)
		}
		return
	}
	preparePod(n, old)
	if errs := validatePodWrite(b.Context(), n, old); len(errs) > 0 {
		b.Fatal(errs)
	}
}

// workload is a pod such as workloads have, with what admission adds to it.
func workload() *corev1.Pod {
	var containers []string
	for i := range 2 {
		var env []string
		for j := range 8 {
			env = append(env, fmt.Sprintf(`{"name":"VARIABLE_%d","value":"some value of the usual length"}`, j))
		}
		containers = append(containers, fmt.Sprintf(`{"name":"c%d","image":"registry.example.com/team/web:v1.2.3","command":["/bin/web","--log=json"],
			"ports":[{"containerPort":808%d,"name":"http%d"}],
			"env":[{"name":"NODE","valueFrom":{"fieldRef":{"fieldPath":"spec.nodeName"}}},%s],
			"resources":{"limits":{"cpu":"500m","memory":"256Mi"},"requests":{"cpu":"100m","memory":"128Mi"}},
			"livenessProbe":{"httpGet":{"path":"/healthz","port":"http%d"}},"readinessProbe":{"httpGet":{"path":"/readyz","port":8080}},
			"volumeMounts":[{"name":"config","mountPath":"/etc/web","readOnly":true},{"name":"data","mountPath":"/var/lib/web"},
				{"name":"token","mountPath":"/var/run/secrets","readOnly":true}],
			"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}`, i, i, i, strings.Join(env, ","), i))
	}
	p := &corev1.Pod{}
	decode(`{"metadata":{"name":"web-1","namespace":"default","labels":{"app":"web"},"annotations":{"example.com/config":"5d59d67564"}},"spec":{
		"serviceAccountName":"web",
		"volumes":[{"name":"config","configMap":{"name":"web"}},{"name":"data","emptyDir":{}},
			{"name":"token","projected":{"sources":[{"serviceAccountToken":{"path":"token"}},{"configMap":{"name":"ca","items":[{"key":"ca.crt","path":"ca.crt"}]}}]}}],
		"containers":[`+strings.Join(containers, ",")+`],
		"tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300},
			{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],
		"affinity":{"podAntiAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":1,"podAffinityTerm":{"topologyKey":"kubernetes.io/hostname","labelSelector":{"matchLabels":{"app":"web"}}}}]}}}}`, p)
	return p
}
