package cel_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	celgo "github.com/google/cel-go/cel"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/bedplate/bedplate/apimachinery/cel"
)

// tenRules are those of a kind that somebody might have.
func tenRules() []string {
	return []string{
		"self.spec.min <= self.spec.max",
		"self.spec.name.startsWith('web')",
		"self.spec.hosts.all(h, h.endsWith('.example.com'))",
		"self.spec.hosts.exists(h, h == 'a0.example.com')",
		"self.spec.ports.all(p, p.port > 0 && p.port < 65536)",
		"self.spec.ports.all(p, p.name.size() < 16)",
		"self.spec.labels.all(k, self.spec.labels[k].size() < 64)",
		"has(self.spec.name) && self.spec.name.matches('^[a-z0-9-]+$')",
		"self.spec.strategy in ['Recreate', 'RollingUpdate']",
		"self.spec.max - self.spec.min < 100 || self.spec.strategy == 'Recreate'",
	}
}

func benchSchema(b testing.TB) *apiextensionsv1.JSONSchemaProps {
	s := schemaOf(b, `
type: object
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
`)
	for _, r := range tenRules() {
		s.XValidations = append(s.XValidations, apiextensionsv1.ValidationRule{Rule: r})
	}
	return s
}

// benchObject is an object of 3 KB.
func benchObject() map[string]any {
	labels, hosts, ports := map[string]any{}, []any{}, []any{}
	for i := range 10 {
		labels[fmt.Sprintf("label%d", i)] = fmt.Sprintf("value%d", i)
		hosts = append(hosts, fmt.Sprintf("a%d.example.com", i))
		ports = append(ports, map[string]any{"port": int64(8000 + i), "name": fmt.Sprintf("port%d", i)})
	}
	return map[string]any{"apiVersion": "example.com/v1", "kind": "Thing", "metadata": map[string]any{"name": "x"},
		"spec": map[string]any{"min": int64(1), "max": int64(9), "name": "web-1", "strategy": "Recreate", "hosts": hosts,
			"ports": ports, "labels": labels, "text": strings.Repeat("x", 2000)}}
}

// BenchmarkRules judges a 3 KB object by ten rules; BenchmarkRulesFloor is cel-go alone on the same, without costs,
// schemas or paths.
func BenchmarkRules(b *testing.B) {
	r := cel.New().Rules(benchSchema(b), true)
	o := benchObject()
	for b.Loop() {
		if errs, _ := r.Validate(context.Background(), nil, o, nil, cel.Budget); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

func BenchmarkRulesUnchanged(b *testing.B) {
	r := cel.New().Rules(benchSchema(b), true)
	o := benchObject()
	for b.Loop() {
		if errs, _ := r.Validate(context.Background(), nil, o, o, cel.Budget); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

func BenchmarkRulesFloor(b *testing.B) {
	env, err := celgo.NewEnv(celgo.Variable("self", celgo.DynType))
	require.NoError(b, err)
	var programs []celgo.Program
	for _, r := range tenRules() {
		ast, issues := env.Compile(r)
		require.NoError(b, issues.Err())
		p, err := env.Program(ast, celgo.EvalOptions(celgo.OptOptimize))
		require.NoError(b, err)
		programs = append(programs, p)
	}
	o := benchObject()
	for b.Loop() {
		for _, p := range programs {
			if v, _, err := p.Eval(map[string]any{"self": o}); err != nil || v.Value() != true {
				b.Fatal(v, err)
			}
		}
	}
}

// BenchmarkEnvironment sets the language up; BenchmarkCompile makes ten rules ready, BenchmarkCheckSchema checks them.
func BenchmarkEnvironment(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, cel.New().Check(cel.Variable, "1"))
	}
}

func BenchmarkCompile(b *testing.B) {
	env := cel.New()
	s := benchSchema(b)
	o := map[string]any{}
	require.NoError(b, env.Check(cel.Variable, "1"))
	b.ReportAllocs()
	for b.Loop() {
		env.Rules(s, true).Validate(context.Background(), nil, o, nil, 1)
	}
	var kept []*cel.Rules
	before := heap()
	const many = 50
	for range many {
		r := env.Rules(s, true)
		r.Validate(context.Background(), nil, o, nil, 1)
		kept = append(kept, r)
	}
	b.ReportMetric(float64(heap()-before)/many, "B/schema")
	runtime.KeepAlive(kept)
}

func BenchmarkCheckSchema(b *testing.B) {
	env := cel.New()
	s := benchSchema(b)
	for b.Loop() {
		require.Empty(b, env.CheckSchema(s, nil, cel.SchemaCheck{}))
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
