package bedplate_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
)

func meta(name string, annotations ...string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Name: name}
	if len(annotations) > 0 {
		m.Annotations = map[string]string{annotations[0]: annotations[1]}
	}
	return m
}

// TestClasses: what pods and Ingresses say of classes, or don't, they get from them.
func TestClasses(t *testing.T) {
	ctx, c := t.Context(), start(t, bedplate.Config{}).Client()
	priorities := client.For[*schedulingv1.PriorityClass](c)
	critical, err := priorities.Get(ctx, "", "system-node-critical")
	require.NoError(t, err)
	require.EqualValues(t, 2_000_001_000, critical.Value)
	_, err = priorities.Get(ctx, "", "system-cluster-critical")
	require.NoError(t, err)
	_, err = priorities.Create(ctx, &schedulingv1.PriorityClass{ObjectMeta: meta("high"), Value: 100})
	require.NoError(t, err)
	_, err = client.For[*nodev1.RuntimeClass](c).Create(ctx, &nodev1.RuntimeClass{
		ObjectMeta: meta("sandbox"), Handler: "s", Overhead: &nodev1.Overhead{PodFixed: corev1.ResourceList{"cpu": resource.MustParse("100m")}},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"sandbox": "yes"}},
	})
	require.NoError(t, err)

	pods := client.For[*corev1.Pod](c)
	sandbox := "sandbox"
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
		Spec: corev1.PodSpec{
			PriorityClassName: "high", RuntimeClassName: &sandbox, Containers: []corev1.Container{{Name: "c", Image: "i"}},
			AutomountServiceAccountToken: new(bool), ServiceAccountName: "default",
		},
	}
	_, err = client.For[*corev1.ServiceAccount](c).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}})
	require.True(t, err == nil || apierrors.IsAlreadyExists(err), "%v", err)
	got, err := pods.Create(ctx, pod)
	require.NoError(t, err)
	require.EqualValues(t, 100, *got.Spec.Priority)
	require.Equal(t, corev1.PreemptLowerPriority, *got.Spec.PreemptionPolicy)
	require.Equal(t, "100m", got.Spec.Overhead.Cpu().String())
	require.Equal(t, map[string]string{"sandbox": "yes"}, got.Spec.NodeSelector)

	_, err = priorities.Create(ctx, &schedulingv1.PriorityClass{ObjectMeta: meta("one"), Value: 1, GlobalDefault: true})
	require.NoError(t, err)
	_, err = priorities.Create(ctx, &schedulingv1.PriorityClass{ObjectMeta: meta("two"), Value: 2, GlobalDefault: true})
	require.True(t, apierrors.IsForbidden(err), "%v", err)

	_, err = client.For[*networkingv1.IngressClass](c).Create(ctx, &networkingv1.IngressClass{
		ObjectMeta: meta("nginx", networkingv1.AnnotationIsDefaultIngressClass, "true"), Spec: networkingv1.IngressClassSpec{Controller: "example.com/x"},
	})
	require.NoError(t, err)
	i, err := client.For[*networkingv1.Ingress](c).Create(ctx, &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
		}},
	})
	require.NoError(t, err)
	require.Equal(t, "nginx", *i.Spec.IngressClassName)
}

func signingRequest(t *testing.T, subject pkix.Name) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// TestSigningRequests: who asks is known by the request, and approving takes a right on the signer.
func TestSigningRequests(t *testing.T) {
	ctx, p := t.Context(), start(t, bedplate.Config{})
	alice := apimachinery.User{Name: "alice", UID: "u1", Groups: []string{"system:masters", "devs"}, Extra: map[string][]string{"k": {"v"}}}
	requests := client.For[*certificatesv1.CertificateSigningRequest](client.New(p.As(alice), p.Registry()))
	r := &certificatesv1.CertificateSigningRequest{ObjectMeta: meta("r"), Spec: certificatesv1.CertificateSigningRequestSpec{
		Request: signingRequest(t, pkix.Name{CommonName: "x"}), SignerName: certificatesv1.KubeAPIServerClientSignerName,
		Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}, Username: "root", Groups: []string{"others"},
	}}
	got, err := requests.Create(ctx, r)
	require.NoError(t, err)
	require.Equal(t, "alice", got.Spec.Username)
	require.Equal(t, "u1", got.Spec.UID)
	require.Subset(t, got.Spec.Groups, alice.Groups)
	require.NotContains(t, got.Spec.Groups, "others")
	require.Equal(t, certificatesv1.ExtraValue{"v"}, got.Spec.Extra["k"])

	r.Name, r.Spec.Request = "masters", signingRequest(t, pkix.Name{Organization: []string{"system:masters"}})
	_, err = requests.Create(ctx, r)
	require.True(t, apierrors.IsForbidden(err), "%v", err)

	got.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: "True", Reason: "r"}}
	_, err = requests.UpdateStatus(ctx, got)
	require.True(t, apierrors.IsInvalid(err), "%v", err)
	approved, err := requests.UpdateSub(ctx, "approval", got)
	require.NoError(t, err)
	require.False(t, approved.Status.Conditions[0].LastTransitionTime.IsZero())
}
