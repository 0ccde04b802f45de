package apiextensions

import (
	"context"
	"slices"
	"strings"
	"time"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
)

// CleanupFinalizer keeps a definition that is being deleted until its instances are gone.
const CleanupFinalizer = apiext.CustomResourceCleanupFinalizer

// CustomResourceDefinitions declares apiextensions.k8s.io/v1 CustomResourceDefinition. A definition that is deleted gets
// [CleanupFinalizer], and goes once that has been taken away.
func CustomResourceDefinitions() apimachinery.Resource {
	j := &judge{rules: cel.New()}
	return apimachinery.Resource{
		Name:   schema.GroupResource{Group: apiext.GroupName, Resource: "customresourcedefinitions"},
		Prefix: "apiextensions.k8s.io/customresourcedefinitions",
		New:    func() apimachinery.Object { return &apiext.CustomResourceDefinition{} },
		Views: []apimachinery.View{{
			GroupVersionKind: apiext.SchemeGroupVersion.WithKind("CustomResourceDefinition"),
			Plural:           "customresourcedefinitions",
			Short:            []string{"crd", "crds"},
			Category:         []string{"api-extensions"},
			Columns:          columns(),
		}},
		Default:     func(o apimachinery.Object) { setDefaults(o.(*apiext.CustomResourceDefinition)) },
		Prepare:     prepare,
		Validate:    j.validate,
		Warnings:    warnings,
		Conditional: true,
		BeginDelete: func(o apimachinery.Object) { beginDelete(o.(*apiext.CustomResourceDefinition)) },
		Finalized: func(o apimachinery.Object) bool {
			return o.GetDeletionTimestamp() != nil && !slices.Contains(o.GetFinalizers(), CleanupFinalizer)
		},
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						new.(*apiext.CustomResourceDefinition).Spec = old.(*apiext.CustomResourceDefinition).Spec
					},
					Validate: func(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
						n := new.(*apiext.CustomResourceDefinition)
						return validateNames(&n.Status.AcceptedNames, field.NewPath("status", "acceptedNames"))
					},
				},
			},
		},
	}
}

func columns() []apimachinery.Column {
	type definition = apiext.CustomResourceDefinition
	wide := func(name, typ string, cell func(*definition) any) apimachinery.Column {
		return apimachinery.Wide(apimachinery.ColumnOf(name, typ, cell))
	}
	return []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("Scope", "string", func(d *definition) any { return string(d.Spec.Scope) }),
		apimachinery.ColumnOf("Versions", "string", func(d *definition) any { return served(d) }),
		apimachinery.ColumnOf("Created At", "date", func(d *definition) any {
			return d.CreationTimestamp.UTC().Format(time.RFC3339)
		}),
		wide("Group", "string", func(d *definition) any { return d.Spec.Group }),
		wide("Kind", "string", func(d *definition) any { return d.Spec.Names.Kind }),
		wide("ShortNames", "string", func(d *definition) any { return strings.Join(d.Spec.Names.ShortNames, ",") }),
		wide("Established", "boolean", func(d *definition) any { return IsTrue(d, apiext.Established) }),
	}
}

// served names the versions that are served, and which of them is stored.
func served(d *apiext.CustomResourceDefinition) string {
	var out []string
	for i := range d.Spec.Versions {
		v := &d.Spec.Versions[i]
		if !v.Served {
			continue
		}
		name := v.Name
		if v.Storage {
			name += "(storage)"
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func setDefaults(d *apiext.CustomResourceDefinition) {
	names := &d.Spec.Names
	if names.Singular == "" {
		names.Singular = strings.ToLower(names.Kind)
	}
	if names.ListKind == "" && names.Kind != "" {
		names.ListKind = names.Kind + "List"
	}
	if d.Spec.Conversion == nil {
		d.Spec.Conversion = &apiext.CustomResourceConversion{Strategy: apiext.NoneConverter}
	}
	if w := d.Spec.Conversion.Webhook; w != nil && w.ClientConfig != nil && w.ClientConfig.Service != nil && w.ClientConfig.Service.Port == nil {
		port := int32(443)
		w.ClientConfig.Service.Port = &port
	}
	if len(d.Status.StoredVersions) == 0 {
		noteStored(d)
	}
}

// noteStored adds the storage version to those in which objects may be stored.
func noteStored(d *apiext.CustomResourceDefinition) {
	for i := range d.Spec.Versions {
		v := &d.Spec.Versions[i]
		if !v.Storage {
			continue
		}
		if !slices.Contains(d.Status.StoredVersions, v.Name) {
			d.Status.StoredVersions = append(d.Status.StoredVersions, v.Name)
		}
		return
	}
}

func prepare(_ context.Context, new, old apimachinery.Object) {
	n := new.(*apiext.CustomResourceDefinition)
	n.Status = apiext.CustomResourceDefinitionStatus{}
	n.Generation = 1
	if o, ok := old.(*apiext.CustomResourceDefinition); ok {
		n.Status = *o.Status.DeepCopy()
		n.Generation = o.Generation
		if !equality.Semantic.DeepEqual(n.Spec, o.Spec) {
			n.Generation++
		}
	}
	noteStored(n)
}

func beginDelete(d *apiext.CustomResourceDefinition) {
	if !slices.Contains(d.Finalizers, CleanupFinalizer) {
		d.Finalizers = append(d.Finalizers, CleanupFinalizer)
	}
	SetCondition(d, apiext.CustomResourceDefinitionCondition{
		Type: apiext.Terminating, Status: apiext.ConditionTrue, Reason: "InstanceDeletionPending",
		Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	}, metav1.Now())
}

// IsTrue says whether a condition of a definition is true.
func IsTrue(d *apiext.CustomResourceDefinition, typ apiext.CustomResourceDefinitionConditionType) bool {
	c := Condition(d, typ)
	return c != nil && c.Status == apiext.ConditionTrue
}

// Condition returns a condition of a definition, nil if it has none of that type.
func Condition(d *apiext.CustomResourceDefinition, typ apiext.CustomResourceDefinitionConditionType) *apiext.CustomResourceDefinitionCondition {
	for i := range d.Status.Conditions {
		if d.Status.Conditions[i].Type == typ {
			return &d.Status.Conditions[i]
		}
	}
	return nil
}

// SetCondition writes a condition into a definition. Its time of transition moves only if its status does.
func SetCondition(d *apiext.CustomResourceDefinition, c apiext.CustomResourceDefinitionCondition, now metav1.Time) {
	c.LastTransitionTime = now
	have := Condition(d, c.Type)
	if have == nil {
		d.Status.Conditions = append(d.Status.Conditions, c)
		return
	}
	if have.Status == c.Status && !have.LastTransitionTime.IsZero() {
		c.LastTransitionTime = have.LastTransitionTime
	}
	*have = c
}
