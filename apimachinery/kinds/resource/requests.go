package resource

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

func defaultClaim(s *resourcev1.ResourceClaimSpec) {
	for i := range s.Devices.Requests {
		r := &s.Devices.Requests[i]
		if e := r.Exactly; e != nil {
			defaultCount(&e.AllocationMode, &e.Count)
			defaultTolerations(e.Tolerations)
		}
		for j := range r.FirstAvailable {
			defaultCount(&r.FirstAvailable[j].AllocationMode, &r.FirstAvailable[j].Count)
			defaultTolerations(r.FirstAvailable[j].Tolerations)
		}
	}
}

func defaultCount(mode *resourcev1.DeviceAllocationMode, count *int64) {
	if *mode == "" {
		*mode = resourcev1.DeviceAllocationModeExactCount
	}
	if *mode == resourcev1.DeviceAllocationModeExactCount && *count == 0 {
		*count = 1
	}
}

func defaultTolerations(all []resourcev1.DeviceToleration) {
	for i := range all {
		if all[i].Operator == "" {
			all[i].Operator = resourcev1.DeviceTolerationOpEqual
		}
	}
}

var (
	derivedExactly = core.GatedField[resourcev1.ExactDeviceRequest]("DerivedAttributes")
	derivedSub     = core.GatedField[resourcev1.DeviceSubRequest]("DerivedAttributes")
)

// prepareClaim empties the fields of features that are off.
func prepareClaim(s *resourcev1.ResourceClaimSpec) {
	for i := range s.Devices.Requests {
		r := &s.Devices.Requests[i]
		if r.Exactly != nil {
			derivedExactly.Blank(r.Exactly)
		}
		for j := range r.FirstAvailable {
			derivedSub.Blank(&r.FirstAvailable[j])
		}
	}
}

// selectors compiles those of one object.
type selectors struct {
	judge  func(e apimachinery.Expression, at *field.Path, value string) field.ErrorList
	stored bool
}

func (c Config) selectors(stored bool) selectors { return selectors{c.Expressions.Judge(), stored} }

func (x selectors) validate(all []resourcev1.DeviceSelector, at *field.Path) field.ErrorList {
	return each(all, resourcev1.DeviceSelectorsMaxSize, at, func(s *resourcev1.DeviceSelector, at *field.Path) field.ErrorList {
		if s.CEL == nil {
			return field.ErrorList{field.Required(at.Child("cel"), "")}
		}
		path, text := at.Child("cel", "expression"), s.CEL.Expression
		switch {
		case len(text) > resourcev1.CELSelectorExpressionMaxLength:
			return field.ErrorList{field.TooLong(path, "", resourcev1.CELSelectorExpressionMaxLength)}
		case text == "":
			return field.ErrorList{field.Invalid(path, text, "must not be empty")}
		}
		return x.judge(apimachinery.Expression{Kind: apimachinery.DeviceSelector, Text: text, Stored: x.stored}, path, text)
	})
}

// validateClaim judges a claim, or that of a template.
func validateClaim(s *resourcev1.ResourceClaimSpec, x selectors, at *field.Path) field.ErrorList {
	d, at := &s.Devices, at.Child("devices")
	names := requestNames(d)
	errs := eachOnce(d.Requests, resourcev1.DeviceRequestsMaxSize, at.Child("requests"), func(r *resourcev1.DeviceRequest) string { return r.Name }, x.request)
	errs = append(errs, each(d.Constraints, resourcev1.DeviceConstraintsMaxSize, at.Child("constraints"), names.constraint)...)
	return append(errs, each(d.Config, resourcev1.DeviceConfigMaxSize, at.Child("config"),
		func(c *resourcev1.DeviceClaimConfiguration, at *field.Path) field.ErrorList {
			errs := names.validate(c.Requests, at.Child("requests"))
			return append(errs, validateOpaque(c.Opaque, false, at.Child("opaque"))...)
		})...)
}

func (x selectors) request(r *resourcev1.DeviceRequest, at *field.Path) field.ErrorList {
	const rule = "exactly one of `exactly` or `firstAvailable` is required"
	errs := validateLabel(r.Name, at.Child("name"))
	switch several := len(r.FirstAvailable) > 0; {
	case several && r.Exactly != nil:
		return append(errs, field.Invalid(at, nil, rule+", but multiple fields are set"))
	case several:
		return append(errs, eachOnce(r.FirstAvailable, resourcev1.FirstAvailableDeviceRequestMaxSize, at.Child("firstAvailable"),
			func(s *resourcev1.DeviceSubRequest) string { return s.Name }, x.subRequest)...)
	case r.Exactly == nil:
		return append(errs, field.Required(at, rule))
	}
	e, at := r.Exactly, at.Child("exactly")
	return append(errs, x.wanted(e.DeviceClassName, e.Selectors, e.AllocationMode, e.Count, e.Tolerations, at)...)
}

func (x selectors) subRequest(s *resourcev1.DeviceSubRequest, at *field.Path) field.ErrorList {
	errs := validateLabel(s.Name, at.Child("name"))
	return append(errs, x.wanted(s.DeviceClassName, s.Selectors, s.AllocationMode, s.Count, s.Tolerations, at)...)
}

var modes = []resourcev1.DeviceAllocationMode{resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount}

// wanted judges what requests and their alternatives have in common.
func (x selectors) wanted(class string, selectors []resourcev1.DeviceSelector, mode resourcev1.DeviceAllocationMode, count int64, tolerations []resourcev1.DeviceToleration, at *field.Path) field.ErrorList {
	errs := validateClass(class, at.Child("deviceClassName"))
	errs = append(errs, x.validate(selectors, at.Child("selectors"))...)
	switch path := at.Child("count"); {
	case !slices.Contains(modes, mode):
		errs = append(errs, field.NotSupported(at.Child("allocationMode"), mode, modes))
	case mode == resourcev1.DeviceAllocationModeAll && count != 0:
		errs = append(errs, field.Invalid(path, count, fmt.Sprintf("must not be specified when allocationMode is '%s'", mode)))
	case mode == resourcev1.DeviceAllocationModeExactCount && count <= 0:
		errs = append(errs, field.Invalid(path, count, "must be greater than zero"))
	}
	return append(errs, each(tolerations, -1, at.Child("tolerations"), validateToleration)...)
}

// requested are the names of requests, each with those of its alternatives.
type requested map[string][]string

func requestNames(d *resourcev1.DeviceClaim) requested {
	out := requested{}
	for _, r := range d.Requests {
		var subs []string
		for _, s := range r.FirstAvailable {
			subs = append(subs, s.Name)
		}
		out[r.Name] = subs
	}
	return out
}

func (r requested) has(ref string) bool {
	name, sub, deep := strings.Cut(ref, "/")
	subs, ok := r[name]
	return ok && (!deep || slices.Contains(subs, sub))
}

func (r requested) validate(refs []string, at *field.Path) field.ErrorList {
	return eachOnce(refs, resourcev1.DeviceRequestsMaxSize, at, itself, judged(r.one))
}

// one judges a reference to a request, or "<request>/<alternative>".
func (r requested) one(ref string, at *field.Path) field.ErrorList {
	wrong := field.Invalid(at, ref, "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'")
	segments := strings.Split(ref, "/")
	if len(segments) > 2 {
		return field.ErrorList{wrong}
	}
	var errs field.ErrorList
	for _, s := range segments {
		errs = append(errs, validateLabel(s, at)...)
	}
	if !r.has(ref) {
		errs = append(errs, wrong)
	}
	return errs
}

func (r requested) constraint(c *resourcev1.DeviceConstraint, at *field.Path) field.ErrorList {
	errs := r.validate(c.Requests, at.Child("requests"))
	switch {
	case c.MatchAttribute != nil:
		return append(errs, validateFull(string(*c.MatchAttribute), at.Child("matchAttribute"))...)
	case c.DistinctAttribute != nil:
		return append(errs, validateFull(string(*c.DistinctAttribute), at.Child("distinctAttribute"))...)
	}
	return append(errs, field.Required(at, `exactly one of "matchAttribute" or "distinctAttribute" is required`))
}

// validateOpaque judges parameters for a driver; those that were stored may be longer than new ones.
func validateOpaque(o *resourcev1.OpaqueDeviceConfiguration, stored bool, at *field.Path) field.ErrorList {
	if o == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	errs := ValidateDriver(o.Driver, at.Child("driver"))
	return append(errs, validateRaw(o.Parameters, stored, resourcev1.OpaqueParametersMaxLength, at.Child("parameters"))...)
}

// validateRaw judges what must be a JSON object.
func validateRaw(r runtime.RawExtension, stored bool, most int, at *field.Path) field.ErrorList {
	var v any
	switch {
	case len(r.Raw) == 0:
		return field.ErrorList{field.Required(at, "")}
	case !stored && len(r.Raw) > most:
		return field.ErrorList{field.TooLong(at, "", most)}
	}
	if err := json.Unmarshal(r.Raw, &v); err != nil {
		return field.ErrorList{field.Invalid(at, "<value omitted>", fmt.Sprintf("error parsing data as JSON: %v", err))}
	}
	if v == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	if _, ok := v.(map[string]any); !ok {
		return field.ErrorList{field.Invalid(at, "<value omitted>", "must be a valid JSON object")}
	}
	return nil
}

// validateAdmin judges whether a new claim may have an administrator's access.
func (c Config) validateAdmin(ctx context.Context, namespace string, requests []resourcev1.DeviceRequest) field.ErrorList {
	for i, r := range requests {
		if r.Exactly != nil && r.Exactly.AdminAccess != nil && *r.Exactly.AdminAccess {
			return c.admin(ctx, namespace, field.NewPath("spec", "devices", "requests").Index(i).Child("adminAccess"))
		}
	}
	return nil
}

func (c Config) admin(ctx context.Context, namespace string, at *field.Path) field.ErrorList {
	allowed := false
	if c.AdminAccess != nil {
		var err error
		if allowed, err = c.AdminAccess(ctx, namespace); err != nil {
			return field.ErrorList{field.InternalError(at, fmt.Errorf("verify admin access: %w", err))}
		}
	}
	if allowed {
		return nil
	}
	return field.ErrorList{field.Forbidden(at, fmt.Sprintf("admin access to devices requires the `%s: true` label on the containing namespace", resourcev1.DRAAdminNamespaceLabelKey))}
}
