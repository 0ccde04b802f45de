package cel_test

import (
	"context"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
)

// Rules of a schema are checked when it is written, and judge objects from then on.
func Example() {
	schema := &apiextensionsv1.JSONSchemaProps{
		Type: "object",
		Properties: map[string]apiextensionsv1.JSONSchemaProps{
			"replicas": {Type: "integer"},
			"limit":    {Type: "integer"},
		},
		XValidations: apiextensionsv1.ValidationRules{{Rule: "self.replicas <= self.limit", Message: "too many replicas"}},
	}
	env := cel.New()
	fmt.Println(env.CheckSchema(schema, field.NewPath("schema"), cel.SchemaCheck{}))
	object := map[string]any{"replicas": int64(3), "limit": int64(2)}
	errs, remaining := env.Rules(schema, true).Validate(context.Background(), nil, object, nil, cel.Budget)
	fmt.Println(errs, cel.Budget-remaining)
	// Output:
	// []
	// [<nil>: Invalid value: too many replicas] 5
}

// A policy is compiled once, and says of each request what it thinks.
func ExampleEnvironment_Validating() {
	policy := cel.New().Validating(&admissionregistrationv1.ValidatingAdmissionPolicySpec{
		Variables:   []admissionregistrationv1.Variable{{Name: "app", Expression: "object.metadata.?labels.app.orValue('')"}},
		Validations: []admissionregistrationv1.Validation{{Expression: "variables.app != ''", MessageExpression: "request.userInfo.username + ' forgot the label app'"}},
	})
	verdict := policy.Validate(context.Background(), &cel.Input{Admission: &apimachinery.Admission{
		User: apimachinery.User{Name: "ann"}, Operation: "CREATE", Object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}},
	}})
	fmt.Println(verdict.Decisions[0].Denied, verdict.Decisions[0].Message)
	// Output: true ann forgot the label app
}
