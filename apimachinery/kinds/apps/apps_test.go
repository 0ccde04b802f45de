package apps_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/clienttest"
	"github.com/bedplate/bedplate/apimachinery/kinds/apps"
)

func ptr[T any](v T) *T { return &v }

func web() *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx:1"}}},
			},
		},
	}
}

func start(t clienttest.TB) *client.Client {
	return clienttest.Start(t, clienttest.Config{Resources: apps.Resources()}).Client
}

func TestDeploymentDefaults(t *testing.T) {
	d, err := client.For[*appsv1.Deployment](start(t)).Create(t.Context(), web())
	require.NoError(t, err)
	require.EqualValues(t, 1, d.Generation)
	require.EqualValues(t, 1, *d.Spec.Replicas)
	require.EqualValues(t, 10, *d.Spec.RevisionHistoryLimit)
	require.EqualValues(t, 600, *d.Spec.ProgressDeadlineSeconds)
	require.Equal(t, appsv1.RollingUpdateDeploymentStrategyType, d.Spec.Strategy.Type)
	require.Equal(t, "25%", d.Spec.Strategy.RollingUpdate.MaxSurge.StrVal)
	require.Equal(t, "25%", d.Spec.Strategy.RollingUpdate.MaxUnavailable.StrVal)
	require.Equal(t, corev1.RestartPolicyAlways, d.Spec.Template.Spec.RestartPolicy)
	require.Equal(t, corev1.PullIfNotPresent, d.Spec.Template.Spec.Containers[0].ImagePullPolicy)
}

func TestDeploymentValidation(t *testing.T) {
	c := client.For[*appsv1.Deployment](start(t))
	for want, change := range map[string]func(*appsv1.DeploymentSpec){
		"spec.replicas: Invalid value: -1: must be greater than or equal to 0":                                        func(s *appsv1.DeploymentSpec) { s.Replicas = ptr(int32(-1)) },
		"spec.selector: Required value":                                                                               func(s *appsv1.DeploymentSpec) { s.Selector = nil },
		"empty selector is invalid for deployment":                                                                    func(s *appsv1.DeploymentSpec) { s.Selector = &metav1.LabelSelector{} },
		"spec.template.metadata.labels: Invalid value: {\"app\":\"db\"}: `selector` does not match template `labels`": func(s *appsv1.DeploymentSpec) { s.Template.Labels = map[string]string{"app": "db"} },
		"spec.template.spec.containers: Required value":                                                               func(s *appsv1.DeploymentSpec) { s.Template.Spec.Containers = nil },
		"spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"":                func(s *appsv1.DeploymentSpec) { s.Template.Spec.RestartPolicy = "Never" },
		"activeDeadlineSeconds in ReplicaSet is not Supported":                                                        func(s *appsv1.DeploymentSpec) { s.Template.Spec.ActiveDeadlineSeconds = ptr(int64(1)) },
		"spec.strategy: Unsupported value":                                                                            func(s *appsv1.DeploymentSpec) { s.Strategy.Type = "Odd" },
		"may not be specified when strategy `type` is 'Recreate'": func(s *appsv1.DeploymentSpec) {
			s.Strategy = appsv1.DeploymentStrategy{Type: "Recreate", RollingUpdate: &appsv1.RollingUpdateDeployment{}}
		},
		"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0":    func(s *appsv1.DeploymentSpec) { rolling(s, intstr.FromInt32(0), intstr.FromInt32(0)) },
		"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"150%\": must not be greater than 100%": func(s *appsv1.DeploymentSpec) { rolling(s, intstr.FromInt32(0), intstr.FromString("150%")) },
		"spec.strategy.rollingUpdate.maxSurge: Invalid value: \"many\"":                                      func(s *appsv1.DeploymentSpec) { rolling(s, intstr.FromString("many"), intstr.FromInt32(1)) },
		"spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds":               func(s *appsv1.DeploymentSpec) { s.ProgressDeadlineSeconds, s.MinReadySeconds = ptr(int32(5)), 5 },
		"spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0":                   func(s *appsv1.DeploymentSpec) { s.RevisionHistoryLimit = ptr(int32(-1)) },
	} {
		d := web()
		change(&d.Spec)
		_, err := c.Create(t.Context(), d)
		require.True(t, apierrors.IsInvalid(err), "%s: %v", want, err)
		require.ErrorContains(t, err, want)
	}
	d, err := c.Create(t.Context(), web())
	require.NoError(t, err)
	d.Spec.Selector.MatchLabels["app"], d.Spec.Template.Labels["app"] = "db", "db"
	_, err = c.Update(t.Context(), d)
	require.ErrorContains(t, err, "spec.selector: Invalid value")
	require.ErrorContains(t, err, "field is immutable")
}

func rolling(s *appsv1.DeploymentSpec, surge, unavailable intstr.IntOrString) {
	s.Strategy = appsv1.DeploymentStrategy{Type: "RollingUpdate", RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable}}
}

func TestGenerationAndStatus(t *testing.T) {
	c := client.For[*appsv1.Deployment](start(t))
	d, err := c.Create(t.Context(), web())
	require.NoError(t, err)
	d.Labels = map[string]string{"a": "b"}
	d.Status.Replicas = 7
	d, err = c.Update(t.Context(), d)
	require.NoError(t, err)
	require.EqualValues(t, 1, d.Generation, "labels don't count")
	require.Zero(t, d.Status.Replicas)
	d.Annotations = map[string]string{"a": "b"}
	d, err = c.Update(t.Context(), d)
	require.NoError(t, err)
	require.EqualValues(t, 2, d.Generation, "annotations do")

	d.Status.Replicas, d.Status.CollisionCount = 3, ptr(int32(2))
	d.Annotations["deployment.kubernetes.io/revision"], d.Spec.Paused = "1", true
	d, err = c.UpdateStatus(t.Context(), d)
	require.NoError(t, err)
	require.EqualValues(t, 2, d.Generation)
	require.EqualValues(t, 3, d.Status.Replicas)
	require.False(t, d.Spec.Paused)
	require.Equal(t, "1", d.Annotations["deployment.kubernetes.io/revision"])

	d.Status.AvailableReplicas, d.Status.CollisionCount = 4, ptr(int32(1))
	_, err = c.UpdateStatus(t.Context(), d)
	require.ErrorContains(t, err, "cannot be greater than status.replicas")
	require.ErrorContains(t, err, "cannot be greater than readyReplicas")
	require.ErrorContains(t, err, "cannot be decremented")
}

func TestScale(t *testing.T) {
	api := start(t)
	deployments := client.For[*appsv1.Deployment](api)
	scales := client.Sub[autoscalingv1.Scale](deployments, "scale")
	d, err := deployments.Create(t.Context(), web())
	require.NoError(t, err)
	s, err := scales.Get(t.Context(), "default", "web")
	require.NoError(t, err)
	require.EqualValues(t, 1, s.Spec.Replicas)
	require.Equal(t, "app=web", s.Status.Selector)
	require.Equal(t, d.UID, s.UID)

	s.Spec.Replicas = 5
	stale := s.DeepCopy()
	s, err = scales.Update(t.Context(), "default", "web", s)
	require.NoError(t, err)
	require.EqualValues(t, 5, s.Spec.Replicas)
	d, err = deployments.Get(t.Context(), "default", "web")
	require.NoError(t, err)
	require.EqualValues(t, 5, *d.Spec.Replicas)
	require.EqualValues(t, 2, d.Generation)
	_, err = scales.Update(t.Context(), "default", "web", stale)
	require.True(t, apierrors.IsConflict(err), "%v", err)
	s, err = scales.Patch(t.Context(), "default", "web", "application/merge-patch+json", []byte(`{"spec":{"replicas":2}}`))
	require.NoError(t, err)
	require.EqualValues(t, 2, s.Spec.Replicas)
	s.Spec.Replicas = -1
	_, err = scales.Update(t.Context(), "default", "web", s)
	require.True(t, apierrors.IsInvalid(err), "%v", err)
}

func TestReplicaSet(t *testing.T) {
	c := client.For[*appsv1.ReplicaSet](start(t))
	d := web()
	rs := &appsv1.ReplicaSet{ObjectMeta: d.ObjectMeta, Spec: appsv1.ReplicaSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template}}
	made, err := c.Create(t.Context(), rs)
	require.NoError(t, err)
	require.EqualValues(t, 1, *made.Spec.Replicas)
	made.Status = appsv1.ReplicaSetStatus{Replicas: 1, ReadyReplicas: 2}
	_, err = c.UpdateStatus(t.Context(), made)
	require.ErrorContains(t, err, "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas")
	rs.Spec.Selector = nil
	rs.Name = "other"
	_, err = c.Create(t.Context(), rs)
	require.ErrorContains(t, err, "spec.selector: Required value")
}

func TestStatefulSet(t *testing.T) {
	api := start(t)
	c := client.For[*appsv1.StatefulSet](api)
	d := web()
	s := &appsv1.StatefulSet{ObjectMeta: d.ObjectMeta, Spec: appsv1.StatefulSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template}}
	s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}}}
	s.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	made, err := c.Create(t.Context(), s)
	require.NoError(t, err)
	require.EqualValues(t, 1, made.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable.IntVal)
	require.Equal(t, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, made.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted)
	require.Equal(t, corev1.ClaimPending, made.Spec.VolumeClaimTemplates[0].Status.Phase)
	require.Equal(t, "PersistentVolumeClaim", made.Spec.VolumeClaimTemplates[0].Kind)

	fixed := made.DeepCopy()
	fixed.Spec.ServiceName = "other"
	_, err = c.Update(t.Context(), fixed)
	require.ErrorContains(t, err, "spec: Forbidden: updates to statefulset spec for fields other than")
	made.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 3}
	made, err = c.Update(t.Context(), made)
	require.NoError(t, err)
	require.EqualValues(t, 2, made.Generation)
	scales := client.Sub[autoscalingv1.Scale](c, "scale")
	got, err := scales.Patch(t.Context(), "default", "web", "application/merge-patch+json", []byte(`{"spec":{"replicas":2}}`))
	require.NoError(t, err)
	require.EqualValues(t, 2, got.Spec.Replicas)
	s.Name, s.Spec.ServiceName, s.Spec.VolumeClaimTemplates[0].Spec.AccessModes = "a.b", "-", nil
	_, err = c.Create(t.Context(), s)
	for _, want := range []string{"metadata.name: Invalid value", "spec.serviceName: Invalid value", "spec.volumeClaimTemplates[0].spec.accessModes: Required value"} {
		require.ErrorContains(t, err, want)
	}
	limit := int32(-1)
	s.Spec.RevisionHistoryLimit = &limit
	s.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("1m")
	warnings := apps.StatefulSets().Warnings(s, nil)
	require.Len(t, warnings, 2)
	require.Contains(t, warnings[0], `spec.volumeClaimTemplates[0].resources.requests[storage]: fractional byte value "1m"`)
}

func TestDaemonSet(t *testing.T) {
	c := client.For[*appsv1.DaemonSet](start(t))
	d := web()
	s := &appsv1.DaemonSet{ObjectMeta: d.ObjectMeta, Spec: appsv1.DaemonSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template}}
	made, err := c.Create(t.Context(), s)
	require.NoError(t, err)
	require.EqualValues(t, 1, made.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable.IntVal)
	require.Equal(t, "1", made.Annotations[appsv1.DeprecatedTemplateGeneration])
	made.Spec.Template.Spec.Containers[0].Image = "nginx:2"
	made.Annotations[appsv1.DeprecatedTemplateGeneration] = "7"
	made, err = c.Update(t.Context(), made)
	require.NoError(t, err)
	require.EqualValues(t, 2, made.Generation)
	require.Equal(t, "2", made.Annotations[appsv1.DeprecatedTemplateGeneration])
	made.Status.NumberReady = -1
	_, err = c.UpdateStatus(t.Context(), made)
	require.ErrorContains(t, err, "status.numberReady: Invalid value: -1")
	surge := intstr.FromInt32(1)
	made.Spec.UpdateStrategy.RollingUpdate.MaxSurge = &surge
	made.Annotations[appsv1.DeprecatedTemplateGeneration] = "x"
	_, err = c.Update(t.Context(), made)
	require.ErrorContains(t, err, "may not be set when maxUnavailable is non-zero")
	require.ErrorContains(t, err, "metadata.annotations[deprecated.daemonset.template.generation]: Invalid value")
}

func TestControllerRevision(t *testing.T) {
	c := client.For[*appsv1.ControllerRevision](start(t))
	r := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-1"}, Revision: 1, Data: runtime.RawExtension{Raw: []byte(`{"a": 1}`)}}
	made, err := c.Create(t.Context(), r)
	require.NoError(t, err)
	made.Data.Raw, made.Revision = []byte(`{ "a":1 }`), 2
	made, err = c.Update(t.Context(), made)
	require.NoError(t, err)
	made.Data.Raw, made.Revision = []byte(`{"a":2}`), -1
	_, err = c.Update(t.Context(), made)
	require.ErrorContains(t, err, "data: Invalid value")
	require.ErrorContains(t, err, "revision: Invalid value: -1")
	r.Name, r.Data.Raw = "web-2", []byte(`[]`)
	_, err = c.Create(t.Context(), r)
	require.ErrorContains(t, err, "data: Required value: data must be a valid JSON object")
}

func TestColumns(t *testing.T) {
	d := web()
	d.Spec.Replicas, d.Status = ptr(int32(3)), appsv1.DeploymentStatus{ReadyReplicas: 2, UpdatedReplicas: 1, AvailableReplicas: 2}
	var names, cells []string
	for _, c := range apps.Deployments().Views[0].Columns {
		names = append(names, c.Name)
		cells = append(cells, fmt.Sprint(c.Cell(d)))
	}
	require.Equal(t, "Name Ready Up-to-date Available Age Containers Images Selector", strings.Join(names, " "))
	require.Equal(t, "web 2/3 1 2 <unknown> c nginx:1 app=web", strings.Join(cells, " "))
	rs := &appsv1.ReplicaSet{ObjectMeta: d.ObjectMeta, Spec: appsv1.ReplicaSetSpec{Replicas: ptr(int32(3)), Selector: d.Spec.Selector, Template: d.Spec.Template}}
	names, cells = nil, nil
	for _, c := range apps.ReplicaSets().Views[0].Columns {
		names = append(names, c.Name)
		cells = append(cells, fmt.Sprint(c.Cell(rs)))
	}
	require.Equal(t, "Name Desired Current Ready Age Containers Images Selector", strings.Join(names, " "))
	require.Equal(t, "web 3 0 0 <unknown> c nginx:1 app=web", strings.Join(cells, " "))
}

func Example() {
	registry, err := apimachinery.NewRegistry(apps.Resources()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range registry.All() {
		errs := r.Validate(context.Background(), r.New(), nil)
		fmt.Println(r.Name, errs[0].Field, errs[0].Type)
	}
	// Output:
	// controllerrevisions.apps data Required value
	// daemonsets.apps spec.template.metadata.labels Invalid value
	// deployments.apps spec.selector Required value
	// replicasets.apps spec.selector Required value
	// statefulsets.apps spec.podManagementPolicy Required value
}
