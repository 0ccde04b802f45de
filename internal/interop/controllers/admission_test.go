package controllers

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

type rules struct{}

func (rules) Default(_ context.Context, w *Widget) error {
	if w.Spec.Colour == "" {
		w.Spec.Colour = "grey"
	}
	return nil
}

func (rules) ValidateCreate(_ context.Context, w *Widget) (admission.Warnings, error) {
	if w.Spec.Colour == "plaid" {
		return nil, errors.New("plaid is no colour")
	}
	return admission.Warnings{"widgets are for tests"}, nil
}

func (r rules) ValidateUpdate(ctx context.Context, _, w *Widget) (admission.Warnings, error) {
	return r.ValidateCreate(ctx, w)
}

func (rules) ValidateDelete(_ context.Context, w *Widget) (admission.Warnings, error) {
	if w.Labels["keep"] != "" {
		return nil, errors.New("it is to be kept")
	}
	return nil, nil
}

// TestAdmission: the webhooks of an operator, registered by its configurations, fill in and refuse.
func TestAdmission(t *testing.T) {
	of := func(path string, operations ...admissionregistrationv1.OperationType) (admissionregistrationv1.WebhookClientConfig, []admissionregistrationv1.RuleWithOperations) {
		return admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "default", Name: "hooks", Path: &path}},
			[]admissionregistrationv1.RuleWithOperations{{Operations: operations, Rule: admissionregistrationv1.Rule{APIGroups: []string{v1.Group}, APIVersions: []string{"v1"}, Resources: []string{"widgets"}}}}
	}
	none, fail := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail
	mutate := admissionregistrationv1.MutatingWebhook{Name: "default.interop.example.com", SideEffects: &none, FailurePolicy: &fail, AdmissionReviewVersions: []string{"v1"}}
	mutate.ClientConfig, mutate.Rules = of("/mutate-interop-example-com-v1-widget", "CREATE", "UPDATE")
	validate := admissionregistrationv1.ValidatingWebhook{Name: "rules.interop.example.com", SideEffects: &none, FailurePolicy: &fail, AdmissionReviewVersions: []string{"v1"}}
	validate.ClientConfig, validate.Rules = of("/validate-interop-example-com-v1-widget", "CREATE", "UPDATE", "DELETE")
	s := newSuite(t, envtest.WebhookInstallOptions{
		MutatingWebhooks:   []*admissionregistrationv1.MutatingWebhookConfiguration{{ObjectMeta: metav1.ObjectMeta{Name: "interop"}, Webhooks: []admissionregistrationv1.MutatingWebhook{mutate}}},
		ValidatingWebhooks: []*admissionregistrationv1.ValidatingWebhookConfiguration{{ObjectMeta: metav1.ObjectMeta{Name: "interop"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{validate}}},
	}, func(m ctrl.Manager) {
		require.NoError(t, ctrl.NewWebhookManagedBy(m, &Widget{}).WithDefaulter(rules{}).WithValidator(rules{}).Complete())
	})
	ctx := t.Context()
	w := &Widget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "w", Labels: map[string]string{"keep": "yes"}}}
	require.NoError(t, s.client.Create(ctx, w))
	require.Equal(t, "grey", w.Spec.Colour)
	s.made(w, 1)
	s.until(func() bool {
		w.Spec.Colour = "plaid"
		err := s.client.Update(ctx, w)
		if apierrors.IsConflict(err) {
			s.made(w, 1)
			return false
		}
		require.True(t, apierrors.IsForbidden(err), "%v", err)
		require.ErrorContains(t, err, `admission webhook "rules.interop.example.com" denied the request: plaid is no colour`)
		return true
	})
	require.ErrorContains(t, s.client.Delete(ctx, w), "it is to be kept")
	err := s.client.Create(ctx, &Widget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}, Spec: WidgetSpec{Colour: "plaid"}})
	require.ErrorContains(t, err, "plaid is no colour")
}
