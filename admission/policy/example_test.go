package policy_test

import (
	"context"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/admission/policy"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// A policy that wants every ConfigMap to say whose it is.
func Example() {
	these := func(o ...apimachinery.Object) func(context.Context) ([]apimachinery.Object, error) {
		return func(context.Context) ([]apimachinery.Object, error) { return o, nil }
	}
	registry, err := apimachinery.NewRegistry(core.ConfigMaps())
	if err != nil {
		fmt.Println(err)
		return
	}
	_, validating, err := policy.New(policy.Config{
		Registry: registry, Language: cel.New(),
		Namespace: func(context.Context, string) (*corev1.Namespace, error) { return &corev1.Namespace{}, nil },
		Params: func(context.Context, schema.GroupVersionResource, string, string) ([]apimachinery.Object, error) {
			return nil, nil
		},
		Mutating: these(), MutatingBindings: these(),
		Validating: these(&admissionregistrationv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "owned", UID: "1", ResourceVersion: "1"},
			Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
				Validations: []admissionregistrationv1.Validation{{Expression: "has(object.metadata.labels) && 'owner' in object.metadata.labels", Message: "say whose it is"}},
			},
		}),
		ValidatingBindings: these(&admissionregistrationv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "everywhere", UID: "2", ResourceVersion: "2"},
			Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: "owned", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
			},
		}),
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
	// Output: configmaps "greeting" is forbidden: ValidatingAdmissionPolicy 'owned' with binding 'everywhere' denied request: say whose it is
}
