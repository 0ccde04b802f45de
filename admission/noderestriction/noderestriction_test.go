package noderestriction_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/admission/noderestriction"
	"github.com/bedplate/bedplate/apimachinery"
)

type world struct{}

func (world) Pod(_ context.Context, ns, name string) (*corev1.Pod, error) {
	if name == "missing" {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name)
	}
	p := pod(nil)
	if name == "far" {
		p.Spec.NodeName = "n2"
	}
	return p, nil
}

func (world) Node(context.Context, string) (*corev1.Node, error) { return node(nil), nil }

func pod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "pod-1", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{NodeName: "n1", ServiceAccountName: "sa", Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault"}}},
		}}}}},
	}
	if change != nil {
		change(p)
	}
	return p
}

func mirror(change func(*corev1.Pod)) *corev1.Pod {
	yes := true
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: "m", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n1", UID: "node-1", Controller: &yes}},
	}, Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c"}}, Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}}}}}
	if change != nil {
		change(p)
	}
	return p
}

func node(change func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node-1", Labels: map[string]string{"kubernetes.io/hostname": "n1"}}, Spec: corev1.NodeSpec{PodCIDR: "10.0.0.0/24"}}
	if change != nil {
		change(n)
	}
	return n
}

func plugin(t require.TestingT) apimachinery.Validator {
	p, err := noderestriction.New(noderestriction.Config{Lookup: world{}, NodeOf: func(u *apimachinery.User) string {
		name, _ := strings.CutPrefix(u.Name, "system:node:")
		if name == u.Name {
			return ""
		}
		return name
	}})
	require.NoError(t, err)
	return p.Validate
}

// judge asks for n1, and makes sure that for somebody else nothing is refused.
func judge(t require.TestingT, a apimachinery.Admission) error {
	v := plugin(t)
	a.User.Name = "admin"
	require.NoError(t, v.Validate(context.Background(), &a))
	a.User.Name = "system:node:n1"
	err := v.Validate(context.Background(), &a)
	if err != nil {
		var status apierrors.APIStatus
		require.ErrorAs(t, err, &status)
	}
	return err
}

func in(group, resource, sub string) apimachinery.Admission {
	return apimachinery.Admission{Resource: schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}, Sub: sub}
}

func with(a apimachinery.Admission, op, ns, name string, object, old apimachinery.Object) apimachinery.Admission {
	a.Operation, a.Namespace, a.Name, a.Object, a.Old = op, ns, name, object, old
	return a
}

func TestMirrorPods(t *testing.T) {
	create := func(change func(*corev1.Pod)) error {
		return judge(t, with(in("", "pods", ""), "CREATE", "ns", "m", mirror(change), nil))
	}
	require.NoError(t, create(nil))
	volume := func(v corev1.VolumeSource) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{{VolumeSource: v}} }
	}
	secret := []corev1.EnvVar{{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{}}}}
	for name, change := range map[string]func(*corev1.Pod){
		"no mirror":        func(p *corev1.Pod) { p.Annotations = nil },
		"another node":     func(p *corev1.Pod) { p.Spec.NodeName = "n2" },
		"no node":          func(p *corev1.Pod) { p.Spec.NodeName = "" },
		"no owner":         func(p *corev1.Pod) { p.OwnerReferences = nil },
		"two owners":       func(p *corev1.Pod) { p.OwnerReferences = append(p.OwnerReferences, p.OwnerReferences[0]) },
		"another owner":    func(p *corev1.Pod) { p.OwnerReferences[0].Name = "n2" },
		"another kind":     func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "Deployment" },
		"older owner":      func(p *corev1.Pod) { p.OwnerReferences[0].UID = "node-0" },
		"no controller":    func(p *corev1.Pod) { p.OwnerReferences[0].Controller = nil },
		"blocks":           func(p *corev1.Pod) { p.OwnerReferences[0].BlockOwnerDeletion = p.OwnerReferences[0].Controller },
		"account":          func(p *corev1.Pod) { p.Spec.ServiceAccountName = "sa" },
		"pull secret":      func(p *corev1.Pod) { p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "s"}} },
		"resource claim":   func(p *corev1.Pod) { p.Spec.ResourceClaims = []corev1.PodResourceClaim{{}} },
		"secret volume":    volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}),
		"config volume":    volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}),
		"claim":            volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}),
		"csi":              volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{}}),
		"projected secret": volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{}}}}}),
		"projected token":  volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}}}}}),
		"environment":      func(p *corev1.Pod) { p.Spec.Containers[0].Env = secret },
		"init environment": func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Env: secret}} },
		"environment from": func(p *corev1.Pod) { p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{}} },
		"debug environment": func(p *corev1.Pod) {
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Env: secret}}}
		},
	} {
		require.True(t, apierrors.IsForbidden(create(change)), name)
	}
}

func TestPods(t *testing.T) {
	far := pod(func(p *corev1.Pod) { p.Spec.NodeName = "n2" })
	status := func(change func(*corev1.Pod)) apimachinery.Admission {
		return with(in("", "pods", "status"), "UPDATE", "ns", "p", pod(change), pod(nil))
	}
	eviction := func(parent apimachinery.Object, name string) apimachinery.Admission {
		a := with(in("", "pods", "eviction"), "CREATE", "ns", name, nil, nil)
		a.Parent = parent
		return a
	}
	for _, c := range []struct {
		name string
		a    apimachinery.Admission
		ok   bool
	}{
		{"delete", with(in("", "pods", ""), "DELETE", "ns", "p", nil, pod(nil)), true},
		{"delete another's", with(in("", "pods", ""), "DELETE", "ns", "p", nil, far), false},
		{"delete what is not known", with(in("", "pods", ""), "DELETE", "ns", "p", nil, nil), false},
		{"update", with(in("", "pods", ""), "UPDATE", "ns", "p", pod(nil), pod(nil)), false},
		{"status", status(func(p *corev1.Pod) { p.Status.Phase = "Running" }), true},
		{"another's status", with(in("", "pods", "status"), "UPDATE", "ns", "p", pod(nil), far), false},
		{"labels", status(func(p *corev1.Pod) { p.Labels = nil }), false},
		{"annotations", status(func(p *corev1.Pod) { p.Annotations = map[string]string{"a": "b"} }), false},
		{"owners", status(func(p *corev1.Pod) { p.OwnerReferences = []metav1.OwnerReference{{}} }), false},
		{"finalizers", status(func(p *corev1.Pod) { p.Finalizers = []string{"x"} }), false},
		{"spec", status(func(p *corev1.Pod) { p.Spec.HostPID = true }), false},
		{"claims", status(func(p *corev1.Pod) { p.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{}} }), false},
		{"managed fields", status(func(p *corev1.Pod) { p.ManagedFields = []metav1.ManagedFieldsEntry{{}} }), true},
		{"evict", eviction(pod(nil), "p"), true},
		{"evict by name", eviction(nil, "p"), true},
		{"evict another's", eviction(far, "p"), false},
		{"evict another's by name", eviction(nil, "far"), false},
		{"evict nothing", eviction(nil, ""), false},
		{"bind", with(in("", "pods", "binding"), "CREATE", "ns", "p", nil, nil), false},
		{"exec", with(in("", "pods", "exec"), "CONNECT", "ns", "p", nil, nil), false},
		{"ephemeral containers", with(in("", "pods", "ephemeralcontainers"), "UPDATE", "ns", "p", pod(nil), pod(nil)), false},
		{"resize", with(in("", "pods", "resize"), "UPDATE", "ns", "p", pod(nil), pod(nil)), false},
	} {
		require.Equal(t, c.ok, judge(t, c.a) == nil, c.name)
	}
}

func TestOwnNode(t *testing.T) {
	for _, c := range []struct {
		name           string
		change         func(*corev1.Node)
		create, update bool
	}{
		{"nothing", nil, true, true},
		{"owners", func(n *corev1.Node) { n.OwnerReferences = []metav1.OwnerReference{{Name: "cm"}} }, false, false},
		{"finalizers", func(n *corev1.Node) { n.Finalizers = []string{"x"} }, false, false},
		{"taints", func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "k"}} }, true, false},
		{"unschedulable", func(n *corev1.Node) { n.Spec.Unschedulable = true }, true, false},
		{"pod addresses", func(n *corev1.Node) { n.Spec.PodCIDR = "10.9.0.0/16" }, true, false},
		{"provider", func(n *corev1.Node) { n.Spec.ProviderID = "x://y" }, true, true},
		{"config source", func(n *corev1.Node) { n.Spec.ConfigSource = &corev1.NodeConfigSource{} }, false, false},
		{"status", func(n *corev1.Node) { n.Status.Phase = "Running" }, true, true},
		{"annotation", func(n *corev1.Node) { n.Annotations = map[string]string{"a": "b"} }, true, true},
		{"own label", label("disk"), true, true},
		{"company label", label("example.org/disk"), true, true},
		{"zone", label("topology.kubernetes.io/zone"), true, true},
		{"kubelet label", label("node.kubernetes.io/x"), true, true},
		{"kubelet label below", label("a.kubelet.kubernetes.io/x"), true, true},
		{"restricted label", label("node-restriction.kubernetes.io/x"), false, false},
		{"restricted label below", label("a.node-restriction.kubernetes.io/x"), false, false},
		{"role", label("node-role.kubernetes.io/control-plane"), false, false},
		{"kubernetes label", label("kubernetes.io/x"), false, false},
		{"k8s label", label("a.k8s.io/x"), false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.create, judge(t, with(in("", "nodes", ""), "CREATE", "", "n1", node(c.change), nil)) == nil, "create")
			require.Equal(t, c.update, judge(t, with(in("", "nodes", ""), "UPDATE", "", "n1", node(c.change), node(nil))) == nil, "update")
			require.Equal(t, c.update, judge(t, with(in("", "nodes", "status"), "UPDATE", "", "n1", node(c.change), node(nil))) == nil, "status")
		})
	}
	taken := with(in("", "nodes", ""), "UPDATE", "", "n1", node(nil), node(label("node-restriction.kubernetes.io/x")))
	require.Error(t, judge(t, taken), "to take a label away is to change it")
	require.Error(t, judge(t, with(in("", "nodes", ""), "CREATE", "", "n2", node(func(n *corev1.Node) { n.Name = "n2" }), nil)))
	require.Error(t, judge(t, with(in("", "nodes", ""), "UPDATE", "", "n2", node(nil), node(nil))))
	require.Error(t, judge(t, with(in("", "nodes", ""), "DELETE", "", "n1", nil, node(nil))))
	require.Error(t, judge(t, with(in("", "nodes", "proxy"), "CONNECT", "", "n1", nil, nil)))
}

func label(key string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Labels[key] = "v" }
}

// TestEveryFieldOfANode sets each field of metadata and spec that a node could reach, one at a time: none but the
// allowed ones may change (FAILURES 34).
func TestEveryFieldOfANode(t *testing.T) {
	allowed := map[string]bool{"Spec.ProviderID": true, "ObjectMeta.Annotations": true, "ObjectMeta.Labels": true}
	server := map[string]bool{ // set by the server, whatever was sent
		"ObjectMeta.GenerateName": true, "ObjectMeta.SelfLink": true, "ObjectMeta.ResourceVersion": true, "ObjectMeta.Generation": true,
		"ObjectMeta.CreationTimestamp": true, "ObjectMeta.DeletionTimestamp": true, "ObjectMeta.DeletionGracePeriodSeconds": true, "ObjectMeta.ManagedFields": true,
	}
	for _, part := range []string{"ObjectMeta", "Spec"} {
		typ := reflect.ValueOf(node(nil)).Elem().FieldByName(part).Type()
		for i := range typ.NumField() {
			name := part + "." + typ.Field(i).Name
			if server[name] {
				continue
			}
			changed := node(nil)
			fill(reflect.ValueOf(changed).Elem().FieldByName(part).Field(i))
			err := judge(t, with(in("", "nodes", ""), "UPDATE", "", "n1", changed, node(nil)))
			require.Equal(t, allowed[name], err == nil, "%s: %v", name, err)
		}
	}
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("changed")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"kubernetes.io/hostname": "n1", "changed": "x"}))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Struct:
		if v.NumField() > 0 && v.Field(0).CanSet() {
			fill(v.Field(0))
		}
	}
}

func TestTokens(t *testing.T) {
	request := func(change func(*authenticationv1.TokenRequest)) apimachinery.Admission {
		r := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "pod-1"}}}
		change(r)
		return with(in("", "serviceaccounts", "token"), "CREATE", "ns", "sa", r, nil)
	}
	type change = func(*authenticationv1.TokenRequest)
	require.NoError(t, judge(t, request(func(*authenticationv1.TokenRequest) {})))
	require.NoError(t, judge(t, request(func(r *authenticationv1.TokenRequest) { r.Spec.Audiences = []string{"vault"} })))
	for name, c := range map[string]change{
		"not bound":        func(r *authenticationv1.TokenRequest) { r.Spec.BoundObjectRef = nil },
		"bound to a node":  func(r *authenticationv1.TokenRequest) { r.Spec.BoundObjectRef.Kind = "Node" },
		"no uid":           func(r *authenticationv1.TokenRequest) { r.Spec.BoundObjectRef.UID = "" },
		"older pod":        func(r *authenticationv1.TokenRequest) { r.Spec.BoundObjectRef.UID = "pod-0" },
		"another's pod":    func(r *authenticationv1.TokenRequest) { r.Spec.BoundObjectRef.Name = "far" },
		"missing pod":      func(r *authenticationv1.TokenRequest) { r.Spec.BoundObjectRef.Name = "missing" },
		"another audience": func(r *authenticationv1.TokenRequest) { r.Spec.Audiences = []string{"bank"} },
		"two audiences":    func(r *authenticationv1.TokenRequest) { r.Spec.Audiences = []string{"vault", ""} },
	} {
		require.Error(t, judge(t, request(c)), name)
	}
	other := request(func(*authenticationv1.TokenRequest) {})
	other.Name = "admin"
	require.Error(t, judge(t, other), "another account's token")
	other.Object = nil
	require.Error(t, judge(t, other))
}

func TestOthers(t *testing.T) {
	lease := &coordinationv1.Lease{}
	for _, c := range []struct {
		a  apimachinery.Admission
		ok bool
	}{
		{with(in("coordination.k8s.io", "leases", ""), "CREATE", "kube-node-lease", "n1", lease, nil), true},
		{with(in("coordination.k8s.io", "leases", ""), "CREATE", "kube-node-lease", "n2", lease, nil), false},
		{with(in("coordination.k8s.io", "leases", ""), "UPDATE", "kube-system", "n1", lease, lease), false},
		{with(in("storage.k8s.io", "csinodes", ""), "CREATE", "", "n1", nil, nil), true},
		{with(in("storage.k8s.io", "csinodes", ""), "DELETE", "", "n2", nil, nil), false},
		{with(in("", "events", ""), "CREATE", "ns", "e", nil, nil), true},
		{with(in("authorization.k8s.io", "subjectaccessreviews", ""), "CREATE", "", "", nil, nil), true},
		{with(in("", "configmaps", ""), "UPDATE", "ns", "c", nil, nil), false},
		{with(in("", "secrets", ""), "DELETE", "ns", "c", nil, nil), false},
		{with(in("rbac.authorization.k8s.io", "clusterroles", ""), "CREATE", "", "c", nil, nil), false},
		{with(in("example.org", "pods", ""), "CREATE", "ns", "c", nil, nil), false},
	} {
		require.Equal(t, c.ok, judge(t, c.a) == nil, "%+v", c.a)
	}
	_, err := noderestriction.New(noderestriction.Config{})
	require.Error(t, err)
}

func Example() {
	tainted := node(func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "mine"}} })
	fmt.Println(judge(nil, with(in("", "nodes", ""), "UPDATE", "", "n1", tainted, node(nil))))
	// Output: nodes "n1" is forbidden: node "n1" is not allowed to modify taints
}
