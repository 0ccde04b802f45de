package resource

import (
	"fmt"
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateCapacity judges a capacity; only that of a device which several claims may share says how it is shared out.
func validateCapacity(c *resourcev1.DeviceCapacity, shared bool, at *field.Path) field.ErrorList {
	p, at := c.RequestPolicy, at.Child("requestPolicy")
	switch {
	case p == nil:
		return nil
	case !shared:
		return field.ErrorList{field.Forbidden(at, "allowMultipleAllocations must be true")}
	case len(p.ValidValues) > 0 && p.ValidRange != nil:
		return field.ErrorList{field.Forbidden(at, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`)}
	case len(p.ValidValues) > 0 && p.Default == nil:
		return field.ErrorList{field.Required(at.Child("default"), "required when validValues is defined")}
	case len(p.ValidValues) > 0:
		return validateValues(p.ValidValues, *p.Default, c.Value, at.Child("validValues"))
	case p.ValidRange != nil && p.Default == nil:
		return field.ErrorList{field.Required(at.Child("default"), "required when validRange is defined")}
	case p.ValidRange != nil:
		return validateRange(p.ValidRange, *p.Default, c.Value, at.Child("validRange"))
	}
	return nil
}

// The most values that a request can be rounded up to.
const maxValues = 10

func validateValues(values []resource.Quantity, standard, capacity resource.Quantity, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := 1; i < len(values); i++ {
		if values[i-1].Cmp(values[i]) > 0 {
			errs = append(errs, field.Invalid(at.Index(i), values[i].String(), "values must be sorted in ascending order"))
		}
	}
	errs = append(errs, eachOnce(values, maxValues, at,
		func(q *resource.Quantity) string { return fmt.Sprint(q.Value()) },
		func(q *resource.Quantity, at *field.Path) field.ErrorList { return atMost(q, capacity, "option", at) })...)
	judged := len(values) <= maxValues
	if !judged || !slices.ContainsFunc(values, func(q resource.Quantity) bool { return q.Cmp(standard) == 0 }) {
		errs = append(errs, field.Invalid(at, standard.String(), "default value is not valid according to the requestPolicy"))
	}
	return errs
}

func atMost(q *resource.Quantity, capacity resource.Quantity, what string, at *field.Path) field.ErrorList {
	if q.Cmp(capacity) <= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, q.String(), what+" is larger than capacity value: "+capacity.String())}
}

func validateRange(r *resourcev1.CapacityRequestPolicyRange, standard, capacity resource.Quantity, at *field.Path) field.ErrorList {
	if r.Min == nil {
		return field.ErrorList{field.Required(at.Child("min"), "required when validRange is defined")}
	}
	errs := atMost(r.Min, capacity, "min", at.Child("min"))
	if standard.Cmp(*r.Min) < 0 {
		errs = append(errs, field.Invalid(at.Child("min"), standard.String(), "default is less than min: "+r.Min.String()))
	}
	if r.Max != nil {
		if r.Min.Cmp(*r.Max) > 0 {
			errs = append(errs, field.Invalid(at.Child("max"), r.Min.String(), "min is larger than max: "+r.Max.String()))
		}
		errs = append(errs, atMost(r.Max, capacity, "max", at.Child("max"))...)
		if standard.Cmp(*r.Max) > 0 {
			errs = append(errs, field.Invalid(at.Child("max"), standard.String(), "default is more than max: "+r.Max.String()))
		}
	}
	if r.Step != nil {
		errs = append(errs, validateStep(r, standard, capacity, at.Child("step"))...)
	}
	return errs
}

// validateStep judges the step of a range, by which its default and its end must be reached. One of zero, which
// Kubernetes does not survive, is refused.
func validateStep(r *resourcev1.CapacityRequestPolicyRange, standard, capacity resource.Quantity, at *field.Path) field.ErrorList {
	step := r.Step.Value()
	if step == 0 {
		return field.ErrorList{field.Invalid(at, r.Step.String(), "must not be zero")}
	}
	var errs field.ErrorList
	one := r.Min.DeepCopy()
	if one.Add(*r.Step); one.Cmp(capacity) > 0 {
		errs = append(errs, field.Invalid(at, r.Step.String(), fmt.Sprintf("one step %s is larger than capacity value: %s", one.String(), capacity.String())))
	}
	reached := func(q resource.Quantity) {
		if (q.Value()-r.Min.Value())%step != 0 {
			errs = append(errs, field.Invalid(at, q.String(), fmt.Sprintf("value is not a multiple of a given step (%s) from (%s)", r.Step.String(), r.Min.String())))
		}
	}
	if reached(standard); r.Max != nil {
		reached(*r.Max)
	}
	return errs
}
