package resource

import (
	"context"
	"fmt"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

var sameSlice = same.Func[resourcev1.ResourceSliceSpec]()

// ResourceSlices declares resource.k8s.io/v1 ResourceSlice.
func ResourceSlices() apimachinery.Resource {
	type kind = *resourcev1.ResourceSlice
	return apimachinery.Resource{
		Name: groupResource("resourceslices"),
		New:  func() apimachinery.Object { return &resourcev1.ResourceSlice{} },
		Views: view("ResourceSlice", "resourceslices",
			[]apimachinery.Field{{Name: "spec.nodeName"}, {Name: "spec.driver"}, {Name: "spec.pool.name"}},
			apimachinery.ColumnOf("Node", "string", func(s kind) any { return text(s.Spec.NodeName) }),
			apimachinery.ColumnOf("Driver", "string", func(s kind) any { return s.Spec.Driver }),
			apimachinery.ColumnOf("Pool", "string", func(s kind) any { return s.Spec.Pool.Name })),
		Default: func(o apimachinery.Object) {
			for i := range o.(kind).Spec.Devices {
				for j := range o.(kind).Spec.Devices[i].Taints {
					DefaultTaint(&o.(kind).Spec.Devices[i].Taints[j])
				}
			}
		},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			if old == nil {
				new.SetGeneration(1)
			} else if !sameSlice(&new.(kind).Spec, &old.(kind).Spec) {
				new.SetGeneration(old.GetGeneration() + 1)
			}
			prepareSlice(&new.(kind).Spec)
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			errs := core.ValidateFinalizers(new)
			if o, ok := old.(kind); ok {
				return append(errs, validateSlice(&new.(kind).Spec, &o.Spec)...)
			}
			return append(errs, validateSlice(&new.(kind).Spec, nil)...)
		},
		Warnings: func(new, _ apimachinery.Object) []string {
			driver := new.(kind).Spec.Driver
			if driver == strings.ToLower(driver) {
				return nil
			}
			return []string{fmt.Sprintf("spec.driver: driver names should be lowercase; %q contains uppercase characters", driver)}
		},
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

var (
	partitionType  = core.GatedField[resourcev1.ResourceSliceSpec]("PartitionTypeAttribute")
	skippedBySlice = core.GatedField[resourcev1.ResourceSliceSpec]("SkipNodeOperations")
	nodeResources  = core.GatedField[resourcev1.Device]("NodeAllocatableResources")
	nodeMappings   = core.GatedField[resourcev1.Device]("NodeAllocatableResourceMappings") // as v1.36 has it
	compatibility  = core.GatedField[resourcev1.DeviceCounterConsumption]("CompatibilityGroups")
)

// prepareSlice empties the fields of features that are off.
func prepareSlice(s *resourcev1.ResourceSliceSpec) {
	partitionType.Blank(s)
	skippedBySlice.Blank(s)
	for i := range s.Devices {
		d := &s.Devices[i]
		nodeResources.Blank(d)
		nodeMappings.Blank(d)
		for j := range d.ConsumesCounters {
			compatibility.Blank(&d.ConsumesCounters[j])
		}
		for name, a := range d.Attributes {
			if a.BoolValues != nil || a.IntValues != nil || a.StringValues != nil || a.VersionValues != nil {
				a.BoolValues, a.IntValues, a.StringValues, a.VersionValues = nil, nil, nil, nil
				d.Attributes[name] = a
			}
		}
	}
}

// validateSlice judges a slice; old is nil on create.
func validateSlice(s, old *resourcev1.ResourceSliceSpec) field.ErrorList {
	errs := ValidateDriver(s.Driver, spec.Child("driver"))
	errs = append(errs, validatePool(&s.Pool, spec.Child("pool"))...)
	if old != nil {
		errs = append(errs, validation.ValidateImmutableField(s.Pool.Name, old.Pool.Name, spec.Child("pool", "name"))...)
		errs = append(errs, validation.ValidateImmutableField(s.Driver, old.Driver, spec.Child("driver"))...)
		errs = append(errs, validation.ValidateImmutableField(s.NodeName, old.NodeName, spec.Child("nodeName"))...)
	}
	errs = append(errs, validateReach(s)...)
	if s.SharedCounters != nil && s.Devices != nil {
		errs = append(errs, field.Invalid(spec, "", "only one of `sharedCounters` or `devices` is allowed"))
	}
	perDevice := s.PerDeviceNodeSelection != nil && *s.PerDeviceNodeSelection
	errs = append(errs, eachOnce(s.Devices, mostDevices(s), spec.Child("devices"), func(d *resourcev1.Device) string { return d.Name },
		func(d *resourcev1.Device, at *field.Path) field.ErrorList {
			return validateDevice(d, deviceOf(old, d.Name), perDevice, at)
		})...)
	return append(errs, eachOnce(s.SharedCounters, resourcev1.ResourceSliceMaxCounterSets, spec.Child("sharedCounters"),
		func(c *resourcev1.CounterSet) string { return c.Name }, validateCounterSet)...)
}

func deviceOf(s *resourcev1.ResourceSliceSpec, name string) *resourcev1.Device {
	if s == nil {
		return nil
	}
	for i := range s.Devices {
		if s.Devices[i].Name == name {
			return &s.Devices[i]
		}
	}
	return nil
}

// mostDevices is fewer where devices have more to them.
func mostDevices(s *resourcev1.ResourceSliceSpec) int {
	for _, d := range s.Devices {
		if len(d.Taints)+len(d.ConsumesCounters) > 0 {
			return resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
		}
	}
	return resourcev1.ResourceSliceMaxDevices
}

func validatePool(p *resourcev1.ResourcePool, at *field.Path) field.ErrorList {
	errs := ValidatePool(p.Name, at.Child("name"))
	if p.ResourceSliceCount <= 0 {
		errs = append(errs, field.Invalid(at.Child("resourceSliceCount"), p.ResourceSliceCount, "must be greater than zero"))
	}
	if p.Generation < 0 {
		errs = append(errs, field.Invalid(at.Child("generation"), p.Generation, "must be greater than or equal to zero"))
	}
	return errs
}

// validateReach judges which nodes reach the devices of a slice.
func validateReach(s *resourcev1.ResourceSliceSpec) field.ErrorList {
	var errs field.ErrorList
	var there []string
	if n := s.NodeName; n != nil && *n == "" {
		errs = append(errs, field.Invalid(spec.Child("nodeName"), *n, "must be either unset or set to a non-empty string"))
	} else if n != nil {
		there = append(there, "`nodeName`")
		errs = append(errs, validateNode(*n, spec.Child("nodeName"))...)
	}
	if n := s.NodeSelector; n != nil {
		there = append(there, "`nodeSelector`")
		errs = append(errs, core.ValidateNodeSelector(n, spec.Child("nodeSelector"))...)
		if len(n.NodeSelectorTerms) != 1 {
			errs = append(errs, field.Invalid(spec.Child("nodeSelector", "nodeSelectorTerms"), n.NodeSelectorTerms, "must have exactly one node selector term"))
		}
	}
	flag := func(name string, v *bool) {
		if v != nil && *v {
			there = append(there, "`"+name+"`")
		} else if v != nil {
			errs = append(errs, field.Invalid(spec.Child(name), *v, "must be either unset or set to true"))
		}
	}
	flag("allNodes", s.AllNodes)
	flag("perDeviceNodeSelection", s.PerDeviceNodeSelection)
	return append(errs, exactlyOne(there, spec, "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required")...)
}

func validateCounterSet(c *resourcev1.CounterSet, at *field.Path) field.ErrorList {
	return validateCounters(c.Name, c.Counters, "name", resourcev1.ResourceSliceMaxCountersPerCounterSet, at)
}

func validateConsumption(c *resourcev1.DeviceCounterConsumption, at *field.Path) field.ErrorList {
	return validateCounters(c.CounterSet, c.Counters, "counterSet", resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption, at)
}

// validateCounters judges counters and the name of their set, which is in the field named.
func validateCounters(set string, counters map[string]resourcev1.Counter, named string, most int, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if set == "" {
		errs = append(errs, field.Required(at.Child(named), ""))
	} else {
		errs = append(errs, validateLabel(set, at.Child(named))...)
	}
	path := at.Child("counters")
	switch {
	case len(counters) == 0:
		return append(errs, field.Required(path, ""))
	case len(counters) > most:
		return append(errs, field.TooMany(path, len(counters), most))
	}
	for name := range sorted(counters) {
		errs = append(errs, validateLabel(name, path)...)
	}
	return errs
}
