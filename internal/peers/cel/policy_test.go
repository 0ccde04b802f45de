package cel

import (
	"context"
	"fmt"
	"testing"

	celgo "github.com/google/cel-go/cel"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	plugin "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/bedplate/bedplate/apimachinery"
	ours "github.com/bedplate/bedplate/apimachinery/cel"
)

// variables are declared before each expression, in this order.
var variables = [][2]string{
	{"count", "object.spec.containers.size()"}, {"images", "object.spec.containers.map(c, c.image)"},
	{"twice", "variables.count * 2"}, {"fails", "object.nothing.more"}, {"wrong", "nonsense +"}, {"labels", "object.metadata.labels"},
	{"text", "'a' + object.metadata.name"}, {"when", "timestamp('2024-01-01T00:00:00Z')"}, {"pair", "{'a': [1, 2]}"}, {"q", "quantity('1')"},
}

// expressions are validations of a policy with params.
var expressions = []string{
	"true", "1", "object.x", "object.x == 1", "nothing", "variables.nothing == 1", "variables.count == 1", "variables.twice == 2",
	"variables.images == ['new']", "variables.images[0] == 'new' && variables.images.all(i, i.size() > 2)", "variables.fails == 1", "variables.wrong == 1",
	"variables.labels['app'] == 'web'", "variables.text == 'aweb'", "variables.text == 1", "variables.when.getFullYear() == 2024",
	"variables.pair['a'] == [1, 2]", "variables.pair['a'] == ['x']", "variables.q.isLessThan(quantity('2'))",
	"object.spec.containers.all(c, c.image.contains('e'))", "object.spec == oldObject.spec", "object.metadata == oldObject.metadata",
	"object.kind == 'Pod'", "has(object.spec.nodeName)", "has(object.status)", "object.metadata.creationTimestamp == null",
	"request.operation == 'UPDATE' && request.name == 'web'", "request.kind.kind == 'Pod' && request.resource.resource == 'pods'",
	"request.userInfo.username == 'ann' && 'dev' in request.userInfo.groups", "request.userInfo.extra['team'] == ['a']",
	"has(request.userInfo.uid)", "has(request.subResource)", "request.dryRun", "request.uid == ''", "has(request.options)", "request.options.fieldManager == 'me'",
	"request.options.kind == 'UpdateOptions'",
	"namespaceObject.metadata.name == 'shop'", "namespaceObject.metadata.labels['tier'] == 'prod'", "namespaceObject.metadata.UID == ''",
	"namespaceObject.metadata.creationTimestamp == timestamp('2024-01-01T00:00:00Z')", "namespaceObject.metadata.ownerReferences == null", "has(namespaceObject.status.phase)",
	"namespaceObject.spec.finalizers.size() == 0",
	"params.data.max == '1'", "params.data['max'] == '1'", "params == null", "int(params.data.max) >= variables.count",
	"[1].includes(1)", "lists.range(2).all(i, i < 2)", "object.spec.containers.exists(c, c.name == 'main' && c.?image.orValue('') == 'new')",
	"string(object.spec.containers.size()) == '1'", "dyn(object).spec == null", "object.metadata.labels.all(k, k != '')",
	"object.metadata.labels.transformMap(k, v, v + v) == {'app': 'webweb'}", "object.metadata.labels.exists(k, v, v == 'web')",
}

// TestExpressions compares validations of a policy: what the compiler says, the result and its cost.
func TestExpressions(t *testing.T) {
	pod := func(image string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Labels: map[string]string{"app": "web"}},
			TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
			Spec:     corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image}}}}
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"tier": "prod"},
		CreationTimestamp: metav1.Date(2024, 1, 1, 0, 0, 0, 0, metav1.Now().Location())}}
	params := &corev1.ConfigMap{Data: map[string]string{"max": "1"}}
	options := &metav1.UpdateOptions{FieldManager: "me", TypeMeta: metav1.TypeMeta{Kind: "UpdateOptions"}}
	kind := schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	resource := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	attributes := admission.NewAttributesRecord(pod("new"), pod("old"), kind, "shop", "web", resource, "", admission.Update, options, false,
		&user.DefaultInfo{Name: "ann", Groups: []string{"dev"}, Extra: map[string][]string{"team": {"a"}}})
	versioned := newVersioned(attributes, kind, pod("new"), pod("old"))
	in := &ours.Input{Admission: &apimachinery.Admission{
		User:      apimachinery.User{Name: "ann", Groups: []string{"dev"}, Extra: map[string][]string{"team": {"a"}}},
		Operation: "UPDATE", Kind: kind, Resource: resource, Namespace: "shop", Name: "web", Object: pod("new"), Old: pod("old"), Options: options,
	}, Params: params, Namespace: namespace}

	scope := ours.New().Scope(true)
	compiler, err := plugin.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	require.NoError(t, err)
	decls := plugin.OptionalVariableDeclarations{HasParams: true, HasAuthorizer: true}
	for _, v := range variables {
		r := compiler.CompileAndStoreVariable(&validating.Variable{Name: v[0], Expression: v[1]}, decls, environment.NewExpressions)
		err := scope.Declare(v[0], v[1])
		if r.Error == nil {
			require.NoError(t, err)
			continue
		}
		require.EqualError(t, err, r.Error.Error())
	}
	request := plugin.CreateAdmissionRequest(attributes, metav1.GroupVersionResource(resource), metav1.GroupVersionKind(kind))
	for _, text := range expressions {
		evaluator := compiler.CompileCondition([]plugin.ExpressionAccessor{&condition{text}}, decls, environment.NewExpressions)
		results, left, err := evaluator.ForInput(context.Background(), versioned, request,
			plugin.OptionalVariableBindings{VersionedParams: params}, plugin.CreateNamespaceObject(namespace), celconfig.RuntimeCELCostBudget)
		require.NoError(t, err)
		wanted := fmt.Sprint(results[0].Error)
		if results[0].Error == nil {
			wanted = fmt.Sprint(results[0].EvalResult.Value())
		}
		x, _ := scope.Compile(ours.Validation, text)
		v := scope.Start(context.Background(), in, ours.Budget)
		ok, err := v.True(x)
		got := fmt.Sprint(ok)
		if err != nil {
			got = err.Error()
		}
		assert.Equal(t, wanted, got, text)
		assert.Equal(t, left, v.Remaining(), "cost of %s", text)
	}
}

type condition struct{ text string }

func (c *condition) GetExpression() string      { return c.text }
func (c *condition) ReturnTypes() []*celgo.Type { return []*celgo.Type{celgo.BoolType} }

func newVersioned(a admission.Attributes, kind schema.GroupVersionKind, object, old *corev1.Pod) *admission.VersionedAttributes {
	return &admission.VersionedAttributes{Attributes: a, VersionedKind: kind, VersionedObject: object, VersionedOldObject: old}
}
