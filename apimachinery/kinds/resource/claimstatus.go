package resource

import (
	"context"
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// deviceID is a device, or a share of one.
type deviceID struct{ Driver, Pool, Device, ShareID string }

func (d deviceID) String() string {
	s := d.Driver + "/" + d.Pool + "/" + d.Device
	if d.ShareID != "" {
		s += "/" + d.ShareID
	}
	return s
}

func idOf(d *resourcev1.AllocatedDeviceStatus) deviceID {
	id := deviceID{Driver: d.Driver, Pool: d.Pool, Device: d.Device}
	if d.ShareID != nil {
		id.ShareID = *d.ShareID
	}
	return id
}

// allocated are the devices of an allocation; none of nil.
func allocated(a *resourcev1.AllocationResult) map[deviceID]bool {
	out := map[deviceID]bool{}
	if a == nil {
		return out
	}
	for _, r := range a.Devices.Results {
		id := deviceID{Driver: r.Driver, Pool: r.Pool, Device: r.Device}
		if r.ShareID != nil {
			id.ShareID = string(*r.ShareID)
		}
		out[id] = true
	}
	return out
}

var skipped = core.GatedField[resourcev1.DeviceRequestAllocationResult]("SkipNodeOperations")

// prepareClaimStatus empties the fields of features that are off, and takes out what is told of devices that are no
// longer allocated: writers may not know of it.
func prepareClaimStatus(new, old *resourcev1.ResourceClaimStatus) {
	if new.Allocation != nil {
		for i := range new.Allocation.Devices.Results {
			skipped.Blank(&new.Allocation.Devices.Results[i])
		}
	}
	before, now := allocated(old.Allocation), allocated(new.Allocation)
	new.Devices = slices.DeleteFunc(new.Devices, func(d resourcev1.AllocatedDeviceStatus) bool {
		id := idOf(&d)
		return before[id] && !now[id]
	})
	if len(new.Devices) == 0 {
		new.Devices = nil
	}
}

func (c Config) validateClaimStatus(ctx context.Context, new, old *resourcev1.ResourceClaim) field.ErrorList {
	n, o, names := &new.Status, &old.Status, requestNames(&new.Spec.Devices)
	errs := c.validateAdminStatus(ctx, new.Namespace, n.Allocation, o.Allocation)
	errs = append(errs, validateReserved(n, o, new.DeletionTimestamp != nil, status.Child("reservedFor"))...)
	have := allocated(n.Allocation)
	errs = append(errs, eachOnce(n.Devices, -1, status.Child("devices"), idOf,
		func(d *resourcev1.AllocatedDeviceStatus, at *field.Path) field.ErrorList {
			return validateDeviceStatus(d, have, at)
		})...)
	switch at := status.Child("allocation"); {
	case n.Allocation != nil && o.Allocation != nil:
		errs = append(errs, validation.ValidateImmutableField(n.Allocation, o.Allocation, at)...)
	case n.Allocation != nil:
		errs = append(errs, names.allocation(n.Allocation, at)...)
	}
	return errs
}

// validateAdminStatus judges whether a claim may be given an administrator's access; what was given stays.
func (c Config) validateAdminStatus(ctx context.Context, namespace string, new, old *resourcev1.AllocationResult) field.ErrorList {
	first := func(a *resourcev1.AllocationResult) int {
		if a == nil {
			return -1
		}
		return slices.IndexFunc(a.Devices.Results, func(r resourcev1.DeviceRequestAllocationResult) bool {
			return r.AdminAccess != nil && *r.AdminAccess
		})
	}
	i := first(new)
	if i < 0 || first(old) >= 0 {
		return nil
	}
	return c.admin(ctx, namespace, status.Child("allocation", "devices", "results").Index(i).Child("adminAccess"))
}

func validateReserved(n, o *resourcev1.ResourceClaimStatus, deleted bool, at *field.Path) field.ErrorList {
	errs := eachOnce(n.ReservedFor, resourcev1.ResourceClaimReservedForMaxSize, at,
		func(r *resourcev1.ResourceClaimConsumerReference) types.UID { return r.UID }, validateConsumer)
	switch {
	case len(n.ReservedFor) == 0:
	case n.Allocation == nil:
		errs = append(errs, field.Forbidden(at, "may not be specified when `allocated` is not set"))
	case deleted && slices.ContainsFunc(n.ReservedFor, func(r resourcev1.ResourceClaimConsumerReference) bool { return !slices.Contains(o.ReservedFor, r) }):
		errs = append(errs, field.Forbidden(at, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"))
	}
	return errs
}

func validateConsumer(r *resourcev1.ResourceClaimConsumerReference, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, f := range []struct{ name, value string }{{"resource", r.Resource}, {"name", r.Name}, {"uid", string(r.UID)}} {
		if f.value == "" {
			errs = append(errs, field.Required(at.Child(f.name), ""))
		}
	}
	return errs
}

func validateDeviceStatus(d *resourcev1.AllocatedDeviceStatus, allocated map[deviceID]bool, at *field.Path) field.ErrorList {
	errs := ValidateDriver(d.Driver, at.Child("driver"))
	errs = append(errs, ValidatePool(d.Pool, at.Child("pool"))...)
	errs = append(errs, ValidateDevice(d.Device, at.Child("device"))...)
	if d.ShareID != nil {
		errs = append(errs, validateUID(*d.ShareID, at.Child("shareID"))...)
	}
	if id := idOf(d); !allocated[id] {
		errs = append(errs, field.Invalid(at, id, "must be an allocated device in the claim"))
	}
	if n := len(d.Conditions); n > resourcev1.AllocatedDeviceStatusMaxConditions {
		errs = append(errs, field.TooMany(at.Child("conditions"), n, resourcev1.AllocatedDeviceStatusMaxConditions))
	}
	errs = append(errs, metav1validation.ValidateConditions(d.Conditions, at.Child("conditions"))...)
	if d.Data != nil && len(d.Data.Raw) > 0 {
		errs = append(errs, validateRaw(*d.Data, false, resourcev1.AllocatedDeviceStatusDataMaxLength, at.Child("data"))...)
	}
	return append(errs, validateNetwork(d.NetworkData, at.Child("networkData"))...)
}

func validateNetwork(n *resourcev1.NetworkDeviceData, at *field.Path) field.ErrorList {
	if n == nil {
		return nil
	}
	var errs field.ErrorList
	if len(n.InterfaceName) > resourcev1.NetworkDeviceDataInterfaceNameMaxLength {
		errs = append(errs, field.TooLong(at.Child("interfaceName"), "", resourcev1.NetworkDeviceDataInterfaceNameMaxLength))
	}
	if len(n.HardwareAddress) > resourcev1.NetworkDeviceDataHardwareAddressMaxLength {
		errs = append(errs, field.TooLong(at.Child("hardwareAddress"), "", resourcev1.NetworkDeviceDataHardwareAddressMaxLength))
	}
	return append(errs, eachOnce(n.IPs, resourcev1.NetworkDeviceDataMaxIPs, at.Child("ips"), itself,
		judged(func(ip string, at *field.Path) field.ErrorList { return utilvalidation.IsValidInterfaceAddress(at, ip) }))...)
}

func (r requested) allocation(a *resourcev1.AllocationResult, at *field.Path) field.ErrorList {
	devices := at.Child("devices")
	errs := each(a.Devices.Results, resourcev1.AllocationResultsMaxSize, devices.Child("results"), r.result)
	// those of the class and those of the claim
	errs = append(errs, each(a.Devices.Config, 2*resourcev1.DeviceConfigMaxSize, devices.Child("config"), r.config)...)
	if a.NodeSelector != nil {
		errs = append(errs, core.ValidateNodeSelector(a.NodeSelector, at.Child("nodeSelector"))...)
	}
	return errs
}

func (r requested) result(d *resourcev1.DeviceRequestAllocationResult, at *field.Path) field.ErrorList {
	errs := r.one(d.Request, at.Child("request"))
	errs = append(errs, ValidateDriver(d.Driver, at.Child("driver"))...)
	errs = append(errs, ValidatePool(d.Pool, at.Child("pool"))...)
	errs = append(errs, ValidateDevice(d.Device, at.Child("device"))...)
	errs = append(errs, validateBinding(d.BindingConditions, d.BindingFailureConditions, at)...)
	if d.ShareID != nil {
		errs = append(errs, validateUID(string(*d.ShareID), at.Child("shareID"))...)
	}
	return errs
}

var sources = []resourcev1.AllocationConfigSource{resourcev1.AllocationConfigSourceClaim, resourcev1.AllocationConfigSourceClass}

func (r requested) config(c *resourcev1.DeviceAllocationConfiguration, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if path := at.Child("source"); c.Source == "" {
		errs = append(errs, field.Required(path, ""))
	} else if !slices.Contains(sources, c.Source) {
		errs = append(errs, field.NotSupported(path, c.Source, sources))
	}
	errs = append(errs, r.validate(c.Requests, at.Child("requests"))...)
	return append(errs, validateOpaque(c.Opaque, false, at.Child("opaque"))...)
}

// validateBinding judges the conditions on which a pod is bound to a device, and those on which it is not.
func validateBinding(conditions, failures []string, at *field.Path) field.ErrorList {
	good, bad := at.Child("bindingConditions"), at.Child("bindingFailureConditions")
	errs := each(conditions, resourcev1.BindingConditionsMaxSize, good, judged(validateLabelName))
	errs = append(errs, each(failures, resourcev1.BindingFailureConditionsMaxSize, bad, judged(validateLabelName))...)
	twice := func(list []string, path *field.Path) {
		for i, c := range list {
			if slices.Contains(list[:i], c) {
				errs = append(errs, field.Duplicate(path.Index(i), c))
			}
		}
	}
	twice(conditions, good)
	twice(failures, bad)
	for i, c := range failures {
		if slices.Contains(conditions, c) {
			errs = append(errs, field.Invalid(bad.Index(i), c, "bindingFailureConditions must not overlap with bindingConditions"))
		}
	}
	switch {
	case len(conditions) == 0 && len(failures) > 0:
		errs = append(errs, field.Invalid(good, conditions, "bindingConditions are required to use bindingFailureConditions"))
	case len(failures) == 0 && len(conditions) > 0:
		errs = append(errs, field.Invalid(bad, failures, "bindingFailureConditions are required to use bindingConditions"))
	}
	return errs
}
