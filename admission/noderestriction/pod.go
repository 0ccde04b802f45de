package noderestriction

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/bedplate/bedplate/apimachinery"
)

// pod allows mirror pods to be created, and pods of this node to be deleted.
func (w *write) pod(ctx context.Context) error {
	switch w.Operation {
	case "CREATE":
		p, ok := w.Object.(*corev1.Pod)
		if !ok {
			return fmt.Errorf("node %q may only create pods as pods", w.node)
		}
		return w.mirror(ctx, p)
	case "DELETE":
		return w.onThisNode(w.Old, "delete")
	}
	return fmt.Errorf("node %q may not update pods", w.node)
}

func (w *write) onThisNode(o apimachinery.Object, verb string) error {
	if p, ok := o.(*corev1.Pod); !ok || p.Spec.NodeName != w.node {
		return fmt.Errorf("node %q can only %s pods with spec.nodeName set to itself", w.node, verb)
	}
	return nil
}

// mirror checks the image of a static pod: it belongs to its node, and takes nothing from the API.
func (w *write) mirror(ctx context.Context, p *corev1.Pod) error {
	if _, ok := p.Annotations[corev1.MirrorPodAnnotationKey]; !ok {
		return fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, w.node)
	}
	if err := w.onThisNode(p, "create"); err != nil {
		return err
	}
	if err := w.ownedByNode(ctx, p); err != nil {
		return err
	}
	if what := refersTo(&p.Spec); what != "" {
		return fmt.Errorf("node %q can not create pods that reference %s", w.node, what)
	}
	return nil
}

func (w *write) ownedByNode(ctx context.Context, p *corev1.Pod) error {
	if len(p.OwnerReferences) != 1 {
		return fmt.Errorf("node %q can only create pods with a single owner reference set to itself", w.node)
	}
	o := p.OwnerReferences[0]
	if o.APIVersion != "v1" || o.Kind != "Node" || o.Name != w.node || o.Controller == nil || !*o.Controller {
		return fmt.Errorf("node %q can only create pods with an owner reference set to itself", w.node)
	}
	if o.BlockOwnerDeletion != nil && *o.BlockOwnerDeletion {
		return fmt.Errorf("node %q must not set blockOwnerDeletion on an owner reference", w.node)
	}
	n, err := w.lookup.Node(ctx, w.node)
	if err != nil {
		return err
	}
	if n.UID != o.UID {
		return fmt.Errorf("node %s UID mismatch: expected %s got %s", w.node, n.UID, o.UID)
	}
	return nil
}

// refersTo says what a pod takes from the API, container environments included; empty: nothing.
func refersTo(s *corev1.PodSpec) string {
	if s.ServiceAccountName != "" {
		return "a service account"
	}
	if len(s.ImagePullSecrets) > 0 {
		return "secrets"
	}
	if len(s.ResourceClaims) > 0 {
		return "resourceclaims"
	}
	for i := range s.Volumes {
		if !localVolume(&s.Volumes[i].VolumeSource) {
			return "objects of the API in volumes"
		}
	}
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			if !localEnv(list[i].Env, list[i].EnvFrom) {
				return "secrets or configmaps in environments"
			}
		}
	}
	for i := range s.EphemeralContainers {
		if c := &s.EphemeralContainers[i]; !localEnv(c.Env, c.EnvFrom) {
			return "secrets or configmaps in environments"
		}
	}
	return ""
}

// localVolume allows the volumes that need nothing but the node.
func localVolume(v *corev1.VolumeSource) bool {
	if v.Projected != nil {
		for _, s := range v.Projected.Sources {
			if s.DownwardAPI == nil || s.Secret != nil || s.ConfigMap != nil || s.ServiceAccountToken != nil || s.ClusterTrustBundle != nil || s.PodCertificate != nil {
				return false
			}
		}
		return true
	}
	return v.HostPath != nil || v.EmptyDir != nil || v.DownwardAPI != nil || v.Image != nil
}

func localEnv(env []corev1.EnvVar, from []corev1.EnvFromSource) bool {
	for i := range env {
		if v := env[i].ValueFrom; v != nil && (v.SecretKeyRef != nil || v.ConfigMapKeyRef != nil) {
			return false
		}
	}
	return len(from) == 0
}

// podStatus allows the status of this node's pods to be written, and nothing else of them.
func (w *write) podStatus() error {
	if w.Operation != "UPDATE" {
		return fmt.Errorf("unexpected operation %q", w.Operation)
	}
	if err := w.onThisNode(w.Old, "update the status of"); err != nil {
		return err
	}
	n, ok := w.Object.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("node %q may only write the status of pods as pods", w.node)
	}
	o := w.Old.(*corev1.Pod)
	switch {
	case !equality.Semantic.DeepEqual(n.Labels, o.Labels):
		return fmt.Errorf("node %q cannot update labels through pod status", w.node)
	case !sameMeta(n, o) || !equality.Semantic.DeepEqual(n.Annotations, o.Annotations):
		return fmt.Errorf("node %q cannot update metadata through pod status", w.node)
	case !equality.Semantic.DeepEqual(n.Spec, o.Spec):
		return fmt.Errorf("node %q cannot update spec through pod status", w.node)
	case !equality.Semantic.DeepEqual(n.Status.ResourceClaimStatuses, o.Status.ResourceClaimStatuses):
		return fmt.Errorf("node %q cannot update resource claim statuses", w.node)
	}
	return nil
}

// sameMeta compares the metadata that no node may write: names, owners, finalizers and the server's own.
func sameMeta(n, o apimachinery.Object) bool {
	return n.GetName() == o.GetName() && n.GetNamespace() == o.GetNamespace() && n.GetUID() == o.GetUID() &&
		equality.Semantic.DeepEqual(n.GetOwnerReferences(), o.GetOwnerReferences()) &&
		equality.Semantic.DeepEqual(n.GetFinalizers(), o.GetFinalizers())
}

func (w *write) eviction(ctx context.Context) error {
	if w.Operation != "CREATE" {
		return fmt.Errorf("unexpected operation %s", w.Operation)
	}
	if w.Name == "" {
		return errors.New("could not determine pod from request data")
	}
	p, ok := w.Parent.(*corev1.Pod)
	if !ok {
		var err error
		if p, err = w.lookup.Pod(ctx, w.Namespace, w.Name); err != nil {
			return err
		}
	}
	return w.onThisNode(p, "evict")
}
