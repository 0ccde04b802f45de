package apimachinery_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/bedplate/bedplate/apimachinery"
)

// The objects that the codec is measured with, as a server stores them.

func sampleMeta(name, manager string) metav1.ObjectMeta {
	at := metav1.NewTime(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC))
	return metav1.ObjectMeta{
		Name: name, Namespace: "default", UID: types.UID("0f6b7c9e-2d3a-4f51-8c7e-9a1b2c3d4e5f"),
		ResourceVersion: "123456", Generation: 1, CreationTimestamp: at,
		Labels:      map[string]string{"app.kubernetes.io/name": "web", "app.kubernetes.io/part-of": "shop", "tier": "frontend"},
		Annotations: map[string]string{"example.com/owner": "team-a", "example.com/revision": "4f51c2"},
		ManagedFields: []metav1.ManagedFieldsEntry{{
			Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &at, FieldsType: "FieldsV1",
			FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{".":{},"f:app.kubernetes.io/name":{},"f:tier":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{".":{}}}},"f:restartPolicy":{}}}`),
		}},
	}
}

func sampleProbe(path string) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:     corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(8080), Scheme: corev1.URISchemeHTTP}},
		TimeoutSeconds:   1,
		PeriodSeconds:    10,
		SuccessThreshold: 1, FailureThreshold: 3,
	}
}

func samplePodSpec() corev1.PodSpec {
	grace, yes := int64(30), true
	limits := corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("256Mi")}
	requests := corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("128Mi")}
	mode := int32(420)
	expires := int64(3607)
	return corev1.PodSpec{
		Volumes: []corev1.Volume{
			{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "web"}, DefaultMode: &mode}}},
			{Name: "kube-api-access", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{DefaultMode: &mode, Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: &expires, Path: "token"}},
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
			}}}},
		},
		Containers: []corev1.Container{{
			Name: "web", Image: "registry.example.com/shop/web:1.2.3", ImagePullPolicy: corev1.PullIfNotPresent,
			Command: []string{"/web"}, Args: []string{"--listen=:8080", "--log=info"},
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
			Env: []corev1.EnvVar{{Name: "MODE", Value: "production"}, {Name: "DATABASE_URL", Value: "postgres://db.default.svc.cluster.local:5432/shop?sslmode=verify-full"},
				{Name: "CACHE_ADDRESS", Value: "cache.default.svc.cluster.local:6379"}, {Name: "TRACES", Value: "http://traces.observability.svc.cluster.local:4317"},
				{Name: "FEATURES", Value: "checkout-v2,search-suggestions,darkmode,reviews,wishlist,newsletter"}, {Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "status.podIP"}}}},
			Resources:              corev1.ResourceRequirements{Limits: limits, Requests: requests},
			VolumeMounts:           []corev1.VolumeMount{{Name: "config", MountPath: "/etc/web"}, {Name: "kube-api-access", ReadOnly: true, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}},
			ReadinessProbe:         sampleProbe("/ready"),
			LivenessProbe:          sampleProbe("/live"),
			TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		}},
		RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace, DNSPolicy: corev1.DNSClusterFirst,
		ServiceAccountName: "default", EnableServiceLinks: &yes, SecurityContext: &corev1.PodSecurityContext{}, SchedulerName: "default-scheduler",
		Tolerations: []corev1.Toleration{
			{Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &grace},
			{Key: "node.kubernetes.io/unreachable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &grace},
		},
	}
}

func samplePod() *corev1.Pod {
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: sampleMeta("web-7d9c5b8f6d-x2x4k", "kubectl-create"),
		Spec: samplePodSpec(), Status: corev1.PodStatus{Phase: corev1.PodPending, QOSClass: corev1.PodQOSBurstable},
	}
}

func sampleDeployment() *appsv1.Deployment {
	three, percent := int32(3), intstr.FromString("25%")
	at := metav1.NewTime(time.Date(2026, 3, 4, 5, 6, 8, 0, time.UTC))
	labels := map[string]string{"app.kubernetes.io/name": "web"}
	return &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: sampleMeta("web", "kubectl-create"),
		Spec: appsv1.DeploymentSpec{
			Replicas: &three, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template:                corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: samplePodSpec()},
			Strategy:                appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &percent, MaxSurge: &percent}},
			RevisionHistoryLimit:    &three,
			ProgressDeadlineSeconds: &three,
		},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 3, UpdatedReplicas: 3, ReadyReplicas: 3, AvailableReplicas: 3, Conditions: []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, LastUpdateTime: at, LastTransitionTime: at, Reason: "MinimumReplicasAvailable", Message: "Deployment has minimum availability."},
		}},
	}
}

func sampleConfigMap() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: sampleMeta("web", "kubectl-create"),
		Data: map[string]string{"web.conf": strings.Repeat("listen = \"0.0.0.0:8080\"\n", 10), "motd": "Grüße"},
	}
}

func sampleNode() *corev1.Node {
	at := metav1.NewTime(time.Date(2026, 3, 4, 5, 6, 8, 0, time.UTC))
	room := corev1.ResourceList{"cpu": resource.MustParse("8"), "memory": resource.MustParse("32780156Ki"), "pods": resource.MustParse("110"), "ephemeral-storage": resource.MustParse("101430960Ki")}
	n := &corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: sampleMeta("node-1", "agent"),
		Spec: corev1.NodeSpec{PodCIDR: "10.244.1.0/24", PodCIDRs: []string{"10.244.1.0/24"}},
		Status: corev1.NodeStatus{
			Capacity: room, Allocatable: room, Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.10"}, {Type: corev1.NodeHostName, Address: "node-1"}},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: 10250}},
			NodeInfo:        corev1.NodeSystemInfo{Architecture: "amd64", OperatingSystem: "linux", KernelVersion: "6.12.0", KubeletVersion: "v1.37.0"},
		},
	}
	for _, c := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure, corev1.NodeReady} {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: c, Status: corev1.ConditionFalse, LastHeartbeatTime: at, LastTransitionTime: at, Reason: "AgentHasEnough", Message: "the agent has what it needs"})
	}
	for _, i := range []string{"web:1.2.3", "db:16", "pause:3.10"} {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{"registry.example.com/shop/" + i}, SizeBytes: 12345678})
	}
	return n
}

func samples() map[string]apimachinery.Object {
	return map[string]apimachinery.Object{"pod": samplePod(), "deployment": sampleDeployment(), "configmap": sampleConfigMap(), "node": sampleNode()}
}

var sampleNames = []string{"pod", "deployment", "configmap", "node"}

// BenchmarkEncode writes objects as they are stored.
func BenchmarkEncode(b *testing.B) {
	for _, name := range sampleNames {
		o := samples()[name]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var raw []byte
			for b.Loop() {
				var err error
				if raw, err = apimachinery.Encode(o); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(raw)), "bytes")
		})
	}
}

// BenchmarkQuickDecoder reads them, strictly and loosely.
func BenchmarkQuickDecoder(b *testing.B) {
	q := apimachinery.NewQuickDecoder()
	for _, name := range sampleNames {
		o := samples()[name]
		raw, err := json.Marshal(o)
		require.NoError(b, err)
		fresh := func() apimachinery.Object {
			switch o.(type) {
			case *corev1.Pod:
				return &corev1.Pod{}
			case *appsv1.Deployment:
				return &appsv1.Deployment{}
			case *corev1.ConfigMap:
				return &corev1.ConfigMap{}
			default:
				return &corev1.Node{}
			}
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := q.Decode(raw, fresh()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+" loose", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := q.DecodeLoose(raw, fresh()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
