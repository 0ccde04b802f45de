package core

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// updated is what is wrong with an update of a pod through a subresource.
func updated(t *testing.T, sub string, old *corev1.Pod, change func(p *corev1.Pod)) (*corev1.Pod, []string) {
	t.Helper()
	s := Pods().Subs[sub].Strategy
	n := old.DeepCopy()
	change(n)
	DefaultPod(n)
	s.Prepare(t.Context(), n, old)
	return n, text(s.Validate(t.Context(), n, old))
}

func runningPod(spec string) *corev1.Pod {
	p := podOf("", spec)
	DefaultPod(p)
	p.Generation, p.Status.QOSClass = 1, QOS(&p.Spec)
	return p
}

func debugger(name, image string) corev1.EphemeralContainer {
	return corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: image}}
}

func TestEphemeralContainers(t *testing.T) {
	old := runningPod("")
	one, errs := updated(t, "ephemeralcontainers", old, func(p *corev1.Pod) {
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, debugger("debug", "busybox"))
		p.Spec.NodeName, p.Status.Phase, p.Labels = "n", corev1.PodFailed, map[string]string{"a": "b"}
	})
	require.Empty(t, errs)
	require.EqualValues(t, 2, one.Generation)
	require.Equal(t, old.Spec.NodeName, one.Spec.NodeName, "nothing else is written")
	require.Equal(t, old.Status, one.Status)
	require.Empty(t, one.Labels)

	_, errs = updated(t, "ephemeralcontainers", one, func(p *corev1.Pod) { p.Spec.EphemeralContainers = nil })
	require.Equal(t, []string{"spec.ephemeralContainers Forbidden"}, errs)
	_, errs = updated(t, "ephemeralcontainers", one, func(p *corev1.Pod) { p.Spec.EphemeralContainers[0].Image = "other" })
	require.Equal(t, []string{"spec.ephemeralContainers Forbidden"}, errs)
	_, errs = updated(t, "ephemeralcontainers", one, func(p *corev1.Pod) {
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, debugger("c", "busybox"))
	})
	require.Equal(t, []string{"spec.ephemeralContainers[1].name Duplicate value"}, errs)
	static := old.DeepCopy()
	static.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	_, errs = updated(t, "ephemeralcontainers", static, func(*corev1.Pod) {})
	require.Equal(t, []string{"[] Forbidden"}, errs)
}

func TestResize(t *testing.T) {
	old := runningPod(`,"restartPolicy":"Always"`)
	old.Spec.Containers[0].Resources = requirements(`{"requests":{"cpu":"100m","memory":"64Mi","example.com/a":"1"},"limits":{"cpu":"200m","memory":"64Mi","example.com/a":"1"}}`)
	old.Status.QOSClass = QOS(&old.Spec)
	resize := func(change func(p *corev1.Pod)) (*corev1.Pod, []string) { return updated(t, "resize", old, change) }
	to := func(text string) func(p *corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Containers[0].Resources = requirements(text) }
	}
	grown, errs := resize(func(p *corev1.Pod) {
		to(`{"requests":{"cpu":"150m","memory":"64Mi","example.com/a":"1"},"limits":{"cpu":"1","memory":"128Mi","example.com/a":"1"}}`)(p)
		p.Spec.Containers[0].Image = "ignored"
	})
	require.Empty(t, errs)
	require.EqualValues(t, 2, grown.Generation)
	require.Equal(t, old.Spec.Containers[0].Image, grown.Spec.Containers[0].Image)
	require.Equal(t, "1", grown.Spec.Containers[0].Resources.Limits.Cpu().String())

	for text, want := range map[string][]string{
		`{"requests":{"cpu":"100m","example.com/a":"1"},"limits":{"cpu":"200m","memory":"64Mi","example.com/a":"1"}}`:                 nil, // follows the limit
		`{"requests":{"cpu":"100m","memory":"64Mi","example.com/a":"1"},"limits":{"cpu":"200m","example.com/a":"1"}}`:                 {"spec.containers[0].resources.limits Forbidden"},
		`{"requests":{"cpu":"200m","memory":"64Mi","example.com/a":"1"},"limits":{"cpu":"200m","memory":"64Mi","example.com/a":"1"}}`: {"spec Invalid value"}, // becomes Guaranteed
		`{"requests":{"cpu":"100m","memory":"64Mi","example.com/a":"2"},"limits":{"cpu":"200m","memory":"64Mi","example.com/a":"2"}}`: {"spec Forbidden"},
	} {
		_, errs := resize(to(text))
		require.ElementsMatch(t, want, errs, text)
	}
	_, errs = resize(func(p *corev1.Pod) { p.Spec.Containers[0].Name = "d" })
	require.Equal(t, []string{"spec.containers[0].name Forbidden"}, errs)
	unable := old.DeepCopy()
	unable.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	_, errs = updated(t, "resize", unable, func(*corev1.Pod) {})
	require.Equal(t, []string{"spec Forbidden"}, errs)
}

func requirements(text string) (r corev1.ResourceRequirements) {
	decode(text, &r)
	return r
}

func TestPodWarnings(t *testing.T) {
	require.Empty(t, podWarnings(runningPod("")))
	p := runningPod(`,"nodeSelector":{"beta.kubernetes.io/os":"linux"},"imagePullSecrets":[{"name":"a"},{"name":"a"},{}],
		"volumes":[{"name":"v","rbd":{"monitors":["m"],"image":"i"}},{"name":"w","projected":{"sources":[{},
			{"secret":{"name":"s","items":[{"key":"k","path":"a"}]}},{"configMap":{"name":"m","items":[{"key":"k","path":"a/b"}]}}]}}],
		"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"z","whenUnsatisfiable":"DoNotSchedule"}],
		"hostAliases":[{"ip":"010.0.0.1"}],"initContainers":[{"name":"i","image":"x","ports":[{"name":"p","containerPort":80,"hostIP":"1.2.3.4"}]}]`)
	p.Name = "a.b"
	p.Annotations = map[string]string{"scheduler.alpha.kubernetes.io/critical-pod": ""}
	c := &p.Spec.Containers[0]
	c.Env = []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "A", Value: "$(A)2"}, {Name: "A", Value: "3"}}
	c.Ports = []corev1.ContainerPort{{Name: "p", ContainerPort: 80, Protocol: "TCP"}, {ContainerPort: 80, Protocol: "TCP", HostPort: 8080}}
	c.Resources = requirements(`{"limits":{"memory":"100m"}}`)
	require.Equal(t, []string{
		"metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
		`spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`,
		"spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
		`metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "priorityClassName" field instead`,
		"spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+",
		`volume "w" (Projected) has no sources provided`,
		`volume "w" (Projected): overlapping paths: "a/b" (ConfigMap "m") with "a" (Secret "s")`,
		`spec.imagePullSecrets[1].name: duplicate name "a"`,
		`spec.imagePullSecrets[2].name: invalid empty name ""`,
		`spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer`,
		`spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply`,
		"spec.initContainers[0].ports[0]: hostIP set without hostPort: {Name:p HostPort:0 ContainerPort:80 Protocol:TCP HostIP:1.2.3.4}",
		"spec.containers[0].ports[0]: overlapping port definition with spec.initContainers[0].ports[0]",
		"spec.containers[0].ports[1]: overlapping port definition with spec.initContainers[0].ports[0]",
		"spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
		`spec.containers[0].ports[0]: duplicate port name "p" with spec.initContainers[0].ports[0], services and probes that select ports by name will use spec.initContainers[0].ports[0]`,
		`spec.hostAliases[0].ip: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1"`,
	}, podWarnings(p))

	template := &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{appArmorPrefix + "c": "runtime/default"}}, Spec: runningPod("").Spec}
	require.Equal(t, []string{
		`spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the "appArmorProfile" field instead`,
	}, PodTemplateWarnings(template, field.NewPath("spec", "template")))
}

// TestBindings: the older way to bind hands on what it gets.
func TestBindings(t *testing.T) {
	var got *apimachinery.Request
	r := Bindings(doer(func(r *apimachinery.Request) error { got = r; return nil }))
	b := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Target: corev1.ObjectReference{Name: "n"}}
	o, err := r.Virtual(t.Context(), &apimachinery.Request{Seen: "5"}, b)
	require.NoError(t, err)
	require.Nil(t, o)
	require.Equal(t, "pods/p/binding 5", got.Resource.Resource+"/"+got.Name+"/"+got.Sub+" "+got.Seen)
	b.Name = ""
	_, err = r.Virtual(t.Context(), &apimachinery.Request{}, b)
	require.Error(t, err)
}

type doer func(*apimachinery.Request) error

func (d doer) Do(_ context.Context, r *apimachinery.Request) (*apimachinery.Response, error) {
	return &apimachinery.Response{}, d(r)
}
