package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/internal/forms"
)

// What is counted in whole units.
var counted = []corev1.ResourceName{
	corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceSecrets,
	corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
}

// native says whether a resource's name is Kubernetes' own to give.
func native(name corev1.ResourceName) bool {
	return !qualified(string(name)) || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// extended says whether a resource is a device plugin's: any fully qualified name outside kubernetes.io.
func extended(name corev1.ResourceName) bool {
	return !native(name) && !strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) &&
		forms.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))
}

// noOvercommit says whether a resource can't be promised twice.
func noOvercommit(name corev1.ResourceName) bool { return !native(name) || hugePages(name) }

func validateAmount(name corev1.ResourceName, q resource.Quantity, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if q.Sign() < 0 {
		errs = append(errs, field.Invalid(path, q.String(), validation.IsNegativeErrorMsg))
	}
	if (slices.Contains(counted, name) || extended(name)) && q.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(path, q, "must be an integer"))
	}
	return errs
}

// wholePages says whether an amount of huge pages is some number of pages of the size that the name has.
func wholePages(name corev1.ResourceName, q resource.Quantity) bool {
	size, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	return err == nil && size.Sign() > 0 && size.MilliValue()%1000 == 0 && q.Value()%size.Value() == 0
}

// requirements judges what a container, or a pod, asks for and may have; name judges the resources' names.
func (v *podValidator) requirements(r *corev1.ResourceRequirements, at *place, name func(corev1.ResourceName, *place) field.ErrorList) {
	limits, requests := at.child("limits"), at.child("requests")
	compute, pages := false, false
	judge := func(n corev1.ResourceName, q resource.Quantity, at *place) {
		v.add(name(n, at)...)
		v.add(validateAmount(n, q, at.path())...)
		if hugePages(n) && !wholePages(n, q) {
			v.invalid(at, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), n))
		}
		compute = compute || n == corev1.ResourceCPU || n == corev1.ResourceMemory
		pages = pages || hugePages(n)
	}
	for n, q := range sorted(r.Limits) {
		judge(n, q, limits.key(string(n)))
	}
	for n, q := range sorted(r.Requests) {
		judge(n, q, requests.key(string(n)))
		limit, limited := r.Limits[n]
		switch {
		case limited && noOvercommit(n) && q.Cmp(limit) != 0:
			v.invalid(requests, q.String(), fmt.Sprintf("must be equal to %s limit of %s", n, limit.String()))
		case limited && q.Cmp(limit) > 0:
			v.invalid(requests, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", n, limit.String()))
		case !limited && noOvercommit(n):
			v.add(field.Required(limits.path(), "Limit must be set for non overcommitable resources"))
		}
	}
	if pages && !compute {
		v.add(field.Forbidden(at.path(), "HugePages require cpu or memory"))
	}
	v.claimNames(r.Claims, at.child("claims"))
}

// validateResourceName judges a name in any list of resources.
func validateResourceName(name corev1.ResourceName, path *place) field.ErrorList {
	if errs := invalid(path.path(), name, forms.QualifiedName(string(name))...); len(errs) > 0 {
		return errs
	}
	if !qualified(string(name)) && !standard(name) {
		return field.ErrorList{field.Invalid(path.path(), name, "must be a standard resource type or fully qualified")}
	}
	return nil
}

// standard says whether a plain name is one of those that quotas and containers know.
func standard(name corev1.ResourceName) bool {
	base := name
	for _, prefix := range []string{"requests.", "limits."} {
		base = corev1.ResourceName(strings.TrimPrefix(string(base), prefix))
	}
	switch base {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return strings.Count(string(name), ".") <= 1
	case corev1.ResourceStorage:
		return name == base || name == corev1.ResourceRequestsStorage
	}
	return slices.Contains(counted, name) || hugePages(name) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

func validateContainerResource(name corev1.ResourceName, path *place) field.ErrorList {
	if name == corev1.ResourceCPU || name == corev1.ResourceMemory { // as nearly always
		return nil
	}
	errs := validateResourceName(name, path)
	if !qualified(string(name)) {
		if name != corev1.ResourceCPU && name != corev1.ResourceMemory && name != corev1.ResourceEphemeralStorage && !hugePages(name) {
			errs = append(errs, field.Invalid(path.path(), name, "must be a standard resource for containers"))
		}
	} else if !native(name) && !extended(name) {
		errs = append(errs, field.Invalid(path.path(), name, "doesn't follow extended resource name standard"))
	}
	return errs
}

func validatePodResource(name corev1.ResourceName, path *place) field.ErrorList {
	if errs := validateResourceName(name, path); len(errs) > 0 {
		return errs
	}
	if !podLevel(name) {
		return field.ErrorList{notOneOf(path.path(), name, corev1.ResourceCPU, "hugepages-", corev1.ResourceMemory)}
	}
	return nil
}

// podResources judges pod-level resources (KEP-2837): they must have room for what the containers are promised.
func (v *podValidator) podResources() {
	r, at := v.spec.Resources, v.path.child("resources")
	if r == nil {
		return
	}
	if windows(v.spec) {
		v.add(field.Forbidden(at.path(), "may not be set for a windows pod"))
		return
	}
	if r.Claims != nil {
		v.add(field.Forbidden(at.child("claims").path(), "claims may not be set for Resources at pod-level"))
	}
	v.requirements(r, at, validatePodResource)
	for name, sum := range sorted(together(v.spec, requestsOf)) {
		if q, ok := r.Requests[name]; ok && sum.Cmp(q) > 0 {
			v.invalid(at.child("requests").key(string(name)), q.String(), "must be greater than or equal to aggregate container requests of "+sum.String())
		}
	}
	for name, sum := range sorted(together(v.spec, limitsOf)) {
		if q, ok := r.Limits[name]; ok && hugePages(name) && sum.Cmp(q) > 0 {
			v.invalid(at.child("limits").key(string(name)), q.String(), "must be greater than or equal to aggregate container limits of "+sum.String())
		}
	}
	for i, c := range v.spec.Containers {
		for name, q := range sorted(c.Resources.Limits) {
			if most, ok := r.Limits[name]; ok && q.Cmp(most) > 0 {
				v.invalid(at.child("containers").index(i).key(string(name)).child("limits"), q.String(), "must be less than or equal to pod limits of "+most.String())
			}
		}
	}
}

// claims judges the devices that a pod claims (KEP-4381).
func (v *podValidator) claims() {
	names := distinct{}
	for i, c := range v.spec.ResourceClaims {
		at := v.path.child("resourceClaims").index(i)
		if v.meta != nil {
			if _, mirror := v.meta.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
				v.add(field.Forbidden(field.NewPath(""), "static pods do not support resource claims"))
				continue
			}
		}
		v.required(c.Name, at.child("name"))
		if c.Name != "" {
			if errs := names.check(c.Name, at.child("name").path()); len(errs) > 0 {
				v.add(errs...)
			} else {
				v.form(at.child("name"), c.Name, forms.Label)
			}
		}
		if (c.ResourceClaimName == nil) == (c.ResourceClaimTemplateName == nil) {
			v.invalid(at, c, "must specify exactly one of: `resourceClaimName`, `resourceClaimTemplateName`")
		}
		if n := c.ResourceClaimName; n != nil {
			v.form(at.child("resourceClaimName"), *n, forms.Subdomain)
		}
		if n := c.ResourceClaimTemplateName; n != nil {
			v.form(at.child("resourceClaimTemplateName"), *n, forms.Subdomain)
		}
	}
}

// claimNames judges a container's use of the pod's claims: of a claim as a whole, or of some of its requests, each once.
func (v *podValidator) claimNames(claims []corev1.ResourceClaim, path *place) {
	if len(claims) == 0 {
		return
	}
	whole, parts := distinct{}, distinct{}
	for i, c := range claims {
		at := path.index(i)
		if c.Name == "" {
			v.add(field.Required(at.path(), ""))
			continue
		}
		switch id := c.Name + "/" + c.Request; {
		case whole[c.Name]:
			v.add(field.Duplicate(at.path(), c.Name))
		case c.Request == "":
			for part := range parts {
				if strings.HasPrefix(part, c.Name+"/") {
					v.add(field.Duplicate(at.path(), c.Name))
				}
			}
			whole[c.Name] = true
		default:
			v.form(at.child("request"), c.Request, forms.Label)
			v.add(parts.check(id, at.path())...)
		}
		if !slices.ContainsFunc(v.spec.ResourceClaims, func(k corev1.PodResourceClaim) bool { return k.Name == c.Name }) {
			v.add(field.NotFound(at.path(), c.Name))
		}
	}
}
