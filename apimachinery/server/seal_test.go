package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/storage"
)

func podKind() *kind {
	res := core.Pods()
	k := (&Server{quick: apimachinery.NewQuickDecoder()}).newKind(&res)
	k.viewed.Store(true)
	return k
}

// sealedPod is one of the usual size, as it comes to be stored.
func sealedPod() *corev1.Pod {
	at := metav1.NewTime(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC))
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "web-5d59d67564-abcde", Namespace: "default", UID: "0f6b7c9e-2d3a-4f51-8c7e-9a1b2c3d4e5f", CreationTimestamp: at, Generation: 1,
		Labels:          map[string]string{"app": "web", "tier": "front", "pod-template-hash": "5d59d67564"},
		Annotations:     map[string]string{"example.com/config": strings.Repeat("0123456789abcdef", 16)},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-5d59d67564", UID: "6f1c3b4e-0d4b-4a58-8f07-000000000000"}},
	}}
	p.Spec.NodeName, p.Spec.SchedulerName, p.Spec.RestartPolicy, p.Spec.ServiceAccountName = "node-1", "default-scheduler", "Always", "default"
	p.Status.Phase = corev1.PodPending
	fields := ""
	for i := range 2 {
		c := corev1.Container{
			Name: fmt.Sprintf("c%d", i), Image: "registry.example.com/team/web:v1.2.3", Command: []string{"/bin/web", "--listen=:8080", "--log=json"},
			Ports: []corev1.ContainerPort{{Name: fmt.Sprintf("http%d", i), ContainerPort: int32(8080 + i)}},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("128Mi")},
				Limits:   corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("256Mi")},
			},
			VolumeMounts: []corev1.VolumeMount{{Name: "config", MountPath: "/etc/web", ReadOnly: true}, {Name: "data", MountPath: "/var/lib/web"}},
		}
		fields += fmt.Sprintf(`,"k:{\"name\":\"c%d\"}":{".":{},"f:image":{},"f:name":{},"f:resources":{".":{},"f:limits":{".":{},"f:cpu":{},"f:memory":{}}},"f:env":{".":{}`, i)
		for j := range 8 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", j), Value: "some value of the usual length"})
			fields += fmt.Sprintf(`,"k:{\"name\":\"VARIABLE_%d\"}":{".":{},"f:name":{},"f:value":{}}`, j)
		}
		fields += "}}"
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	p.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: "kube-controller-manager", Operation: "Update", APIVersion: "v1", Time: &at, FieldsType: "FieldsV1",
		FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:containers":{".":{}` + fields + `}}}`),
	}}
	return p
}

// TestSealIsEncode: what is stored is what an encoder writes, and its head is what is read from those bytes.
func TestSealIsEncode(t *testing.T) {
	k, p := podKind(), sealedPod()
	usual := p.ManagedFields[0]
	for _, managed := range [][]metav1.ManagedFieldsEntry{
		nil, {}, {{}}, {usual}, {{Manager: `a"<é`, Subresource: "status", Time: usual.Time}, usual, {Operation: "Apply"}},
		{{FieldsV1: metav1.NewFieldsV1(`{"f:a<b":{"k:{\"x\":\"}\"}":{}}}`)}},
	} {
		p.ManagedFields = managed
		got, err := k.seal("default/a", p)
		require.NoError(t, err)
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		require.NoError(t, e.Encode(p))
		require.Equal(t, strings.TrimSuffix(want.String(), "\n"), string(got.Raw))
		require.Equal(t, managed, p.ManagedFields)
		head, err := k.head(got.Raw)
		require.NoError(t, err)
		require.Equal(t, head, got.Head)
		require.Equal(t, head, got.made.Head)
		require.Equal(t, []storage.Pair{{Key: "app", Value: "web"}, {Key: "pod-template-hash", Value: "5d59d67564"}, {Key: "tier", Value: "front"}}, head.Labels)
		require.Equal(t, []string{"node-1", "Always", "default-scheduler", "default", "false", "Pending", "", ""}, head.Index)
		require.Len(t, got.Raw, cap(got.Raw), "it stays as long as the object: not a byte too many")
	}
}

func BenchmarkSeal(b *testing.B) {
	k, p := podKind(), sealedPod()
	e, err := k.seal("default/a", p)
	require.NoError(b, err)
	b.ReportAllocs()
	b.ReportMetric(float64(len(e.Raw)), "bytes")
	for b.Loop() {
		if _, err := k.seal("default/a", p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	k, p := podKind(), sealedPod()
	e, err := k.seal("default/a", p)
	require.NoError(b, err)
	b.ReportAllocs()
	b.SetBytes(int64(len(e.Raw)))
	for b.Loop() {
		if _, err := k.head(e.Raw); err != nil {
			b.Fatal(err)
		}
	}
}
