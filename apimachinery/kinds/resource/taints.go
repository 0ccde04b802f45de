package resource

import (
	"slices"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

var (
	effects   = []resourcev1.DeviceTaintEffect{resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone}
	operators = []resourcev1.DeviceTolerationOperator{resourcev1.DeviceTolerationOpEqual, resourcev1.DeviceTolerationOpExists}
)

// DefaultTaint notes when a taint came to be.
func DefaultTaint(t *resourcev1.DeviceTaint) {
	if t.TimeAdded == nil {
		t.TimeAdded = Now()
	}
}

// Now is the time as taints have it: in seconds.
func Now() *metav1.Time { return &metav1.Time{Time: time.Now().Truncate(time.Second)} }

// ValidateTaint judges a taint; an effect that it had before, old, stays as it was judged.
func ValidateTaint(t, old *resourcev1.DeviceTaint, at *field.Path) field.ErrorList {
	errs := validateLabelName(t.Key, at.Child("key"))
	if t.Value != "" {
		errs = append(errs, invalid(at.Child("value"), t.Value, forms.LabelValue(t.Value))...)
	}
	switch path := at.Child("effect"); {
	case old != nil && old.Effect == t.Effect:
	case t.Effect == "":
		errs = append(errs, field.Required(path, ""))
	case !slices.Contains(effects, t.Effect):
		errs = append(errs, field.NotSupported(path, t.Effect, effects))
	}
	return errs
}

func validateToleration(t *resourcev1.DeviceToleration, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Key != "" {
		errs = append(errs, validateLabelName(t.Key, at.Child("key"))...)
	}
	switch t.Operator {
	case resourcev1.DeviceTolerationOpExists:
		if t.Value != "" {
			errs = append(errs, field.Invalid(at.Child("value"), t.Value, "must be empty for operator `Exists`"))
		}
	case resourcev1.DeviceTolerationOpEqual:
		errs = append(errs, invalid(at.Child("value"), t.Value, forms.LabelValue(t.Value))...)
	case "":
		errs = append(errs, field.Required(at.Child("operator"), ""))
	default:
		errs = append(errs, field.NotSupported(at.Child("operator"), t.Operator, operators))
	}
	if t.Effect != "" && !slices.Contains(effects, t.Effect) {
		errs = append(errs, field.NotSupported(at.Child("effect"), t.Effect, effects))
	}
	return errs
}
