// Package coordination declares the kinds of coordination.k8s.io: Lease, as Kubernetes v1.37 has it, with the
// fence that makes writes of a deposed leader fail (see apimachinery.Request.Fence).
package coordination

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
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
	if s.HolderIdentity != nil && *s.HolderIdentity == "" {
		errs = append(errs, field.Invalid(path.Child("holderIdentity"), "", "must not be empty: leave it out for no holder"))
	}
	return append(errs, validateStrategy(s, path)...)
}

func validateStrategy(s coordinationv1.LeaseSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Strategy != nil && *s.Strategy != coordinationv1.OldestEmulationVersion && !qualified(string(*s.Strategy)) {
		errs = append(errs, field.NotSupported(path.Child("strategy"), *s.Strategy, []coordinationv1.CoordinatedLeaseStrategy{coordinationv1.OldestEmulationVersion}))
	}
	if s.PreferredHolder != nil && *s.PreferredHolder != "" && s.Strategy == nil {
		errs = append(errs, field.Forbidden(path.Child("preferredHolder"), "may only be specified if `strategy` is defined"))
	}
	return errs
}

func qualified(s string) bool {
	for _, r := range s {
		if r == '/' {
			return true
		}
	}
	return false
}

func columns() []apimachinery.Column {
	text := func(name, format string, cell func(*coordinationv1.Lease) any) apimachinery.Column {
		return apimachinery.Column{
			TableColumnDefinition: metav1.TableColumnDefinition{Name: name, Type: "string", Format: format},
			Cell:                  func(o apimachinery.Object) any { return cell(o.(*coordinationv1.Lease)) },
		}
	}
	return []apimachinery.Column{
		text("Name", "name", func(l *coordinationv1.Lease) any { return l.Name }),
		text("Holder", "", func(l *coordinationv1.Lease) any { return holder(l) }),
		text("Age", "", func(l *coordinationv1.Lease) any {
			return duration.HumanDuration(time.Since(l.CreationTimestamp.Time))
		}),
	}
}
