package admissionregistration

import (
	"context"
	"reflect"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// ValidatingWebhookConfigurations declares admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration.
func ValidatingWebhookConfigurations(c Config) apimachinery.Resource {
	type kind = *admissionregistrationv1.ValidatingWebhookConfiguration
	return apimachinery.Resource{
		Name: resource("validatingwebhookconfigurations"),
		New:  func() apimachinery.Object { return &admissionregistrationv1.ValidatingWebhookConfiguration{} },
		Views: view("ValidatingWebhookConfiguration", "validatingwebhookconfigurations",
			apimachinery.ColumnOf("Webhooks", "integer", func(o kind) any { return int64(len(o.Webhooks)) })),
		Default: func(o apimachinery.Object) {
			for _, w := range validatingWebhooks(o) {
				w.setDefaults()
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
			errs := validateWebhooks(validatingWebhooks(new), validatingWebhooks(old), old != nil, c.expressions())
			return append(errs, validateNewName(new, old)...)
		},
		Warnings:    warnReserved,
		Conditional: true,
	}
}

// validatingWebhooks are those of a configuration, none of nil.
func validatingWebhooks(o apimachinery.Object) []webhook {
	if o == nil {
		return nil
	}
	var out []webhook
	all := o.(*admissionregistrationv1.ValidatingWebhookConfiguration).Webhooks
	for i := range all {
		w := &all[i]
		out = append(out, webhook{
			name: w.Name, client: &w.ClientConfig, rules: w.Rules, failure: &w.FailurePolicy, match: &w.MatchPolicy,
			namespaces: &w.NamespaceSelector, objects: &w.ObjectSelector, effects: w.SideEffects, timeout: &w.TimeoutSeconds,
			reviews: w.AdmissionReviewVersions, conditions: w.MatchConditions,
		})
	}
	return out
}
