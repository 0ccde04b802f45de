package apitest_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery/apitest"
	"github.com/bedplate/bedplate/apimachinery/client"
)

// review answers admission reviews: what is called "bad" is refused, and "/mutate" adds a label.
func review(w http.ResponseWriter, r *http.Request) {
	var in admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := &admissionv1.AdmissionResponse{UID: in.Request.UID, Allowed: r.URL.Path == "/mutate" || in.Request.Name != "bad"}
	if r.URL.Path == "/mutate" {
		typ := admissionv1.PatchTypeJSONPatch
		out.PatchType, out.Patch = &typ, []byte(`[{"op":"add","path":"/metadata/labels","value":{"seen":"yes"}}]`)
	}
	in.Request, in.Response = nil, out
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(in)
}

// TestWebhooks: configurations that name a service are answered by a handler of the test.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	at := func(path string) admissionregistrationv1.WebhookClientConfig {
		return admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "system", Name: "hooks", Path: &path}}
	}
	none, fail := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail
	rules := []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}
	api := apitest.Start(t, apitest.Config{Webhooks: apitest.Webhooks{
		Handler: http.HandlerFunc(review),
		Mutating: []*admissionregistrationv1.MutatingWebhookConfiguration{{
			ObjectMeta: metav1.ObjectMeta{Name: "m"}, Webhooks: []admissionregistrationv1.MutatingWebhook{{
				Name: "m.example.com", ClientConfig: at("/mutate"), Rules: rules, SideEffects: &none, FailurePolicy: &fail, AdmissionReviewVersions: []string{"v1"},
			}},
		}},
		Validating: []*admissionregistrationv1.ValidatingWebhookConfiguration{{
			ObjectMeta: metav1.ObjectMeta{Name: "v"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{{
				Name: "v.example.com", ClientConfig: at("/validate"), Rules: rules, SideEffects: &none, FailurePolicy: &fail, AdmissionReviewVersions: []string{"v1"},
			}},
		}},
	}})
	maps := client.For[*corev1.ConfigMap](api.Client())
	made, err := maps.Create(t.Context(), configMap("good"))
	require.NoError(t, err)
	require.Equal(t, "yes", made.Labels["seen"])
	_, err = maps.Create(t.Context(), configMap("bad"))
	require.True(t, apierrors.IsForbidden(err) || apierrors.IsBadRequest(err), "%v", err)
	require.ErrorContains(t, err, "v.example.com")
}
