package downward_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/downward"
)

func Example() {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "x"}}}
	name, _ := downward.Field(pod, "metadata.name")
	app, _ := downward.Field(pod, "metadata.labels['app']")
	fmt.Println(name, app)
	// Output: web x
}

func TestField(t *testing.T) {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", UID: "u", Annotations: map[string]string{"b": "2", "a": "1\n"}},
		Spec:       corev1.PodSpec{NodeName: "n", ServiceAccountName: "sa"},
		Status:     corev1.PodStatus{HostIP: "10.0.0.1", PodIP: "10.1.0.1", PodIPs: []corev1.PodIP{{IP: "10.1.0.1"}, {IP: "fd00::1"}}},
	}
	for path, want := range map[string]string{
		"metadata.namespace": "ns", "metadata.uid": "u", "spec.nodeName": "n", "spec.serviceAccountName": "sa",
		"status.hostIP": "10.0.0.1", "status.podIP": "10.1.0.1", "status.podIPs": "10.1.0.1,fd00::1",
		"metadata.annotations": "a=\"1\\n\"\nb=\"2\"", "metadata.annotations['b']": "2", "metadata.labels['none']": "",
	} {
		got, err := downward.Field(p, path)
		require.NoError(t, err)
		require.Equal(t, want, got, path)
	}
	_, err := downward.Field(p, "spec.containers")
	require.Error(t, err)
}

func TestResource(t *testing.T) {
	c := corev1.Container{Name: "c", Resources: corev1.ResourceRequirements{
		Limits:   corev1.ResourceList{"cpu": resource.MustParse("1500m"), "memory": resource.MustParse("100Mi")},
		Requests: corev1.ResourceList{"cpu": resource.MustParse("1")},
	}}
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{c}}}
	for _, x := range []struct{ name, divisor, want string }{
		{"limits.cpu", "0", "2"}, {"limits.cpu", "1m", "1500"}, {"limits.memory", "1Mi", "100"}, {"requests.cpu", "0", "1"},
	} {
		got, err := downward.Resource(p, nil, &corev1.ResourceFieldSelector{ContainerName: "c", Resource: x.name, Divisor: resource.MustParse(x.divisor)})
		require.NoError(t, err)
		require.Equal(t, x.want, got, x.name)
	}
	_, err := downward.Resource(p, nil, &corev1.ResourceFieldSelector{ContainerName: "x", Resource: "limits.cpu"})
	require.Error(t, err)
}
