//go:build linux

package runtime

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/runtime/internal/proc"
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

// A container that is killed at whatever moment of a command's start in it ends, and no helper is left.
func TestStopAmidExec(t *testing.T) {
	r := inProcess(t)
	sb := sandboxFor(t, r, "pod")
	for i := range 40 {
		id := fmt.Sprint("c", i)
		launch(t, r, sh(id, sb, "exec sleep 1000"))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _, _ = r.Exec(t.Context(), id, ExecSpec{Args: []string{"true"}}) }) // may fail or not
		}
		<-time.After(time.Duration(i) * 200 * time.Microsecond) // another moment each time
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		require.NoError(t, r.StopContainer(ctx, id, 0))
		cancel()
		wg.Wait()
	}
	children, err := proc.Children(os.Getpid())
	require.NoError(t, err)
	for _, name := range children {
		require.NotContains(t, name, "runc:")
	}
}
