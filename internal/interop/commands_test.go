package interop

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate"
)

// TestCommands goes through kubectl's commands, as far as they need no node. The scripts share one control plane and have a
// namespace each.
func TestCommands(t *testing.T) {
	_, kubeconfig := start(t, bedplate.Config{})
	for _, script := range []string{"get", "create", "apply", "rollout", "access"} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			namespace := "script-" + script
			k := newKubectl(t, kubeconfig)
			out, err := k.shell(t.Context(), "kubectl create namespace "+namespace+" && kubectl config set-context --current --namespace "+namespace+" && cat "+k.kubeconfig, "")
			require.NoError(t, err, out)
			_, own, found := strings.Cut(out, "modified.\n")
			require.True(t, found, out)
			runScript(t, "kubectl-"+script+".txt", []byte(own), map[string]string{"NAMESPACE": namespace})
		})
	}
}
