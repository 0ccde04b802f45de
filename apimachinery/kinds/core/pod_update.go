package core

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// validatePodUpdate lets an update change what Kubernetes lets it change: images, the active deadline (shorter
// only), further tolerations, fewer scheduling gates, and the node selection of a gated pod.
func validatePodUpdate(new, old *corev1.Pod) field.ErrorList {
	errs := validateGateUpdate(new, old)
	for i := range new.Spec.Containers {
		if new.Spec.Containers[i].Image == "" {
			errs = append(errs, field.Required(spec.Child("containers").Index(i).Child("image"), ""))
		}
	}
	errs = append(errs, validateDeadlineUpdate(new, old)...)
	errs = append(errs, validateTolerationUpdate(new, old)...)
	if len(errs) > 0 {
		return errs
	}
	if !equality.Semantic.DeepEqual(withMutable(new.Spec, old.Spec), old.Spec) {
		errs = append(errs, field.Forbidden(spec, "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"))
	}
	return errs
}

// withMutable returns new with all that an update may change put back to what old has.
func withMutable(new, old corev1.PodSpec) corev1.PodSpec {
	out := *new.DeepCopy()
	keepImages(out.Containers, old.Containers)
	keepImages(out.InitContainers, old.InitContainers)
	out.ActiveDeadlineSeconds, out.Tolerations = old.ActiveDeadlineSeconds, old.Tolerations
	if g := old.TerminationGracePeriodSeconds; g != nil && *g < 0 && out.TerminationGracePeriodSeconds != nil && *out.TerminationGracePeriodSeconds == 1 {
		out.TerminationGracePeriodSeconds = g
	}
	if len(old.SchedulingGates) > 0 {
		out.SchedulingGates, out.NodeSelector = old.SchedulingGates, old.NodeSelector
		if out.Affinity != nil && old.Affinity != nil {
			out.Affinity.NodeAffinity = old.Affinity.NodeAffinity
		} else if old.Affinity == nil && out.Affinity != nil && out.Affinity.PodAffinity == nil && out.Affinity.PodAntiAffinity == nil {
			out.Affinity = nil
		}
	}
	return out
}

func keepImages(new, old []corev1.Container) {
	if len(new) != len(old) {
		return
	}
	for i := range new {
		new[i].Image = old[i].Image
	}
}

func validateGateUpdate(new, old *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	for i, g := range new.Spec.SchedulingGates {
		if !slices.Contains(old.Spec.SchedulingGates, g) {
			errs = append(errs, field.Forbidden(spec.Child("schedulingGates").Index(i), "only deletion is allowed, but found new scheduling gate '"+g.Name+"'"))
		}
	}
	if len(old.Spec.SchedulingGates) == 0 {
		return errs
	}
	for key, value := range old.Spec.NodeSelector {
		if new.Spec.NodeSelector[key] != value {
			return append(errs, field.Invalid(spec.Child("nodeSelector"), new.Spec.NodeSelector, "only additions to nodeSelector are allowed (no mutations or deletions)"))
		}
	}
	return append(errs, validateGatedAffinity(new.Spec.Affinity, old.Spec.Affinity)...)
}

// validateGatedAffinity lets the required node affinity of a gated pod only be narrowed (KEP-3838).
func validateGatedAffinity(new, old *corev1.Affinity) field.ErrorList {
	path := spec.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
	o := requiredNodeTerms(old)
	if o == nil {
		return nil
	}
	n := requiredNodeTerms(new)
	if len(n) != len(o) {
		return field.ErrorList{field.Invalid(path.Child("nodeSelectorTerms"), n, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")}
	}
	for i := range o {
		if !narrows(n[i].MatchExpressions, o[i].MatchExpressions) || !narrows(n[i].MatchFields, o[i].MatchFields) {
			return field.ErrorList{field.Invalid(path.Child("nodeSelectorTerms").Index(i), n[i], "only additions are allowed (no mutations or deletions)")}
		}
	}
	return nil
}

func requiredNodeTerms(a *corev1.Affinity) []corev1.NodeSelectorTerm {
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

func narrows(new, old []corev1.NodeSelectorRequirement) bool {
	return len(new) >= len(old) && (len(old) > 0 || len(new) == 0) && equality.Semantic.DeepEqual(new[:len(old)], old)
}

func validateDeadlineUpdate(new, old *corev1.Pod) field.ErrorList {
	n, o, path := new.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds, spec.Child("activeDeadlineSeconds")
	switch {
	case o == nil:
		return nil
	case n == nil:
		return field.ErrorList{field.Invalid(path, n, "must not update from a positive integer to nil value")}
	case *n > *o:
		return field.ErrorList{field.Invalid(path, *n, "must be less than or equal to previous value")}
	}
	return nil
}

func validateTolerationUpdate(new, old *corev1.Pod) field.ErrorList {
	for _, o := range old.Spec.Tolerations {
		kept := slices.ContainsFunc(new.Spec.Tolerations, func(n corev1.Toleration) bool {
			n.TolerationSeconds, o.TolerationSeconds = nil, nil
			return n == o
		})
		if !kept {
			return field.ErrorList{field.Forbidden(spec.Child("tolerations"), "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}

func validatePodStatus(_ context.Context, new, old apimachinery.Object) field.ErrorList {
	n, o := new.(*corev1.Pod), old.(*corev1.Pod)
	path := field.NewPath("status")
	var errs field.ErrorList
	if n.Spec.NodeName != o.Spec.NodeName {
		errs = append(errs, field.Forbidden(spec.Child("nodeName"), "may not be changed directly"))
	}
	if o.Spec.RestartPolicy == corev1.RestartPolicyNever {
		errs = append(errs, validateNoRestart(n.Status.ContainerStatuses, o.Status.ContainerStatuses, o.Spec.Containers, path.Child("containerStatuses"))...)
	}
	for i, c := range n.Status.Conditions {
		if c.Type == "" {
			errs = append(errs, field.Required(path.Child("conditions").Index(i).Child("type"), ""))
		}
	}
	return append(errs, validatePodIPs(n, path)...)
}

// validateNoRestart keeps a container that has ended for good from running again.
func validateNoRestart(new, old []corev1.ContainerStatus, containers []corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, o := range old {
		if o.State.Terminated == nil || mayRestart(containers, o.Name) {
			continue
		}
		for i, n := range new {
			if n.Name == o.Name && n.State.Terminated == nil {
				errs = append(errs, field.Forbidden(path.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
			}
		}
	}
	return errs
}

// mayRestart says whether a container overrules its pod's restart policy.
func mayRestart(containers []corev1.Container, name string) bool {
	return slices.ContainsFunc(containers, func(c corev1.Container) bool {
		return c.Name == name && (len(c.RestartPolicyRules) > 0 || c.RestartPolicy != nil && *c.RestartPolicy != corev1.ContainerRestartPolicyNever)
	})
}

func validatePodIPs(p *corev1.Pod, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(p.Status.PodIPs) > 0 && p.Status.PodIP != p.Status.PodIPs[0].IP {
		errs = append(errs, field.Invalid(path.Child("podIPs").Index(0).Child("ip"), p.Status.PodIPs[0].IP, "must match `podIP`"))
	}
	seen := distinct{}
	for i, ip := range p.Status.PodIPs {
		errs = append(errs, seen.check(ip.IP, path.Child("podIPs").Index(i))...)
	}
	return errs
}
