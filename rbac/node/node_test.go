package node_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/rbac"
	"github.com/bedplate/bedplate/rbac/node"
)

type pods map[string][]*corev1.Pod

func (p pods) PodsOn(name string) iter.Seq[*corev1.Pod] { return slices.Values(p[name]) }

func fixture() pods {
	ref := func(n string) *corev1.LocalObjectReference { return &corev1.LocalObjectReference{Name: n} }
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: corev1.PodSpec{
		NodeName: "n1", ServiceAccountName: "sa", ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
		Volumes: []corev1.Volume{
			{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "vol"}}},
			{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: *ref("vol")}}},
			{VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{NodePublishSecretRef: ref("csi")}}},
			{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"}}},
			{Name: "eph", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
			{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{Secret: &corev1.SecretProjection{LocalObjectReference: *ref("proj")}}, {ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: *ref("proj")}},
			}}}},
		},
		InitContainers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: *ref("from")}}}}},
		Containers: []corev1.Container{{Env: []corev1.EnvVar{{ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: *ref("env")},
		}}, {ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: *ref("env")}}}}}},
		EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: *ref("debug")}}},
		}}},
	}}
	mirror := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "m", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}}, Spec: corev1.PodSpec{
		Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "stolen"}}}},
	}}
	return pods{"n1": {p, mirror}}
}

func user(name string) apimachinery.User {
	return apimachinery.User{Name: node.User(name), Groups: []string{rbac.NodesGroup, rbac.AuthenticatedGroup}}
}

// TestAllowList is the whole of what n1 may do; the same by n2, whose pods these aren't, is refused unless it is
// something that all nodes may.
func TestAllowList(t *testing.T) {
	z := node.New(fixture())
	for _, c := range []struct {
		what string // verb group/resource/sub namespace name [field selector]
		own  bool   // n1 may, n2 may not
		all  bool   // every node may
	}{
		{"get /secrets/ ns vol", true, false},
		{"watch /secrets/ ns proj", true, false},
		{"list /secrets/ ns from", true, false},
		{"get /secrets/ ns env", true, false},
		{"get /secrets/ ns csi", true, false},
		{"get /secrets/ ns pull", true, false},
		{"get /secrets/ ns debug", false, false},
		{"get /secrets/ ns stolen", false, false},
		{"get /secrets/ other vol", false, false},
		{"list /secrets/ ns -", false, false},
		{"list /secrets/ - -", false, false},
		{"update /secrets/ ns vol", false, false},
		{"delete /secrets/ ns vol", false, false},
		{"get /secrets/x ns vol", false, false},
		{"get /configmaps/ ns vol", true, false},
		{"get /configmaps/ ns proj", true, false},
		{"get /configmaps/ ns env", true, false},
		{"get /configmaps/ ns debug", true, false},
		{"get /configmaps/ ns pull", false, false},
		{"patch /configmaps/ ns vol", false, false},
		{"get /persistentvolumeclaims/ ns claim", true, false},
		{"get /persistentvolumeclaims/ ns p-eph", true, false},
		{"list /persistentvolumeclaims/ ns claim", false, false},
		{"create /serviceaccounts/token ns sa", true, false},
		{"create /serviceaccounts/token ns default", false, false},
		{"get /serviceaccounts/ ns sa", false, false},
		{"get /nodes/ - n1", true, false},
		{"list /nodes/ - n1", true, false},
		{"list /nodes/ - -", false, false},
		{"update /nodes/ - n1", true, false},
		{"patch /nodes/status - n1", true, false},
		{"create /nodes/ - -", false, true},
		{"delete /nodes/ - n1", false, false},
		{"get /nodes/proxy - n1", false, false},
		{"create /nodes/status - n1", false, false},
		{"get /pods/ ns p", true, false},
		{"delete /pods/ ns p", true, false},
		{"update /pods/ ns p", false, false},
		{"patch /pods/status ns p", true, false},
		{"patch /pods/status other p", false, false},
		{"create /pods/eviction ns p", true, false},
		{"create /pods/exec ns p", false, false},
		{"create /pods/binding ns p", false, false},
		{"create /pods/ ns -", false, true},
		{"list /pods/ - - spec.nodeName=n1", true, false},
		{"watch /pods/ - - spec.nodeName=n1,status.phase!=Failed", true, false},
		{"list /pods/ - - spec.nodeName!=n1", false, false},
		{"list /pods/ - -", false, false},
		{"deletecollection /pods/ - - spec.nodeName=n1", false, false},
		{"update coordination.k8s.io/leases/ kube-node-lease n1", true, false},
		{"create coordination.k8s.io/leases/ kube-node-lease -", false, true},
		{"update coordination.k8s.io/leases/ kube-system n1", false, false},
		{"get coordination.k8s.io/leases/ kube-node-lease other", false, false},
		{"update storage.k8s.io/csinodes/ - n1", true, false},
		{"get storage.k8s.io/volumeattachments/ - any", false, true},
		{"get /persistentvolumes/ - any", false, true},
		{"list /services/ - -", false, true},
		{"create /events/ ns -", false, true},
		{"list /events/ ns -", false, false},
		{"create authorization.k8s.io/subjectaccessreviews/ - -", false, true},
		{"list /namespaces/ - -", false, false},
		{"get rbac.authorization.k8s.io/clusterroles/ - admin", false, false},
		{"create apps/deployments/ ns -", false, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			require.Equal(t, c.own || c.all, ask(t, z, user("n1"), c.what), "n1")
			require.Equal(t, c.all, ask(t, z, user("n2"), c.what), "n2")
			require.False(t, ask(t, z, apimachinery.User{Name: node.User("n1")}, c.what), "without the group")
			require.False(t, ask(t, z, apimachinery.User{Name: "eve", Groups: []string{rbac.NodesGroup}}, c.what), "without a name")
		})
	}
}

func ask(t *testing.T, z apimachinery.Authorizer, u apimachinery.User, what string) bool {
	w := strings.Fields(strings.ReplaceAll(what, " -", " \x00") + " \x00")
	gr := strings.Split(w[1], "/")
	blank := func(s string) string { return strings.Trim(s, "\x00") }
	d, why, err := z.Authorize(t.Context(), &apimachinery.Attributes{
		User: u, Verb: w[0], Group: gr[0], Resource: gr[1], Sub: gr[2], Namespace: blank(w[2]), Name: blank(w[3]), FieldSelector: blank(w[4]),
	})
	require.NoError(t, err)
	require.NotEqual(t, apimachinery.Deny, d)
	if d != apimachinery.Allow && node.NameOf(&u) != "" {
		require.NotEmpty(t, why)
	}
	return d == apimachinery.Allow
}

func TestPaths(t *testing.T) {
	d, _, err := node.New(pods{}).Authorize(t.Context(), &apimachinery.Attributes{User: user("n1"), Verb: "get", Path: "/metrics"})
	require.NoError(t, err)
	require.Equal(t, apimachinery.NoOpinion, d)
}

func Example() {
	z := node.New(fixture())
	for _, secret := range []string{"env", "another"} {
		d, why, err := z.Authorize(context.Background(), &apimachinery.Attributes{
			User: user("n1"), Verb: "get", Resource: "secrets", Namespace: "ns", Name: secret,
		})
		fmt.Println(secret, d == apimachinery.Allow, why, err)
	}
	// Output:
	// env true  <nil>
	// another false no relationship found between node "n1" and this object <nil>
}

func BenchmarkSecretOf110Pods(b *testing.B) {
	p := pods{}
	for range 110 {
		p["n1"] = append(p["n1"], fixture()["n1"][0])
	}
	z := node.New(p)
	a := &apimachinery.Attributes{User: user("n1"), Verb: "get", Resource: "secrets", Namespace: "ns", Name: "none"}
	for b.Loop() {
		if _, _, err := z.Authorize(b.Context(), a); err != nil {
			b.Fatal(err)
		}
	}
}
