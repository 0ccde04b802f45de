package pods

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func asking(name string, pairs ...string) corev1.Container {
	return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: list(pairs...)}}
}

func sidecar(c corev1.Container) corev1.Container {
	always := corev1.ContainerRestartPolicyAlways
	c.RestartPolicy = &always
	return c
}

func TestRequestOf(t *testing.T) {
	const mi = 1 << 20
	cs := func(c ...corev1.Container) []corev1.Container { return c }
	for name, tc := range map[string]struct {
		spec   corev1.PodSpec
		status corev1.PodStatus
		want   request
	}{
		"nothing": {},
		"sum": {
			spec: corev1.PodSpec{Containers: cs(asking("a", "cpu", "100m", "memory", "1Mi"), asking("b", "cpu", "0.2", "memory", "2Mi", "ephemeral-storage", "7"))},
			want: request{cpu: 300, memory: 3 * mi, ephemeral: 7, scoredCPU: 300, scoredMemory: 3 * mi},
		},
		"defaults for scores, per container and resource": {
			spec: corev1.PodSpec{Containers: cs(asking("a", "cpu", "1"), asking("b", "memory", "1Mi"), asking("c", "cpu", "0", "memory", "0"))},
			want: request{cpu: 1000, memory: mi, scoredCPU: 1100, scoredMemory: 201 * mi},
		},
		"a big init container": {
			spec: corev1.PodSpec{
				InitContainers: cs(asking("i", "cpu", "3", "memory", "1Mi"), asking("j", "cpu", "1", "memory", "2Mi")),
				Containers:     cs(asking("a", "cpu", "1", "memory", "5Mi")),
			},
			want: request{cpu: 3000, memory: 5 * mi, scoredCPU: 3000, scoredMemory: 5 * mi},
		},
		"sidecars run beside what starts after them": {
			spec: corev1.PodSpec{
				InitContainers: cs(asking("before", "cpu", "4", "memory", "0"), sidecar(asking("s", "cpu", "2", "memory", "0")), asking("after", "cpu", "3", "memory", "0")),
				Containers:     cs(asking("a", "cpu", "1", "memory", "0")),
			},
			want: request{cpu: 5000, scoredCPU: 5000},
		},
		"sidecars run beside the containers": {
			spec: corev1.PodSpec{InitContainers: cs(sidecar(asking("s", "cpu", "2", "memory", "0"))), Containers: cs(asking("a", "cpu", "1", "memory", "0"))},
			want: request{cpu: 3000, scoredCPU: 3000},
		},
		"overhead": {
			spec: corev1.PodSpec{Overhead: list("cpu", "10m"), Containers: cs(asking("a", "cpu", "1", "memory", "0"))},
			want: request{cpu: 1010, scoredCPU: 1010},
		},
		"requests of the pod replace the sum": {
			spec: corev1.PodSpec{
				Resources:  &corev1.ResourceRequirements{Requests: list("cpu", "2", "hugepages-2Mi", "4Mi", "example.com/gpu", "9")},
				Overhead:   list("cpu", "10m"),
				Containers: cs(asking("a", "cpu", "1", "example.com/gpu", "1"), asking("b")),
			},
			want: request{cpu: 2010, scoredCPU: 2010, scoredMemory: 400 * mi, scalars: []scalar{{"example.com/gpu", 1}, {"hugepages-2Mi", 4 * mi}}},
		},
		"scalars, and what isn't one": {
			spec: corev1.PodSpec{Containers: cs(asking("a", "cpu", "0", "memory", "0", "z.com/x", "2", "a.com/x", "1", "zero.com/x", "0", "storage", "5", "requests.a.com/x", "5", "attachable-volumes-csi", "3"))},
			want: request{scalars: []scalar{{"a.com/x", 1}, {"attachable-volumes-csi", 3}, {"z.com/x", 2}}},
		},
		"resized up: what it wants": {
			spec:   corev1.PodSpec{Containers: cs(asking("a", "cpu", "2", "memory", "0"))},
			status: resized("", "1", "1"),
			want:   request{cpu: 2000, scoredCPU: 2000},
		},
		"resized down: what it still has": {
			spec:   corev1.PodSpec{Containers: cs(asking("a", "cpu", "1", "memory", "0"))},
			status: resized("", "1", "2"),
			want:   request{cpu: 2000, scoredCPU: 2000},
		},
		"resized, not feasible: what it has": {
			spec:   corev1.PodSpec{Containers: cs(asking("a", "cpu", "9", "memory", "0"))},
			status: resized(corev1.PodReasonInfeasible, "1", "2"),
			want:   request{cpu: 2000, scoredCPU: 2000},
		},
		"absurd amounts are limited": {
			spec: corev1.PodSpec{Containers: cs(asking("a", "cpu", "9E", "memory", "9E", "x.com/y", "9E"), asking("b", "cpu", "9E", "memory", "9E", "x.com/y", "9E"))},
			want: request{cpu: amountLimit, memory: amountLimit, scoredCPU: amountLimit, scoredMemory: amountLimit, scalars: []scalar{{"x.com/y", amountLimit}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, requestOf(&corev1.Pod{Spec: tc.spec, Status: tc.status}))
		})
	}
}

// resized is the status of a container a that was given and has some cpu.
func resized(pending, allocated, actual string) corev1.PodStatus {
	s := corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
		Name: "a", AllocatedResources: list("cpu", allocated, "memory", "0"),
		Resources: &corev1.ResourceRequirements{Requests: list("cpu", actual, "memory", "0")},
	}}}
	if pending != "" {
		s.Conditions = []corev1.PodCondition{{Type: corev1.PodResizePending, Reason: pending}}
	}
	return s
}

func TestEqualPods(t *testing.T) {
	base := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: corev1.PodSpec{Containers: []corev1.Container{asking("a", "cpu", "1000m")}}}
	now := metav1.Now()
	for name, tc := range map[string]struct {
		change func(*corev1.Pod)
		equal  bool
	}{
		"nothing":           {func(*corev1.Pod) {}, true},
		"bound":             {func(p *corev1.Pod) { p.Spec.NodeName = "n1" }, true},
		"condition":         {func(p *corev1.Pod) { p.Status.Conditions = []corev1.PodCondition{{}}; p.ResourceVersion = "7" }, true},
		"written otherwise": {func(p *corev1.Pod) { p.Spec.Containers[0] = asking("a", "cpu", "1") }, true},
		"label":             {func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }, false},
		"request":           {func(p *corev1.Pod) { p.Spec.Containers[0] = asking("a", "cpu", "2") }, false},
		"gate":              {func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} }, false},
		"deleted":           {func(p *corev1.Pod) { p.DeletionTimestamp = &now }, false},
		"resized":           {func(p *corev1.Pod) { p.Status = resized("", "1", "3") }, false},
		"resize reported":   {func(p *corev1.Pod) { p.Status = resized("", "1", "1") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			changed := base.DeepCopy()
			tc.change(changed)
			require.Equal(t, tc.equal, equalPods(&base, changed))
			require.True(t, equalPods(changed, changed.DeepCopy()))
		})
	}
}

func TestEqualNodes(t *testing.T) {
	base := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{Allocatable: list("cpu", "1")}}
	beat := base.DeepCopy()
	beat.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, LastHeartbeatTime: metav1.Now()}}
	require.True(t, equalNodes(&base, beat))
	grown := base.DeepCopy()
	grown.Status.Allocatable = list("cpu", "2")
	require.False(t, equalNodes(&base, grown))
	cordoned := base.DeepCopy()
	cordoned.Spec.Unschedulable = true
	require.False(t, equalNodes(&base, cordoned))
}

// A resource that nobody offers or takes any more leaves nothing behind; nor do
// labels, taints and ports.
func TestColumnsForget(t *testing.T) {
	r, l, ta, ports := NewResources(), NewLabels(), NewTaints(), NewNodePorts()
	for i := range 100 {
		name := string(rune('a'+i%26)) + ".com/" + string(rune('a'+i/26))
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{name: name}}}
		node.Status.Allocatable = list(name, "1")
		node.Spec.Taints = []corev1.Taint{{Key: name}}
		pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{asking("a", name+"-too", "1")}}}
		pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: int32(1 + i)}}
		for _, by := range []int{+1, -1} {
			if by > 0 {
				r.Host(3, node)
				l.Host(3, node)
				ta.Host(3, node)
			}
			r.Placed(3, pod, by)
			ports.Placed(3, pod, by)
		}
		r.Host(3, nil)
		l.Host(3, nil)
		ta.Host(3, nil)
	}
	require.Empty(t, r.scalars)
	require.Empty(t, l.keys)
	require.Empty(t, l.names)
	require.Len(t, ta.ids, 1)
	require.LessOrEqual(t, len(ta.sets), 3)
	require.Empty(t, ports.taken)
}
