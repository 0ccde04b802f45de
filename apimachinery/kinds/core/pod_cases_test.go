package core

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// decode reads JSON of a test; what the type has not is an error there.
func decode(text string, into any) {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		panic(fmt.Sprintf("%v in %s", err, text))
	}
}

// podOf is a pod with a container and the given spec around it, as it is stored.
func podOf(meta, spec string) *corev1.Pod {
	p := &corev1.Pod{}
	decode(`{"metadata":{"name":"p","namespace":"default"`+meta+`},"spec":{"containers":[{"name":"c","image":"nginx:1"}]`+spec+`}}`, p)
	return p
}

// TestKubernetesPaths: the places of errors are those that clients of Kubernetes know, odd ones too.
func TestKubernetesPaths(t *testing.T) {
	for _, c := range []struct{ meta, spec, want string }{
		{spec: `,"volumes":[{"name":"v","gcePersistentDisk":{"pdName":""}}]`, want: "spec.volumes[0].persistentDisk.pdName Required value"},
		{spec: `,"volumes":[{"name":"v","emptyDir":{},"downwardAPI":{}}]`, want: "spec.volumes[0].downwarAPI Forbidden"},
		{spec: `,"volumes":[{"name":"v","projected":{"sources":[{"serviceAccountToken":{"path":""}}]}}],"serviceAccountName":"s"`, want: "spec.volumes[0].projected.path Required value"},
		{spec: `,"hostUsers":false,"hostPID":true`, want: "spec.HostPID Forbidden"},
		{spec: `,"overhead":{"gpu":"1"}`, want: "spec.overhead.limits[gpu] Invalid value"},
		{spec: `,"os":{"name":"plan9"}`, want: "spec.os Unsupported value"},
		{spec: `,"os":{"name":"windows"},"hostIPC":true`, want: "spec.hostIPC Forbidden"},
		{spec: `,"tolerations":[{"key":"a","operator":"Gt","value":"5"}]`, want: "spec.tolerations[0].operator Unsupported value"},
		{spec: `,"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"a","whenUnsatisfiable":"DoNotSchedule"},{"maxSkew":1,"topologyKey":"a","whenUnsatisfiable":"DoNotSchedule"}]`,
			want: "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable} Duplicate value"},
		{spec: `,"initContainers":[{"name":"i","image":"x"},{"name":"j","image":"x","ports":[{"containerPort":1,"hostPort":1},{"containerPort":2,"hostPort":1}]}]`,
			want: "spec.initContainers[0].ports[1].hostPort Duplicate value"},
		{spec: `,"resources":{"limits":{"cpu":"1"},"claims":[]}`, want: "spec.resources.claims Forbidden"},
		{spec: `,"resourceClaims":[{"name":"a"}]`, want: "spec.resourceClaims[0] Invalid value"},
		{spec: `,"hostnameOverride":"a","hostNetwork":true`, want: "spec.hostnameOverride Forbidden"},
		{spec: `,"dnsPolicy":"None","dnsConfig":{"nameservers":["10.0.0.01"]}`, want: "spec.dnsConfig.nameservers[0] Invalid value"},
		{meta: `,"annotations":{"controller.kubernetes.io/pod-deletion-cost":"+5"}`, want: "metadata.annotations[controller.kubernetes.io/pod-deletion-cost] Invalid value"},
		{meta: `,"annotations":{"kubernetes.io/config.mirror":"x"}`, want: "metadata.annotations[kubernetes.io/config.mirror] Invalid value"},
		{meta: `,"annotations":{"container.apparmor.security.beta.kubernetes.io/x":"unconfined"}`, want: "metadata.annotations[container.apparmor.security.beta.kubernetes.io/x] Invalid value"},
		{meta: `,"finalizers":["mine"]`, want: "metadata.finalizers[0] Invalid value"},
	} {
		p := podOf(c.meta, c.spec)
		DefaultPod(p)
		preparePod(p, nil)
		seen := map[string]bool{}
		for _, e := range text(validatePodWrite(t.Context(), p, nil)) {
			seen[e] = true
		}
		require.Equal(t, map[string]bool{c.want: true}, seen, "%s %s", c.meta, c.spec)
	}
}

// TestGatedFields: fields of features that are off are taken out of what is stored.
func TestGatedFields(t *testing.T) {
	p := podOf("", `,"os":{"name":"linux"},"schedulingGroup":{"podGroupName":"g"},
		"evictionResponders":[{"name":"example.com/a","priority":1}],
		"volumes":[{"name":"a","emptyDir":{"mode":511}},{"name":"b","secret":{"secretName":"s","defaultUser":5}},
			{"name":"c","projected":{"defaultUser":5,"sources":[{"clusterTrustBundle":{"path":"x"}},{"configMap":{"name":"m"}}]}}],
		"initContainers":[{"name":"i","image":"x","lifecycle":{"stopSignal":"SIGINT"},"volumeMounts":[{"name":"a","mountPath":"/a","bindMountOptions":["noexec"]}]}]`)
	DefaultPod(p)
	preparePod(p, nil)
	require.Nil(t, p.Spec.SchedulingGroup)
	require.Nil(t, p.Spec.EvictionResponders)
	require.Nil(t, p.Spec.Volumes[0].EmptyDir.Mode)
	require.Nil(t, p.Spec.Volumes[1].Secret.DefaultUser)
	require.Nil(t, p.Spec.Volumes[2].Projected.DefaultUser)
	require.Nil(t, p.Spec.Volumes[2].Projected.Sources[0].ClusterTrustBundle)
	require.Nil(t, p.Spec.InitContainers[0].Lifecycle)
	require.Nil(t, p.Spec.InitContainers[0].VolumeMounts[0].BindMountOptions)
	require.Empty(t, validatePodWrite(t.Context(), p, nil))
}

// TestLabelKeys: what a selector takes from the pod's own labels becomes part of it, once.
func TestLabelKeys(t *testing.T) {
	p := podOf(`,"labels":{"version":"v1"}`, `,"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"a","whenUnsatisfiable":"DoNotSchedule","labelSelector":{},"matchLabelKeys":["version","other"]}]`)
	DefaultPod(p)
	preparePod(p, nil)
	s := p.Spec.TopologySpreadConstraints[0].LabelSelector
	require.Len(t, s.MatchExpressions, 1)
	require.Equal(t, "version", s.MatchExpressions[0].Key)
	require.Empty(t, validatePodWrite(t.Context(), p, nil))
	again := p.DeepCopy()
	preparePod(again, p)
	require.Equal(t, p, again)
}

func TestProfilesFromAnnotations(t *testing.T) {
	p := podOf(`,"annotations":{"container.apparmor.security.beta.kubernetes.io/c":"localhost/strict"}`, "")
	DefaultPod(p)
	preparePod(p, nil)
	require.Equal(t, "strict", *p.Spec.Containers[0].SecurityContext.AppArmorProfile.LocalhostProfile)
	require.Empty(t, validatePodWrite(t.Context(), p, nil))
}

func TestPodLevelResources(t *testing.T) {
	p := podOf("", `,"resources":{"limits":{"cpu":"2","memory":"1Gi"}},"initContainers":[{"name":"i","image":"x","resources":{"requests":{"cpu":"1"},"limits":{"hugepages-2Mi":"4Mi"}}}]`)
	DefaultPod(p)
	require.Equal(t, "1", p.Spec.Resources.Requests.Cpu().String(), "what the containers need")
	require.Equal(t, "1Gi", p.Spec.Resources.Requests.Memory().String(), "the limit, where they ask for nothing")
	huge := p.Spec.Resources.Limits["hugepages-2Mi"]
	require.Equal(t, "4Mi", huge.String())
}

func TestImages(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("a", 64)
	for image, want := range map[string]corev1.PullPolicy{
		"nginx": corev1.PullAlways, "host:5000/a/b": corev1.PullAlways, "nginx:latest" + digest: corev1.PullAlways,
		"nginx" + digest: corev1.PullIfNotPresent, "Nginx": corev1.PullIfNotPresent, "": corev1.PullIfNotPresent,
		"a//b": corev1.PullIfNotPresent, strings.Repeat("a", 64): corev1.PullIfNotPresent, "nginx@sha256:ab": corev1.PullIfNotPresent,
		strings.Repeat("x", 250): corev1.PullIfNotPresent, "[::1]:5000/a": corev1.PullAlways, "a__b/c-d.e": corev1.PullAlways,
	} {
		require.Equal(t, want, pullPolicy(image), image)
	}
}

func TestStatusUpdate(t *testing.T) {
	old := podOf("", `,"nodeName":"n","restartPolicy":"Never"`)
	DefaultPod(old)
	old.Status.QOSClass = corev1.PodQOSBestEffort
	old.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3}}}}
	judge := func(change func(*corev1.Pod)) field.ErrorList {
		n := old.DeepCopy()
		change(n)
		preparePodStatus(t.Context(), n, old)
		return validatePodStatus(t.Context(), n, old)
	}
	runs := func(p *corev1.Pod) {
		p.Status.ContainerStatuses[0].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	}
	require.Empty(t, judge(func(p *corev1.Pod) { p.Status.QOSClass = "" }))
	require.Equal(t, []string{"status.qosClass Invalid value"}, text(judge(func(p *corev1.Pod) { p.Status.QOSClass = corev1.PodQOSGuaranteed })))
	require.Equal(t, []string{"status.containerStatuses[0].state Forbidden"}, text(judge(runs)))
	require.Equal(t, []string{"status.nominatedNodeName Forbidden"}, text(judge(func(p *corev1.Pod) { p.Status.NominatedNodeName = "m" })))
	require.Equal(t, []string{"status.podIPs Invalid value"}, text(judge(func(p *corev1.Pod) {
		p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "10.0.0.2"}}
	})))
	rule := `[{"action":"Restart","exitCodes":{"operator":"In","values":[3]}}]`
	decode(`{"name":"c","image":"nginx:1","restartPolicy":"Never","restartPolicyRules":`+rule+`}`, &old.Spec.Containers[0])
	require.Empty(t, judge(runs))
}
