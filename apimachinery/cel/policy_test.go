package cel_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
)

func specOf[T any](t testing.TB, text string) *T {
	t.Helper()
	s := new(T)
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), s))
	return s
}

// request is an update of a pod by somebody who may get secrets.
func request() *cel.Input {
	pod := func(image string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Labels: map[string]string{"app": "web"}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image}}}}
	}
	return &cel.Input{
		Admission: &apimachinery.Admission{
			User: apimachinery.User{Name: "ann", Groups: []string{"dev"}, Extra: map[string][]string{"team": {"a"}}}, Operation: "UPDATE",
			Kind:     schema.GroupVersionKind{Version: "v1", Kind: "Pod"},
			Resource: schema.GroupVersionResource{Version: "v1", Resource: "pods"}, Namespace: "shop", Name: "web",
			Object: pod("new"), Old: pod("old"), Options: &metav1.UpdateOptions{FieldManager: "me"},
		},
		Params:    map[string]any{"data": map[string]any{"max": "1"}},
		Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"tier": "prod"}}},
		Authorizer: apimachinery.AuthorizerFunc(func(_ context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
			switch {
			case a.Resource == "secrets" && a.Verb == "get" && a.User.Name == "ann" && a.Namespace == "shop":
				return apimachinery.Allow, "because", nil
			case a.Path == "/healthz" && a.Verb == "get", a.User.Name == "system:serviceaccount:shop:robot":
				return apimachinery.Allow, "", nil
			case a.Resource == "pods" && a.Verb == "review" && a.Name == "web" && a.LabelSelector == "a=b" && a.FieldSelector == "x=y":
				return apimachinery.Allow, "", nil
			}
			return apimachinery.NoOpinion, "no", errors.New("asked in vain")
		}),
	}
}

// TestSeen evaluates conditions on all that expressions see.
func TestSeen(t *testing.T) {
	env := cel.New()
	for _, text := range []string{
		`object.spec.containers[0].image == 'new' && oldObject.spec.containers.all(c, c.image == 'old')`,
		`object.metadata.labels.app == 'web' && has(object.metadata.name) && !has(object.metadata.uid)`,
		`request.operation == 'UPDATE' && request.kind.kind == 'Pod' && request.requestResource.resource == 'pods'`,
		`request.userInfo.username == 'ann' && 'dev' in request.userInfo.groups && request.userInfo.extra['team'] == ['a']`,
		`request.namespace == 'shop' && request.name == 'web' && !request.dryRun && request.options.fieldManager == 'me'`,
		`!has(request.subResource)`,
		`authorizer.group('').resource('secrets').namespace('shop').check('get').allowed()`,
		`authorizer.group('').resource('secrets').namespace('shop').check('get').reason() == 'because'`,
		`authorizer.group('').resource('secrets').check('get').errored()`,
		`authorizer.group('apps').resource('x').subresource('y').name('z').check('get').error() == 'asked in vain'`,
		`authorizer.path('/healthz').check('get').allowed() && !authorizer.path('/x').check('get').allowed()`,
		`authorizer.serviceAccount('shop', 'robot').path('/x').check('get').allowed()`,
		`authorizer.requestResource.fieldSelector('x=y').labelSelector('a=b').check('review').allowed()`,
		`object.metadata.name.startsWith('w') && quantity('1').isLessThan(quantity('2'))`,
	} {
		x, err := env.Compile(cel.MatchCondition, text)
		require.NoError(t, err, text)
		v := env.Start(t.Context(), request(), cel.Budget)
		ok, err := v.True(x)
		require.NoError(t, err, text)
		require.True(t, ok, text)
		require.Less(t, v.Remaining(), int64(cel.Budget))
	}
}

// TestCreateAndDelete has nothing where there is nothing.
func TestCreateAndDelete(t *testing.T) {
	env := cel.New()
	in := request()
	in.Admission.Old, in.Namespace, in.Params = nil, nil, nil
	s := env.Scope(true)
	x, err := s.Compile(cel.Validation, `oldObject == null && namespaceObject == null && params == null && object != null`)
	require.NoError(t, err)
	ok, err := s.Start(t.Context(), in, cel.Budget).True(x)
	require.NoError(t, err)
	require.True(t, ok)
}

// TestCheck refuses what doesn't compile, or results in something else, with its position.
func TestCheck(t *testing.T) {
	env := cel.New()
	for _, c := range []struct {
		kind         cel.Kind
		text, detail string
		line, column int
	}{
		{cel.MatchCondition, "object.x", "must evaluate to bool but got dyn", 0, 0},
		{cel.MatchCondition, "true", "", 0, 0},
		{cel.MatchCondition, "1", "must evaluate to bool but got int", 0, 0},
		{cel.MatchCondition, "true &&\n nothing", "compilation failed: ERROR: <input>:2:2: undeclared reference to 'nothing'", 2, 1},
		{cel.MatchCondition, "params.x == 1", "undeclared reference to 'params'", 1, 0},
		{cel.Validation, "request.nothing == 1", "undefined field 'nothing'", 1, 7},
		{cel.Validation, "namespaceObject.metadata.labels['a'] == 'b'", "", 0, 0},
		{cel.Validation, "[1].includes(1)", "undeclared reference to 'includes'", 1, 12},
		{cel.MessageExpression, "'x'", "", 0, 0},
		{cel.MessageExpression, "authorizer.path('/').check('get').reason()", "undeclared reference to 'authorizer'", 1, 0},
		{cel.MessageExpression, "1", "must evaluate to string but got int", 0, 0},
		{cel.AuditAnnotation, "null", "", 0, 0},
		{cel.AuditAnnotation, "1", "must evaluate to one of [string null_type] but got int", 0, 0},
		{cel.Variable, "[1, 2]", "", 0, 0},
		{cel.ApplyConfiguration, "Object{spec: Object.spec{replicas: 3}}", "", 0, 0},
		{cel.ApplyConfiguration, "{'a': 1}", "must evaluate to Object but got map(string, int)", 0, 0},
		{cel.JSONPatch, "[JSONPatch{op: 'remove', path: '/a'}]", "", 0, 0},
		{cel.JSONPatch, "[JSONPatch{op: 'remove', way: '/a'}]", "undefined field 'way'", 1, 28},
		{cel.JSONPatch, "[JSONPatch{op: 1}]", "expected type of field 'op' is 'string' but provided type is 'int'", 1, 13},
		{cel.DeviceSelector, "device.driver == 'gpu.example.com'", "", 0, 0},
		{cel.DeviceSelector, "device.attributes['a'].b", "", 0, 0},
		{cel.DeviceSelector, "device.driver", "must evaluate to bool or the unknown type, not string", 0, 0},
		{cel.DeviceSelector, "device.nothing", "undefined field 'nothing'", 1, 6},
		{cel.DeviceSelector, "device.attributes.all(d, device.attributes.all(e, device.attributes.all(f, device.attributes.all(g, d+e+f+g != ''))))", "too complex, exceeds cost limit", 0, 0},
	} {
		err := env.Check(c.kind, c.text)
		if c.detail == "" {
			require.NoError(t, err, c.text)
			continue
		}
		var e *cel.Error
		require.ErrorAs(t, err, &e, c.text)
		require.Contains(t, e.Detail, c.detail, c.text)
		require.Equal(t, []int{c.line, c.column}, []int{e.Line, e.Column}, c.text)
		require.Contains(t, e.At(field.NewPath("x"), c.text).Error(), c.detail)
	}
}

func TestValidatingPolicy(t *testing.T) {
	env := cel.New()
	p := env.Validating(specOf[admissionregistrationv1.ValidatingAdmissionPolicySpec](t, `
paramKind: {apiVersion: v1, kind: ConfigMap}
matchConditions:
- {name: updates, expression: "request.operation == 'UPDATE'"}
variables:
- {name: containers, expression: object.spec.containers}
- {name: count, expression: variables.containers.size()}
- {name: broken, expression: object.spec.nothing.more}
- {name: wrong, expression: nonsense}
validations:
- {expression: variables.count <= int(params.data.max)}
- {expression: variables.count > 1, messageExpression: "'only ' + string(variables.count)", reason: Forbidden}
- {expression: variables.count > 1, messageExpression: "object.nothing", message: ' fallback '}
- {expression: variables.count > 1}
- {expression: variables.broken == 1}
- {expression: variables.wrong == 1}
- {expression: nonsense}
- {expression: "namespaceObject.metadata.labels['tier'] == 'prod'"}
auditAnnotations:
- {key: 'n', valueExpression: "string(variables.count)"}
- {key: none, valueExpression: "null"}
- {key: empty, valueExpression: "' '"}
- {key: fails, valueExpression: "string(object.nothing)"}
`))
	got := p.Validate(t.Context(), request())
	require.Len(t, got.Decisions, 8)
	require.Equal(t, cel.Decision{}, got.Decisions[0])
	require.Equal(t, cel.Decision{Denied: true, Message: "only 1", Reason: "Forbidden"}, got.Decisions[1])
	require.Equal(t, cel.Decision{Denied: true, Message: "fallback", Reason: "Invalid"}, got.Decisions[2])
	require.Equal(t, cel.Decision{Denied: true, Message: "failed expression: variables.count > 1", Reason: "Invalid"}, got.Decisions[3])
	require.Equal(t, cel.Decision{Denied: true, Failed: true, Message: `expression 'variables.broken == 1' resulted in error: composited variable "broken" fails to evaluate: no such key: nothing`}, got.Decisions[4])
	require.Contains(t, got.Decisions[5].Message, `composited variable "wrong" fails to compile: compilation failed: ERROR: <input>:1:1: undeclared reference to 'nonsense'`)
	require.Contains(t, got.Decisions[6].Message, "compilation error: compilation failed")
	require.Equal(t, cel.Decision{}, got.Decisions[7])
	require.Len(t, got.Annotations, 2)
	require.Equal(t, cel.Annotation{Key: "n", Value: "1"}, got.Annotations[0])
	require.ErrorContains(t, got.Annotations[1].Err, "no such key: nothing")

	in := request()
	in.Admission.Operation = "CREATE"
	require.Equal(t, cel.Verdict{}, p.Validate(t.Context(), in))
}

func TestMatchConditions(t *testing.T) {
	env := cel.New()
	ignore := admissionregistrationv1.Ignore
	yes := admissionregistrationv1.MatchCondition{Name: "yes", Expression: "true"}
	no := admissionregistrationv1.MatchCondition{Name: "no", Expression: "object == null"}
	bad := admissionregistrationv1.MatchCondition{Name: "bad", Expression: "object.nothing == 1"}
	for _, c := range []struct {
		of    []admissionregistrationv1.MatchCondition
		fails *admissionregistrationv1.FailurePolicyType
		match bool
		err   string
	}{
		{nil, nil, true, ""},
		{[]admissionregistrationv1.MatchCondition{yes, yes}, nil, true, ""},
		{[]admissionregistrationv1.MatchCondition{yes, no}, nil, false, ""},
		{[]admissionregistrationv1.MatchCondition{bad, no}, nil, false, ""},
		{[]admissionregistrationv1.MatchCondition{yes, bad}, nil, false, "expression 'object.nothing == 1' resulted in error: no such key: nothing"},
		{[]admissionregistrationv1.MatchCondition{bad, yes}, &ignore, false, ""},
	} {
		ok, err := env.Conditions(c.of, c.fails).Match(t.Context(), request())
		require.Equal(t, c.match, ok)
		if c.err == "" {
			require.NoError(t, err)
		} else {
			require.EqualError(t, err, c.err)
		}
	}
}

func TestMutatingPolicy(t *testing.T) {
	env := cel.New()
	p := env.Mutating(specOf[admissionregistrationv1.MutatingAdmissionPolicySpec](t, `
variables: [{name: image, expression: "object.spec.containers[0].image"}]
mutations:
- patchType: ApplyConfiguration
  applyConfiguration:
    expression: >
      Object{
        metadata: Object.metadata{labels: {'image': variables.image}, ?generateName: optional.none()},
        spec: Object.spec{
          priority: 3,
          containers: [Object.spec.containers{name: 'side', image: 'x', args: ['a', 'b']}]
        }
      }
- patchType: JSONPatch
  jsonPatch:
    expression: >
      [JSONPatch{op: 'test', path: '/spec/x', value: null},
       JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b~c'), value: 'v'},
       JSONPatch{op: 'copy', from: '/a', path: '/b'},
       JSONPatch{op: 'add', path: '/spec', value: Object.spec{replicas: 1, d: duration('90s'), big: 9007199254740993, m: {'k': [1.5]}}}]
- patchType: ApplyConfiguration
  applyConfiguration: {expression: "Object{spec: Object.status{x: 1}}"}
- patchType: JSONPatch
  jsonPatch: {expression: "[JSONPatch{op: 'add', path: '/x', value: Object.spec{a: Object.b{}}}]"}
- patchType: ApplyConfiguration
  applyConfiguration: {expression: "Object{spec: object.nothing}"}
`))
	ok, err := p.Conditions.Match(t.Context(), request())
	require.NoError(t, err)
	require.True(t, ok)
	c, err := p.Mutations[0].Evaluate(t.Context(), request())
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"metadata": map[string]any{"labels": map[string]any{"image": "new"}},
		"spec": map[string]any{"priority": int64(3), "containers": []any{
			map[string]any{"name": "side", "image": "x", "args": []any{"a", "b"}}}},
	}, c.Apply)
	c, err = p.Mutations[1].Evaluate(t.Context(), request())
	require.NoError(t, err)
	text, err := json.Marshal(c.Patch)
	require.NoError(t, err)
	require.JSONEq(t, `[{"op":"test","path":"/spec/x","value":null},
		{"op":"add","path":"/metadata/labels/a~1b~0c","value":"v"},
		{"op":"copy","from":"/a","path":"/b"},
		{"op":"add","path":"/spec","value":{"replicas":1,"d":"90s","big":9007199254740993,"m":{"k":[1.5]}}}]`, string(text))
	require.Contains(t, string(text), "9007199254740993")
	_, err = p.Mutations[2].Evaluate(t.Context(), request())
	require.EqualError(t, err, `type mismatch: unexpected type name "Object.status", expected "Object.spec", which matches field name path from root Object type`)
	_, err = p.Mutations[3].Evaluate(t.Context(), request())
	require.ErrorContains(t, err, `unexpected type name "Object.b", expected "Object.spec.a"`)
	_, err = p.Mutations[4].Evaluate(t.Context(), request())
	require.ErrorContains(t, err, "no such key: nothing")
}

// TestBudgets end an evaluation.
func TestBudgets(t *testing.T) {
	env := cel.New()
	x, err := env.Compile(cel.MatchCondition, `[1,2,3,4,5,6,7,8].all(x, [1,2,3,4,5,6,7,8].all(y, x > 0 && y > 0))`)
	require.NoError(t, err)
	v := env.Start(t.Context(), request(), 100)
	_, err = v.True(x)
	require.ErrorIs(t, err, cel.ErrBudget)
	require.Negative(t, v.Remaining())
	_, err = v.True(x)
	require.ErrorIs(t, err, cel.ErrBudget)
	// Variables count, and are evaluated once.
	s := env.Scope(false)
	require.NoError(t, s.Declare("all", `object.spec.containers.map(c, c.image)`))
	y, err := s.Compile(cel.Validation, `variables.all.size() == 1`)
	require.NoError(t, err)
	v = s.Start(t.Context(), request(), 1000)
	_, err = v.True(y)
	require.NoError(t, err)
	first := 1000 - v.Remaining()
	_, err = v.True(y)
	require.NoError(t, err)
	require.Less(t, 1000-v.Remaining()-first, first)
	// A cancelled context ends long loops.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	z, err := env.Compile(cel.MatchCondition, `lists.range(1000).all(x, lists.range(100).all(y, x + y >= 0))`)
	require.NoError(t, err)
	_, err = env.Start(ctx, request(), cel.Budget).True(z)
	require.ErrorIs(t, err, context.Canceled)
}
