package core

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// ResourceQuotas declares v1 ResourceQuota. What is used is written through its status, by admission and by the
// controller of quotas.
func ResourceQuotas() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Resource: "resourcequotas"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &corev1.ResourceQuota{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ResourceQuota"),
			Plural:           "resourcequotas", Short: []string{"quota"},
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Request", "string", func(q *corev1.ResourceQuota) any { return quotaCell(q, false) }),
				apimachinery.ColumnOf("Limit", "string", func(q *corev1.ResourceQuota) any { return quotaCell(q, true) }),
				apimachinery.AgeColumn(),
			},
		}},
		Default: func(o apimachinery.Object) {
			q := o.(*corev1.ResourceQuota)
			roundResources(q.Spec.Hard)
			roundResources(q.Status.Hard)
			roundResources(q.Status.Used)
		},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			n := new.(*corev1.ResourceQuota)
			n.Status = corev1.ResourceQuotaStatus{}
			if old != nil {
				n.Status = old.(*corev1.ResourceQuota).Status
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(*corev1.ResourceQuota)
			errs := append(ValidateFinalizers(n), validateQuotaSpec(&n.Spec)...)
			if old != nil && !sameScopes(n.Spec.Scopes, old.(*corev1.ResourceQuota).Spec.Scopes) {
				errs = append(errs, immutable(spec.Child("scopes"), n.Spec.Scopes, ""))
			}
			return errs
		},
		Warnings: func(new, old apimachinery.Object) []string {
			if old != nil {
				return nil
			}
			return quotaWarnings(new.(*corev1.ResourceQuota))
		},
		Echo: true,
		Subs: map[string]apimachinery.Subresource{
			"status": statusOf(func(new, old *corev1.ResourceQuota) { new.Spec = old.Spec }, func(new, _ *corev1.ResourceQuota) field.ErrorList {
				errs := append(ValidateFinalizers(new), validateQuotaAmounts(new.Status.Hard, status.Child("hard"))...)
				return append(errs, validateQuotaAmounts(new.Status.Used, status.Child("used"))...)
			}),
		},
	}
}

func validateQuotaSpec(s *corev1.ResourceQuotaSpec) field.ErrorList {
	errs := validateQuotaAmounts(s.Hard, spec.Child("hard"))
	v := scopeValidator{hard: sortedKeys(s.Hard), path: spec.Child("scopes"), bad: s.Scopes}
	for _, scope := range s.Scopes {
		v.scope(scope, v.path, s.Scopes)
	}
	v.pairs()
	if s.ScopeSelector == nil {
		return append(errs, v.errs...)
	}
	w := scopeValidator{hard: v.hard, path: spec.Child("scopeSelector", "matchExpressions"), bad: s.ScopeSelector}
	for _, r := range s.ScopeSelector.MatchExpressions {
		w.scope(r.ScopeName, w.path.Child("scopeName"), r.ScopeName)
		w.requirement(r)
	}
	w.bad = s.Scopes
	w.pairs()
	return slices.Concat(errs, v.errs, w.errs)
}

func validateQuotaAmounts(list corev1.ResourceList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range sortedKeys(list) {
		at := path.Key(string(name))
		errs = append(errs, validateResourceName(name, (*place)(at))...)
		if !qualified(string(name)) && !quotaName(name) {
			errs = append(errs, field.Invalid(at, name, "must be a standard resource for quota"))
		}
		errs = append(errs, validateAmount(name, list[name], at)...)
	}
	return errs
}

// quotaName says whether a plain name is one that quotas are about.
func quotaName(name corev1.ResourceName) bool {
	return standard(name) && name != corev1.ResourceStorage
}

// scopeValidator judges scopes, and whether what a quota bounds can be told by them.
type scopeValidator struct {
	hard []corev1.ResourceName
	path *field.Path
	bad  any // what is reported of scopes that don't go with resources or each other
	seen []corev1.ResourceQuotaScope
	errs field.ErrorList
}

func (v *scopeValidator) invalid(path *field.Path, bad any, message string) {
	v.errs = append(v.errs, field.Invalid(path, bad, message))
}

func (v *scopeValidator) scope(s corev1.ResourceQuotaScope, path *field.Path, bad any) {
	v.seen = append(v.seen, s)
	if !slices.Contains(scopes, s) {
		v.invalid(path, bad, "unsupported scope")
	}
	for _, name := range v.hard {
		if quotaName(name) && !scopeApplies(s, name) {
			v.invalid(v.path, v.bad, fmt.Sprintf("unsupported scope %s applied to resource %s", s, name))
		}
	}
}

func (v *scopeValidator) pairs() {
	both := func(a, b corev1.ResourceQuotaScope) {
		if slices.Contains(v.seen, a) && slices.Contains(v.seen, b) {
			v.invalid(v.path, v.bad, fmt.Sprintf("conflicting scopes %s and %s", a, b))
		}
	}
	both(corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort)
	both(corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating)
}

func (v *scopeValidator) requirement(r corev1.ScopedResourceSelectorRequirement) {
	operator, values := v.path.Child("operator"), v.path.Child("values")
	switch r.ScopeName {
	case corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeVolumeAttributesClass:
	default:
		if slices.Contains(scopes, r.ScopeName) && r.Operator != corev1.ScopeSelectorOpExists {
			v.invalid(operator, r.Operator, fmt.Sprintf("must be 'Exists' for scope %s", r.ScopeName))
		}
	}
	switch r.Operator {
	case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
		if len(r.Values) == 0 {
			v.errs = append(v.errs, field.Required(values, "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"))
		}
	case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			v.invalid(values, r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
		}
	default:
		v.invalid(operator, r.Operator, "not a valid selector operator")
	}
}

var scopes = []corev1.ResourceQuotaScope{
	corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
	corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity,
	corev1.ResourceQuotaScopeVolumeAttributesClass,
}

// scopeApplies says whether a scope can tell some of a resource from the rest.
func scopeApplies(s corev1.ResourceQuotaScope, name corev1.ResourceName) bool {
	switch s {
	case corev1.ResourceQuotaScopeBestEffort:
		return name == corev1.ResourcePods
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		return name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
	}
	if !slices.Contains(scopes, s) {
		return true
	}
	switch name {
	case corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
		corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory:
		return true
	}
	return false
}

func sameScopes(a, b []corev1.ResourceQuotaScope) bool {
	within := func(a, b []corev1.ResourceQuotaScope) bool {
		return !slices.ContainsFunc(a, func(s corev1.ResourceQuotaScope) bool { return !slices.Contains(b, s) })
	}
	return within(a, b) && within(b, a)
}

// quotaWarnings are about quotas that no request can use up, as the limits are lower.
func quotaWarnings(q *corev1.ResourceQuota) []string {
	var out []string
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceStorage, corev1.ResourceEphemeralStorage} {
		requests, limits := "requests."+name, "limits."+name
		request, asked := q.Spec.Hard[requests]
		if !asked && (name == corev1.ResourceCPU || name == corev1.ResourceMemory) {
			requests = name
			request, asked = q.Spec.Hard[requests]
		}
		if limit, ok := q.Spec.Hard[limits]; ok && asked && request.Cmp(limit) > 0 {
			out = append(out, fmt.Sprintf("ResourceQuota %s (%s) should be less than %s (%s)", requests, request.String(), limits, limit.String()))
		}
	}
	return out
}

// quotaCell lists what is used of what is bounded: the limits, or all the rest.
func quotaCell(q *corev1.ResourceQuota, limits bool) string {
	var parts []string
	for _, name := range sortedKeys(q.Status.Hard) {
		if strings.HasPrefix(string(name), "limits.") != limits {
			continue
		}
		used, hard := q.Status.Used[name], q.Status.Hard[name]
		parts = append(parts, fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String()))
	}
	return strings.Join(parts, ", ")
}
