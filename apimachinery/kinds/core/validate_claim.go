package core

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

// validateClaimTemplate judges the template of a PersistentVolumeClaim.
func validateClaimTemplate(t *corev1.PersistentVolumeClaimTemplate, path *field.Path) field.ErrorList {
	meta := path.Child("metadata")
	errs := validation.ValidateAnnotations(t.Annotations, meta.Child("annotations"))
	errs = append(errs, metav1validation.ValidateLabels(t.Labels, meta.Child("labels"))...)
	errs = append(errs, validateTemplateMeta(t.ObjectMeta, meta)...)
	return append(errs, validateClaimSpec(&t.Spec, path.Child("spec"))...)
}

// validateTemplateMeta refuses all metadata but labels and annotations: nothing would come of it.
func validateTemplateMeta(m metav1.ObjectMeta, path *field.Path) field.ErrorList {
	m.Labels, m.Annotations = nil, nil
	var errs field.ErrorList
	v := reflect.ValueOf(m)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; !v.Field(i).IsZero() {
			errs = append(errs, field.Forbidden(path.Child(string(name[0]|0x20)+name[1:]), "cannot be set"))
		}
	}
	return errs
}

func validateClaimSpec(s *corev1.PersistentVolumeClaimSpec, path *field.Path) field.ErrorList {
	return claimRules{}.validate(s, path)
}

// claimRules say what an older claim may have that a new one may not: values in its selector that no label can have,
// and any group of a data source.
type claimRules struct{ selector, groups bool }

func (r claimRules) validate(s *corev1.PersistentVolumeClaimSpec, path *field.Path) field.ErrorList {
	errs := validateAccessModes(s.AccessModes, path.Child("accessModes"))
	if s.Selector != nil && !forms.IsSelector(s.Selector) {
		loose := metav1validation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: r.selector}
		errs = append(errs, metav1validation.ValidateLabelSelector(s.Selector, loose, path.Child("selector"))...)
	}
	storage := path.Child("resources").Key(string(corev1.ResourceStorage))
	if q, ok := s.Resources.Requests[corev1.ResourceStorage]; !ok {
		errs = append(errs, field.Required(storage, ""))
	} else if q.Sign() <= 0 {
		errs = append(errs, field.Invalid(storage, q.String(), "must be greater than zero"))
	}
	className := func(name *string, at *field.Path) {
		if name != nil && *name != "" {
			errs = append(errs, invalid(at, *name, validation.NameIsDNSSubdomain(*name, false)...)...)
		}
	}
	className(s.StorageClassName, path.Child("storageClassName"))
	className(s.VolumeAttributesClassName, path.Child("volumeAttributesClassName"))
	if m := s.VolumeMode; m != nil && *m != corev1.PersistentVolumeBlock && *m != corev1.PersistentVolumeFilesystem {
		errs = append(errs, notOneOf(path.Child("volumeMode"), *m, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem))
	}
	return append(errs, r.dataSources(s, path)...)
}

func validateAccessModes(modes []corev1.PersistentVolumeAccessMode, path *field.Path) field.ErrorList {
	if len(modes) == 0 {
		return field.ErrorList{field.Required(path, "at least 1 access mode is required")}
	}
	var errs field.ErrorList
	alone, shared := false, false
	for _, m := range modes {
		switch m {
		case corev1.ReadWriteOncePod:
			alone = true
		case corev1.ReadWriteOnce, corev1.ReadOnlyMany, corev1.ReadWriteMany:
			shared = true
		default:
			errs = append(errs, notOneOf(path, m, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod))
		}
	}
	if alone && shared {
		errs = append(errs, field.Forbidden(path, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

// dataSources judges what a claim is filled from, in the old field and the new one.
func (r claimRules) dataSources(s *corev1.PersistentVolumeClaimSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	source := func(group *string, kind, name string, at *field.Path) {
		if name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		if kind == "" {
			errs = append(errs, field.Required(at.Child("kind"), ""))
		}
		if group != nil && *group != "" {
			if r.groups {
				return
			}
			errs = append(errs, invalid(at.Child("apiGroup"), *group, utilvalidation.IsDNS1123Subdomain(*group)...)...)
		} else if kind != "PersistentVolumeClaim" {
			errs = append(errs, field.Invalid(at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
		}
	}
	old, ref := s.DataSource, s.DataSourceRef
	if old != nil {
		source(old.APIGroup, old.Kind, old.Name, path.Child("dataSource"))
	}
	if ref == nil {
		return errs
	}
	source(ref.APIGroup, ref.Kind, ref.Name, path.Child("dataSourceRef"))
	apart := ref.Namespace != nil && *ref.Namespace != ""
	if apart {
		errs = append(errs, invalid(path.Child("dataSourceRef", "namespace"), *ref.Namespace, validation.ValidateNamespaceName(*ref.Namespace, false)...)...)
	}
	if old != nil && (apart || !reflect.DeepEqual(old.APIGroup, ref.APIGroup) || old.Kind != ref.Kind || old.Name != ref.Name) {
		errs = append(errs, field.Invalid(path, path.Child("dataSource"), "must match dataSourceRef, and be left out when that is in another namespace"))
	}
	return errs
}
