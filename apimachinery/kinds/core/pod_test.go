package core

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validPod(change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u1"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx:1.27"}}},
	}
	for _, c := range change {
		c(p)
	}
	DefaultPod(p)
	return p
}

func text(errs field.ErrorList) []string {
	out := []string{}
	for _, e := range errs {
		out = append(out, e.Field+" "+e.Type.String())
	}
	return out
}

func TestPodDefaults(t *testing.T) {
	p := validPod(func(p *corev1.Pod) {
		p.Spec.HostNetwork = true
		p.Spec.ServiceAccountName = "robot"
		c := &p.Spec.Containers[0]
		c.Ports = []corev1.ContainerPort{{ContainerPort: 80}}
		c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(80)}}}
		c.Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("500m")}
		p.Spec.Volumes = []corev1.Volume{{Name: "v"}, {Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "x"}}}}
	})
	s, c := p.Spec, p.Spec.Containers[0]
	require.Equal(t, corev1.DNSClusterFirst, s.DNSPolicy)
	require.Equal(t, corev1.RestartPolicyAlways, s.RestartPolicy)
	require.Equal(t, "default-scheduler", s.SchedulerName)
	require.Equal(t, "robot", s.DeprecatedServiceAccount)
	require.EqualValues(t, 30, *s.TerminationGracePeriodSeconds)
	require.True(t, *s.EnableServiceLinks)
	require.Equal(t, corev1.PullIfNotPresent, c.ImagePullPolicy)
	require.Equal(t, corev1.ContainerPort{ContainerPort: 80, HostPort: 80, Protocol: "TCP"}, c.Ports[0])
	require.Equal(t, "/", c.LivenessProbe.HTTPGet.Path)
	require.EqualValues(t, 3, c.LivenessProbe.FailureThreshold)
	require.Equal(t, "500m", c.Resources.Requests.Cpu().String())
	require.NotNil(t, s.Volumes[0].EmptyDir)
	require.EqualValues(t, 0o644, *s.Volumes[1].Secret.DefaultMode)

	again := p.DeepCopy()
	DefaultPod(again)
	require.Equal(t, p, again, "defaults are idempotent")
	require.Empty(t, validatePodWrite(t.Context(), p, nil))
}

func TestPullPolicy(t *testing.T) {
	for image, want := range map[string]corev1.PullPolicy{
		"nginx": corev1.PullAlways, "nginx:latest": corev1.PullAlways, "host:5000/nginx": corev1.PullAlways,
		"nginx:1": corev1.PullIfNotPresent, "host:5000/nginx:1": corev1.PullIfNotPresent, "nginx@sha256:ab": corev1.PullIfNotPresent,
	} {
		require.Equal(t, want, pullPolicy(image), image)
	}
}

func TestPodValidation(t *testing.T) {
	container := func(change func(*corev1.Container)) func(*corev1.Pod) {
		return func(p *corev1.Pod) { change(&p.Spec.Containers[0]) }
	}
	yes := true
	for name, c := range map[string]struct {
		change func(*corev1.Pod)
		want   []string
	}{
		"no containers":  {func(p *corev1.Pod) { p.Spec.Containers = nil }, []string{"spec.containers Required value"}},
		"no image":       {container(func(c *corev1.Container) { c.Image = "" }), []string{"spec.containers[0].image Required value"}},
		"name twice":     {func(p *corev1.Pod) { p.Spec.InitContainers = p.Spec.Containers }, []string{"spec.initContainers[0].name Duplicate value"}},
		"port too large": {container(func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{ContainerPort: 70000}} }), []string{"spec.containers[0].ports[0].containerPort Invalid value"}},
		"restart policy": {func(p *corev1.Pod) { p.Spec.RestartPolicy = "Sometimes" }, []string{"spec.restartPolicy Unsupported value"}},
		"unknown volume": {container(func(c *corev1.Container) { c.VolumeMounts = []corev1.VolumeMount{{Name: "x", MountPath: "/x"}} }), []string{"spec.containers[0].volumeMounts[0].name Not found"}},
		"subPath escapes": {func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "x"}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "x", MountPath: "/x", SubPath: "../y"}}
		}, []string{"spec.containers[0].volumeMounts.subPath Invalid value"}},
		"hostPath escapes": {func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "x", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/a/../b"}}}}
		}, []string{"spec.volumes[0].hostPath.path Invalid value"}},
		"two sources": {func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "x", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/a"}, EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		}, []string{"spec.volumes[0].hostPath Forbidden"}},
		"request over": {container(func(c *corev1.Container) {
			c.Resources = corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1")}, Requests: corev1.ResourceList{"cpu": resource.MustParse("2")}}
		}), []string{"spec.containers[0].resources.requests Invalid value"}},
		"negative memory": {container(func(c *corev1.Container) {
			c.Resources.Requests = corev1.ResourceList{"memory": resource.MustParse("-1")}
		}), []string{"spec.containers[0].resources.requests[memory] Invalid value"}},
		"odd resource": {container(func(c *corev1.Container) { c.Resources.Requests = corev1.ResourceList{"gpu": resource.MustParse("1")} }), []string{"spec.containers[0].resources.requests[gpu] Invalid value", "spec.containers[0].resources.requests[gpu] Invalid value"}},
		"probe of init": {func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "x", LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}}}}
		}, []string{"spec.initContainers[0].livenessProbe Forbidden"}},
		"probe of nothing": {container(func(c *corev1.Container) { c.ReadinessProbe = &corev1.Probe{} }), []string{"spec.containers[0].readinessProbe Required value"}},
		"two handlers": {container(func(c *corev1.Container) {
			c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}, TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(1)}}}
		}), []string{"spec.containers[0].livenessProbe.tcpSocket Forbidden"}},
		"toleration": {func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Operator: "Equal"}} }, []string{"spec.tolerations[0].operator Invalid value"}},
		"node affinity": {func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{}}}
		}, []string{"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms Required value"}},
		"share and host": {func(p *corev1.Pod) { p.Spec.ShareProcessNamespace, p.Spec.HostPID = &yes, true }, []string{"spec.securityContext.shareProcessNamespace Invalid value"}},
		"seccomp localhost": {func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: "Localhost"}}
		}, []string{"spec.securityContext.seccompProfile.localhostProfile Required value"}},
		"sysctl": {func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "../x"}}}
		}, []string{"spec.securityContext.sysctls[0].name Invalid value"}},
		"user": {container(func(c *corev1.Container) {
			u := int64(1 << 31)
			c.SecurityContext = &corev1.SecurityContext{RunAsUser: &u}
		}), []string{"spec.containers[0].securityContext.runAsUser Invalid value"}},
		"env field": {container(func(c *corev1.Container) {
			c.Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.secret"}}}}
		}), []string{"spec.containers[0].env[0].valueFrom.fieldRef.fieldPath Invalid value"}},
		"dns none": {func(p *corev1.Pod) { p.Spec.DNSPolicy = corev1.DNSNone }, []string{"spec.dnsConfig Required value"}},
		"gated and placed": {func(p *corev1.Pod) {
			p.Spec.NodeName = "n"
			p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}}
		}, []string{"spec.nodeName Forbidden"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := validPod(c.change)
			require.Equal(t, c.want, text(validatePodWrite(t.Context(), p, nil)))
		})
	}
}

func TestPodUpdate(t *testing.T) {
	old := validPod(func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}} })
	for name, c := range map[string]struct {
		change func(*corev1.Pod)
		want   []string
	}{
		"image":        {func(p *corev1.Pod) { p.Spec.Containers[0].Image = "nginx:2" }, []string{}},
		"gate removed": {func(p *corev1.Pod) { p.Spec.SchedulingGates = nil }, []string{}},
		"gate added": {func(p *corev1.Pod) {
			p.Spec.SchedulingGates = append(p.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: "b"})
		}, []string{"spec.schedulingGates[1].name Forbidden"}},
		"selector":   {func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }, []string{}},
		"toleration": {func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Operator: "Exists"}} }, []string{}},
		"command":    {func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"x"} }, []string{"spec Forbidden"}},
		"node":       {func(p *corev1.Pod) { p.Spec.NodeName = "n" }, []string{"spec Forbidden"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := old.DeepCopy()
			c.change(p)
			require.Equal(t, c.want, text(validatePodUpdate(p, old)))
		})
	}
}

func TestBinding(t *testing.T) {
	to := func(node string, uid types.UID) *corev1.Binding {
		return &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "web", UID: uid}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}
	}
	p := validPod()
	require.Error(t, bind(p, to("", "")))
	require.Error(t, bind(p, to("n1", "other")))
	require.Empty(t, p.Spec.NodeName)

	before := p.DeepCopy()
	require.NoError(t, bind(p, to("n1", "u1")))
	require.Equal(t, "n1", p.Spec.NodeName)
	require.Equal(t, corev1.ConditionTrue, condition(p, corev1.PodScheduled))
	require.Equal(t, []string{"allocations/n1"}, podGuards(p, before))
	require.ErrorContains(t, bind(p, to("n2", "")), `already assigned to node "n1"`)
}

func TestPodPrepare(t *testing.T) {
	p := validPod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning })
	preparePod(p, nil)
	require.Equal(t, corev1.PodStatus{Phase: corev1.PodPending, QOSClass: corev1.PodQOSBestEffort}, p.Status)

	n := p.DeepCopy()
	n.Spec.Containers[0].Image, n.Status.Phase = "nginx:2", corev1.PodFailed
	preparePod(n, p)
	require.EqualValues(t, 2, n.Generation)
	require.Equal(t, corev1.PodPending, n.Status.Phase)

	s := p.DeepCopy()
	s.Spec.NodeName, s.Labels, s.Status.Phase = "n", map[string]string{"a": "b"}, corev1.PodRunning
	preparePodStatus(context.Background(), s, p)
	require.Empty(t, s.Spec.NodeName)
	require.NotEmpty(t, s.Labels, "may be written with the status")
	require.Equal(t, corev1.PodRunning, s.Status.Phase)
}

func TestGrace(t *testing.T) {
	ten := int64(10)
	p := validPod()
	require.EqualValues(t, 0, podGrace(p, nil), "nobody runs it")
	p.Spec.NodeName = "n"
	require.EqualValues(t, 30, podGrace(p, nil))
	require.EqualValues(t, 10, podGrace(p, &ten))
	p.Status.Phase = corev1.PodSucceeded
	require.EqualValues(t, 0, podGrace(p, &ten))
}

func TestQOS(t *testing.T) {
	list := func(cpu, mem string) corev1.ResourceList {
		return corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse(mem)}
	}
	require.Equal(t, corev1.PodQOSBestEffort, QOS(&validPod().Spec))
	require.Equal(t, corev1.PodQOSGuaranteed, QOS(&validPod(func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = list("1", "1Gi") }).Spec))
	require.Equal(t, corev1.PodQOSBurstable, QOS(&validPod(func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = list("1", "1Gi") }).Spec))
}

func TestPodStatusColumn(t *testing.T) {
	waiting := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	p := validPod()
	p.Status.Phase = corev1.PodPending
	require.Equal(t, "Pending", summarise(p).status)
	p.Spec.InitContainers = []corev1.Container{{Name: "i"}, {Name: "j"}}
	p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "i", State: waiting("PodInitializing")}}
	require.Equal(t, "Init:0/2", summarise(p).status)
	p.Status.InitContainerStatuses = nil
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web", State: waiting("CrashLoopBackOff"), RestartCount: 3}}
	require.Equal(t, "CrashLoopBackOff", summarise(p).status)
	require.Equal(t, summary{total: 1, restarts: restarts{count: 3}, status: "CrashLoopBackOff"}, summarise(p))
	now := metav1.Now()
	p.DeletionTimestamp = &now
	require.Equal(t, "Terminating", summarise(p).status)
}
