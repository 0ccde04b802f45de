package cel

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	theirs "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	ours "github.com/bedplate/bedplate/apimachinery/cel"
)

const benchSchema = `
type: object
x-kubernetes-validations:
- {rule: self.spec.min <= self.spec.max}
- {rule: self.spec.name.startsWith('web')}
- {rule: "self.spec.hosts.all(h, h.endsWith('.example.com'))"}
- {rule: "self.spec.hosts.exists(h, h == 'a0.example.com')"}
- {rule: "self.spec.ports.all(p, p.port > 0 && p.port < 65536)"}
- {rule: "self.spec.ports.all(p, p.name.size() < 16)"}
- {rule: "self.spec.labels.all(k, self.spec.labels[k].size() < 64)"}
- {rule: "has(self.spec.name) && self.spec.name.matches('^[a-z0-9-]+$')"}
- {rule: "self.spec.strategy in ['Recreate', 'RollingUpdate']"}
- {rule: "self.spec.max - self.spec.min < 100 || self.spec.strategy == 'Recreate'"}
properties:
  spec:
    type: object
    properties:
      min: {type: integer}
      max: {type: integer}
      name: {type: string, maxLength: 63}
      strategy: {type: string, enum: [Recreate, RollingUpdate]}
      hosts: {type: array, maxItems: 32, items: {type: string, maxLength: 63}}
      ports: {type: array, maxItems: 32, items: {type: object, properties: {port: {type: integer}, name: {type: string, maxLength: 16}}}}
      labels: {type: object, maxProperties: 32, additionalProperties: {type: string, maxLength: 63}}
      text: {type: string, maxLength: 4096}
`

// BenchmarkRules judges an object of 3 KB by ten rules, and makes the rules ready.
func BenchmarkRules(b *testing.B) {
	s := &apiextensionsv1.JSONSchemaProps{}
	require.NoError(b, yaml.UnmarshalStrict([]byte(benchSchema), s))
	internal := &apiextensions.JSONSchemaProps{}
	require.NoError(b, apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(s, internal, nil))
	structural, err := schema.NewStructural(internal)
	require.NoError(b, err)
	labels, hosts, ports := map[string]any{}, []any{}, []any{}
	for i := range 10 {
		labels[fmt.Sprintf("label%d", i)] = fmt.Sprintf("value%d", i)
		hosts = append(hosts, fmt.Sprintf("a%d.example.com", i))
		ports = append(ports, map[string]any{"port": int64(8000 + i), "name": fmt.Sprintf("port%d", i)})
	}
	o := map[string]any{"spec": map[string]any{"min": int64(1), "max": int64(9), "name": "web-1", "strategy": "Recreate", "hosts": hosts,
		"ports": ports, "labels": labels, "text": strings.Repeat("x", 2000)}}
	env := ours.New()
	judge := env.Rules(s, true)
	validator := theirs.NewValidator(structural, true, celconfig.PerCallLimit)
	b.Run("kubernetes", func(b *testing.B) {
		for b.Loop() {
			validator.Validate(context.Background(), nil, structural, o, nil, celconfig.RuntimeCELCostBudget)
		}
	})
	b.Run("bedplate", func(b *testing.B) {
		for b.Loop() {
			judge.Validate(context.Background(), nil, o, nil, ours.Budget)
		}
	})
	b.Run("kubernetes compile", func(b *testing.B) {
		for b.Loop() {
			theirs.NewValidator(structural, true, celconfig.PerCallLimit)
		}
	})
	b.Run("bedplate compile", func(b *testing.B) {
		for b.Loop() {
			env.Rules(s, true).Validate(context.Background(), nil, map[string]any{}, nil, 1)
		}
	})
}
