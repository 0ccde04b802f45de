package core

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (v *podValidator) scheduling() {
	s := v.spec
	v.add(metav1validation.ValidateLabels(s.NodeSelector, v.path.Child("nodeSelector"))...)
	v.affinity()
	v.add(validateTolerations(s.Tolerations, v.path.Child("tolerations"))...)
	v.spread()
	gates := distinct{}
	for i, g := range s.SchedulingGates {
		at := v.path.Child("schedulingGates").Index(i)
		v.add(validateQualifiedName(g.Name, at)...)
		v.add(gates.check(g.Name, at)...)
	}
}

func (v *podValidator) affinity() {
	a := v.spec.Affinity
	if a == nil {
		return
	}
	path := v.path.Child("affinity")
	if n := a.NodeAffinity; n != nil {
		v.nodeAffinity(n, path.Child("nodeAffinity"))
	}
	if p := a.PodAffinity; p != nil {
		v.podTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAffinity"))
	}
	if p := a.PodAntiAffinity; p != nil {
		v.podTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAntiAffinity"))
	}
}

func (v *podValidator) nodeAffinity(n *corev1.NodeAffinity, path *field.Path) {
	if r := n.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
		at := path.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
		if len(r.NodeSelectorTerms) == 0 {
			v.add(field.Required(at, "must have at least one node selector term"))
		}
		for i := range r.NodeSelectorTerms {
			v.nodeTerm(&r.NodeSelectorTerms[i], at.Index(i), true)
		}
	}
	for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
		p := &n.PreferredDuringSchedulingIgnoredDuringExecution[i]
		at := path.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
		v.weight(p.Weight, at.Child("weight"))
		v.nodeTerm(&p.Preference, at.Child("preference"), false)
	}
}

func (v *podValidator) weight(w int32, at *field.Path) {
	if w < 1 || w > 100 {
		v.invalid(at, w, "must be in the range 1-100")
	}
}

// nodeTerm judges a term; a preferred one may name values that no label can have, which then match nothing.
func (v *podValidator) nodeTerm(t *corev1.NodeSelectorTerm, path *field.Path, required bool) {
	for i, r := range t.MatchExpressions {
		at := path.Child("matchExpressions").Index(i)
		v.nodeRequirement(r, at)
		v.add(metav1validation.ValidateLabelName(r.Key, at.Child("key"))...)
		for j, value := range r.Values {
			if required {
				v.invalid(at.Child("values").Index(j), value, utilvalidation.IsValidLabelValue(value)...)
			}
		}
	}
	for i, r := range t.MatchFields {
		v.nodeField(r, path.Child("matchFields").Index(i))
	}
}

func (v *podValidator) nodeField(r corev1.NodeSelectorRequirement, at *field.Path) {
	if r.Operator != corev1.NodeSelectorOpIn && r.Operator != corev1.NodeSelectorOpNotIn {
		v.invalid(at.Child("operator"), r.Operator, "not a valid selector operator")
	} else if len(r.Values) != 1 {
		v.add(field.Required(at.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
	}
	if r.Key != metav1.ObjectNameField {
		v.invalid(at.Child("key"), r.Key, "not a valid field selector key")
		return
	}
	for j, value := range r.Values {
		v.invalid(at.Child("values").Index(j), value, validation.NameIsDNSSubdomain(value, false)...)
	}
}

func (v *podValidator) nodeRequirement(r corev1.NodeSelectorRequirement, at *field.Path) {
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			v.add(field.Required(at.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			v.add(field.Forbidden(at.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			v.add(field.Required(at.Child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'"))
		}
	default:
		v.invalid(at.Child("operator"), r.Operator, "not a valid selector operator")
	}
}

func (v *podValidator) podTerms(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, path *field.Path) {
	for i := range required {
		v.podTerm(&required[i], path.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i))
	}
	for i := range preferred {
		at := path.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
		v.weight(preferred[i].Weight, at.Child("weight"))
		v.podTerm(&preferred[i].PodAffinityTerm, at.Child("podAffinityTerm"))
	}
}

func (v *podValidator) podTerm(t *corev1.PodAffinityTerm, at *field.Path) {
	v.add(validateSelector(t.LabelSelector, at.Child("labelSelector"))...)
	v.add(validateSelector(t.NamespaceSelector, at.Child("namespaceSelector"))...)
	for _, ns := range t.Namespaces {
		v.invalid(at.Child("namespace"), ns, validation.ValidateNamespaceName(ns, false)...)
	}
	v.labelKeys(t.MatchLabelKeys, t.MismatchLabelKeys, t.LabelSelector, at)
	if t.TopologyKey == "" {
		v.add(field.Required(at.Child("topologyKey"), "can not be empty"))
	}
	v.add(metav1validation.ValidateLabelName(t.TopologyKey, at.Child("topologyKey"))...)
}

func validateSelector(s *metav1.LabelSelector, at *field.Path) field.ErrorList {
	return metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, at)
}

// labelKeys judges the keys whose values are taken from the pod's own labels, once they are part of the selector.
func (v *podValidator) labelKeys(match, mismatch []string, selector *metav1.LabelSelector, at *field.Path) {
	v.labelNames(match, selector, at.Child("matchLabelKeys"))
	v.labelNames(mismatch, selector, at.Child("mismatchLabelKeys"))
	if selector != nil {
		seen := map[string]bool{}
		for key := range selector.MatchLabels {
			seen[key] = true
		}
		for _, e := range selector.MatchExpressions {
			if i := lastIndex(match, e.Key); i >= 0 && seen[e.Key] {
				v.invalid(at.Index(i), e.Key, "exists in both matchLabelKeys and labelSelector")
			}
			seen[e.Key] = true
		}
	}
	for i, key := range match {
		if slices.Contains(mismatch, key) {
			v.invalid(at.Child("matchLabelKeys").Index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys")
		}
	}
}

func lastIndex(list []string, item string) int {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == item {
			return i
		}
	}
	return -1
}

func (v *podValidator) labelNames(keys []string, selector *metav1.LabelSelector, path *field.Path) {
	if len(keys) > 0 && selector == nil {
		v.add(field.Forbidden(path, "must not be specified when labelSelector is not set"))
		return
	}
	for i, key := range keys {
		v.add(metav1validation.ValidateLabelName(key, path.Index(i))...)
	}
}

func validateTolerations(tolerations []corev1.Toleration, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, t := range tolerations {
		at := path.Index(i)
		if t.Key != "" {
			errs = append(errs, metav1validation.ValidateLabelName(t.Key, at.Child("key"))...)
		} else if t.Operator != corev1.TolerationOpExists {
			errs = append(errs, field.Invalid(at.Child("operator"), t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			errs = append(errs, field.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
		}
		errs = append(errs, validateTolerationOperator(t, at)...)
		if t.Effect != "" {
			errs = append(errs, validateTaintEffect(t.Effect, at.Child("effect"))...)
		}
	}
	return errs
}

func validateTolerationOperator(t corev1.Toleration, at *field.Path) field.ErrorList {
	switch t.Operator {
	case corev1.TolerationOpEqual, "":
		return invalid(at.Child("operator"), t.Value, joined(utilvalidation.IsValidLabelValue(t.Value))...)
	case corev1.TolerationOpExists:
		if t.Value != "" {
			return field.ErrorList{field.Invalid(at.Child("operator"), t.Value, "value must be empty when `operator` is 'Exists'")}
		}
		return nil
	}
	return field.ErrorList{notOneOf(at.Child("operator"), t.Operator, corev1.TolerationOpEqual, corev1.TolerationOpExists)}
}

func validateTaintEffect(e corev1.TaintEffect, path *field.Path) field.ErrorList {
	return oneOf(path, e, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
}

func (v *podValidator) spread() {
	all := v.spec.TopologySpreadConstraints
	for i, c := range all {
		at := v.path.Child("topologySpreadConstraints").Index(i)
		if c.MaxSkew <= 0 {
			v.invalid(at.Child("maxSkew"), c.MaxSkew, "must be greater than zero")
		}
		v.required(c.TopologyKey, at.Child("topologyKey"))
		if c.WhenUnsatisfiable != corev1.DoNotSchedule && c.WhenUnsatisfiable != corev1.ScheduleAnyway {
			v.add(notOneOf(at.Child("whenUnsatisfiable"), c.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway))
		}
		again := slices.ContainsFunc(all[i+1:], func(d corev1.TopologySpreadConstraint) bool {
			return d.TopologyKey == c.TopologyKey && d.WhenUnsatisfiable == c.WhenUnsatisfiable
		})
		if again {
			v.add(field.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%v, %v}", c.TopologyKey, c.WhenUnsatisfiable)))
		}
		v.minDomains(c, at.Child("minDomains"))
		v.inclusion(c.NodeAffinityPolicy, at.Child("nodeAffinityPolicy"))
		v.inclusion(c.NodeTaintsPolicy, at.Child("nodeTaintsPolicy"))
		v.labelKeys(c.MatchLabelKeys, nil, c.LabelSelector, at)
		v.add(validateSelector(c.LabelSelector, at.Child("labelSelector"))...)
	}
}

func (v *podValidator) minDomains(c corev1.TopologySpreadConstraint, at *field.Path) {
	if c.MinDomains == nil {
		return
	}
	if *c.MinDomains <= 0 {
		v.invalid(at, *c.MinDomains, "must be greater than zero")
	}
	if c.WhenUnsatisfiable != corev1.DoNotSchedule {
		v.invalid(at, *c.MinDomains, fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", corev1.DoNotSchedule, c.WhenUnsatisfiable))
	}
}

func (v *podValidator) inclusion(p *corev1.NodeInclusionPolicy, at *field.Path) {
	if p != nil && *p != corev1.NodeInclusionPolicyIgnore && *p != corev1.NodeInclusionPolicyHonor {
		v.add(notOneOf(at, *p, corev1.NodeInclusionPolicyIgnore, corev1.NodeInclusionPolicyHonor))
	}
}
