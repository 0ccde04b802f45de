// Package coordination declares the kinds of coordination.k8s.io: Lease, as Kubernetes v1.37 has it, with the
// fence that makes writes of a deposed leader fail (see apimachinery.Request.Fence).
package coordination

import (
	"context"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource { return []apimachinery.Resource{Leases()} }

// Leases declares coordination.k8s.io/v1 Lease. A write that changes the holder rewrites the lease's fence key
// in the same transaction.
func Leases() apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"},
		Prefix:     "leases",
		Namespaced: true,
		New:        func() apimachinery.Object { return &coordinationv1.Lease{} },
		Views: []apimachinery.View{{
			GroupVersionKind: coordinationv1.SchemeGroupVersion.WithKind("Lease"),
			Plural:           "leases",
			Columns:          columns(),
		}},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			o, _ := old.(*coordinationv1.Lease)
			prepare(new.(*coordinationv1.Lease), o)
		},
		Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
			return validate(new.(*coordinationv1.Lease))
		},
		Guards:      guards,
		Upsert:      true,
		Conditional: true,
	}
}

// Fence is the guard key of a lease, as Resource.Guards names it.
func Fence(namespace, name string) string { return "fences/" + namespace + "/" + name }

func guards(new, old apimachinery.Object) []string {
	n, o := holder(new), holder(old)
	if n == o && new != nil {
		return nil
	}
	at := new
	if at == nil {
		at = old
	}
	return []string{Fence(at.GetNamespace(), at.GetName())}
}

func holder(o apimachinery.Object) string {
	if l, ok := o.(*coordinationv1.Lease); ok && l != nil && l.Spec.HolderIdentity != nil {
		return *l.Spec.HolderIdentity
	}
	return ""
}

func validate(l *coordinationv1.Lease) field.ErrorList {
	var errs field.ErrorList
	path, s := field.NewPath("spec"), l.Spec
	if s.LeaseDurationSeconds != nil && *s.LeaseDurationSeconds <= 0 {
		errs = append(errs, field.Invalid(path.Child("leaseDurationSeconds"), *s.LeaseDurationSeconds, "must be greater than 0"))
	}
	if s.LeaseTransitions != nil && *s.LeaseTransitions < 0 {
		errs = append(errs, field.Invalid(path.Child("leaseTransitions"), *s.LeaseTransitions, "must be greater than or equal to 0"))
	}
	return append(errs, validateStrategy(s, path)...)
}

// prepare takes out the fields of coordinated leader election (KEP-4355), which Kubernetes has off by default, unless
// the lease has them already. old is nil on create.
func prepare(new, old *coordinationv1.Lease) {
	if old == nil || old.Spec.Strategy == nil {
		new.Spec.Strategy = nil
	}
	if old == nil || old.Spec.PreferredHolder == nil {
		new.Spec.PreferredHolder = nil
	}
}

func validateStrategy(s coordinationv1.LeaseSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Strategy != nil {
		errs = validateStrategyName(string(*s.Strategy), path.Child("strategy"))
	}
	if s.PreferredHolder != nil && *s.PreferredHolder != "" && (s.Strategy == nil || *s.Strategy == "") {
		errs = append(errs, field.Forbidden(path.Child("preferredHolder"), "may only be specified if `strategy` is defined"))
	}
	return errs
}

// validateStrategyName judges Kubernetes' own strategy, or one that a domain qualifies.
func validateStrategyName(name string, path *field.Path) field.ErrorList {
	path = path.Child("strategy") // as Kubernetes reports it
	if !strings.Contains(name, "/") {
		if name != string(coordinationv1.OldestEmulationVersion) {
			return field.ErrorList{field.NotSupported(path, name, []string{string(coordinationv1.OldestEmulationVersion)})}
		}
		return nil
	}
	var errs field.ErrorList
	for _, msg := range utilvalidation.IsQualifiedName(name) {
		errs = append(errs, field.Invalid(path, name, msg))
	}
	return errs
}

func columns() []apimachinery.Column {
	return []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("Holder", "string", func(l *coordinationv1.Lease) any { return holder(l) }),
		apimachinery.AgeColumn(),
	}
}
