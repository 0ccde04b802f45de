package webhook_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/admission/webhook"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// A webhook that refuses everything is asked about a ConfigMap.
func Example() {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if json.NewDecoder(r.Body).Decode(&review) != nil {
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{Message: "closed for today"}}
		_ = json.NewEncoder(w).Encode(&review)
	}))
	defer s.Close()
	none := metav1.LabelSelector{}
	effects, timeout := admissionregistrationv1.SideEffectClassNone, int32(10)
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "hours", UID: "1", ResourceVersion: "1"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "hours.example.com", SideEffects: &effects, TimeoutSeconds: &timeout, AdmissionReviewVersions: []string{"v1"},
			NamespaceSelector: &none, ObjectSelector: &none,
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{"CREATE"},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL: &s.URL, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}),
			},
		}},
	}
	registry, err := apimachinery.NewRegistry(core.ConfigMaps())
	if err != nil {
		fmt.Println(err)
		return
	}
	_, validating, err := webhook.New(webhook.Config{
		Registry: registry, Language: cel.New(),
		Namespace:  func(context.Context, string) (*corev1.Namespace, error) { return &corev1.Namespace{}, nil },
		Mutating:   func(context.Context) ([]apimachinery.Object, error) { return nil, nil },
		Validating: func(context.Context) ([]apimachinery.Object, error) { return []apimachinery.Object{configuration}, nil },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(validating.Validate.Validate(context.Background(), &apimachinery.Admission{
		Operation: "CREATE", Namespace: "default", Name: "greeting",
		Kind: corev1.SchemeGroupVersion.WithKind("ConfigMap"), Resource: corev1.SchemeGroupVersion.WithResource("configmaps"),
		Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "greeting"}},
	}))
	// Output: admission webhook "hours.example.com" denied the request: closed for today
}
