package jsonschema_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/bedplate/bedplate/apimachinery/jsonschema"
)

// FuzzSchema throws schemas and objects at everything: whatever passes Check compiles, pruning and defaulting are
// idempotent, and nothing panics.
func FuzzSchema(f *testing.F) {
	for _, s := range []string{
		`{"type":"object","properties":{"a":{"type":"array","items":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}}}}`,
		`{"type":"object","properties":{"a":{"type":"integer","default":1,"multipleOf":0}}}`,
		`{"type":"object","x-kubernetes-preserve-unknown-fields":true,"oneOf":[{"required":["a"]},{"not":{"required":["b"]}}]}`,
		`{"type":"object","properties":{"a":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","required":["k"],"properties":{"k":{"type":"string","pattern":"^(a+)+$"}}}}}}`,
		`{"$ref":"x","items":[{"type":"x"}],"default":null}`,
	} {
		f.Add([]byte(s), []byte(`{"a":[{"k":"a","metadata":{"name":1}},{"k":"a"},null,1.5],"b":null}`))
	}
	f.Fuzz(func(t *testing.T, schema, value []byte) {
		var s props
		var o, old map[string]any
		if json.Unmarshal(schema, &s) != nil || utiljson.Unmarshal(value, &o) != nil || o == nil {
			return
		}
		errs := jsonschema.Check(&s, nil, jsonschema.CheckOptions{Status: len(schema)%2 == 0})
		c, err := jsonschema.Compile(&s)
		if len(errs) == 0 {
			require.NoError(t, err)
		}
		if err != nil {
			return
		}
		old = runtime.DeepCopyJSON(o)
		c.Prune(o)
		once := runtime.DeepCopyJSON(o)
		require.Empty(t, c.Prune(o))
		require.Equal(t, once, o)
		c.Default(o)
		once = runtime.DeepCopyJSON(o)
		c.Default(o)
		require.Equal(t, once, o)
		_, _ = c.CoerceMetadata(o, jsonschema.CoerceOptions{Root: true, Drop: true, Unknown: true})
		for _, err := range append(c.Validate(nil, o, nil), c.Validate(nil, o, old)...) {
			_ = err.Error()
		}
		_, _ = jsonschema.OpenAPI(&s, 2)
		_, err = jsonschema.OpenAPI(&s, 3)
		require.NoError(t, err)
		c.Shape().Fields()
	})
}
