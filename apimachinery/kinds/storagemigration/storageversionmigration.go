// Package storagemigration declares the kinds of storagemigration.k8s.io: StorageVersionMigration, as Kubernetes v1.37
// has it, by which somebody asks that the objects of a resource be stored anew.
package storagemigration

import (
	"context"
	"strings"

	migrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

type migration = *migrationv1.StorageVersionMigration

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource {
	return []apimachinery.Resource{StorageVersionMigrations()}
}

// StorageVersionMigrations declares storagemigration.k8s.io/v1 StorageVersionMigration. Its spec is immutable.
func StorageVersionMigrations() apimachinery.Resource {
	return apimachinery.Resource{
		Name:   schema.GroupResource{Group: migrationv1.GroupName, Resource: "storageversionmigrations"},
		Prefix: "storageversionmigrations",
		New:    func() apimachinery.Object { return &migrationv1.StorageVersionMigration{} },
		Views: []apimachinery.View{{
			GroupVersionKind: migrationv1.SchemeGroupVersion.WithKind("StorageVersionMigration"),
			Plural:           "storageversionmigrations",
			Columns: []apimachinery.Column{
				apimachinery.ColumnOf("Name", "string", func(m migration) any { return m.Name }),
				apimachinery.ColumnOf("Resource", "string", func(m migration) any { return m.Spec.Resource.String() }),
				apimachinery.ColumnOf("Status", "string", func(m migration) any { return state(m) }),
			},
		}},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			n := new.(migration)
			n.Status = migrationv1.StorageVersionMigrationStatus{}
			if o, ok := old.(migration); ok {
				n.Status = *o.Status.DeepCopy()
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(migration)
			errs := append(core.ValidateFinalizers(n), validateResource(n.Spec.Resource)...)
			if o, ok := old.(migration); ok {
				errs = append(errs, validation.ValidateImmutableField(n.Spec, o.Spec, field.NewPath("spec"))...)
			}
			return errs
		},
		Conditional: true,
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						n, o := new.(migration), old.(migration)
						n.Spec = o.Spec
						metav1.ResetObjectMetaForStatus(n, o)
					},
					Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
						return append(core.ValidateFinalizers(new), validateStatus(new.(migration), old.(migration))...)
					},
				},
			},
		},
	}
}

func validateResource(r metav1.GroupResource) field.ErrorList {
	at := field.NewPath("spec", "resource")
	var errs field.ErrorList
	if r.Resource == "" {
		errs = append(errs, field.Required(at.Child("resource"), "say what to migrate"))
	} else if msgs := utilvalidation.IsDNS1035Label(r.Resource); len(msgs) > 0 {
		errs = append(errs, field.Invalid(at.Child("resource"), r.Resource, strings.Join(msgs, ",")))
	}
	if r.Group == "" {
		return errs
	}
	if msgs := utilvalidation.IsDNS1123Subdomain(r.Group); len(msgs) > 0 {
		errs = append(errs, field.Invalid(at.Child("group"), r.Group, strings.Join(msgs, ",")))
	}
	return errs
}

// validateStatus: the revision is written once, and a migration ends once.
func validateStatus(new, old migration) field.ErrorList {
	revision, conditions := field.NewPath("status", "resourceVersion"), field.NewPath("status", "conditions")
	var errs field.ErrorList
	if v := new.Status.ResourceVersion; v != "" {
		if _, err := resourceversion.CompareResourceVersion(v, v); err != nil {
			errs = append(errs, field.Invalid(revision, v, err.Error()))
		}
	}
	errs = append(errs, metavalidation.ValidateConditions(new.Status.Conditions, conditions)...)
	if before := old.Status.ResourceVersion; before != "" && before != new.Status.ResourceVersion {
		errs = append(errs, field.Invalid(revision, new.Status.ResourceVersion, validation.FieldImmutableErrorMsg))
	}
	refuse := func(is bool, why string) {
		if is {
			errs = append(errs, field.Invalid(conditions, new.Status.Conditions, why))
		}
	}
	const succeeded, failed = migrationv1.MigrationSucceeded, migrationv1.MigrationFailed
	refuse(is(new, succeeded) && is(new, failed), "a migration can't have succeeded and failed")
	refuse(is(old, succeeded) && !is(new, succeeded), "a migration that has succeeded stays so")
	refuse(is(old, failed) && !is(new, failed), "a migration that has failed stays so")
	return errs
}

func is(m migration, t migrationv1.MigrationConditionType) bool {
	return meta.IsStatusConditionTrue(m.Status.Conditions, string(t))
}

// state is the last of the conditions that are true.
func state(m migration) string {
	out := "Unknown"
	for _, c := range m.Status.Conditions {
		switch migrationv1.MigrationConditionType(c.Type) {
		case migrationv1.MigrationRunning, migrationv1.MigrationFailed, migrationv1.MigrationSucceeded:
			if c.Status == metav1.ConditionTrue {
				out = c.Type
			}
		}
	}
	return out
}
