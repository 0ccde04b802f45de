package deployment

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
)

func ptr[T any](v T) *T { return &v }

func web(replicas int32, image string) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "d", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			RevisionHistoryLimit: ptr(int32(2)), ProgressDeadlineSeconds: ptr(int32(600)),
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
				MaxSurge: ptr(intstr.FromString("25%")), MaxUnavailable: ptr(intstr.FromString("25%")),
			}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}},
			},
		},
	}
}

// cluster is a deployment and its sets, as the API would keep them.
type cluster struct {
	t    require.TestingT
	d    *appsv1.Deployment
	sets []*appsv1.ReplicaSet
	now  time.Time
	made int
}

func newCluster(t require.TestingT, d *appsv1.Deployment) *cluster {
	return &cluster{t: t, d: d, now: time.Unix(1_000_000, 0)}
}

// step does what the controller plans, and says whether that was anything.
func (c *cluster) step() bool {
	c.now = c.now.Add(time.Second)
	before := c.d.DeepCopy()
	plan, err := Diff(World{Deployment: c.d, Sets: c.sets, OldPods: c.oldPods(), Now: c.now})
	require.NoError(c.t, err)
	require.Equal(c.t, before, c.d, "Diff changed its input")
	changed := plan.Changed(c.d) || len(plan.Update)+len(plan.Delete) > 0 || plan.Create != nil
	if rs := plan.Create; rs != nil {
		c.made++
		rs = rs.DeepCopy()
		rs.UID, rs.CreationTimestamp, rs.Generation = types.UID(fmt.Sprint("rs", c.made)), metav1.NewTime(c.now), 1
		c.sets = append(c.sets, rs)
	}
	for _, rs := range plan.Update {
		at := slices.IndexFunc(c.sets, func(o *appsv1.ReplicaSet) bool { return o.Name == rs.Name })
		c.sets[at] = rs.DeepCopy()
	}
	for _, rs := range plan.Delete {
		c.sets = slices.DeleteFunc(c.sets, func(o *appsv1.ReplicaSet) bool { return o.Name == rs.Name })
	}
	c.d = c.d.DeepCopy()
	c.d.Status = plan.Status
	c.d.Annotations = map[string]string{revisionAnnotation: plan.Revision}
	return changed
}

func (c *cluster) oldPods() bool {
	now := findNew(c.d, c.sets)
	for _, rs := range c.sets {
		if rs != now && rs.Status.Replicas > 0 {
			return true
		}
	}
	return false
}

// pods lets the pods of each set follow its size: all of them become available.
func (c *cluster) pods() {
	for i, rs := range c.sets {
		rs = rs.DeepCopy()
		n := *rs.Spec.Replicas
		rs.Status = appsv1.ReplicaSetStatus{Replicas: n, ReadyReplicas: n, AvailableReplicas: n, ObservedGeneration: rs.Generation}
		c.sets[i] = rs
	}
}

func (c *cluster) settle() {
	for range 200 {
		c.pods()
		if !c.step() {
			return
		}
	}
	require.Fail(c.t, "the rollout does not end")
}

func (c *cluster) change(f func(*appsv1.DeploymentSpec)) {
	c.d = c.d.DeepCopy()
	f(&c.d.Spec)
	c.d.Generation++
}

func (c *cluster) image(image string) {
	c.change(func(s *appsv1.DeploymentSpec) { s.Template.Spec.Containers[0].Image = image })
}

func (c *cluster) sizes() map[string]int32 {
	out := map[string]int32{}
	for _, rs := range c.sets {
		out[rs.Spec.Template.Spec.Containers[0].Image] = *rs.Spec.Replicas
	}
	return out
}

func reason(d *appsv1.Deployment) string {
	if c := condition(&d.Status, appsv1.DeploymentProgressing); c != nil {
		return c.Reason
	}
	return ""
}

func TestRollout(t *testing.T) {
	c := newCluster(t, web(4, "a"))
	require.True(t, c.step())
	require.Equal(t, map[string]int32{"a": 4}, c.sizes())
	require.Equal(t, reasonNewSet, reason(c.d))
	require.Equal(t, "1", c.d.Annotations[revisionAnnotation])
	c.settle()
	require.Equal(t, reasonAvailable, reason(c.d))
	require.True(t, complete(c.d, &c.d.Status))

	c.image("b")
	require.True(t, c.step())
	require.Equal(t, map[string]int32{"a": 4, "b": 1}, c.sizes(), "one more is allowed")
	require.True(t, c.step())
	require.Equal(t, map[string]int32{"a": 3, "b": 1}, c.sizes(), "one less is allowed")
	require.True(t, c.step())
	require.Equal(t, map[string]int32{"a": 3, "b": 2}, c.sizes())
	c.settle()
	require.Equal(t, map[string]int32{"a": 0, "b": 4}, c.sizes())
	require.Equal(t, "2", c.d.Annotations[revisionAnnotation])

	c.image("a") // undo
	c.settle()
	require.Equal(t, map[string]int32{"a": 4, "b": 0}, c.sizes())
	require.Equal(t, "3", c.d.Annotations[revisionAnnotation])
	old := findNew(c.d, c.sets)
	require.Equal(t, "1", old.Annotations[historyAnnotation])

	for _, image := range []string{"c", "d", "e"} {
		c.image(image)
		c.settle()
	}
	require.Equal(t, map[string]int32{"c": 0, "d": 0, "e": 4}, c.sizes(), "the history is kept short")
}

func TestDeadline(t *testing.T) {
	c := newCluster(t, web(1, "a"))
	for c.step() {
	}
	c.now = c.now.Add(590 * time.Second)
	c.step()
	require.Equal(t, reasonNewSet, reason(c.d))
	c.now = c.now.Add(12 * time.Second)
	c.step()
	require.Equal(t, reasonTimedOut, reason(c.d))
	c.settle()
	require.Equal(t, reasonAvailable, reason(c.d))
}

func TestPause(t *testing.T) {
	c := newCluster(t, web(4, "a"))
	c.settle()
	c.change(func(s *appsv1.DeploymentSpec) { s.Paused = true })
	c.image("b")
	c.settle()
	require.Equal(t, map[string]int32{"a": 4}, c.sizes())
	require.Equal(t, reasonPaused, reason(c.d))
	c.change(func(s *appsv1.DeploymentSpec) { s.Replicas = ptr(int32(6)) })
	c.settle()
	require.Equal(t, map[string]int32{"a": 6}, c.sizes(), "a paused deployment can be scaled")
	c.change(func(s *appsv1.DeploymentSpec) { s.Paused = false })
	c.step()
	c.settle()
	require.Equal(t, map[string]int32{"a": 0, "b": 6}, c.sizes())
}

func TestRecreate(t *testing.T) {
	d := web(3, "a")
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	c := newCluster(t, d)
	c.settle()
	c.image("b")
	c.step()
	require.Equal(t, map[string]int32{"a": 0}, c.sizes(), "first the old ones end")
	c.step()
	require.Equal(t, map[string]int32{"a": 0}, c.sizes())
	c.settle()
	require.Equal(t, map[string]int32{"a": 0, "b": 3}, c.sizes())
}

func TestScaleInTheMiddleIsProportional(t *testing.T) {
	d := web(10, "a")
	d.Spec.Strategy.RollingUpdate.MaxSurge, d.Spec.Strategy.RollingUpdate.MaxUnavailable = ptr(intstr.FromInt32(3)), ptr(intstr.FromInt32(2))
	c := newCluster(t, d)
	c.settle()
	c.image("b")
	c.step()
	c.step()
	require.Equal(t, map[string]int32{"a": 8, "b": 3}, c.sizes())
	c.step()
	require.Equal(t, map[string]int32{"a": 8, "b": 5}, c.sizes())
	c.change(func(s *appsv1.DeploymentSpec) { s.Replicas = ptr(int32(15)) })
	c.step()
	require.Equal(t, map[string]int32{"a": 11, "b": 7}, c.sizes())
}

func TestFailureOfASetIsShown(t *testing.T) {
	c := newCluster(t, web(1, "a"))
	c.step()
	c.sets[0].Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: "True", Reason: "FailedCreate", Message: "quota"}}
	c.step()
	require.Equal(t, "quota", condition(&c.d.Status, appsv1.DeploymentReplicaFailure).Message)
	c.sets[0].Status.Conditions = nil
	c.step()
	require.Nil(t, condition(&c.d.Status, appsv1.DeploymentReplicaFailure))
}

// TestRolloutsKeepTheirLimits changes a deployment at random, while its pods come and go as they like.
func TestRolloutsKeepTheirLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := web(rapid.Int32Range(0, 12).Draw(t, "replicas"), "a")
		r := d.Spec.Strategy.RollingUpdate
		r.MaxSurge = ptr(intstr.FromInt32(rapid.Int32Range(0, 4).Draw(t, "surge")))
		r.MaxUnavailable = ptr(intstr.FromInt32(rapid.Int32Range(0, 4).Draw(t, "unavailable")))
		c := newCluster(t, d)
		c.settle()
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			before, want := c.serving(), *c.d.Spec.Replicas
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				c.image(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "image"))
			case 1:
				c.change(func(s *appsv1.DeploymentSpec) { s.Replicas = ptr(rapid.Int32Range(0, 12).Draw(t, "replicas")) })
			case 2, 3, 4:
				c.some(t)
			default:
				was, scaling := specSum(c.sets), (&planner{d: c.d, old: c.sets}).resized()
				c.step()
				surge, unavailable := limits(c.d)
				require.LessOrEqual(t, specSum(c.sets), max(was, want+surge))
				if !scaling { // who scales down in the middle of a rollout takes from all sets, as in Kubernetes
					require.GreaterOrEqual(t, c.serving(), min(before, want-unavailable), "too many available pods are taken away")
				}
			}
		}
		c.settle()
		require.True(t, complete(c.d, &c.d.Status))
		require.Equal(t, *c.d.Spec.Replicas, c.sizes()[c.d.Spec.Template.Spec.Containers[0].Image])
		require.Equal(t, reasonAvailable, reason(c.d))
	})
}

// serving counts the available pods that are to stay.
func (c *cluster) serving() (n int32) {
	for _, rs := range c.sets {
		n += min(*rs.Spec.Replicas, rs.Status.AvailableReplicas)
	}
	return n
}

// some lets some pods come, go, and become available or not.
func (c *cluster) some(t *rapid.T) {
	for i, rs := range c.sets {
		rs = rs.DeepCopy()
		rs.Status.Replicas = *rs.Spec.Replicas
		rs.Status.ReadyReplicas = rapid.Int32Range(0, rs.Status.Replicas).Draw(t, "ready")
		rs.Status.AvailableReplicas = rs.Status.ReadyReplicas
		c.sets[i] = rs
	}
}

func TestHashChangesWithCollisions(t *testing.T) {
	d := web(1, "a")
	one, err := hash(&d.Spec.Template, nil)
	require.NoError(t, err)
	two, err := hash(&d.Spec.Template, ptr(int32(1)))
	require.NoError(t, err)
	require.NotEqual(t, one, two)
	require.EqualValues(t, 2, *Collide(Collide(appsv1.DeploymentStatus{})).CollisionCount)
}

func BenchmarkDiff(b *testing.B) {
	c := newCluster(b, web(10, "a"))
	c.settle()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Diff(World{Deployment: c.d, Sets: c.sets, Now: c.now}); err != nil {
			b.Fatal(err)
		}
	}
}
