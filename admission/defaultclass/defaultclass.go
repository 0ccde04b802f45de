// Package defaultclass has the admission plugins that give a class to what names none: a StorageClass to claims, and an
// IngressClass to Ingresses, as Kubernetes does. The default is the class that is annotated so, the newest if there
// are several.
package defaultclass

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

const (
	// StorageName and IngressName are the plugins'.
	StorageName = "DefaultStorageClass"
	IngressName = "DefaultIngressClass"

	storageAnnotation      = "storageclass.kubernetes.io/is-default-class"
	olderStorageAnnotation = "storageclass.beta.kubernetes.io/is-default-class"
	olderIngressClass      = "kubernetes.io/ingress.class"
)

// StorageClasses lists all of them. What it returns is only read.
type StorageClasses interface {
	StorageClasses(ctx context.Context) ([]*storagev1.StorageClass, error)
}

// IngressClasses lists all of them. What it returns is only read.
type IngressClasses interface {
	IngressClasses(ctx context.Context) ([]*networkingv1.IngressClass, error)
}

// ForClaims returns the plugin for PersistentVolumeClaims that are created. An empty name of a class, or one in the
// older annotation, is a name.
func ForClaims(classes StorageClasses) apimachinery.Plugin {
	return apimachinery.Plugin{Name: StorageName, Mutate: &claims{classes}}
}

type claims struct{ classes StorageClasses }

// Mutate implements [apimachinery.Mutator].
func (p *claims) Mutate(ctx context.Context, a *apimachinery.Admission) error {
	c, ok := a.Object.(*corev1.PersistentVolumeClaim)
	if !ok || !created(a) || c.Spec.StorageClassName != nil {
		return nil
	}
	if _, named := c.Annotations[corev1.BetaStorageClassAnnotation]; named {
		return nil
	}
	all, err := p.classes.StorageClasses(ctx)
	if err != nil {
		return fmt.Errorf("look for the default StorageClass: %w", err)
	}
	c.Spec.StorageClassName = newest(all, storageAnnotation, olderStorageAnnotation)
	return nil
}

// ForIngresses returns the plugin for Ingresses that are created. A class in the older annotation is a class.
func ForIngresses(classes IngressClasses) apimachinery.Plugin {
	return apimachinery.Plugin{Name: IngressName, Mutate: &ingresses{classes}}
}

type ingresses struct{ classes IngressClasses }

// Mutate implements [apimachinery.Mutator].
func (p *ingresses) Mutate(ctx context.Context, a *apimachinery.Admission) error {
	i, ok := a.Object.(*networkingv1.Ingress)
	if !ok || !created(a) || i.Spec.IngressClassName != nil {
		return nil
	}
	if _, named := i.Annotations[olderIngressClass]; named {
		return nil
	}
	all, err := p.classes.IngressClasses(ctx)
	if err != nil {
		return fmt.Errorf("look for the default IngressClass: %w", err)
	}
	i.Spec.IngressClassName = newest(all, networkingv1.AnnotationIsDefaultIngressClass)
	return nil
}

func created(a *apimachinery.Admission) bool { return a.Operation == "CREATE" && a.Sub == "" }

// newest is the name of the newest object that has one of the annotations, of two as old the first by name; nil: none
// has.
func newest[T apimachinery.Object](all []T, annotations ...string) *string {
	var name string
	var found apimachinery.Object
	for _, o := range all {
		if isDefault(o, annotations) && (found == nil || before(o, found)) {
			found, name = o, o.GetName()
		}
	}
	if found == nil {
		return nil
	}
	return &name
}

func isDefault(o apimachinery.Object, annotations []string) bool {
	for _, a := range annotations {
		if o.GetAnnotations()[a] == "true" {
			return true
		}
	}
	return false
}

func before(a, b apimachinery.Object) bool {
	at, bt := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	if at.Equal(&bt) {
		return a.GetName() < b.GetName()
	}
	return at.After(bt.Time)
}
