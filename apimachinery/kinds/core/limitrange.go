package core

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// LimitRanges declares v1 LimitRange.
func LimitRanges() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Resource: "limitranges"},
		Namespaced: true,
		New:        func() apimachinery.Object { return &corev1.LimitRange{} },
		Views: []apimachinery.View{{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("LimitRange"),
			Plural:           "limitranges", Short: []string{"limits"},
			Columns: []apimachinery.Column{apimachinery.NameColumn(), createdColumn()},
		}},
		Default: func(o apimachinery.Object) {
			limits := o.(*corev1.LimitRange).Spec.Limits
			for i := range limits {
				defaultLimits(&limits[i])
			}
		},
		Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
			return append(ValidateFinalizers(new), validateLimitRange(new.(*corev1.LimitRange))...)
		},
		Upsert: true,
	}
}

// defaultLimits lets what a container may have by default follow the maximum, and what it asks for by default follow
// that, else the minimum.
func defaultLimits(i *corev1.LimitRangeItem) {
	if i.Type == corev1.LimitTypeContainer {
		i.Default = missing(missing(i.Default, nil), i.Max)
		i.DefaultRequest = missing(missing(i.DefaultRequest, i.Default), i.Min)
	}
	for _, list := range []corev1.ResourceList{i.Max, i.Min, i.Default, i.DefaultRequest, i.MaxLimitRequestRatio} {
		roundResources(list)
	}
}

// missing adds to a list, made if it is nil, what another has beyond it.
func missing(to, from corev1.ResourceList) corev1.ResourceList {
	if to == nil {
		to = corev1.ResourceList{}
	}
	for name, q := range from {
		if _, ok := to[name]; !ok {
			to[name] = q.DeepCopy()
		}
	}
	return to
}

func validateLimitRange(l *corev1.LimitRange) field.ErrorList {
	var errs field.ErrorList
	types := distinct{}
	for i := range l.Spec.Limits {
		item, at := &l.Spec.Limits[i], spec.Child("limits").Index(i)
		errs = append(errs, validateLimitType(item.Type, at.Child("type"))...)
		errs = append(errs, types.check(string(item.Type), at.Child("type"))...)
		v := limitValidator{item: item, path: at}
		v.lists()
		for _, name := range sortedKeys(v.names) {
			v.bounds(name)
		}
		errs = append(errs, v.errs...)
	}
	return errs
}

func validateLimitType(t corev1.LimitType, path *field.Path) field.ErrorList {
	if errs := validateQualifiedName(string(t), path); len(errs) > 0 {
		return errs
	}
	switch t {
	case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
		return nil
	}
	if qualified(string(t)) {
		return nil
	}
	return invalid(path, t, "must be a standard limit type or fully qualified")
}

// limitValidator judges one item.
type limitValidator struct {
	item  *corev1.LimitRangeItem
	path  *field.Path
	names map[corev1.ResourceName]bool // of all lists that count
	errs  field.ErrorList
}

func (v *limitValidator) lists() {
	i := v.item
	v.names = map[corev1.ResourceName]bool{}
	v.list("max", i.Max)
	v.list("min", i.Min)
	if i.Type != corev1.LimitTypePod {
		v.list("default", i.Default)
		v.list("defaultRequest", i.DefaultRequest)
	} else {
		v.none("default", i.Default)
		v.none("defaultRequest", i.DefaultRequest)
	}
	if i.Type == corev1.LimitTypePersistentVolumeClaim {
		_, least := i.Min[corev1.ResourceStorage]
		if _, most := i.Max[corev1.ResourceStorage]; !least && !most {
			v.errs = append(v.errs, field.Required(v.path.Child("limits"), "a minimum or a maximum of storage is required"))
		}
	}
	v.list("maxLimitRequestRatio", i.MaxLimitRequestRatio)
}

func (v *limitValidator) list(name string, list corev1.ResourceList) {
	judge := validateResourceName
	if v.item.Type == corev1.LimitTypePod || v.item.Type == corev1.LimitTypeContainer {
		judge = validateContainerResource
	}
	for _, n := range sortedKeys(list) {
		v.errs = append(v.errs, judge(n, (*place)(v.path.Child(name).Key(string(n))))...)
		v.names[n] = true
	}
}

func (v *limitValidator) none(name string, list corev1.ResourceList) {
	if len(list) > 0 {
		v.errs = append(v.errs, field.Forbidden(v.path.Child(name), "may not be specified when `type` is 'Pod'"))
	}
}

// amount is a quantity of one of the lists, if there is one.
type amount struct {
	list string
	q    resource.Quantity
	set  bool
}

func amountOf(list string, of corev1.ResourceList, name corev1.ResourceName) amount {
	q, ok := of[name]
	return amount{list, q, ok}
}

// bounds judges the quantities of a resource against each other.
func (v *limitValidator) bounds(name corev1.ResourceName) {
	i := v.item
	least, most := amountOf("min", i.Min, name), amountOf("max", i.Max, name)
	limit, request := amountOf("default", i.Default, name), amountOf("defaultRequest", i.DefaultRequest, name)
	if i.Type == corev1.LimitTypePod { // its defaults are refused as such
		limit.set, request.set = false, false
	}
	// The quantity that is reported is not always the one at the place that is reported.
	ordered := func(a, b amount, at string, bad resource.Quantity) {
		if a.set && b.set && a.q.Cmp(b.q) > 0 {
			v.invalid(at, name, bad, fmt.Sprintf("%s value %s is greater than %s value %s", a.list, a.q.String(), b.list, b.q.String()))
		}
	}
	ordered(least, most, "min", least.q)
	ordered(least, request, "defaultRequest", request.q)
	ordered(request, most, "defaultRequest", request.q)
	ordered(request, limit, "defaultRequest", request.q)
	ordered(least, limit, "default", least.q)
	ordered(limit, most, "default", most.q)
	v.ratio(name, least, most)
	if noOvercommit(name) && limit.set && request.set && limit.q.Cmp(request.q) != 0 {
		v.invalid("defaultRequest", name, request.q, fmt.Sprintf("must be equal to the default value %s of %s, which can't be promised twice", limit.q.String(), name))
	}
}

func (v *limitValidator) ratio(name corev1.ResourceName, least, most amount) {
	ratio := amountOf("maxLimitRequestRatio", v.item.MaxLimitRequestRatio, name)
	if !ratio.set {
		return
	}
	if ratio.q.Cmp(*resource.NewQuantity(1, resource.DecimalSI)) < 0 {
		v.invalid(ratio.list, name, ratio.q, fmt.Sprintf("ratio %s is less than 1", ratio.q.String()))
	}
	if !least.set || !most.set {
		return
	}
	have, low, high := float64(ratio.q.Value()), least.q.Value(), most.q.Value()
	if max(ratio.q.Value(), low, high) < resource.MaxMilliValue {
		have, low, high = float64(ratio.q.MilliValue())/1000, least.q.MilliValue(), most.q.MilliValue()
	}
	if widest := float64(high) / float64(low); have > widest {
		v.invalid(ratio.list, name, ratio.q, fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.q.String(), widest))
	}
}

func (v *limitValidator) invalid(list string, name corev1.ResourceName, q resource.Quantity, message string) {
	v.errs = append(v.errs, field.Invalid(v.path.Child(list).Key(string(name)), q, message))
}
