package interop

import (
	"testing"

	"github.com/bedplate/bedplate"
)

// TestCustomResources: unmodified kubectl defines a kind, uses it in every way, changes its definition and takes it away.
func TestCustomResources(t *testing.T) {
	_, kubeconfig := start(t, bedplate.Config{})
	runScript(t, "custom.txt", kubeconfig, nil)
}
