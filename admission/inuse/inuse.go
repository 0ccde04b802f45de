// Package inuse is the admission plugin that keeps storage from vanishing under its users: it gives new claims,
// volumes and VolumeAttributesClasses a finalizer, as Kubernetes does. A controller takes it off when nobody uses them
// any more: without one they can't be deleted, so have this plugin only where there is such a controller.
package inuse

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// Name is the plugin's.
const Name = "StorageObjectInUseProtection"

// The finalizers.
const (
	Claim  = "kubernetes.io/pvc-protection"
	Volume = "kubernetes.io/pv-protection"
	Class  = "kubernetes.io/vac-protection"
)

// New returns the plugin.
func New() apimachinery.Plugin { return apimachinery.Plugin{Name: Name, Mutate: plugin{}} }

type plugin struct{}

// Mutate implements [apimachinery.Mutator].
func (plugin) Mutate(_ context.Context, a *apimachinery.Admission) error {
	finalizer := finalizerOf(a.Object)
	if finalizer == "" || a.Operation != "CREATE" || a.Sub != "" {
		return nil
	}
	if have := a.Object.GetFinalizers(); !slices.Contains(have, finalizer) {
		a.Object.SetFinalizers(append(slices.Clip(have), finalizer))
	}
	return nil
}

func finalizerOf(o apimachinery.Object) string {
	switch o.(type) {
	case *corev1.PersistentVolumeClaim:
		return Claim
	case *corev1.PersistentVolume:
		return Volume
	case *storagev1.VolumeAttributesClass:
		return Class
	}
	return ""
}
