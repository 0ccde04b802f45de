package storage

import (
	"context"
	"math"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// VolumeAttachments declares storage.k8s.io/v1 VolumeAttachment. Its spec is immutable; what became of it is in its
// status, which the attacher writes.
func VolumeAttachments() apimachinery.Resource {
	type attachment = *storagev1.VolumeAttachment
	r := declared("VolumeAttachment", "volumeattachments", func() apimachinery.Object { return &storagev1.VolumeAttachment{} })
	attacher := apimachinery.ColumnOf("Attacher", "string", func(a attachment) any { return a.Spec.Attacher })
	attacher.Format = "name"
	r.Views[0].Columns = []apimachinery.Column{
		apimachinery.NameColumn(),
		attacher,
		apimachinery.ColumnOf("PV", "string", func(a attachment) any { return orElse(a.Spec.Source.PersistentVolumeName, "") }),
		apimachinery.ColumnOf("Node", "string", func(a attachment) any { return a.Spec.NodeName }),
		apimachinery.ColumnOf("Attached", "boolean", func(a attachment) any { return a.Status.Attached }),
		apimachinery.AgeColumn(),
	}
	r.Conditional = true
	r.Prepare = func(_ context.Context, new, old apimachinery.Object) {
		n := new.(attachment)
		n.Status = storagev1.VolumeAttachmentStatus{}
		if o, ok := old.(attachment); ok {
			n.Status = *o.Status.DeepCopy()
		}
	}
	r.Validate = validateAttachmentChange
	r.Subs = map[string]apimachinery.Subresource{
		"status": {
			Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
			Strategy: &apimachinery.Strategy{
				Owned: []string{"status"},
				Prepare: func(_ context.Context, new, old apimachinery.Object) {
					n, o := new.(attachment), old.(attachment)
					n.Spec = *o.Spec.DeepCopy()
					metav1.ResetObjectMetaForStatus(n, o)
				},
				Validate: validateAttachmentChange,
			},
		},
	}
	return r
}

func validateAttachmentChange(_ context.Context, new, old apimachinery.Object) field.ErrorList {
	n := new.(*storagev1.VolumeAttachment)
	errs := append(core.ValidateFinalizers(n), validateAttachment(&n.Spec)...)
	errs = append(errs, validateAttachmentStatus(&n.Status, field.NewPath("status"))...)
	if o, ok := old.(*storagev1.VolumeAttachment); ok {
		errs = append(errs, validation.ValidateImmutableField(n.Spec, o.Spec, spec)...)
	}
	return errs
}

func validateAttachment(s *storagev1.VolumeAttachmentSpec) field.ErrorList {
	errs := validateDriver(s.Attacher, spec.Child("attacher"))
	source, which := spec.Child("source"), "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	switch name, inline := s.Source.PersistentVolumeName, s.Source.InlineVolumeSpec; {
	case name == nil && inline == nil:
		errs = append(errs, field.Required(source, which))
	case name != nil && inline != nil:
		errs = append(errs, field.Forbidden(source, which))
	case inline != nil:
		errs = append(errs, validateInline(inline, source.Child("inlineVolumeSpec"))...)
	case *name == "":
		errs = append(errs, field.Required(source.Child("persistentVolumeName"), "must specify non empty persistentVolumeName"))
	}
	if name := s.Source.PersistentVolumeName; name != nil {
		errs = append(errs, invalid(source.Child("persistentVolumeName"), *name, validation.NameIsDNSSubdomain(*name, false))...)
	}
	return append(errs, invalid(spec.Child("nodeName"), s.NodeName, validation.NameIsDNSSubdomain(s.NodeName, false))...)
}

func validateAttachmentStatus(s *storagev1.VolumeAttachmentStatus, at *field.Path) field.ErrorList {
	const most = 256 << 10
	var errs field.ErrorList
	if size(s.AttachmentMetadata) > most {
		errs = append(errs, field.TooLong(at.Child("attachmentMetadata"), "", most))
	}
	errs = append(errs, validateVolumeError(s.AttachError, at.Child("attachError"))...)
	return append(errs, validateVolumeError(s.DetachError, at.Child("detachError"))...)
}

func validateVolumeError(e *storagev1.VolumeError, at *field.Path) field.ErrorList {
	if e == nil {
		return nil
	}
	const most = 1024
	var errs field.ErrorList
	if len(e.Message) > most {
		errs = append(errs, field.TooLong(at.Child("message"), "", most))
	}
	if e.ErrorCode != nil && *e.ErrorCode < 0 {
		errs = append(errs, field.Invalid(at.Child("errorCode"), *e.ErrorCode, utilvalidation.InclusiveRangeError(0, math.MaxInt32)))
	}
	return errs
}

// validateInline judges a volume that an attachment brings itself, in place of a PersistentVolume: it must be a CSI
// driver's, and has no life of its own.
func validateInline(s *corev1.PersistentVolumeSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	const inline = " in the context of inline volumes"
	forbid := func(is bool, name, why string) {
		if is {
			errs = append(errs, field.Forbidden(at.Child(name), why+inline))
		}
	}
	forbid(s.ClaimRef != nil, "claimRef", "may not be specified")
	forbid(len(s.Capacity) > 0, "capacity", "may not be specified")
	forbid(s.NodeAffinity != nil, "nodeAffinity", "may not be specified")
	forbid(s.StorageClassName != "", "storageClassName", "may not be specified")
	forbid(s.PersistentVolumeReclaimPolicy != "" && s.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain,
		"persistentVolumeReclaimPolicy", "may only be Retain")
	forbid(s.VolumeMode != nil && *s.VolumeMode != corev1.PersistentVolumeFilesystem, "volumeMode", "may not specify volumeMode other than Filesystem")
	errs = append(errs, validateAccessModes(s.AccessModes, at.Child("accessModes"))...)
	if s.CSI == nil {
		errs = append(errs, field.Required(at.Child("csi"), "has to be specified"+inline))
		if s.PersistentVolumeSource == (corev1.PersistentVolumeSource{}) {
			errs = append(errs, field.Required(at, "must specify a volume type"))
		}
		return errs
	}
	if bare := (corev1.PersistentVolumeSource{CSI: s.CSI}); s.PersistentVolumeSource != bare {
		return append(errs, field.Forbidden(at.Child("csi"), "may not specify more than 1 volume type"))
	}
	return append(errs, validateCSISource(s.CSI, at.Child("csi"))...)
}

func validateCSISource(c *corev1.CSIPersistentVolumeSource, at *field.Path) field.ErrorList {
	errs := validateDriver(c.Driver, at.Child("driver"))
	if c.VolumeHandle == "" {
		errs = append(errs, field.Required(at.Child("volumeHandle"), ""))
	}
	secret := func(r *corev1.SecretReference, name string) {
		if r == nil {
			return
		}
		part := func(name, value string, judge func(string) []string) {
			here := at.Child(name)
			if value == "" {
				errs = append(errs, field.Required(here, ""))
			} else {
				errs = append(errs, invalid(here, value, judge(value))...)
			}
		}
		part(name+".name", r.Name, utilvalidation.IsDNS1123Subdomain)
		part(name+".namespace", r.Namespace, utilvalidation.IsDNS1123Label)
	}
	secret(c.ControllerPublishSecretRef, "controllerPublishSecretRef")
	secret(c.ControllerExpandSecretRef, "controllerExpandSecretRef")
	secret(c.NodePublishSecretRef, "nodePublishSecretRef")
	secret(c.NodeExpandSecretRef, "nodeExpandSecretRef")
	return errs
}

func validateAccessModes(modes []corev1.PersistentVolumeAccessMode, at *field.Path) field.ErrorList {
	if len(modes) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	one, others := false, false
	for _, m := range modes {
		switch m {
		case corev1.ReadWriteOncePod:
			one = true
		case corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce:
			others = true
		default:
			errs = append(errs, field.NotSupported(at, m, []corev1.PersistentVolumeAccessMode{
				corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod,
			}))
		}
	}
	if one && others {
		errs = append(errs, field.Forbidden(at, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}
