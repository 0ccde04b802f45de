package resource

import (
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/same"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

var sameTaints = same.Func[[]resourcev1.DeviceTaint]()

// validateDevice judges a device of a slice; old is the one of that name that the slice had, nil if none.
func validateDevice(d, old *resourcev1.Device, perDevice bool, at *field.Path) field.ErrorList {
	errs := ValidateDevice(d.Name, at.Child("name"))
	errs = append(errs, validateProperties(d, at)...)
	if old == nil || !sameTaints(&d.Taints, &old.Taints) {
		errs = append(errs, each(d.Taints, resourcev1.DeviceTaintsMaxLength, at.Child("taints"),
			func(t *resourcev1.DeviceTaint, at *field.Path) field.ErrorList { return ValidateTaint(t, nil, at) })...)
	}
	errs = append(errs, eachOnce(d.ConsumesCounters, resourcev1.ResourceSliceMaxDeviceCounterConsumptionsPerDevice, at.Child("consumesCounters"),
		func(c *resourcev1.DeviceCounterConsumption) string { return c.CounterSet }, validateConsumption)...)
	if perDevice {
		errs = append(errs, validateDeviceReach(d, at)...)
	} else if d.NodeName != nil || d.NodeSelector != nil || d.AllNodes != nil {
		errs = append(errs, field.Invalid(at, nil, "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"))
	}
	return append(errs, validateBinding(d.BindingConditions, d.BindingFailureConditions, at)...)
}

// validateProperties judges a device's attributes and capacities.
func validateProperties(d *resourcev1.Device, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n := len(d.Attributes) + len(d.Capacity); n > resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		errs = append(errs, field.Invalid(at, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d", resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice)))
	}
	if n := len(d.Attributes); n > maxAttributeValues {
		errs = append(errs, field.Invalid(at, n, fmt.Sprintf("the total number of attribute values must not exceed %d", maxAttributeValues)))
	}
	path := at.Child("attributes")
	for name, a := range sorted(d.Attributes) {
		errs = append(errs, validateQualified(string(name), path)...)
		errs = append(errs, validateAttribute(&a, path.Key(shortened(string(name))))...)
	}
	shared := d.AllowMultipleAllocations != nil && *d.AllowMultipleAllocations
	path = at.Child("capacity")
	for name, c := range sorted(d.Capacity) {
		errs = append(errs, validateQualified(string(name), path)...)
		errs = append(errs, validateCapacity(&c, shared, path.Key(shortened(string(name))))...)
	}
	return errs
}

// The most values that the attributes of a device have together; a list counts by its items.
const maxAttributeValues = 48

// shortened cuts a name out of the middle of a path that would be too long.
func shortened(name string) string {
	const most, dots = resourcev1.DeviceMaxDomainLength + 1 + resourcev1.DeviceMaxIDLength, "..."
	if len(name) <= most {
		return name
	}
	left := most - len(dots)
	return name[:(left+1)/2] + dots + name[len(name)-left/2:]
}

// sorted yields a map in the order of its keys.
func sorted[K ~string, V any](m map[K]V) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

// semantic is a version as semver.org has it.
var semantic = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)

func validateAttribute(a *resourcev1.DeviceAttribute, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	values := 0
	if a.BoolValue != nil {
		values++
	}
	if a.IntValue != nil {
		values++
	}
	bounded := func(name string, v *string) {
		if v == nil {
			return
		}
		if values++; len(*v) > resourcev1.DeviceAttributeMaxValueLength {
			errs = append(errs, field.TooLong(at.Child(name), "", resourcev1.DeviceAttributeMaxValueLength))
		}
	}
	bounded("string", a.StringValue)
	if v := a.VersionValue; v != nil && !semantic.MatchString(*v) {
		errs = append(errs, field.Invalid(at.Child("version"), *v, "must be a string compatible with semver.org spec 2.0.0"))
	}
	bounded("version", a.VersionValue)
	switch {
	case values == 0:
		errs = append(errs, field.Invalid(at, "", "exactly one value must be specified"))
	case values > 1:
		errs = append(errs, field.Invalid(at, *a, "exactly one value must be specified"))
	}
	return errs
}

// validateDeviceReach judges which nodes reach a device, where its slice leaves that to devices.
func validateDeviceReach(d *resourcev1.Device, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	var there []string
	if n := d.NodeName; n != nil && *n == "" {
		errs = append(errs, field.Invalid(at.Child("nodeName"), *n, "must not be empty"))
	} else if n != nil {
		there = append(there, "`nodeName`")
		errs = append(errs, validateNode(*n, at.Child("nodeName"))...)
	}
	if d.NodeSelector != nil {
		there = append(there, "`nodeSelector`")
		errs = append(errs, core.ValidateNodeSelector(d.NodeSelector, at.Child("nodeSelector"))...)
	}
	if a := d.AllNodes; a != nil && *a {
		there = append(there, "`allNodes`")
	} else if a != nil {
		errs = append(errs, field.Invalid(at.Child("allNodes"), *a, "must be either unset or set to true"))
	}
	return append(errs, exactlyOne(there, at, "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec")...)
}
