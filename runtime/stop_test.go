//go:build linux

package runtime

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStopAtOnce stops containers the moment that they are seen to run: none is missed.
func TestStopAtOnce(t *testing.T) {
	r := openFor(t, config(t))
	sb := sandboxFor(t, r, "pod")
	events := r.Events(t.Context())
	stopped := make(chan error)
	go func() {
		for e := range events {
			if e.Type == EventStarted {
				stopped <- r.StopContainer(t.Context(), e.Status.Spec.ID, 0)
			}
		}
	}()
	for i := range 50 {
		begin := time.Now()
		launch(t, r, sh(fmt.Sprintf("c%d", i), sb, "sleep 1000"))
		require.NoError(t, <-stopped)
		require.Less(t, time.Since(begin), killPatience)
	}
}
