package core

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

func (v *podValidator) scheduling() {
	s := v.spec
	v.add(validateLabels(s.NodeSelector, v.path.child("nodeSelector"))...)
	v.affinity()
	v.add(validateTolerations(s.Tolerations, v.path.child("tolerations"))...)
	v.spread()
	gates := distinct{}
	for i, g := range s.SchedulingGates {
		at := v.path.child("schedulingGates").index(i)
		v.add(validateQualifiedName(g.Name, at.path())...)
		v.add(gates.check(g.Name, at.path())...)
	}
}

func (v *podValidator) affinity() {
	a := v.spec.Affinity
	if a == nil {
		return
	}
	path := v.path.child("affinity")
	if n := a.NodeAffinity; n != nil {
		v.nodeAffinity(n, path.child("nodeAffinity"))
	}
	if p := a.PodAffinity; p != nil {
		v.podTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.child("podAffinity"))
	}
	if p := a.PodAntiAffinity; p != nil {
		v.podTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.child("podAntiAffinity"))
	}
}

func (v *podValidator) nodeAffinity(n *corev1.NodeAffinity, path *place) {
	if r := n.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
		v.requiredNodes(r, path.child("requiredDuringSchedulingIgnoredDuringExecution"))
	}
	for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
		p := &n.PreferredDuringSchedulingIgnoredDuringExecution[i]
		at := path.child("preferredDuringSchedulingIgnoredDuringExecution").index(i)
		v.weight(p.Weight, at.child("weight"))
		v.nodeTerm(&p.Preference, at.child("preference"), false)
	}
}

func (v *podValidator) weight(w int32, at *place) {
	if w < 1 || w > 100 {
		v.invalid(at, w, "must be in the range 1-100")
	}
}

// nodeTerm judges a term; a preferred one may name values that no label can have, which then match nothing.
func (v *podValidator) nodeTerm(t *corev1.NodeSelectorTerm, path *place, required bool) {
	for i, r := range t.MatchExpressions {
		at := path.child("matchExpressions").index(i)
		v.nodeRequirement(r, at)
		v.labelName(r.Key, at.child("key"))
		for j, value := range r.Values {
			if required {
				v.form(at.child("values").index(j), value, forms.LabelValue)
			}
		}
	}
	for i, r := range t.MatchFields {
		v.nodeField(r, path.child("matchFields").index(i))
	}
}

func (v *podValidator) nodeField(r corev1.NodeSelectorRequirement, at *place) {
	if r.Operator != corev1.NodeSelectorOpIn && r.Operator != corev1.NodeSelectorOpNotIn {
		v.invalid(at.child("operator"), r.Operator, "not a valid selector operator")
	} else if len(r.Values) != 1 {
		v.add(field.Required(at.child("values").path(), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
	}
	if r.Key != metav1.ObjectNameField {
		v.invalid(at.child("key"), r.Key, "not a valid field selector key")
		return
	}
	for j, value := range r.Values {
		v.form(at.child("values").index(j), value, forms.Subdomain)
	}
}

func (v *podValidator) nodeRequirement(r corev1.NodeSelectorRequirement, at *place) {
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			v.add(field.Required(at.child("values").path(), "must be specified when `operator` is 'In' or 'NotIn'"))
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			v.add(field.Forbidden(at.child("values").path(), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			v.add(field.Required(at.child("values").path(), "must be specified single value when `operator` is 'Lt' or 'Gt'"))
		}
	default:
		v.invalid(at.child("operator"), r.Operator, "not a valid selector operator")
	}
}

func (v *podValidator) podTerms(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, path *place) {
	for i := range required {
		v.podTerm(&required[i], path.child("requiredDuringSchedulingIgnoredDuringExecution").index(i))
	}
	for i := range preferred {
		at := path.child("preferredDuringSchedulingIgnoredDuringExecution").index(i)
		v.weight(preferred[i].Weight, at.child("weight"))
		v.podTerm(&preferred[i].PodAffinityTerm, at.child("podAffinityTerm"))
	}
}

func (v *podValidator) podTerm(t *corev1.PodAffinityTerm, at *place) {
	v.add(validateSelector(t.LabelSelector, at.child("labelSelector").path())...)
	v.add(validateSelector(t.NamespaceSelector, at.child("namespaceSelector").path())...)
	for _, ns := range t.Namespaces {
		v.form(at.child("namespace"), ns, forms.Label)
	}
	v.labelKeys(t.MatchLabelKeys, t.MismatchLabelKeys, t.LabelSelector, at)
	if t.TopologyKey == "" {
		v.add(field.Required(at.child("topologyKey").path(), "can not be empty"))
	}
	v.labelName(t.TopologyKey, at.child("topologyKey"))
}

func (v *podValidator) labelName(name string, at *place) { v.add(validateLabelName(name, at)...) }

func validateLabelName(name string, at *place) field.ErrorList {
	if forms.IsQualifiedName(name) {
		return nil
	}
	return metav1validation.ValidateLabelName(name, at.path())
}

func validateLabels(labels map[string]string, at *place) field.ErrorList {
	if forms.AreLabels(labels) {
		return nil
	}
	return metav1validation.ValidateLabels(labels, at.path())
}

func validateSelector(s *metav1.LabelSelector, at *field.Path) field.ErrorList {
	if forms.IsSelector(s) {
		return nil
	}
	return metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, at)
}

// labelKeys judges the keys whose values are taken from the pod's own labels, once they are part of the selector.
func (v *podValidator) labelKeys(match, mismatch []string, selector *metav1.LabelSelector, at *place) {
	v.labelNames(match, selector, at.child("matchLabelKeys"))
	v.labelNames(mismatch, selector, at.child("mismatchLabelKeys"))
	if selector != nil {
		seen := map[string]bool{}
		for key := range selector.MatchLabels {
			seen[key] = true
		}
		for _, e := range selector.MatchExpressions {
			if i := lastIndex(match, e.Key); i >= 0 && seen[e.Key] {
				v.invalid(at.index(i), e.Key, "exists in both matchLabelKeys and labelSelector")
			}
			seen[e.Key] = true
		}
	}
	for i, key := range match {
		if slices.Contains(mismatch, key) {
			v.invalid(at.child("matchLabelKeys").index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys")
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

func (v *podValidator) labelNames(keys []string, selector *metav1.LabelSelector, path *place) {
	if len(keys) > 0 && selector == nil {
		v.add(field.Forbidden(path.path(), "must not be specified when labelSelector is not set"))
		return
	}
	for i, key := range keys {
		v.labelName(key, path.index(i))
	}
}

func validateTolerations(tolerations []corev1.Toleration, path *place) field.ErrorList {
	var errs field.ErrorList
	for i, t := range tolerations {
		at := path.index(i)
		if t.Key != "" {
			errs = append(errs, validateLabelName(t.Key, at.child("key"))...)
		} else if t.Operator != corev1.TolerationOpExists {
			errs = append(errs, field.Invalid(at.child("operator").path(), t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			errs = append(errs, field.Invalid(at.child("effect").path(), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
		}
		errs = append(errs, validateTolerationOperator(t, at)...)
		if t.Effect != "" {
			errs = append(errs, validateTaintEffect(t.Effect, at.child("effect").path())...)
		}
	}
	return errs
}

func validateTolerationOperator(t corev1.Toleration, at *place) field.ErrorList {
	switch t.Operator {
	case corev1.TolerationOpEqual, "":
		return invalid(at.child("operator").path(), t.Value, joined(forms.LabelValue(t.Value))...)
	case corev1.TolerationOpExists:
		if t.Value != "" {
			return field.ErrorList{field.Invalid(at.child("operator").path(), t.Value, "value must be empty when `operator` is 'Exists'")}
		}
		return nil
	}
	return field.ErrorList{notOneOf(at.child("operator").path(), t.Operator, corev1.TolerationOpEqual, corev1.TolerationOpExists)}
}

func validateTaintEffect(e corev1.TaintEffect, path *field.Path) field.ErrorList {
	return oneOf(path, e, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
}

func (v *podValidator) spread() {
	all := v.spec.TopologySpreadConstraints
	for i, c := range all {
		at := v.path.child("topologySpreadConstraints").index(i)
		if c.MaxSkew <= 0 {
			v.invalid(at.child("maxSkew"), c.MaxSkew, "must be greater than zero")
		}
		v.required(c.TopologyKey, at.child("topologyKey"))
		if c.WhenUnsatisfiable != corev1.DoNotSchedule && c.WhenUnsatisfiable != corev1.ScheduleAnyway {
			v.add(notOneOf(at.child("whenUnsatisfiable").path(), c.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway))
		}
		again := slices.ContainsFunc(all[i+1:], func(d corev1.TopologySpreadConstraint) bool {
			return d.TopologyKey == c.TopologyKey && d.WhenUnsatisfiable == c.WhenUnsatisfiable
		})
		if again {
			v.add(field.Duplicate(at.child("{topologyKey, whenUnsatisfiable}").path(), fmt.Sprintf("{%v, %v}", c.TopologyKey, c.WhenUnsatisfiable)))
		}
		v.minDomains(c, at.child("minDomains"))
		v.inclusion(c.NodeAffinityPolicy, at.child("nodeAffinityPolicy"))
		v.inclusion(c.NodeTaintsPolicy, at.child("nodeTaintsPolicy"))
		v.labelKeys(c.MatchLabelKeys, nil, c.LabelSelector, at)
		v.add(validateSelector(c.LabelSelector, at.child("labelSelector").path())...)
	}
}

func (v *podValidator) minDomains(c corev1.TopologySpreadConstraint, at *place) {
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

func (v *podValidator) inclusion(p *corev1.NodeInclusionPolicy, at *place) {
	if p != nil && *p != corev1.NodeInclusionPolicyIgnore && *p != corev1.NodeInclusionPolicyHonor {
		v.add(notOneOf(at.path(), *p, corev1.NodeInclusionPolicyIgnore, corev1.NodeInclusionPolicyHonor))
	}
}
