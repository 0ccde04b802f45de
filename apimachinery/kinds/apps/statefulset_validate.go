package apps

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

func validateNewStatefulSet(s *appsv1.StatefulSetSpec) field.ErrorList {
	errs := validateStatefulSet(s)
	for i := range s.VolumeClaimTemplates {
		errs = append(errs, core.ValidateTemplateOfClaim(&s.VolumeClaimTemplates[i], spec.Child("volumeClaimTemplates").Index(i))...)
	}
	if s.ServiceName != "" {
		for _, msg := range utilvalidation.IsDNS1123Label(s.ServiceName) {
			errs = append(errs, field.Invalid(spec.Child("serviceName"), s.ServiceName, msg))
		}
	}
	return append(errs, validatePods(s)...)
}

// validatePods judges the template as pods will have it, unless the selector can't be read.
func validatePods(s *appsv1.StatefulSetSpec) field.ErrorList {
	if _, err := metav1.LabelSelectorAsSelector(s.Selector); err != nil {
		return nil
	}
	return core.ValidatePodTemplate(withClaims(s), spec.Child("template"))
}

// validateStatefulSetUpdate judges all but what can't change anyway. A template that is wrong stays as it is where the
// old set was wrong already.
func validateStatefulSetUpdate(n, o *appsv1.StatefulSetSpec) field.ErrorList {
	errs := validateStatefulSet(n)
	if wrong := validatePods(n); len(wrong) > 0 {
		if len(validateStatefulSet(o))+len(validatePods(o)) > 0 {
			wrong = core.ValidatePodTemplateMeta(&n.Template, spec.Child("template"))
		}
		errs = append(errs, wrong...)
	}
	fixed := *n
	fixed.Replicas, fixed.Template, fixed.UpdateStrategy = o.Replicas, o.Template, o.UpdateStrategy
	fixed.MinReadySeconds, fixed.Ordinals, fixed.RevisionHistoryLimit = o.MinReadySeconds, o.Ordinals, o.RevisionHistoryLimit
	fixed.PersistentVolumeClaimRetentionPolicy = o.PersistentVolumeClaimRetentionPolicy
	if !sameStatefulSetSpec(&fixed, o) {
		errs = append(errs, field.Forbidden(spec, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "+
			"'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"))
	}
	return errs
}

// validateStatefulSet judges a spec but for its pod template, its claims and its service.
func validateStatefulSet(s *appsv1.StatefulSetSpec) field.ErrorList {
	var errs field.ErrorList
	switch path := spec.Child("podManagementPolicy"); s.PodManagementPolicy {
	case "":
		errs = append(errs, field.Required(path, ""))
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		errs = append(errs, field.Invalid(path, s.PodManagementPolicy, fmt.Sprintf("must be '%s' or '%s'", appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement)))
	}
	errs = append(errs, validateStatefulSetStrategy(&s.UpdateStrategy, spec.Child("updateStrategy"))...)
	if p := s.PersistentVolumeClaimRetentionPolicy; p != nil {
		path := spec.Child("persistentVolumeClaimRetentionPolicy")
		errs = append(errs, validateRetention(p.WhenDeleted, path.Child("whenDeleted"))...)
		errs = append(errs, validateRetention(p.WhenScaled, path.Child("whenScaled"))...)
	}
	errs = append(errs, notNegative(int64(count(s.Replicas)), spec.Child("replicas"))...)
	errs = append(errs, notNegative(int64(s.MinReadySeconds), spec.Child("minReadySeconds"))...)
	if s.Ordinals != nil {
		errs = append(errs, notNegative(int64(s.Ordinals.Start), spec.Child("ordinals", "start"))...)
	}
	errs = append(errs, validateSelector(s.Selector, &s.Template, "statefulset", "")...)
	return append(errs, validateForever(&s.Template, spec.Child("template"), "StatefulSet")...)
}

func validateStatefulSetStrategy(u *appsv1.StatefulSetUpdateStrategy, path *field.Path) field.ErrorList {
	switch u.Type {
	case "":
		return field.ErrorList{field.Required(path, "")}
	case appsv1.OnDeleteStatefulSetStrategyType:
		if u.RollingUpdate != nil {
			return field.ErrorList{field.Invalid(path.Child("rollingUpdate"), u.RollingUpdate, fmt.Sprintf("only allowed for updateStrategy '%s'", appsv1.RollingUpdateStatefulSetStrategyType))}
		}
		return nil
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if u.RollingUpdate == nil {
			return nil
		}
		return validateStatefulSetRolling(u.RollingUpdate, path.Child("rollingUpdate"))
	}
	return field.ErrorList{field.Invalid(path, *u, fmt.Sprintf("must be '%s' or '%s'", appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType))}
}

func validateStatefulSetRolling(r *appsv1.RollingUpdateStatefulSetStrategy, path *field.Path) field.ErrorList {
	errs := notNegative(int64(value(r.Partition)), path.Child("partition"))
	n, unavailable := r.MaxUnavailable, path.Child("maxUnavailable")
	if n == nil {
		return errs
	}
	errs = append(errs, core.ValidateShare(n, unavailable)...)
	if core.ShareOf(n) == 0 {
		errs = append(errs, field.Invalid(unavailable, *n, "cannot be 0"))
	}
	return append(errs, core.ValidateAtMostAll(n, unavailable)...)
}

func validateRetention(p appsv1.PersistentVolumeClaimRetentionPolicyType, path *field.Path) field.ErrorList {
	switch p {
	case appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType:
		return nil
	}
	return field.ErrorList{field.NotSupported(path, p, []appsv1.PersistentVolumeClaimRetentionPolicyType{
		appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType,
	})}
}

// withClaims is the template as pods will have it: the claims are volumes, in place of those that have their names,
// and the controller gives names and subdomains.
func withClaims(s *appsv1.StatefulSetSpec) *corev1.PodTemplateSpec {
	t := s.Template
	t.Spec.Subdomain, t.Spec.Hostname = "", ""
	if len(s.VolumeClaimTemplates) == 0 {
		return &t
	}
	claimed := map[string]bool{}
	var volumes []corev1.Volume
	for _, c := range s.VolumeClaimTemplates {
		if claimed[c.Name] {
			continue
		}
		claimed[c.Name] = true
		volumes = append(volumes, corev1.Volume{Name: c.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name},
		}})
	}
	for _, v := range t.Spec.Volumes {
		if !claimed[v.Name] {
			volumes = append(volumes, v)
		}
	}
	t.Spec.Volumes = volumes
	return &t
}
