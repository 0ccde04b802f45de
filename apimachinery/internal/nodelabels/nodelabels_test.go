package nodelabels_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/apimachinery/internal/nodelabels"
)

func TestDeprecated(t *testing.T) {
	for _, key := range []string{
		"beta.kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/instance-type", "failure-domain.beta.kubernetes.io/region",
		"failure-domain.beta.kubernetes.io/zone", "app.kubernetes.io/created-by", "scheduler.alpha.kubernetes.io/preferAvoidPods", "node-role.kubernetes.io/master",
	} {
		advice, ok := nodelabels.Deprecated(key)
		require.True(t, ok, key)
		require.Contains(t, advice, "deprecated since")
	}
	_, ok := nodelabels.Deprecated("kubernetes.io/arch")
	require.False(t, ok)
}

func Example() {
	fmt.Println(nodelabels.Deprecated("beta.kubernetes.io/os"))
	// Output: deprecated since v1.14; use kubernetes.io/os instead true
}
