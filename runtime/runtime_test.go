//go:build linux

package runtime

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLife(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		sb := sandboxFor(t, r, "pod")
		out, st := output(t, r, sh("hello", sb, "echo out; echo err >&2; hostname; exit 3"))
		require.Equal(t, []string{"err", "out", "pod"}, sorted(strings.Fields(out)))
		require.Equal(t, 3, st.ExitCode)
		require.Equal(t, ReasonError, st.Reason)
		require.Equal(t, StateExited, st.State)
		require.False(t, st.FinishedAt.Before(st.StartedAt))

		launch(t, r, sh("sleep", sb, "exec sleep 1000"))
		require.NoError(t, r.KillContainer("sleep", syscall.SIGKILL))
		st = ended(t, r, "sleep")
		require.Equal(t, 137, st.ExitCode)
		require.Equal(t, syscall.SIGKILL, st.Signal)
		require.False(t, st.OOMKilled)
		require.NoError(t, r.RemoveContainer(t.Context(), "sleep"))
		require.NoError(t, r.RemoveContainer(t.Context(), "sleep"))
		_, err := r.Container("sleep")
		require.ErrorIs(t, err, ErrNotFound)
	})
}

func TestExec(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		launch(t, r, sh("c", sandboxFor(t, r, "pod"), "sleep 1000"))
		var out, errs bytes.Buffer
		code, err := r.Exec(t.Context(), "c", ExecSpec{
			Args: []string{"sh", "-c", "cat; echo $A >&2; exit 5"}, Env: []string{"A=b"},
			Streams: Streams{Stdin: strings.NewReader("in\n"), Stdout: &out, Stderr: &errs},
		})
		require.NoError(t, err)
		require.Equal(t, 5, code)
		require.Equal(t, "in\n", out.String())
		require.Equal(t, "b\n", errs.String())

		_, err = r.Exec(t.Context(), "c", ExecSpec{Args: []string{"nothing-of-this-name"}})
		require.ErrorContains(t, err, "nothing-of-this-name")
		require.Equal(t, 1, strings.Count(err.Error(), "exec in container c: "), err)
	})
}

func TestStop(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		sb := sandboxFor(t, r, "pod")
		launch(t, r, sh("good", sb, "trap 'exit 4' TERM; while :; do echo up; sleep 0.01; done"))
		says(t, r, "good", "up")
		require.NoError(t, r.StopContainer(t.Context(), "good", 20*time.Second))
		st, err := r.Container("good")
		require.NoError(t, err)
		require.Equal(t, 4, st.ExitCode)
	})
}
