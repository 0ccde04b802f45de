package core

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validatePodUpdate lets an update change what Kubernetes lets it change: images, the active deadline (shorter
// only), further tolerations, fewer scheduling gates, and the node selection of a gated pod.
func validatePodUpdate(new, old *corev1.Pod) field.ErrorList {
	errs := validateAnnotationUpdate(new, old)
	for _, list := range []struct {
		name     string
		new, old []corev1.Container
	}{
		{"containers", new.Spec.Containers, old.Spec.Containers}, {"initContainers", new.Spec.InitContainers, old.Spec.InitContainers},
	} {
		if len(list.new) != len(list.old) {
			return append(errs, field.Forbidden(spec.Child(list.name), "pod updates may not add or remove containers"))
		}
	}
	if wrong := validateDeadlineUpdate(new, old); len(wrong) > 0 {
		if errs = append(errs, wrong...); new.Spec.ActiveDeadlineSeconds != nil {
			return errs
		}
	}
	errs = append(errs, validateTolerationUpdate(new, old)...)
	errs = append(errs, validateGateUpdate(new, old)...)
	if samePodSpec(&new.Spec, &old.Spec) {
		return errs
	}
	kept := withMutable(&new.Spec, &old.Spec)
	if len(old.Spec.SchedulingGates) > 0 {
		errs = append(errs, validateGatedSelection(&kept, &old.Spec)...)
	}
	if !samePodSpec(&kept, &old.Spec) {
		errs = append(errs, field.Forbidden(spec, "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"))
	}
	return errs
}

// withMutable returns new with all that any update may change put back to what old has. Beneath, it shares with new
// what it leaves alone.
func withMutable(new, old *corev1.PodSpec) corev1.PodSpec {
	out := *new
	out.Containers = withImages(new.Containers, old.Containers)
	out.InitContainers = withImages(new.InitContainers, old.InitContainers)
	out.ActiveDeadlineSeconds, out.Tolerations, out.SchedulingGates = old.ActiveDeadlineSeconds, old.Tolerations, old.SchedulingGates
	if g := old.TerminationGracePeriodSeconds; g != nil && *g < 0 && out.TerminationGracePeriodSeconds != nil && *out.TerminationGracePeriodSeconds == 1 {
		out.TerminationGracePeriodSeconds = g
	}
	return out
}

func withImages(new, old []corev1.Container) []corev1.Container {
	out := slices.Clone(new)
	for i := range out {
		out[i].Image = old[i].Image
	}
	return out
}

func validateGateUpdate(new, old *corev1.Pod) field.ErrorList {
	had := map[string]bool{}
	for _, g := range old.Spec.SchedulingGates {
		had[g.Name] = true
	}
	added := map[string]int{}
	for i, g := range new.Spec.SchedulingGates {
		if !had[g.Name] {
			added[g.Name] = i
		}
	}
	var errs field.ErrorList
	for _, name := range sortedKeys(added) {
		errs = append(errs, field.Forbidden(spec.Child("schedulingGates").Index(added[name]).Child("name"), "only deletion is allowed, but found new scheduling gate '"+name+"'"))
	}
	return errs
}

// validateGatedSelection lets the node selection of a gated pod only be narrowed (KEP-3838), and puts it back in new.
func validateGatedSelection(new, old *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	for key, value := range old.NodeSelector {
		if now, ok := new.NodeSelector[key]; !ok || now != value {
			errs = append(errs, field.Invalid(spec.Child("nodeSelector"), maps.Clone(new.NodeSelector), "only additions to spec.nodeSelector are allowed (no mutations or deletions)"))
			break
		}
	}
	new.NodeSelector = old.NodeSelector
	before, after := nodeAffinity(old), nodeAffinity(new)
	if equality.Semantic.DeepEqual(before, after) {
		return errs
	}
	errs = append(errs, validateNarrower(nodeTerms(after), nodeTerms(before))...)
	switch {
	case new.Affinity == nil:
		new.Affinity = &corev1.Affinity{NodeAffinity: before}
	case old.Affinity == nil && new.Affinity.PodAffinity == nil && new.Affinity.PodAntiAffinity == nil:
		new.Affinity = nil
	default:
		kept := *new.Affinity
		kept.NodeAffinity, new.Affinity = before, &kept
	}
	return errs
}

func nodeAffinity(s *corev1.PodSpec) *corev1.NodeAffinity {
	if s.Affinity == nil {
		return nil
	}
	return s.Affinity.NodeAffinity
}

func nodeTerms(a *corev1.NodeAffinity) []corev1.NodeSelectorTerm {
	if a == nil || a.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return a.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

func validateNarrower(new, old []corev1.NodeSelectorTerm) field.ErrorList {
	path := spec.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
	if len(old) > 0 && len(new) != len(old) {
		return field.ErrorList{field.Invalid(path, new, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")}
	}
	var errs field.ErrorList
	for i := range old {
		matchesNothing := len(old[i].MatchExpressions)+len(old[i].MatchFields) == 0
		if matchesNothing && len(new[i].MatchExpressions)+len(new[i].MatchFields) > 0 ||
			!begins(new[i].MatchExpressions, old[i].MatchExpressions) || !begins(new[i].MatchFields, old[i].MatchFields) {
			errs = append(errs, field.Invalid(path.Index(i), new[i], "only additions are allowed (no mutations or deletions)"))
		}
	}
	return errs
}

// begins says whether new is old and perhaps more.
func begins(new, old []corev1.NodeSelectorRequirement) bool {
	return len(new) >= len(old) && equality.Semantic.DeepEqual(new[:len(old)], old[:len(old):len(old)])
}

func validateDeadlineUpdate(new, old *corev1.Pod) field.ErrorList {
	n, o, path := new.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds, spec.Child("activeDeadlineSeconds")
	switch {
	case n == nil && o == nil:
		return nil
	case n == nil:
		return field.ErrorList{field.Invalid(path, n, "must not update from a positive integer to nil value")}
	case *n < 0 || *n > maxDeadline:
		return field.ErrorList{field.Invalid(path, *n, utilvalidation.InclusiveRangeError(0, maxDeadline))}
	case o != nil && *n > *o:
		return field.ErrorList{field.Invalid(path, *n, "must be less than or equal to previous value")}
	}
	return nil
}

func validateTolerationUpdate(new, old *corev1.Pod) field.ErrorList {
	for _, o := range old.Spec.Tolerations {
		kept := false
		for _, n := range new.Spec.Tolerations {
			n.TolerationSeconds = o.TolerationSeconds
			kept = kept || n == o
		}
		if !kept {
			return field.ErrorList{field.Forbidden(spec.Child("tolerations"), "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}
