package node_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	nodev1 "k8s.io/api/node/v1"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/node"
)

func class(t *testing.T, doc string) *nodev1.RuntimeClass {
	t.Helper()
	c := &nodev1.RuntimeClass{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(doc), c))
	return c
}

func TestRuntimeClass(t *testing.T) {
	_, err := apimachinery.NewRegistry(node.Resources()...)
	require.NoError(t, err)
	res := node.RuntimeClasses()
	for name, c := range map[string]struct {
		doc, old string
		want     []string
	}{
		"good":        {"handler: runsc\noverhead: {podFixed: {cpu: 100m}}\nscheduling: {nodeSelector: {a: b}, tolerations: [{key: a, operator: Exists}]}", "", nil},
		"no handler":  {"{}", "", []string{"handler Required value"}},
		"bad handler": {"handler: A_b", "", []string{"handler Invalid value"}},
		"overhead":    {"handler: h\noverhead: {podFixed: {gpu: 1}}", "", []string{"overhead.limits[gpu] Invalid value", "overhead.limits[gpu] Invalid value"}},
		"scheduling": {"handler: h\nscheduling: {nodeSelector: {a: '-'}, tolerations: [{key: a, value: v, tolerationSeconds: 1, effect: NoExecute}, {key: a, value: v, effect: NoExecute}, {}]}", "", []string{
			"scheduling.nodeSelector Invalid value", "scheduling.tolerations[2].operator Invalid value", "scheduling.tolerations[1] Duplicate value",
		}},
		"immutable": {"handler: b", "handler: a", []string{"handler Invalid value"}},
	} {
		t.Run(name, func(t *testing.T) {
			var old apimachinery.Object
			if c.old != "" {
				old = class(t, c.old)
			}
			var got []string
			for _, e := range res.Validate(t.Context(), class(t, c.doc), old) {
				got = append(got, e.Field+" "+e.Type.String())
			}
			require.Equal(t, c.want, got)
		})
	}
	require.Equal(t, []string{"scheduling.nodeSelector: deprecated since v1.14; use kubernetes.io/os instead"},
		res.Warnings(class(t, "handler: h\nscheduling: {nodeSelector: {beta.kubernetes.io/os: linux}}"), nil))
	require.Empty(t, res.Warnings(class(t, "handler: h"), nil))
	for _, c := range res.Views[0].Columns {
		require.NotNil(t, c.Cell(res.New()))
	}
}

// A class names the handler that a node's runtime has.
func Example() {
	c := &nodev1.RuntimeClass{Handler: "kata containers"}
	for _, err := range node.RuntimeClasses().Validate(context.Background(), c, nil) {
		fmt.Println(err.Field, err.Type)
	}
	// Output: handler Invalid value
}
