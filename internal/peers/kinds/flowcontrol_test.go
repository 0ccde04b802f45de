package kinds

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"github.com/bedplate/bedplate/apimachinery/kinds/flowcontrol"
)

// TestFlowBootstrap: every cluster has the same levels and schemas.
func TestFlowBootstrap(t *testing.T) {
	theirs := map[string]any{}
	for _, l := range append(bootstrap.MandatoryPriorityLevelConfigurations, bootstrap.SuggestedPriorityLevelConfigurations...) {
		theirs["level "+l.Name] = l
	}
	for _, s := range append(bootstrap.MandatoryFlowSchemas, bootstrap.SuggestedFlowSchemas...) {
		theirs["schema "+s.Name] = s
	}
	ours := flowcontrol.Bootstrap()
	require.Len(t, ours, len(theirs))
	levels := len(bootstrap.MandatoryPriorityLevelConfigurations) + len(bootstrap.SuggestedPriorityLevelConfigurations)
	for i, o := range ours {
		kind := "level "
		if i >= levels {
			kind = "schema "
		}
		require.Contains(t, theirs, kind+o.GetName())
		require.Empty(t, unequal(t, o, theirs[kind+o.GetName()]), o.GetName())
	}
}
