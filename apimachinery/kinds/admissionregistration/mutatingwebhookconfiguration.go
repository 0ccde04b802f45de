package admissionregistration

import (
	"context"
	"reflect"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// MutatingWebhookConfigurations declares admissionregistration.k8s.io/v1 MutatingWebhookConfiguration.
func MutatingWebhookConfigurations(c Config) apimachinery.Resource {
	type kind = *admissionregistrationv1.MutatingWebhookConfiguration
	return apimachinery.Resource{
		Name: resource("mutatingwebhookconfigurations"),
		New:  func() apimachinery.Object { return &admissionregistrationv1.MutatingWebhookConfiguration{} },
		Views: view("MutatingWebhookConfiguration", "mutatingwebhookconfigurations",
			apimachinery.ColumnOf("Webhooks", "integer", func(o kind) any { return int64(len(o.Webhooks)) })),
		Default: func(o apimachinery.Object) {
			for _, w := range mutatingWebhooks(o) {
				w.setDefaults()
			}
			all := o.(kind).Webhooks
			for i := range all {
				set(&all[i].ReinvocationPolicy, admissionregistrationv1.NeverReinvocationPolicy)
			}
		},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			if old == nil {
				new.SetGeneration(1)
			} else if !reflect.DeepEqual(new.(kind).Webhooks, old.(kind).Webhooks) {
				new.SetGeneration(old.GetGeneration() + 1)
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			errs := validateWebhooks(mutatingWebhooks(new), mutatingWebhooks(old), old != nil, c.expressions())
			return append(errs, validateNewName(new, old)...)
		},
		Warnings:    warnReserved,
		Conditional: true,
	}
}

// mutatingWebhooks are those of a configuration, none of nil.
func mutatingWebhooks(o apimachinery.Object) []webhook {
	if o == nil {
		return nil
	}
	var out []webhook
	all := o.(*admissionregistrationv1.MutatingWebhookConfiguration).Webhooks
	for i := range all {
		w := &all[i]
		out = append(out, webhook{
			name: w.Name, client: &w.ClientConfig, rules: w.Rules, failure: &w.FailurePolicy, match: &w.MatchPolicy,
			namespaces: &w.NamespaceSelector, objects: &w.ObjectSelector, effects: w.SideEffects, timeout: &w.TimeoutSeconds,
			reviews: w.AdmissionReviewVersions, conditions: w.MatchConditions, again: w.ReinvocationPolicy,
		})
	}
	return out
}
