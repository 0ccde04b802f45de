package autoscaling

import (
	"fmt"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

const (
	longestPeriod = 1800 // seconds
	longestWindow = 3600 // seconds
)

var spec = field.NewPath("spec")

// references says what the API version of a reference may be.
type references struct{ anything, noGroup bool }

// validate judges an autoscaler; old is nil on create. What was wrong with a reference before may stay so.
func validate(n, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	s := &n.Spec
	errs := validateBounds(s)
	target, objects := references{}, references{noGroup: true}
	ref := &s.ScaleTargetRef
	switch {
	case old != nil && old.Spec.ScaleTargetRef.APIVersion == ref.APIVersion && old.Spec.ScaleTargetRef.Kind == ref.Kind:
		target.anything = true
	case ref.Kind == "ReplicationController":
		target.noGroup = true
	}
	if old != nil {
		objects.anything = slices.ContainsFunc(old.Spec.Metrics, func(m autoscalingv2.MetricSpec) bool {
			return m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil && objects.version(m.Object.DescribedObject.APIVersion) != nil
		})
	}
	errs = append(errs, target.validate(ref, spec.Child("scaleTargetRef"))...)
	errs = append(errs, validateMetrics(s, objects)...)
	if s.Behavior != nil {
		errs = append(errs, validateRules(s.Behavior.ScaleUp, spec.Child("behavior", "scaleUp"))...)
		errs = append(errs, validateRules(s.Behavior.ScaleDown, spec.Child("behavior", "scaleDown"))...)
	}
	return errs
}

func validateBounds(s *autoscalingv2.HorizontalPodAutoscalerSpec) field.ErrorList {
	var errs field.ErrorList
	if n := s.MinReplicas; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(spec.Child("minReplicas"), *n, "must be greater than or equal to 0"))
	}
	most := spec.Child("maxReplicas")
	if s.MaxReplicas == 0 {
		errs = append(errs, field.Required(most, "must be set and greater than 0"))
	} else if s.MaxReplicas < 0 {
		errs = append(errs, field.Invalid(most, s.MaxReplicas, "must be greater than or equal to 1"))
	}
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		errs = append(errs, field.Invalid(most, s.MaxReplicas, "must be greater than or equal to `minReplicas`"))
	}
	return errs
}

func (r references) version(text string) error {
	if r.anything {
		return nil
	}
	version, err := schema.ParseGroupVersion(text)
	if err != nil {
		return err
	}
	if version.Group == "" && !r.noGroup {
		return fmt.Errorf("apiVersion must specify API group")
	}
	return nil
}

func (r references) validate(ref *autoscalingv2.CrossVersionObjectReference, at *field.Path) field.ErrorList {
	errs := validateName(ref.Kind, at.Child("kind"), "")
	errs = append(errs, validateName(ref.Name, at.Child("name"), "")...)
	if err := r.version(ref.APIVersion); err != nil {
		errs = append(errs, field.Invalid(at.Child("apiVersion"), ref.APIVersion, err.Error()))
	}
	return errs
}

// validateName judges what is to be a part of a path.
func validateName(name string, at *field.Path, missing string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, missing)}
	}
	var errs field.ErrorList
	for _, msg := range path.IsValidPathSegmentName(name) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	return errs
}

func validateRules(r *autoscalingv2.HPAScalingRules, at *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	window := at.Child("stabilizationWindowSeconds")
	if n := r.StabilizationWindowSeconds; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(window, n, "must be greater than or equal to zero"))
	} else if n != nil && *n > longestWindow {
		errs = append(errs, field.Invalid(window, n, fmt.Sprintf("must be less than or equal to %d", longestWindow)))
	}
	selects := []autoscalingv2.ScalingPolicySelect{autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect}
	if p := r.SelectPolicy; p != nil && !slices.Contains(selects, *p) {
		errs = append(errs, field.NotSupported(at.Child("selectPolicy"), *p, selects))
	}
	policies := at.Child("policies")
	if len(r.Policies) == 0 {
		errs = append(errs, field.Required(policies, "must specify at least one Policy"))
	}
	for i := range r.Policies {
		errs = append(errs, validatePolicy(&r.Policies[i], policies.Index(i))...)
	}
	if q := r.Tolerance; q != nil && q.Sign() < 0 {
		errs = append(errs, field.Invalid(at.Child("tolerance"), q.String(), validation.IsNegativeErrorMsg))
	}
	return errs
}

func validatePolicy(p *autoscalingv2.HPAScalingPolicy, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.Type != autoscalingv2.PodsScalingPolicy && p.Type != autoscalingv2.PercentScalingPolicy {
		errs = append(errs, field.NotSupported(at.Child("type"), p.Type, []autoscalingv2.HPAScalingPolicyType{autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy}))
	}
	if p.Value <= 0 {
		errs = append(errs, field.Invalid(at.Child("value"), p.Value, "must be greater than zero"))
	}
	if p.PeriodSeconds <= 0 {
		errs = append(errs, field.Invalid(at.Child("periodSeconds"), p.PeriodSeconds, "must be greater than zero"))
	} else if p.PeriodSeconds > longestPeriod {
		errs = append(errs, field.Invalid(at.Child("periodSeconds"), p.PeriodSeconds, fmt.Sprintf("must be less than or equal to %d", longestPeriod)))
	}
	return errs
}

func validateMetrics(s *autoscalingv2.HorizontalPodAutoscalerSpec, objects references) field.ErrorList {
	at := spec.Child("metrics")
	var errs field.ErrorList
	outside := false // of the pods: known when there are none
	for i := range s.Metrics {
		m := &s.Metrics[i]
		errs = append(errs, validateMetric(m, at.Index(i), objects)...)
		outside = outside || m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	}
	if s.MinReplicas != nil && *s.MinReplicas == 0 && !outside {
		errs = append(errs, field.Forbidden(at, "must specify at least one Object or External metric to support scaling to zero replicas"))
	}
	return errs
}

// validateMetric judges a metric, which must have the source that its type names and no other. Of several the first,
// in this order, is judged.
func validateMetric(m *autoscalingv2.MetricSpec, at *field.Path, objects references) field.ErrorList {
	sources := []struct {
		typ    autoscalingv2.MetricSourceType
		name   string
		there  bool
		verify func(at *field.Path) field.ErrorList
	}{
		{autoscalingv2.ObjectMetricSourceType, "object", m.Object != nil, func(at *field.Path) field.ErrorList { return validateObject(m.Object, at, objects) }},
		{autoscalingv2.ExternalMetricSourceType, "external", m.External != nil, func(at *field.Path) field.ErrorList { return validateExternal(m.External, at) }},
		{autoscalingv2.PodsMetricSourceType, "pods", m.Pods != nil, func(at *field.Path) field.ErrorList { return validatePods(m.Pods, at) }},
		{autoscalingv2.ResourceMetricSourceType, "resource", m.Resource != nil, func(at *field.Path) field.ErrorList { return validateResource(m.Resource, at) }},
		{autoscalingv2.ContainerResourceMetricSourceType, "containerResource", m.ContainerResource != nil, func(at *field.Path) field.ErrorList { return validateContainer(m.ContainerResource, at) }},
	}
	var errs field.ErrorList
	var types []autoscalingv2.MetricSourceType
	count := 0
	for _, s := range sources {
		types = append(types, s.typ)
		if s.there {
			if count++; count == 1 {
				errs = append(errs, s.verify(at.Child(s.name))...)
			}
		} else if s.typ == m.Type {
			errs = append(errs, field.Required(at.Child(s.name), "must populate information for the given metric source"))
		}
	}
	for _, s := range sources {
		if count > 1 && s.there && s.typ != m.Type {
			errs = append(errs, field.Forbidden(at.Child(s.name), "must populate the given metric source only"))
		}
	}
	if m.Type == "" {
		errs = append(errs, field.Required(at.Child("type"), "must specify a metric source type"))
	}
	if !slices.Contains(types, m.Type) {
		slices.Sort(types)
		errs = append(errs, field.NotSupported(at.Child("type"), m.Type, types))
	}
	return errs
}

func validateObject(s *autoscalingv2.ObjectMetricSource, at *field.Path, objects references) field.ErrorList {
	errs := objects.validate(&s.DescribedObject, at.Child("describedObject"))
	errs = append(errs, validateIdentifier(s.Metric.Name, at)...)
	errs = append(errs, validateTarget(&s.Target, at.Child("target"))...)
	if s.Target.Value == nil && s.Target.AverageValue == nil {
		errs = append(errs, field.Required(at.Child("target", "averageValue"), "must set either a target value or averageValue"))
	}
	return errs
}

func validateExternal(s *autoscalingv2.ExternalMetricSource, at *field.Path) field.ErrorList {
	errs := append(validateIdentifier(s.Metric.Name, at), validateTarget(&s.Target, at.Child("target"))...)
	switch all, each := s.Target.Value != nil, s.Target.AverageValue != nil; {
	case !all && !each:
		errs = append(errs, field.Required(at.Child("target", "averageValue"), "must set either a target value for metric or a per-pod target"))
	case all && each:
		errs = append(errs, field.Forbidden(at.Child("target", "value"), "may not set both a target value for metric and a per-pod target"))
	}
	return errs
}

func validatePods(s *autoscalingv2.PodsMetricSource, at *field.Path) field.ErrorList {
	errs := append(validateIdentifier(s.Metric.Name, at), validateTarget(&s.Target, at.Child("target"))...)
	if s.Target.AverageValue == nil {
		errs = append(errs, field.Required(at.Child("target", "averageValue"), "must specify a positive target averageValue"))
	}
	return errs
}

func validateResource(s *autoscalingv2.ResourceMetricSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), "must specify a resource name"))
	}
	return append(errs, validateUse(&s.Target, at.Child("target"))...)
}

func validateContainer(s *autoscalingv2.ContainerResourceMetricSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), "must specify a resource name"))
	} else {
		errs = append(errs, core.ValidateContainerResourceName(s.Name, at.Child("name"))...)
	}
	if s.Container == "" {
		errs = append(errs, field.Required(at.Child("container"), "must specify a container"))
	} else {
		for _, msg := range validation.NameIsDNSLabel(s.Container, false) {
			errs = append(errs, field.Invalid(at.Child("container"), s.Container, msg))
		}
	}
	return append(errs, validateUse(&s.Target, at.Child("target"))...)
}

// validateUse judges a target of what is used: a number or a percentage.
func validateUse(t *autoscalingv2.MetricTarget, at *field.Path) field.ErrorList {
	errs := validateTarget(t, at)
	switch value, share := t.AverageValue != nil, t.AverageUtilization != nil; {
	case !value && !share:
		errs = append(errs, field.Required(at.Child("averageUtilization"), "must set either a target raw value or a target utilization"))
	case value && share:
		errs = append(errs, field.Forbidden(at.Child("averageValue"), "may not set both a target raw value and a target utilization"))
	}
	return errs
}

func validateTarget(t *autoscalingv2.MetricTarget, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch t.Type {
	case autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType:
	default:
		if t.Type == "" {
			errs = append(errs, field.Required(at.Child("type"), "must specify a metric target type"))
		}
		errs = append(errs, field.Invalid(at.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue"))
	}
	if t.Value != nil && t.Value.Sign() != 1 {
		errs = append(errs, field.Invalid(at.Child("value"), t.Value, "must be positive"))
	}
	if t.AverageValue != nil && t.AverageValue.Sign() != 1 {
		errs = append(errs, field.Invalid(at.Child("averageValue"), t.AverageValue, "must be positive"))
	}
	if t.AverageUtilization != nil && *t.AverageUtilization < 1 {
		errs = append(errs, field.Invalid(at.Child("averageUtilization"), t.AverageUtilization, "must be greater than 0"))
	}
	return errs
}

func validateIdentifier(name string, at *field.Path) field.ErrorList {
	return validateName(name, at.Child("metric", "name"), "must specify a metric name")
}
