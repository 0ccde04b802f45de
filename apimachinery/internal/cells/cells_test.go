package cells

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShown(t *testing.T) {
	for _, c := range []struct {
		typ         string
		value, want any
	}{
		{"integer", int64(1), int64(1)}, {"integer", 1.5, int64(1)}, {"integer", "1", nil}, {"number", int64(2), 2.0},
		{"boolean", true, true}, {"boolean", "true", nil}, {"date", "never", "<invalid>"}, {"date", int64(1), nil},
	} {
		require.Equal(t, c.want, shown(c.typ, c.value), "%s %v", c.typ, c.value)
	}
}

func TestOf(t *testing.T) {
	o := map[string]any{"spec": map[string]any{"n": int64(3), "tags": []any{"a", "b"}}}
	require.Equal(t, int64(3), Of("integer", ".spec.n")(o))
	require.Equal(t, "3", Of("string", ".spec.n")(o))
	require.Equal(t, "b", Of("string", ".spec.tags[1]")(o))
	require.Nil(t, Of("string", ".spec.none")(o))
	require.Nil(t, Of("string", ".spec[")(o))
	require.Error(t, Check(".spec["))
	require.NoError(t, Check(`.status.conditions[?(@.type=="Ready")].status`))
}
