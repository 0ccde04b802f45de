package bedplate_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
)

func rulesFor(group string, resources ...string) *admissionregistrationv1.MatchResources {
	return &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
		RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{"CREATE", "UPDATE"},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: resources},
		},
	}}}
}

func deploymentOf(name string, replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(replicas), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": name}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": name}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/main"}}},
			},
		},
	}
}

func TestValidatingPolicies(t *testing.T) {
	p := start(t, bedplate.Config{})
	c := p.Client()
	deployments := client.For[*appsv1.Deployment](c)
	with(t, p, &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "few"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: rulesFor("apps", "deployments", "deployments/scale"),
			ParamKind:        &admissionregistrationv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
			Variables:        []admissionregistrationv1.Variable{{Name: "most", Expression: "int(params.data.most)"}},
			Validations: []admissionregistrationv1.Validation{{
				Expression: "object.spec.replicas <= variables.most", MessageExpression: "'at most ' + params.data.most",
			}},
		},
	})
	bindings := client.For[*admissionregistrationv1.ValidatingAdmissionPolicyBinding](c)
	_, err := deployments.Create(t.Context(), deploymentOf("unbound", 9), client.DryRun())
	require.NoError(t, err)
	b := with(t, p, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "few-here"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "few", ValidationActions: []admissionregistrationv1.ValidationAction{"Deny"},
			ParamRef: &admissionregistrationv1.ParamRef{Name: "limit", ParameterNotFoundAction: ptr.To(admissionregistrationv1.DenyAction)},
		},
	})
	_, err = deployments.Create(t.Context(), deploymentOf("a", 1))
	require.ErrorContains(t, err, "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction")

	limit := configMap("limit", "x")
	limit.Data = map[string]string{"most": "3"}
	limit = with(t, p, limit)
	_, err = deployments.Create(t.Context(), deploymentOf("a", 0))
	require.NoError(t, err)
	_, err = deployments.Create(t.Context(), deploymentOf("b", 4))
	require.ErrorContains(t, err, `deployments.apps "b" is forbidden: ValidatingAdmissionPolicy 'few' with binding 'few-here' denied request: at most 3`)
	var status apierrors.APIStatus
	require.ErrorAs(t, err, &status)
	require.EqualValues(t, 422, status.Status().Code)
	require.Equal(t, metav1.StatusReasonInvalid, status.Status().Reason)
	limit.Data["most"] = "5"
	_, err = client.For[*corev1.ConfigMap](c).Update(t.Context(), limit)
	require.NoError(t, err)
	_, err = deployments.Create(t.Context(), deploymentOf("b", 4), client.DryRun())
	require.NoError(t, err, "parameters are in force at once")

	b.Spec.ValidationActions = []admissionregistrationv1.ValidationAction{"Warn", "Audit"}
	_, err = bindings.Update(t.Context(), b)
	require.NoError(t, err)
	var warned []string
	_, err = deployments.Create(t.Context(), deploymentOf("c", 6), client.DryRun(), client.Warnings(func(text string) { warned = append(warned, text) }))
	require.NoError(t, err)
	require.Equal(t, []string{"Validation failed for ValidatingAdmissionPolicy 'few' with binding 'few-here': at most 5"}, warned)

	_, err = client.For[*admissionregistrationv1.ValidatingAdmissionPolicy](c).Patch(t.Context(), "", "few", types.MergePatchType, []byte(`{"spec":{"validations":[{"expression":"object.spec.replicas <="}]}}`))
	require.True(t, apierrors.IsInvalid(err), "%v", err)
}

func TestMutatingPolicies(t *testing.T) {
	p := start(t, bedplate.Config{})
	c := p.Client()
	maps := client.For[*corev1.ConfigMap](c)
	mutation := func(name, apply, patch string, rules *admissionregistrationv1.MatchResources) {
		m := admissionregistrationv1.Mutation{PatchType: admissionregistrationv1.PatchTypeApplyConfiguration}
		if apply != "" {
			m.ApplyConfiguration = &admissionregistrationv1.ApplyConfiguration{Expression: apply}
		} else {
			m.PatchType, m.JSONPatch = admissionregistrationv1.PatchTypeJSONPatch, &admissionregistrationv1.JSONPatch{Expression: patch}
		}
		with(t, p, &admissionregistrationv1.MutatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
				MatchConstraints: rules, Mutations: []admissionregistrationv1.Mutation{m},
				MatchConditions:    []admissionregistrationv1.MatchCondition{{Name: "named", Expression: "object.metadata.name.startsWith('" + name + "')"}},
				ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
			},
		})
		with(t, p, &admissionregistrationv1.MutatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: name},
		})
	}
	mutation("apply", `Object{metadata: Object.metadata{labels: {"by": "policy"}}}`, "", rulesFor("", "configmaps"))
	mutation("patch", "", `[JSONPatch{op: "test", path: "/data/k", value: "x"}, JSONPatch{op: "add", path: "/data/more", value: "y"}]`, rulesFor("", "configmaps"))
	mutation("atomic", `Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {"x": "y"}}}}`, "", rulesFor("apps", "deployments"))

	m := configMap("apply-1", "x")
	m.Labels = map[string]string{"kept": "yes"}
	m, err := maps.Create(t.Context(), m)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"kept": "yes", "by": "policy"}, m.Labels)
	require.Len(t, m.ManagedFields, 1, "nobody came to own anything by it")

	m, err = maps.Create(t.Context(), configMap("patch-1", "x"))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"k": "x", "more": "y"}, m.Data)
	m, err = maps.Create(t.Context(), configMap("patch-2", "other"))
	require.NoError(t, err, "a failed test leaves the object as it is")
	require.Equal(t, map[string]string{"k": "other"}, m.Data)

	_, err = client.For[*appsv1.Deployment](c).Create(t.Context(), deploymentOf("atomic", 0))
	require.ErrorContains(t, err, "policy 'atomic' with binding 'atomic' denied request: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector")
}
