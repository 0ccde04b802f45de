// Package taintrule declares resource.k8s.io/v1 DeviceTaintRule, which taints devices beside what their drivers say of
// them. It is a package of its own because the API has it in v1 only since Kubernetes v1.37: the other kinds of the
// group can be used with older releases of k8s.io/api.
package taintrule

import (
	"context"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/internal/same"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/kinds/resource"
)

type kind = *resourcev1.DeviceTaintRule

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource { return []apimachinery.Resource{DeviceTaintRules()} }

// DeviceTaintRules declares resource.k8s.io/v1 DeviceTaintRule.
func DeviceTaintRules() apimachinery.Resource {
	return apimachinery.Resource{
		Name: schema.GroupResource{Group: resourcev1.GroupName, Resource: "devicetaintrules"},
		New:  func() apimachinery.Object { return &resourcev1.DeviceTaintRule{} },
		Views: []apimachinery.View{{
			GroupVersionKind: resourcev1.SchemeGroupVersion.WithKind("DeviceTaintRule"),
			Plural:           "devicetaintrules",
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("Key", "string", func(r kind) any { return r.Spec.Taint.Key }),
				apimachinery.ColumnOf("Value", "string", func(r kind) any { return r.Spec.Taint.Value }),
				apimachinery.ColumnOf("Effect", "string", func(r kind) any { return string(r.Spec.Taint.Effect) }),
				apimachinery.ColumnOf("TimeAdded", "string", func(r kind) any { return added(r) }),
				apimachinery.AgeColumn(),
			},
		}},
		Default: func(o apimachinery.Object) { resource.DefaultTaint(&o.(kind).Spec.Taint) },
		Prepare: prepare,
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			errs := core.ValidateFinalizers(new)
			if o, ok := old.(kind); ok {
				return append(errs, validate(&new.(kind).Spec, &o.Spec.Taint)...)
			}
			return append(errs, validate(&new.(kind).Spec, nil)...)
		},
		Subs: map[string]apimachinery.Subresource{
			"status": {
				Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
				Strategy: &apimachinery.Strategy{
					Owned: []string{"status"},
					Prepare: func(_ context.Context, new, old apimachinery.Object) {
						new.(kind).Spec = old.(kind).Spec
						metav1.ResetObjectMetaForStatus(new, old)
					},
					Validate: validateStatus,
				},
			},
		},
	}
}

func added(r kind) string {
	if t := r.Spec.Taint.TimeAdded; t != nil {
		return apimachinery.Age(*t)
	}
	return ""
}

var sameSpec = same.Func[resourcev1.DeviceTaintRuleSpec]()

// prepare notes when a taint got another effect, unless the writer did.
func prepare(_ context.Context, new, old apimachinery.Object) {
	n := new.(kind)
	if old == nil {
		n.Status, n.Generation = resourcev1.DeviceTaintRuleStatus{}, 1
		return
	}
	o := old.(kind)
	n.Status = o.Status
	if n.Spec.Taint.Effect != o.Spec.Taint.Effect && n.Spec.Taint.TimeAdded.Equal(o.Spec.Taint.TimeAdded) {
		n.Spec.Taint.TimeAdded = resource.Now()
	}
	if !sameSpec(&n.Spec, &o.Spec) {
		n.Generation = o.Generation + 1
	}
}

var spec = field.NewPath("spec")

func validate(s *resourcev1.DeviceTaintRuleSpec, old *resourcev1.DeviceTaint) field.ErrorList {
	var errs field.ErrorList
	if d, at := s.DeviceSelector, spec.Child("deviceSelector"); d != nil {
		if d.Driver != nil {
			errs = append(errs, resource.ValidateDriver(*d.Driver, at.Child("driver"))...)
		}
		if d.Pool != nil {
			errs = append(errs, resource.ValidatePool(*d.Pool, at.Child("pool"))...)
		}
		if d.Device != nil {
			errs = append(errs, resource.ValidateDevice(*d.Device, at.Child("device"))...)
		}
	}
	return append(errs, resource.ValidateTaint(&s.Taint, old, spec.Child("taint"))...)
}

func validateStatus(_ context.Context, new, _ apimachinery.Object) field.ErrorList {
	conditions, at := new.(kind).Status.Conditions, field.NewPath("status", "conditions")
	errs := append(core.ValidateFinalizers(new), metav1validation.ValidateConditions(conditions, at)...)
	if n := len(conditions); n > resourcev1.DeviceTaintRuleStatusMaxConditions {
		errs = append(errs, field.TooMany(at, n, resourcev1.DeviceTaintRuleStatusMaxConditions))
	}
	return errs
}
