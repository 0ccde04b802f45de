package core

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
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
	if len(s.SchedulingGates) > 0 && s.NodeName != "" {
		v.add(field.Forbidden(v.path.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
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
			v.nodeTerm(&r.NodeSelectorTerms[i], at.Index(i))
		}
	}
	for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
		p := &n.PreferredDuringSchedulingIgnoredDuringExecution[i]
		at := path.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
		v.weight(p.Weight, at.Child("weight"))
		v.nodeTerm(&p.Preference, at.Child("preference"))
	}
}

func (v *podValidator) weight(w int32, at *field.Path) {
	if w < 1 || w > 100 {
		v.invalid(at, w, "must be in the range 1-100")
	}
}

func (v *podValidator) nodeTerm(t *corev1.NodeSelectorTerm, path *field.Path) {
	for i, r := range t.MatchExpressions {
		at := path.Child("matchExpressions").Index(i)
		v.nodeRequirement(r, at)
		v.add(metav1validation.ValidateLabelName(r.Key, at.Child("key"))...)
		for j, value := range r.Values {
			v.add(validateLabelValue(value, at.Child("values").Index(j))...)
		}
	}
	for i, r := range t.MatchFields {
		at := path.Child("matchFields").Index(i)
		if r.Key != metav1.ObjectNameField {
			v.invalid(at.Child("key"), r.Key, "not a valid field selector key")
			continue
		}
		if r.Operator != corev1.NodeSelectorOpIn && r.Operator != corev1.NodeSelectorOpNotIn {
			v.invalid(at.Child("operator"), r.Operator, "not a valid selector operator")
		} else if len(r.Values) != 1 {
			v.add(field.Required(at.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
		}
		for j, value := range r.Values {
			v.invalid(at.Child("values").Index(j), value, validation.NameIsDNSSubdomain(value, false)...)
		}
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
			return
		}
		op := map[corev1.NodeSelectorOperator]selection.Operator{corev1.NodeSelectorOpGt: selection.GreaterThan, corev1.NodeSelectorOpLt: selection.LessThan}[r.Operator]
		if _, err := labels.NewRequirement("key", op, r.Values); err != nil {
			v.invalid(at.Child("values").Index(0), r.Values[0], "must be an integer")
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
	v.add(metav1validation.ValidateLabelSelector(t.LabelSelector, metav1validation.LabelSelectorValidationOptions{}, at.Child("labelSelector"))...)
	v.add(metav1validation.ValidateLabelSelector(t.NamespaceSelector, metav1validation.LabelSelectorValidationOptions{}, at.Child("namespaceSelector"))...)
	for i, ns := range t.Namespaces {
		v.invalid(at.Child("namespaces").Index(i), ns, validation.ValidateNamespaceName(ns, false)...)
	}
	v.labelKeys(t.MatchLabelKeys, t.LabelSelector, at.Child("matchLabelKeys"))
	v.labelKeys(t.MismatchLabelKeys, t.LabelSelector, at.Child("mismatchLabelKeys"))
	for i, key := range t.MatchLabelKeys {
		if slices.Contains(t.MismatchLabelKeys, key) {
			v.invalid(at.Child("matchLabelKeys").Index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys")
		}
	}
	if t.TopologyKey == "" {
		v.add(field.Required(at.Child("topologyKey"), "can not be empty"))
	}
	v.add(metav1validation.ValidateLabelName(t.TopologyKey, at.Child("topologyKey"))...)
}

func (v *podValidator) labelKeys(keys []string, selector *metav1.LabelSelector, path *field.Path) {
	if len(keys) > 0 && selector == nil {
		v.add(field.Forbidden(path, "must not be specified when labelSelector is not set"))
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
			errs = append(errs, validateTaintEffect(t.Effect, true, at.Child("effect"))...)
		}
	}
	return errs
}

func validateTolerationOperator(t corev1.Toleration, at *field.Path) field.ErrorList {
	switch t.Operator {
	case corev1.TolerationOpEqual, "":
		return validateLabelValue(t.Value, at.Child("value"))
	case corev1.TolerationOpExists:
		if t.Value != "" {
			return field.ErrorList{field.Invalid(at.Child("operator"), t.Operator, "value must be empty when `operator` is 'Exists'")}
		}
		return nil
	}
	return field.ErrorList{notOneOf(at.Child("operator"), t.Operator, corev1.TolerationOpEqual, corev1.TolerationOpExists)}
}

func validateTaintEffect(e corev1.TaintEffect, allowEmpty bool, path *field.Path) field.ErrorList {
	switch e {
	case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
		return nil
	case "":
		if allowEmpty {
			return nil
		}
		return field.ErrorList{field.Required(path, "")}
	}
	return field.ErrorList{notOneOf(path, e, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)}
}

func (v *podValidator) spread() {
	pairs := distinct{}
	for i, c := range v.spec.TopologySpreadConstraints {
		at := v.path.Child("topologySpreadConstraints").Index(i)
		if c.MaxSkew <= 0 {
			v.invalid(at.Child("maxSkew"), c.MaxSkew, "must be greater than zero")
		}
		if c.TopologyKey == "" {
			v.add(field.Required(at.Child("topologyKey"), "can not be empty"))
		}
		if c.WhenUnsatisfiable != corev1.DoNotSchedule && c.WhenUnsatisfiable != corev1.ScheduleAnyway {
			v.add(notOneOf(at.Child("whenUnsatisfiable"), c.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway))
		}
		v.add(pairs.check(fmt.Sprintf("{%v, %v}", c.TopologyKey, c.WhenUnsatisfiable), at)...)
		if c.MinDomains != nil && *c.MinDomains <= 0 {
			v.invalid(at.Child("minDomains"), *c.MinDomains, "must be greater than zero")
		} else if c.MinDomains != nil && c.WhenUnsatisfiable != corev1.DoNotSchedule {
			v.invalid(at.Child("minDomains"), *c.MinDomains, fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", corev1.DoNotSchedule, c.WhenUnsatisfiable))
		}
		v.inclusion(c.NodeAffinityPolicy, at.Child("nodeAffinityPolicy"))
		v.inclusion(c.NodeTaintsPolicy, at.Child("nodeTaintsPolicy"))
		v.labelKeys(c.MatchLabelKeys, c.LabelSelector, at.Child("matchLabelKeys"))
		v.add(metav1validation.ValidateLabelSelector(c.LabelSelector, metav1validation.LabelSelectorValidationOptions{}, at.Child("labelSelector"))...)
	}
}

func (v *podValidator) inclusion(p *corev1.NodeInclusionPolicy, at *field.Path) {
	if p != nil && *p != corev1.NodeInclusionPolicyIgnore && *p != corev1.NodeInclusionPolicyHonor {
		v.add(notOneOf(at, *p, corev1.NodeInclusionPolicyIgnore, corev1.NodeInclusionPolicyHonor))
	}
}
