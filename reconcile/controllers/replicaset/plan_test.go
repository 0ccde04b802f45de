package replicaset

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

var now = time.Unix(1_000_000, 0)

func set(n int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "rs", Generation: 3},
		Spec: appsv1.ReplicaSetSpec{Replicas: &n, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}, Finalizers: []string{"example.org/f"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		}},
	}
}

// pod makes a pod that runs and is ready on node n, for an hour; change makes it worse.
func pod(name string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)), Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "n"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))},
		}},
	}
	if change != nil {
		change(p)
	}
	return p
}

// TestRank lists pods from the cheapest to the dearest: each is to go before the next.
func TestRank(t *testing.T) {
	ranked := []*corev1.Pod{
		pod("unassigned", func(p *corev1.Pod) { p.Spec.NodeName, p.Status.Phase, p.Status.Conditions = "", corev1.PodPending, nil }),
		pod("pending", func(p *corev1.Pod) { p.Status.Phase, p.Status.Conditions = corev1.PodPending, nil }),
		pod("unknown", func(p *corev1.Pod) { p.Status.Phase = corev1.PodUnknown }),
		pod("not ready", func(p *corev1.Pod) { p.Status.Conditions = nil }),
		pod("cheap", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "-5"} }),
		pod("crowded", func(p *corev1.Pod) { p.Spec.NodeName = "crowd" }),
		pod("ready of late", func(p *corev1.Pod) {
			p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-time.Second))
		}),
		pod("restarted", func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 2}} }),
		pod("young", func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(now.Add(-time.Minute)) }),
		pod("old", nil),
		pod("dear", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "5"} }),
	}
	w := World{Set: set(0), Related: map[string]int{"n": 1, "crowd": 4}, Now: now}
	shuffled := append([]*corev1.Pod{}, ranked...)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	w.Pods = shuffled
	plan := Diff(w)
	require.Equal(t, names(ranked), names(plan.Delete))
}

func names(pods []*corev1.Pod) (out []string) {
	for _, p := range pods {
		out = append(out, p.Name)
	}
	return out
}

func TestStatus(t *testing.T) {
	rs := set(4)
	rs.Spec.MinReadySeconds = 30
	ended := func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }
	going := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: now} }
	fresh := func(p *corev1.Pod) {
		p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-10 * time.Second))
	}
	plan := Diff(World{Set: rs, Now: now, Pods: []*corev1.Pod{
		pod("a", nil), pod("b", fresh), pod("c", ended), pod("d", going), pod("e", func(p *corev1.Pod) { p.Labels = nil }),
	}})
	require.Equal(t, 1, plan.Create)
	require.Equal(t, 20*time.Second, plan.After)
	one := int32(1)
	require.Equal(t, appsv1.ReplicaSetStatus{
		Replicas: 3, FullyLabeledReplicas: 2, ReadyReplicas: 3, AvailableReplicas: 2, TerminatingReplicas: &one, ObservedGeneration: 3,
	}, plan.Status)

	Failure(&plan.Status, "FailedCreate", errors.New("quota"), now)
	Failure(&plan.Status, "FailedCreate", errors.New("quota still"), now)
	require.Len(t, plan.Status.Conditions, 1)
	require.Equal(t, "quota", plan.Status.Conditions[0].Message)
	Failure(&plan.Status, "", nil, now)
	require.Empty(t, plan.Status.Conditions)

	rs.DeletionTimestamp = &metav1.Time{Time: now}
	require.Zero(t, Diff(World{Set: rs, Now: now}).Create, "a set that is being deleted makes no pods")
}

func TestDiffConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rs := set(rapid.Int32Range(0, 1200).Draw(t, "replicas"))
		var pods []*corev1.Pod
		for n := range rapid.IntRange(0, 1200).Draw(t, "pods") {
			pods = append(pods, pod(fmt.Sprint("p", n), nil))
		}
		for range 4 {
			plan := Diff(World{Set: rs, Pods: pods, Now: now})
			require.LessOrEqual(t, plan.Create+len(plan.Delete), burst)
			gone := map[types.UID]bool{}
			for _, p := range plan.Delete {
				gone[p.UID] = true
			}
			var next []*corev1.Pod
			for _, p := range pods {
				if !gone[p.UID] {
					next = append(next, p)
				}
			}
			require.Len(t, next, len(pods)-len(plan.Delete))
			for range plan.Create {
				next = append(next, pod(fmt.Sprint("n", len(next), "-", len(pods)), nil))
			}
			pods = next
		}
		require.Len(t, pods, int(*rs.Spec.Replicas))
	})
}

func TestPod(t *testing.T) {
	rs := set(1)
	p := Pod(rs)
	require.Equal(t, "web-", p.GenerateName)
	require.Equal(t, rs.UID, metav1.GetControllerOf(p).UID)
	require.True(t, *metav1.GetControllerOf(p).BlockOwnerDeletion)
	require.Equal(t, []string{"example.org/f"}, p.Finalizers)
	p.Labels["app"] = "other"
	require.Equal(t, "web", rs.Spec.Template.Labels["app"], "the template is copied")
}

func Example() {
	plan := Diff(World{Set: set(3), Pods: []*corev1.Pod{pod("a", nil)}, Now: now})
	fmt.Println("create", plan.Create, "delete", len(plan.Delete))
	// Output: create 2 delete 0
}

func BenchmarkDiff(b *testing.B) {
	var pods []*corev1.Pod
	for n := range 100 {
		pods = append(pods, pod(fmt.Sprint("p", n), nil))
	}
	w := World{Set: set(90), Pods: pods, Now: now}
	b.ReportAllocs()
	for b.Loop() {
		Diff(w)
	}
}
