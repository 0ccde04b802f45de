package serviceaccount_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/admission/serviceaccount"
	"github.com/bedplate/bedplate/apimachinery"
)

func accounts(_ context.Context, ns, name string) (*corev1.ServiceAccount, error) {
	no := false
	sa := &corev1.ServiceAccount{}
	sa.Namespace, sa.Name = ns, name
	switch name {
	case "missing":
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccounts"}, name)
	case "broken":
		return nil, errors.New("boom")
	case "shy":
		sa.AutomountServiceAccountToken = &no
	case "puller":
		sa.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
	}
	return sa, nil
}

func admit(t require.TestingT, pod *corev1.Pod) error {
	p := serviceaccount.New(serviceaccount.AccountsFunc(accounts))
	a := &apimachinery.Admission{Operation: "CREATE", Resource: corev1.SchemeGroupVersion.WithResource("pods"), Namespace: "ns", Name: "p", Object: pod}
	for range 2 { // idempotent
		if err := p.Mutate.Mutate(context.Background(), a); err != nil {
			return err
		}
	}
	return p.Validate.Validate(context.Background(), a)
}

func pod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}, InitContainers: []corev1.Container{{Name: "i"}}}}
	if change != nil {
		change(p)
	}
	return p
}

func TestTokenIsMountedAsKubernetesDoes(t *testing.T) {
	p := pod(nil)
	require.NoError(t, admit(t, p))
	require.Equal(t, "default", p.Spec.ServiceAccountName)
	require.Equal(t, "default", p.Spec.DeprecatedServiceAccount)
	require.Len(t, p.Spec.Volumes, 1)
	name := p.Spec.Volumes[0].Name
	require.Regexp(t, `^kube-api-access-[a-z0-9]{5}$`, name)
	want := []corev1.VolumeMount{{Name: name, ReadOnly: true, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}}
	require.Equal(t, want, p.Spec.Containers[0].VolumeMounts)
	require.Equal(t, want, p.Spec.InitContainers[0].VolumeMounts)
	mode, life := int32(0o644), int64(3607)
	require.Equal(t, &corev1.ProjectedVolumeSource{DefaultMode: &mode, Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: &life, Path: "token"}},
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
	}}, p.Spec.Volumes[0].Projected)
}

func TestMounting(t *testing.T) {
	yes, no := true, false
	own := corev1.VolumeMount{Name: "mine", MountPath: serviceaccount.MountPath}
	for _, c := range []struct {
		name           string
		change         func(*corev1.Pod)
		volumes, inCon int
	}{
		{"pod says no", func(p *corev1.Pod) { p.Spec.AutomountServiceAccountToken = &no }, 0, 0},
		{"account says no", func(p *corev1.Pod) { p.Spec.ServiceAccountName = "shy" }, 0, 0},
		{"pod overrules account", func(p *corev1.Pod) { p.Spec.ServiceAccountName, p.Spec.AutomountServiceAccountToken = "shy", &yes }, 1, 1},
		{"container has its own", func(p *corev1.Pod) { p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{own} }, 1, 1},
		{"all have their own", func(p *corev1.Pod) {
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{own}
			p.Spec.InitContainers = nil
		}, 0, 1},
		{"a volume is there", func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{{Name: "kube-api-access-mine1"}} }, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pod(c.change)
			require.NoError(t, admit(t, p))
			require.Len(t, p.Spec.Volumes, c.volumes)
			require.Len(t, p.Spec.Containers[0].VolumeMounts, c.inCon)
		})
	}
}

func TestPullSecrets(t *testing.T) {
	p := pod(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "puller" })
	require.NoError(t, admit(t, p))
	require.Equal(t, []corev1.LocalObjectReference{{Name: "registry"}}, p.Spec.ImagePullSecrets)
	p = pod(func(p *corev1.Pod) {
		p.Spec.ServiceAccountName, p.Spec.ImagePullSecrets = "puller", []corev1.LocalObjectReference{{Name: "own"}}
	})
	require.NoError(t, admit(t, p))
	require.Equal(t, []corev1.LocalObjectReference{{Name: "own"}}, p.Spec.ImagePullSecrets)
}

func TestRefused(t *testing.T) {
	err := admit(t, pod(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "missing" }))
	require.True(t, apierrors.IsForbidden(err))
	require.EqualError(t, err, `pods "p" is forbidden: looking up service account ns/missing: serviceaccount "missing" not found`)
	err = admit(t, pod(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "broken" }))
	require.ErrorContains(t, err, "boom")
	require.False(t, apierrors.IsForbidden(err))

	mirror := func(change func(*corev1.PodSpec)) error {
		return admit(t, pod(func(p *corev1.Pod) {
			p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
			change(&p.Spec)
		}))
	}
	require.NoError(t, mirror(func(*corev1.PodSpec) {}))
	for _, change := range []func(*corev1.PodSpec){
		func(s *corev1.PodSpec) { s.ServiceAccountName = "default" },
		func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}}}
		},
		func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Projected: serviceaccount.TokenVolume()}}}
		},
	} {
		err := mirror(change)
		require.True(t, apierrors.IsForbidden(err))
		require.True(t, strings.Contains(err.Error(), "a mirror pod may not"))
	}
}

func TestOthersAreLeftAlone(t *testing.T) {
	p := serviceaccount.New(serviceaccount.AccountsFunc(accounts))
	for _, a := range []*apimachinery.Admission{
		{Operation: "UPDATE", Object: pod(nil)}, {Operation: "CREATE", Sub: "status", Object: pod(nil)}, {Operation: "CREATE", Object: &corev1.Node{}}, {Operation: "DELETE"},
	} {
		require.NoError(t, p.Mutate.Mutate(t.Context(), a))
		require.NoError(t, p.Validate.Validate(t.Context(), a))
		if got, ok := a.Object.(*corev1.Pod); ok {
			require.Equal(t, pod(nil), got)
		}
	}
}

func Example() {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web"}}}}
	err := admit(nil, p)
	fmt.Println(p.Spec.ServiceAccountName, p.Spec.Containers[0].VolumeMounts[0].MountPath, err)
	// Output: default /var/run/secrets/kubernetes.io/serviceaccount <nil>
}
