package interop

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate"
)

// TestExplain: unmodified kubectl explains every kind that the server has, in full, and the parts of some.
func TestExplain(t *testing.T) {
	_, kubeconfig := start(t, bedplate.Config{})
	k := newKubectl(t, kubeconfig)
	say := func(command string) string {
		out, err := k.shell(t.Context(), command, "")
		require.NoError(t, err, "%s\n%s", command, out)
		return out
	}
	kinds := 0
	for line := range strings.Lines(say("kubectl api-resources --no-headers")) {
		words := strings.Fields(line) // name, short names or none, version, whether namespaced, kind
		command := "kubectl explain --recursive --api-version=" + words[len(words)-3] + " " + words[0]
		out := say(command)
		require.Contains(t, out, "KIND:       "+words[len(words)-1]+"\n", command)
		require.Contains(t, out, "DESCRIPTION:", command)
		require.NotContains(t, out, "<empty>", command)
		require.Contains(t, out, "FIELDS:", command)
		kinds++
	}
	require.Greater(t, kinds, 20)
	runScript(t, "explain.txt", kubeconfig, nil)

	var swagger struct{ Definitions, Paths map[string]any }
	require.NoError(t, json.Unmarshal([]byte(say("kubectl get --raw /openapi/v2")), &swagger))
	require.Contains(t, swagger.Definitions, "io.k8s.api.core.v1.Pod")
	require.Contains(t, swagger.Definitions, "org.example.v1.Shape")
	require.Contains(t, swagger.Paths, "/apis/example.org/v1/shapes/{name}")
}
