package cel_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
)

// TestChecker: expressions of built-in kinds are compiled with what each may refer to.
func TestChecker(t *testing.T) {
	for _, c := range []struct {
		wrong       string
		expressions []apimachinery.Expression
	}{
		{"", []apimachinery.Expression{
			{Kind: apimachinery.VariableExpression, Name: "n", Text: "object.spec.replicas"},
			{Kind: apimachinery.ValidationExpression, Text: "variables.n < 5"},
			{Kind: apimachinery.MessageExpression, Text: "'too many: ' + string(variables.n)"},
			{Kind: apimachinery.AuditExpression, Text: "'x'"},
		}},
		{"", []apimachinery.Expression{{Kind: apimachinery.ValidationExpression, Text: "params.most > 1", Params: true}}},
		{"params", []apimachinery.Expression{{Kind: apimachinery.ValidationExpression, Text: "params.most > 1"}}},
		{"undefined field 'm'", []apimachinery.Expression{
			{Kind: apimachinery.VariableExpression, Name: "n", Text: "1"},
			{Kind: apimachinery.ValidationExpression, Text: "variables.m < 5"},
		}},
		{"variables", []apimachinery.Expression{
			{Kind: apimachinery.VariableExpression, Name: "n", Text: "1"},
			{Kind: apimachinery.MatchCondition, Text: "variables.n < 5"},
		}},
		{"bool", []apimachinery.Expression{{Kind: apimachinery.MatchCondition, Text: "1"}}},
		{"", []apimachinery.Expression{{Kind: apimachinery.DeviceSelector, Text: "device.driver == 'gpu.example.com'"}}},
		{"undeclared", []apimachinery.Expression{{Kind: apimachinery.DeviceSelector, Text: "object.spec"}}},
		{"", []apimachinery.Expression{{Kind: apimachinery.PatchExpression, Text: "[JSONPatch{op: 'remove', path: '/spec'}]"}}},
		{"", []apimachinery.Expression{{Kind: apimachinery.ApplyExpression, Text: "Object{spec: Object.spec{replicas: 1}}"}}},
	} {
		check := cel.New().Checker()()
		var err error
		for _, e := range c.expressions {
			if err = check(e); err != nil {
				break
			}
		}
		if c.wrong == "" {
			require.NoError(t, err, "%v", c.expressions)
		} else {
			require.ErrorContains(t, err, c.wrong, "%v", c.expressions)
		}
	}
}
