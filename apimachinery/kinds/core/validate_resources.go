package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var standardResources = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
}

// validateResourceList judges names and amounts, without relating one list to another.
func validateResourceList(list corev1.ResourceList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range sortedKeys(list) {
		at := path.Key(string(name))
		errs = append(errs, validateQualifiedName(string(name), at)...)
		errs = append(errs, validateAmount(name, list[name], at)...)
	}
	return errs
}

func validateAmount(name corev1.ResourceName, q resource.Quantity, path *field.Path) field.ErrorList {
	if q.Sign() < 0 {
		return field.ErrorList{field.Invalid(path, q.String(), "must be greater than or equal to 0")}
	}
	if integral(name) && q.MilliValue()%1000 != 0 {
		return field.ErrorList{field.Invalid(path, q.String(), "must be an integer")}
	}
	return nil
}

// validateRequirements judges a container's, or a pod's, resources. claims are the pod's resource claims.
func validateRequirements(r *corev1.ResourceRequirements, path *field.Path, claims []corev1.PodResourceClaim, of string) field.ErrorList {
	limits, requests := path.Child("limits"), path.Child("requests")
	errs := validateResourceList(r.Limits, limits)
	errs = append(errs, validateResourceList(r.Requests, requests)...)
	for _, name := range sortedKeys(r.Limits) {
		errs = append(errs, validateContainerResource(name, limits.Key(string(name)), of)...)
	}
	for _, name := range sortedKeys(r.Requests) {
		at, q := requests.Key(string(name)), r.Requests[name]
		errs = append(errs, validateContainerResource(name, at, of)...)
		limit, limited := r.Limits[name]
		switch {
		case limited && noOvercommit(name) && q.Cmp(limit) != 0:
			errs = append(errs, field.Invalid(requests, q.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case limited && q.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(requests, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		case !limited && noOvercommit(name):
			errs = append(errs, field.Required(limits, "Limit must be set for non overcommitable resources"))
		}
		_ = at
	}
	return append(errs, validateClaims(r.Claims, path.Child("claims"), claims)...)
}

func noOvercommit(name corev1.ResourceName) bool {
	return extended(name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

func validateContainerResource(name corev1.ResourceName, path *field.Path, of string) field.ErrorList {
	if slices.Contains(standardResources, name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) || extended(name) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, name, fmt.Sprintf("must be a standard resource for %ss", of))}
}

func validateClaims(claims []corev1.ResourceClaim, path *field.Path, known []corev1.PodResourceClaim) field.ErrorList {
	var errs field.ErrorList
	names := distinct{}
	for i, c := range claims {
		at := path.Index(i)
		if c.Name == "" {
			errs = append(errs, field.Required(at, ""))
			continue
		}
		errs = append(errs, names.check(c.Name+"/"+c.Request, at)...)
		if !slices.ContainsFunc(known, func(k corev1.PodResourceClaim) bool { return k.Name == c.Name }) {
			errs = append(errs, field.NotFound(at.Child("name"), c.Name))
		}
	}
	return errs
}
