package core

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Annotations that once were API, and that Kubernetes still judges.
const (
	tolerationsAnnotation  = "scheduler.alpha.kubernetes.io/tolerations"
	deletionCostAnnotation = corev1.PodDeletionCost
	appArmorPrefix         = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix
	seccompPodAnnotation   = corev1.SeccompPodAnnotationKey
	seccompPrefix          = corev1.SeccompContainerAnnotationKeyPrefix
)

var annotationsPath = field.NewPath("metadata", "annotations")

func validatePodAnnotations(annotations map[string]string, s *corev1.PodSpec, path *place) field.ErrorList {
	var errs field.ErrorList
	if value, mirror := annotations[corev1.MirrorPodAnnotationKey]; mirror && s.NodeName == "" {
		errs = append(errs, field.Invalid(path.key(corev1.MirrorPodAnnotationKey).path(), value, "must set spec.nodeName if mirror pod annotation is set"))
	}
	if text := annotations[tolerationsAnnotation]; text != "" {
		var tolerations []corev1.Toleration
		if err := json.Unmarshal([]byte(text), &tolerations); err != nil {
			errs = append(errs, field.Invalid(path.path(), tolerationsAnnotation, err.Error()))
		} else {
			errs = append(errs, validateTolerations(tolerations, path.child(tolerationsAnnotation))...)
		}
	}
	if cost, ok := annotations[deletionCostAnnotation]; ok && !isCost(cost) {
		errs = append(errs, field.Invalid(path.key(deletionCostAnnotation).path(), cost, "must be a 32bit integer"))
	}
	var names map[string]bool
	for key, value := range sorted(annotations) {
		switch {
		case key == seccompPodAnnotation, strings.HasPrefix(key, seccompPrefix):
			errs = append(errs, validateSeccompName(value, path.child(key))...)
		case strings.HasPrefix(key, appArmorPrefix):
			if names == nil {
				names = containerNames(s)
			}
			errs = append(errs, validateAppArmorAnnotation(key, value, names, path.key(key))...)
		}
	}
	return errs
}

// isCost says whether a deletion cost is a number in its plain form.
func isCost(cost string) bool {
	if len(cost) > 0 && cost[0] == '+' || len(cost) > 1 && cost[0] == '0' {
		return false
	}
	_, err := strconv.ParseInt(cost, 10, 32)
	return err == nil
}

// validateSeccompName judges a profile by the name that annotations have for it.
func validateSeccompName(name string, path *place) field.ErrorList {
	switch name {
	case corev1.SeccompProfileRuntimeDefault, corev1.DeprecatedSeccompProfileDockerDefault, corev1.SeccompProfileNameUnconfined:
		return nil
	}
	if file, ok := strings.CutPrefix(name, corev1.SeccompLocalhostProfileNamePrefix); ok {
		return validateLocalPath(file, path)
	}
	return field.ErrorList{field.Invalid(path.path(), name, "must be a valid seccomp profile")}
}

func containerNames(s *corev1.PodSpec) map[string]bool {
	names := map[string]bool{}
	visitContainers(s, nil, func(c *corev1.Container, _ *place) { names[c.Name] = true })
	return names
}

func validateAppArmorAnnotation(key, value string, names map[string]bool, path *place) field.ErrorList {
	var errs field.ErrorList
	name := strings.TrimPrefix(key, appArmorPrefix)
	if !names[name] {
		errs = append(errs, field.Invalid(path.path(), name, "container not found"))
	}
	if err := appArmorForm(value); err != nil {
		errs = append(errs, field.Invalid(path.path(), value, err.Error()))
	}
	return errs
}

func appArmorForm(profile string) error {
	switch profile {
	case "", corev1.DeprecatedAppArmorBetaProfileRuntimeDefault, corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return nil
	}
	if !strings.HasPrefix(profile, corev1.DeprecatedAppArmorBetaProfileNamePrefix) {
		return fmt.Errorf("invalid AppArmor profile name: %q", profile)
	}
	return nil
}

// validateAnnotationUpdate keeps the annotations that containers were started by.
func validateAnnotationUpdate(new, old *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	forbid := func(key, what string) {
		if strings.HasPrefix(key, appArmorPrefix) {
			errs = append(errs, field.Forbidden(annotationsPath.Key(key), fmt.Sprintf("may not %s AppArmor annotations", what)))
		}
		if key == corev1.MirrorPodAnnotationKey {
			errs = append(errs, field.Forbidden(annotationsPath.Key(key), fmt.Sprintf("may not %s mirror pod annotation", what)))
		}
	}
	for key, value := range old.Annotations {
		if now, kept := new.Annotations[key]; !kept || now != value {
			forbid(key, "remove or update")
		}
	}
	for key := range new.Annotations {
		if _, had := old.Annotations[key]; !had {
			forbid(key, "add")
		}
	}
	return append(errs, located(annotationsPath, func(at *place) field.ErrorList { return validatePodAnnotations(new.Annotations, &new.Spec, at) })...)
}

// validateProfilesAgree refuses seccomp and AppArmor annotations that say something else than the fields.
func validateProfilesAgree(annotations map[string]string, s *corev1.PodSpec, path *place) field.ErrorList {
	var errs field.ErrorList
	differ := func(part string, at *place) {
		if part != "" {
			errs = append(errs, field.Forbidden(at.child(part).path(), "must be what the annotation says"))
		}
	}
	pod := s.SecurityContext
	if name, ok := annotations[seccompPodAnnotation]; ok && pod != nil && pod.SeccompProfile != nil {
		differ(seccompDiffers(name, pod.SeccompProfile), path.child("securityContext").child("seccompProfile"))
	}
	visitContainers(s, path, func(c *corev1.Container, at *place) {
		at = at.child("securityContext")
		if c.SecurityContext != nil && c.SecurityContext.SeccompProfile != nil {
			if name, ok := annotations[seccompPrefix+c.Name]; ok {
				differ(seccompDiffers(name, c.SecurityContext.SeccompProfile), at.child("seccompProfile"))
			}
		}
		var profile *corev1.AppArmorProfile
		if pod != nil {
			profile = pod.AppArmorProfile
		}
		if c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
			profile = c.SecurityContext.AppArmorProfile
		}
		if profile == nil || windows(s) {
			return
		}
		if name, ok := annotations[appArmorPrefix+c.Name]; ok {
			differ(appArmorDiffers(name, profile), at.child("appArmorProfile"))
		}
	})
	return errs
}

// What an annotation and a profile can differ in.
const (
	inType = "type"
	inName = "localhostProfile"
)

// seccompDiffers says in what a profile is not that of an annotation; "": in nothing.
func seccompDiffers(name string, p *corev1.SeccompProfile) string {
	switch p.Type {
	case corev1.SeccompProfileTypeUnconfined:
		if name != corev1.SeccompProfileNameUnconfined {
			return inType
		}
	case corev1.SeccompProfileTypeRuntimeDefault:
		if name != corev1.SeccompProfileRuntimeDefault && name != corev1.DeprecatedSeccompProfileDockerDefault {
			return inType
		}
	case corev1.SeccompProfileTypeLocalhost:
		return localhostDiffers(name, corev1.SeccompLocalhostProfileNamePrefix, p.LocalhostProfile)
	}
	return ""
}

func appArmorDiffers(name string, p *corev1.AppArmorProfile) string {
	switch p.Type {
	case corev1.AppArmorProfileTypeUnconfined:
		if name != corev1.DeprecatedAppArmorBetaProfileNameUnconfined {
			return inType
		}
	case corev1.AppArmorProfileTypeRuntimeDefault:
		if name != corev1.DeprecatedAppArmorBetaProfileRuntimeDefault {
			return inType
		}
	case corev1.AppArmorProfileTypeLocalhost:
		return localhostDiffers(name, corev1.DeprecatedAppArmorBetaProfileNamePrefix, p.LocalhostProfile)
	}
	return ""
}

func localhostDiffers(name, prefix string, profile *string) string {
	file, ok := strings.CutPrefix(name, prefix)
	switch {
	case !ok:
		return inType
	case profile == nil || *profile != file:
		return inName
	}
	return ""
}
