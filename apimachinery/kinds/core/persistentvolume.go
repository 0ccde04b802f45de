package core

import (
	"context"
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// PersistentVolumes declares v1 PersistentVolume.
func PersistentVolumes() apimachinery.Resource {
	type volume = *corev1.PersistentVolume
	return apimachinery.Resource{
		Name: schema.GroupResource{Resource: "persistentvolumes"},
		New:  func() apimachinery.Object { return &corev1.PersistentVolume{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("PersistentVolume"),
			Plural:           "persistentvolumes", Short: []string{"pv"},
			Columns: persistentVolumeColumns(),
		}},
		Default: func(o apimachinery.Object) { defaultPersistentVolume(o.(volume)) },
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			n := new.(volume)
			if old != nil {
				n.Status = old.(volume).Status
				return
			}
			now := metav1.Now().Rfc3339Copy()
			n.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: &now}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			o, _ := old.(volume)
			return append(ValidateFinalizers(new), validatePersistentVolume(new.(volume), o)...)
		},
		Warnings: func(new, _ apimachinery.Object) []string { return persistentVolumeWarnings(new.(volume)) },
		Echo:     true,
		Subs: map[string]apimachinery.Subresource{
			"status": statusOf(prepareVolumeStatus, func(new, _ volume) field.ErrorList { return ValidateFinalizers(new) }),
		},
	}
}

func defaultPersistentVolume(p *corev1.PersistentVolume) {
	set(&p.Status.Phase, corev1.VolumePending)
	set(&p.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	defaultTo(&p.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundResources(p.Spec.Capacity)
	s := &p.Spec.PersistentVolumeSource
	if s.HostPath != nil {
		defaultTo(&s.HostPath.Type, corev1.HostPathUnset)
	}
	if d := s.RBD; d != nil {
		set(&d.RBDPool, "rbd")
		set(&d.RadosUser, "admin")
		set(&d.Keyring, "/etc/ceph/keyring")
	}
	if s.ISCSI != nil {
		set(&s.ISCSI.ISCSIInterface, "default")
	}
	if d := s.ScaleIO; d != nil {
		set(&d.StorageMode, "ThinProvisioned")
		set(&d.FSType, "xfs")
	}
	defaultNetworkDisk(&corev1.Volume{VolumeSource: corev1.VolumeSource{AzureDisk: s.AzureDisk}})
}

// prepareVolumeStatus keeps the time of the last change of phase true, where its writer does not tell it.
func prepareVolumeStatus(new, old *corev1.PersistentVolume) {
	new.Spec = old.Spec
	told, before := new.Status.LastPhaseTransitionTime, old.Status.LastPhaseTransitionTime
	switch same := new.Status.Phase == old.Status.Phase; {
	case same && told == nil:
		new.Status.LastPhaseTransitionTime = before
	case !same && (told == nil || told.Equal(before)):
		now := metav1.Now().Rfc3339Copy()
		new.Status.LastPhaseTransitionTime = &now
	}
}

// validatePersistentVolume judges a volume; old is nil on create.
func validatePersistentVolume(p, old *corev1.PersistentVolume) field.ErrorList {
	s := &p.Spec
	strict := old == nil || !hasLooseLabels(old.Spec.NodeAffinity)
	errs := validateAccessModes(s.AccessModes, spec.Child("accessModes"))
	errs = append(errs, validateCapacity(s.Capacity, spec.Child("capacity"))...)
	errs = append(errs, validateReclaimPolicy(s)...)
	errs = append(errs, located(spec, func(at *place) field.ErrorList { return validateVolumeSources(p, strict, at) })...)
	errs = append(errs, validateVolumeClasses(s)...)
	errs = append(errs, validateMountOptions(p)...)
	if old != nil {
		errs = append(errs, validateVolumeUpdate(p, old)...)
	}
	return errs
}

func validateCapacity(capacity corev1.ResourceList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(capacity) == 0 {
		errs = append(errs, field.Required(path, ""))
	}
	if _, ok := capacity[corev1.ResourceStorage]; !ok || len(capacity) > 1 {
		errs = append(errs, field.NotSupported(path, capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for _, name := range sortedKeys(capacity) {
		q, at := capacity[name], path.Key(string(name))
		if q.Value() < 0 {
			errs = append(errs, field.Invalid(at, q.Value(), "must be a valid resource quantity"))
		}
		if q.Sign() <= 0 {
			errs = append(errs, field.Invalid(at, q.String(), "must be greater than zero"))
		}
	}
	return errs
}

func validateReclaimPolicy(s *corev1.PersistentVolumeSpec) field.ErrorList {
	var errs field.ErrorList
	at := spec.Child("persistentVolumeReclaimPolicy")
	switch p := s.PersistentVolumeReclaimPolicy; p {
	case "", corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain:
	case corev1.PersistentVolumeReclaimRecycle:
		if s.HostPath != nil && path.Clean(s.HostPath.Path) == "/" {
			errs = append(errs, field.Forbidden(at, "may not be 'recycle' for a hostPath mount of '/'"))
		}
	default:
		errs = append(errs, notOneOf(at, p, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain))
	}
	return errs
}

func validateVolumeClasses(s *corev1.PersistentVolumeSpec) field.ErrorList {
	var errs field.ErrorList
	if s.StorageClassName != "" {
		errs = append(errs, invalid(spec.Child("storageClassName"), s.StorageClassName, validation.NameIsDNSSubdomain(s.StorageClassName, false)...)...)
	}
	if m := s.VolumeMode; m != nil && *m != corev1.PersistentVolumeBlock && *m != corev1.PersistentVolumeFilesystem {
		errs = append(errs, notOneOf(spec.Child("volumeMode"), *m, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem))
	}
	class, at := s.VolumeAttributesClassName, spec.Child("volumeAttributesClassName")
	if class == nil {
		return errs
	}
	if *class == "" {
		errs = append(errs, field.Required(at, "an empty string is disallowed"))
	} else {
		errs = append(errs, invalid(at, *class, validation.NameIsDNSSubdomain(*class, false)...)...)
	}
	if s.CSI == nil {
		errs = append(errs, field.Required(spec.Child("csi"), "has to be specified when using volumeAttributesClassName"))
	}
	return errs
}

// validateMountOptions refuses the annotation where it never meant anything.
func validateMountOptions(p *corev1.PersistentVolume) field.ErrorList {
	s := &p.Spec.PersistentVolumeSource
	if _, ok := p.Annotations[corev1.MountOptionAnnotation]; !ok || s.GCEPersistentDisk != nil || s.AWSElasticBlockStore != nil || s.Glusterfs != nil ||
		s.NFS != nil || s.RBD != nil || s.Quobyte != nil || s.ISCSI != nil || s.Cinder != nil || s.CephFS != nil || s.AzureFile != nil ||
		s.VsphereVolume != nil || s.AzureDisk != nil || s.PhotonPersistentDisk != nil {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("metadata", "annotations", corev1.MountOptionAnnotation), "may not specify mount options for this volume type")}
}

// The labels of nodes that once were beta, and what they have become.
var stableLabels = map[string]string{
	corev1.LabelFailureDomainBetaZone: corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
	"beta.kubernetes.io/os": corev1.LabelOSStable, "beta.kubernetes.io/arch": corev1.LabelArchStable,
	corev1.LabelInstanceType: corev1.LabelInstanceTypeStable,
}

func validateVolumeUpdate(new, old *corev1.PersistentVolume) field.ErrorList {
	var errs field.ErrorList
	source := new.Spec.PersistentVolumeSource
	if o := old.Spec.CSI; source.CSI != nil && o != nil && o.ControllerExpandSecretRef == nil { // may be added
		csi := *source.CSI
		csi.ControllerExpandSecretRef, source.CSI = nil, &csi
	}
	if !sameSource(&source, &old.Spec.PersistentVolumeSource) {
		errs = append(errs, field.Forbidden(spec.Child("persistentvolumesource"), "spec.persistentvolumesource is immutable after creation"))
	}
	errs = append(errs, validation.ValidateImmutableField(new.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	if !sameAffinity(new.Spec.NodeAffinity, old.Spec.NodeAffinity) {
		errs = append(errs, field.Invalid(field.NewPath("nodeAffinity"), new.Spec.NodeAffinity, "field is immutable, except for updating from beta label to GA"))
	}
	if old.Spec.VolumeAttributesClassName != nil && new.Spec.VolumeAttributesClassName == nil {
		errs = append(errs, field.Forbidden(spec.Child("volumeAttributesClassName"), "update from non-nil value to nil is forbidden"))
	}
	return errs
}

// sameAffinity says whether an affinity may follow another: any may follow none, and others but put stable labels in
// the place of their beta ones.
func sameAffinity(new, old *corev1.VolumeNodeAffinity) bool {
	if old == nil {
		return true
	}
	if new == nil {
		return false
	}
	o := old.DeepCopy()
	each := func(at func(term, i int, r *corev1.NodeSelectorRequirement)) {
		if o.Required == nil {
			return
		}
		for t := range o.Required.NodeSelectorTerms {
			for i := range o.Required.NodeSelectorTerms[t].MatchExpressions {
				at(t, i, &o.Required.NodeSelectorTerms[t].MatchExpressions[i])
			}
		}
	}
	each(func(t, i int, r *corev1.NodeSelectorRequirement) {
		if new.Required == nil || t >= len(new.Required.NodeSelectorTerms) || i >= len(new.Required.NodeSelectorTerms[t].MatchExpressions) {
			return
		}
		if key := new.Required.NodeSelectorTerms[t].MatchExpressions[i].Key; key != "" && stableLabels[r.Key] == key {
			r.Key = key
		}
	})
	return sameVolumeAffinity(new, o)
}

// hasLooseLabels says whether an affinity names values that no label can have: older volumes may.
func hasLooseLabels(a *corev1.VolumeNodeAffinity) bool {
	if a == nil || a.Required == nil {
		return false
	}
	for _, t := range a.Required.NodeSelectorTerms {
		for _, r := range t.MatchExpressions {
			for _, value := range r.Values {
				if len(utilvalidation.IsValidLabelValue(value)) > 0 {
					return true
				}
			}
		}
	}
	return false
}

func persistentVolumeWarnings(p *corev1.PersistentVolume) []string {
	var out []string
	warn := func(when bool, at *field.Path, text string) {
		if when {
			out = append(out, fmt.Sprintf("%s: %s", at, text))
		}
	}
	annotations := field.NewPath("metadata", "annotations")
	_, class := p.Annotations[corev1.BetaStorageClassAnnotation]
	warn(class, annotations.Key(corev1.BetaStorageClassAnnotation), `deprecated since v1.8; use "storageClassName" attribute instead`)
	_, options := p.Annotations[corev1.MountOptionAnnotation]
	warn(options, annotations.Key(corev1.MountOptionAnnotation), `deprecated since v1.31; use "mountOptions" attribute instead`)
	warn(p.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle, spec.Child("persistentVolumeReclaimPolicy"),
		"The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.")
	if a := p.Spec.NodeAffinity; a != nil && a.Required != nil {
		for i := range a.Required.NodeSelectorTerms {
			out = append(out, nodeTermWarnings(&a.Required.NodeSelectorTerms[i], false, spec.Child("nodeAffinity", "required", "nodeSelectorTerms").Index(i))...)
		}
	}
	s := &p.Spec.PersistentVolumeSource
	warn(s.CephFS != nil, spec.Child("cephfs"), gone31)
	warn(s.PhotonPersistentDisk != nil, spec.Child("photonPersistentDisk"), gone16)
	warn(s.ScaleIO != nil, spec.Child("scaleIO"), gone22)
	warn(s.StorageOS != nil, spec.Child("storageOS"), gone25)
	warn(s.Glusterfs != nil, spec.Child("glusterfs"), gone26)
	warn(s.RBD != nil, spec.Child("rbd"), gone31)
	return out
}

func persistentVolumeColumns() []apimachinery.Column {
	type volume = *corev1.PersistentVolume
	return []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("Capacity", "string", func(p volume) any { return storageOf(p.Spec.Capacity) }),
		apimachinery.ColumnOf("Access Modes", "string", func(p volume) any { return accessModes(p.Spec.AccessModes) }),
		apimachinery.ColumnOf("Reclaim Policy", "string", func(p volume) any { return string(p.Spec.PersistentVolumeReclaimPolicy) }),
		apimachinery.ColumnOf("Status", "string", func(p volume) any {
			if p.DeletionTimestamp != nil {
				return "Terminating"
			}
			return string(p.Status.Phase)
		}),
		apimachinery.ColumnOf("Claim", "string", func(p volume) any {
			if c := p.Spec.ClaimRef; c != nil {
				return c.Namespace + "/" + c.Name
			}
			return ""
		}),
		apimachinery.ColumnOf("StorageClass", "string", func(p volume) any {
			if class, ok := p.Annotations[corev1.BetaStorageClassAnnotation]; ok {
				return class
			}
			return p.Spec.StorageClassName
		}),
		apimachinery.ColumnOf("VolumeAttributesClass", "string", func(p volume) any { return orUnset(p.Spec.VolumeAttributesClassName) }),
		apimachinery.ColumnOf("Reason", "string", func(p volume) any { return p.Status.Reason }),
		apimachinery.AgeColumn(),
		wide("VolumeMode", "string", func(p volume) any { return orUnset(p.Spec.VolumeMode) }),
	}
}

func orUnset[S ~string](p *S) string {
	if p == nil {
		return "<unset>"
	}
	return string(*p)
}

func storageOf(list corev1.ResourceList) string {
	q := list[corev1.ResourceStorage]
	return q.String()
}
