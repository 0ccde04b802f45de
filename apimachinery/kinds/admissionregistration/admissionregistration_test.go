package admissionregistration_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/admissionregistration"
)

func hooks(change func(*admissionregistrationv1.ValidatingWebhook)) *admissionregistrationv1.ValidatingWebhookConfiguration {
	w := admissionregistrationv1.ValidatingWebhook{
		Name: "pods.guard.example.com", SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone),
		AdmissionReviewVersions: []string{"v1"},
		ClientConfig:            admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "guard", Name: "hook"}},
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
		}},
	}
	change(&w)
	return &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "guard"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{w},
	}
}

// A webhook without a client is refused.
func Example() {
	r := admissionregistration.ValidatingWebhookConfigurations(admissionregistration.Config{})
	o := hooks(func(w *admissionregistrationv1.ValidatingWebhook) { w.ClientConfig.Service = nil })
	r.Default(o)
	for _, err := range r.Validate(context.Background(), o, nil) {
		fmt.Println(err)
	}
	// Output: webhooks[0].clientConfig: Required value: exactly one of url or service is required
}

// words refuses expressions that say so, and tells what it was asked.
func words(asked *[]string) apimachinery.ExpressionChecker {
	return func() func(apimachinery.Expression) error {
		return func(e apimachinery.Expression) error {
			*asked = append(*asked, fmt.Sprint(e.Kind, " ", e.Name, e.Text, " ", e.Params, e.Stored))
			switch {
			case strings.Contains(e.Text, "costly"):
				return field.Forbidden(nil, "too much")
			case strings.Contains(e.Text, "wrong"):
				return errors.New("does not compile")
			}
			return nil
		}
	}
}

func text(errs field.ErrorList) (out []string) {
	for _, e := range errs {
		out = append(out, e.Field+" "+e.Type.String())
	}
	return out
}

func TestRegistry(t *testing.T) {
	r, err := apimachinery.NewRegistry(admissionregistration.Resources(admissionregistration.Config{})...)
	require.NoError(t, err)
	require.Len(t, r.All(), 6)
	for _, res := range r.All() {
		require.True(t, res.Conditional)
		for _, c := range res.Views[0].Columns {
			require.NotNil(t, c.Cell(res.New()))
		}
		o := res.New()
		o.SetName("a.static.k8s.io")
		require.Contains(t, text(res.Validate(t.Context(), o, nil)), "metadata.name Invalid value")
		require.NotContains(t, text(res.Validate(t.Context(), o, o)), "metadata.name Invalid value")
		require.Len(t, res.Warnings(o, o), 1)
	}
}

func TestWebhook(t *testing.T) {
	r := admissionregistration.ValidatingWebhookConfigurations(admissionregistration.Config{})
	for name, c := range map[string]struct {
		change func(*admissionregistrationv1.ValidatingWebhook)
		want   []string
	}{
		"good": {func(*admissionregistrationv1.ValidatingWebhook) {}, nil},
		"effects": {func(w *admissionregistrationv1.ValidatingWebhook) {
			w.SideEffects = ptr.To(admissionregistrationv1.SideEffectClassSome)
		}, []string{"webhooks[0].sideEffects Unsupported value"}},
		"reviews": {func(w *admissionregistrationv1.ValidatingWebhook) { w.AdmissionReviewVersions = []string{"v3"} }, []string{"webhooks[0].admissionReviewVersions Invalid value"}},
		"timeout": {func(w *admissionregistrationv1.ValidatingWebhook) { w.TimeoutSeconds = ptr.To[int32](31) }, []string{"webhooks[0].timeoutSeconds Invalid value"}},
		"covered": {func(w *admissionregistrationv1.ValidatingWebhook) {
			w.Rules[0].Resources = []string{"pods/*", "pods/log"}
		}, []string{"webhooks[0].rules[0].resources[1] Invalid value"}},
		"url": {func(w *admissionregistrationv1.ValidatingWebhook) {
			w.ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: ptr.To("http://a.b/c?d=e")}
		}, []string{"webhooks[0].clientConfig.url Invalid value", "webhooks[0].clientConfig.url Invalid value"}},
		"conditions": {func(w *admissionregistrationv1.ValidatingWebhook) {
			w.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "a", Expression: " "}, {Name: "a", Expression: "true"}}
		}, []string{"webhooks[0].matchConditions[0].expression Required value", "webhooks[0].matchConditions[1].name Duplicate value"}},
	} {
		o := hooks(c.change)
		r.Default(o)
		require.Equal(t, c.want, text(r.Validate(t.Context(), o, nil)), name)
		if name == "effects" || name == "reviews" {
			require.Empty(t, r.Validate(t.Context(), o, o), "what was let pass is let pass: %s", name)
		}
	}
}

func TestExpressions(t *testing.T) {
	var asked []string
	r := admissionregistration.ValidatingAdmissionPolicies(admissionregistration.Config{Expressions: words(&asked)})
	p := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			ParamKind:        &admissionregistrationv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: hooks(func(*admissionregistrationv1.ValidatingWebhook) {}).Webhooks[0].Rules[0]}}},
			MatchConditions:  []admissionregistrationv1.MatchCondition{{Name: "m", Expression: " wrong "}},
			Variables:        []admissionregistrationv1.Variable{{Name: "v", Expression: "1"}, {Name: "if", Expression: "2"}},
			Validations:      []admissionregistrationv1.Validation{{Expression: "costly", MessageExpression: "'a'"}},
			AuditAnnotations: []admissionregistrationv1.AuditAnnotation{{Key: "a b", ValueExpression: "'b'"}},
		},
	}
	r.Default(p)
	require.Equal(t, []string{
		"spec.matchConditions[0].expression Invalid value", "spec.variables[1].name Invalid value",
		"spec.validations[0].expression Forbidden", "spec.auditAnnotations[0].key Invalid value",
	}, text(r.Validate(t.Context(), p, nil)))
	require.Equal(t, []string{"1 wrong true false", "2 v1 true false", "2 if2 true false", "3 costly true false", "4 'a' true false", "5 'b' true false"}, asked)

	asked = nil
	r.Validate(t.Context(), p, p)
	require.Equal(t, []string{"2 v1 true false", "2 if2 true false", "3 costly true true", "4 'a' true true", "5 'b' true true"}, asked,
		"conditions that did not change are not asked again, and the rest was stored")
}

func TestMutation(t *testing.T) {
	r := admissionregistration.MutatingAdmissionPolicies(admissionregistration.Config{})
	p := &admissionregistrationv1.MutatingAdmissionPolicy{Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
		ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
		MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
			RuleWithOperations: admissionregistrationv1.RuleWithOperations{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Delete},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*"}},
			},
		}}},
		Mutations: []admissionregistrationv1.Mutation{{PatchType: admissionregistrationv1.PatchTypeJSONPatch, ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{}}},
	}}
	r.Default(p)
	require.Equal(t, []string{
		"spec.matchConstraints.resourceRules.operations Unsupported value",
		"spec.mutations[0].jsonPatch Required value", "spec.mutations[0].applyConfiguration Invalid value",
	}, text(r.Validate(t.Context(), p, nil)))
}

func TestBinding(t *testing.T) {
	r := admissionregistration.ValidatingAdmissionPolicyBindings()
	b := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName:        "p",
		ParamRef:          &admissionregistrationv1.ParamRef{Name: "a", Selector: &metav1.LabelSelector{}},
		ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny, admissionregistrationv1.Warn},
	}}
	require.Equal(t, []string{
		"spec.paramRef.name Forbidden", "spec.paramRef.selector Forbidden", "spec.paramRef.parameterNotFoundAction Required value",
		"spec.validationActions Invalid value",
	}, text(r.Validate(t.Context(), b, nil)))
}
