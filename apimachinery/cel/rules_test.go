package cel_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery/cel"
)

func schemaOf(t testing.TB, text string) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	s := &apiextensionsv1.JSONSchemaProps{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), s))
	return s
}

func dataOf(t testing.TB, text string) any {
	t.Helper()
	if text == "" {
		return nil
	}
	b, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(t, err)
	var v any
	require.NoError(t, utiljson.Unmarshal(b, &v))
	return v
}

func texts(errs field.ErrorList) []string {
	var all []string
	for _, e := range errs {
		all = append(all, e.Error())
	}
	return all
}

func TestRules(t *testing.T) {
	env := cel.New()
	s := schemaOf(t, `
type: object
properties:
  spec:
    type: object
    x-kubernetes-validations:
    - rule: self.minReplicas <= self.maxReplicas
      message: minReplicas must not exceed maxReplicas
      fieldPath: .minReplicas
    properties:
      minReplicas: {type: integer}
      maxReplicas: {type: integer}
      name: {type: string, maxLength: 10, x-kubernetes-validations: [{rule: "self == oldSelf", reason: FieldValueForbidden}]}
`)
	require.Empty(t, env.CheckSchema(s, field.NewPath("schema"), cel.SchemaCheck{}))
	r := env.Rules(s, true)
	errs, left := r.Validate(t.Context(), nil, dataOf(t, `{spec: {minReplicas: 3, maxReplicas: 2, name: b}}`), dataOf(t, `{spec: {minReplicas: 1, maxReplicas: 2, name: a}}`), cel.Budget)
	require.Less(t, left, int64(cel.Budget))
	require.Equal(t, []string{
		`spec.minReplicas: Invalid value: minReplicas must not exceed maxReplicas`,
		`spec.name: Forbidden: failed rule: self == oldSelf`,
	}, texts(errs))
	_ = json.Valid
}

func BenchmarkEnvironment(b *testing.B) {
	for b.Loop() {
		env := cel.New()
		s := schemaOf(b, `{type: object, x-kubernetes-validations: [{rule: "true"}]}`)
		require.Empty(b, env.CheckSchema(s, nil, cel.SchemaCheck{}))
	}
}
