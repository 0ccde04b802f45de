package apimachinery

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

// SoundNewMeta says whether Kubernetes' validation of a new object's metadata (ValidateObjectMetaAccessor) would
// surely find nothing, in a small part of its time and without allocating. False means that it must be asked.
// validName is the kind's judgement of names; nil is that of most kinds: a DNS subdomain.
func SoundNewMeta(o metav1.Object, namespaced bool, validName validation.ValidateNameFunc) bool {
	if namespaced != (o.GetNamespace() != "") || namespaced && !forms.IsLabel(o.GetNamespace()) {
		return false
	}
	return o.GetGeneration() >= 0 && soundNames(o, validName) && soundParts(o)
}

// SoundMetaUpdate says whether Kubernetes' validation of an updated object's metadata
// (ValidateObjectMetaAccessorUpdate), and that of its finalizers, would surely find nothing, as [SoundNewMeta] does of
// a new object's. Of objects that are being deleted it always says no.
func SoundMetaUpdate(n, old metav1.Object) bool {
	switch {
	case n.GetDeletionTimestamp() != nil, old.GetDeletionTimestamp() != nil,
		n.GetDeletionGracePeriodSeconds() != nil, old.GetDeletionGracePeriodSeconds() != nil,
		n.GetResourceVersion() == "", n.GetGeneration() < max(old.GetGeneration(), 0),
		n.GetName() != old.GetName(), n.GetNamespace() != old.GetNamespace(), n.GetUID() != old.GetUID():
		return false
	}
	created, before := n.GetCreationTimestamp(), old.GetCreationTimestamp()
	return created.UTC() == before.UTC() && soundParts(n)
}

func soundNames(o metav1.Object, validName validation.ValidateNameFunc) bool {
	name, prefix := o.GetName(), o.GetGenerateName()
	if validName != nil {
		return name != "" && len(validName(name, false)) == 0 && (prefix == "" || len(validName(prefix, true)) == 0)
	}
	return forms.IsSubdomain(name) && (prefix == "" || forms.IsSubdomain(strings.TrimSuffix(prefix, "-")))
}

// soundParts judges what an object and its update must fulfil alike.
func soundParts(o metav1.Object) bool {
	return forms.AreLabels(o.GetLabels()) && forms.AreAnnotations(o.GetAnnotations()) &&
		soundOwners(o.GetOwnerReferences()) && soundFinalizers(o.GetFinalizers()) && soundManagers(o.GetManagedFields())
}

func soundOwners(owners []metav1.OwnerReference) bool {
	controllers := 0
	for i := range owners {
		r := &owners[i]
		group, version, grouped := strings.Cut(r.APIVersion, "/")
		if grouped && (group == "" || version == "" || strings.Contains(version, "/")) {
			return false
		}
		if r.APIVersion == "" || r.Kind == "" || r.Name == "" || r.UID == "" || r.Kind == "Event" {
			return false
		}
		if r.Controller != nil && *r.Controller {
			controllers++
		}
	}
	return controllers <= 1
}

func soundFinalizers(finalizers []string) bool {
	propagations := 0
	for _, f := range finalizers {
		if !forms.IsQualifiedName(f) {
			return false
		}
		if f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents {
			propagations++
		}
	}
	return propagations <= 1
}

func soundManagers(fields []metav1.ManagedFieldsEntry) bool {
	for i := range fields {
		f := &fields[i]
		switch {
		case f.Operation != metav1.ManagedFieldsOperationApply && f.Operation != metav1.ManagedFieldsOperationUpdate,
			f.FieldsType != "" && f.FieldsType != "FieldsV1", len(f.Subresource) > metavalidation.MaxSubresourceNameLength,
			len(f.Manager) > metavalidation.FieldManagerMaxLength, !printable(f.Manager):
			return false
		}
	}
	return true
}

// printable says whether s is all ASCII that can be seen, or spaces.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
