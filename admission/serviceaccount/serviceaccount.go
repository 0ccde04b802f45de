// Package serviceaccount is the admission plugin that gives each pod a service account and mounts its token, the
// cluster's certificate and the namespace at [MountPath], as Kubernetes does.
package serviceaccount

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/bedplate/bedplate/apimachinery"
)

const (
	// Name is the plugin's.
	Name = "ServiceAccount"
	// MountPath is where containers find their token.
	MountPath = "/var/run/secrets/kubernetes.io/serviceaccount"
	// RootCA is the ConfigMap of every namespace that holds the cluster's certificate.
	RootCA = "kube-root-ca.crt"
	// TokenSeconds is the life of a mounted token.
	TokenSeconds = 3607

	defaultAccount = "default"
	volumePrefix   = "kube-api-access-"
)

// Accounts finds a service account; an apierrors NotFound if there is none. The result is only read.
type Accounts interface {
	ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
}

// AccountsFunc adapts a function to [Accounts].
type AccountsFunc func(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)

// ServiceAccount calls f.
func (f AccountsFunc) ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	return f(ctx, namespace, name)
}

// New returns the plugin. A pod whose service account doesn't exist (yet) is refused.
func New(accounts Accounts) apimachinery.Plugin {
	p := &plugin{accounts}
	return apimachinery.Plugin{Name: Name, Mutate: p, Validate: p}
}

type plugin struct{ accounts Accounts }

// podOf returns the pod that is being created, nil if it is something else.
func podOf(a *apimachinery.Admission) *corev1.Pod {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok || a.Operation != "CREATE" || a.Sub != "" {
		return nil
	}
	return pod
}

func isMirror(pod *corev1.Pod) bool {
	_, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

// Mutate implements [apimachinery.Mutator]. A mirror pod is left alone: its node has made it already.
func (p *plugin) Mutate(ctx context.Context, a *apimachinery.Admission) error {
	pod := podOf(a)
	if pod == nil || isMirror(pod) {
		return nil
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	sa, err := p.account(ctx, a, pod)
	if err != nil {
		return err
	}
	if mounts(sa, pod) {
		mount(pod)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(sa.ImagePullSecrets)
	}
	return nil
}

func (p *plugin) account(ctx context.Context, a *apimachinery.Admission, pod *corev1.Pod) (*corev1.ServiceAccount, error) {
	sa, err := p.accounts.ServiceAccount(ctx, a.Namespace, pod.Spec.ServiceAccountName)
	if apierrors.IsNotFound(err) {
		return nil, forbidden(a, fmt.Errorf("looking up service account %s/%s: serviceaccount %q not found", a.Namespace, pod.Spec.ServiceAccountName, pod.Spec.ServiceAccountName))
	}
	if err != nil {
		return nil, fmt.Errorf("look up service account %s/%s: %w", a.Namespace, pod.Spec.ServiceAccountName, err)
	}
	return sa, nil
}

func forbidden(a *apimachinery.Admission, err error) error {
	return apierrors.NewForbidden(a.Resource.GroupResource(), a.Name, err)
}

// mounts says whether a pod wants its token: it says so itself, or its account does, or nobody objects.
func mounts(sa *corev1.ServiceAccount, pod *corev1.Pod) bool {
	if pod.Spec.AutomountServiceAccountToken != nil {
		return *pod.Spec.AutomountServiceAccountToken
	}
	return sa.AutomountServiceAccountToken == nil || *sa.AutomountServiceAccountToken
}

// mount adds the volume, and a mount to each container that has none at that path.
func mount(pod *corev1.Pod) {
	name, there := "", false
	for i := range pod.Spec.Volumes {
		if strings.HasPrefix(pod.Spec.Volumes[i].Name, volumePrefix) {
			name, there = pod.Spec.Volumes[i].Name, true
			break
		}
	}
	if !there {
		name = volumePrefix + rand.String(5)
	}
	needed := false
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			needed = mountInto(&list[i], name) || needed
		}
	}
	if needed && !there {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: TokenVolume()}})
	}
}

func mountInto(c *corev1.Container, volume string) bool {
	for i := range c.VolumeMounts {
		if c.VolumeMounts[i].MountPath == MountPath {
			return false
		}
	}
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume, ReadOnly: true, MountPath: MountPath})
	return true
}

// TokenVolume is the volume with token, ca.crt and namespace.
func TokenVolume() *corev1.ProjectedVolumeSource {
	mode, life := corev1.ProjectedVolumeSourceDefaultMode, int64(TokenSeconds)
	return &corev1.ProjectedVolumeSource{DefaultMode: &mode, Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &life}},
		{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: RootCA}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
		}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}},
		}}},
	}}
}

// Validate implements [apimachinery.Validator].
func (p *plugin) Validate(ctx context.Context, a *apimachinery.Admission) error {
	pod := podOf(a)
	if pod == nil {
		return nil
	}
	if isMirror(pod) {
		if why := mirrorRefers(pod); why != "" {
			return forbidden(a, errors.New("a mirror pod may not "+why))
		}
		return nil
	}
	if pod.Spec.ServiceAccountName == "" {
		return forbidden(a, errors.New("no service account specified for pod"))
	}
	_, err := p.account(ctx, a, pod)
	return err
}

// mirrorRefers says what a mirror pod refers to that only the API could give it.
func mirrorRefers(pod *corev1.Pod) string {
	if pod.Spec.ServiceAccountName != "" {
		return "reference service accounts"
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Secret != nil {
			return "reference secrets"
		}
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				return "use ServiceAccountToken volume projections"
			}
			if s.Secret != nil {
				return "reference secrets"
			}
		}
	}
	return ""
}
