//go:build linux

package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLogFormat(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		spec := sh("c", sandboxFor(t, r, "pod"), "echo one; echo two >&2; head -c 20000 /dev/zero | tr '\\0' x; echo; printf tail")
		spec.Log.Path = filepath.Join(t.TempDir(), "log")
		launch(t, r, spec)
		ended(t, r, "c")
		b, err := os.ReadFile(spec.Log.Path)
		require.NoError(t, err)
		form := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) [FP] `)
		var tags []string
		for line := range strings.Lines(string(b)) {
			require.Regexp(t, form, line)
			f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
			require.LessOrEqual(t, len(f[3]), 16<<10)
			if f[1] == "stdout" {
				tags = append(tags, f[2]+fmt.Sprint(len(f[3])))
			}
		}
		require.Equal(t, []string{"F3", "P16384", "F3616", "P4"}, tags)
		require.Contains(t, string(b), " stderr F two\n")
	})
}

func TestLogRotation(t *testing.T) {
	r := inProcess(t)
	spec := sh("c", sandboxFor(t, r, "pod"), "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo $i; done")
	spec.Log = Log{Path: filepath.Join(t.TempDir(), "log"), MaxBytes: 8 << 10, MaxFiles: 3}
	launch(t, r, spec)
	ended(t, r, "c")
	files, err := filepath.Glob(spec.Log.Path + "*")
	require.NoError(t, err)
	require.Equal(t, []string{spec.Log.Path, spec.Log.Path + ".1", spec.Log.Path + ".2"}, files)
	var all string
	for _, f := range []string{".2", ".1", ""} {
		st, err := os.Stat(spec.Log.Path + f)
		require.NoError(t, err)
		require.LessOrEqual(t, st.Size(), int64(8<<10))
		all += plain(t, spec.Log.Path+f)
	}
	lines := strings.Fields(all)
	require.Equal(t, "1000", lines[len(lines)-1])
	for i, l := range lines {
		require.Equal(t, fmt.Sprint(1000-len(lines)+1+i), l)
	}
}

func TestReopenLog(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		spec := sh("c", sandboxFor(t, r, "pod"), "echo before; while :; do echo go; read x && echo after $x && exit; done")
		spec.Stdin = true
		spec.Log.Path = filepath.Join(t.TempDir(), "log")
		launch(t, r, spec)
		require.NoError(t, os.Rename(spec.Log.Path, spec.Log.Path+".old"))
		require.NoError(t, r.ReopenLog(t.Context(), "c"))
		require.NoError(t, r.Attach(t.Context(), "c", Streams{Stdin: strings.NewReader("x\n")}))
		ended(t, r, "c")
		require.Contains(t, plain(t, spec.Log.Path), "after x\n")
	})
}

// A full disk costs output, not the container.
func TestDiskFull(t *testing.T) {
	r := inProcess(t)
	spec := sh("c", sandboxFor(t, r, "pod"), "head -c 1000000 /dev/zero | tr '\\0' '\\n'; exit 4")
	full, err := r.CreateSandbox(t.Context(), SandboxSpec{ID: "small", ShmSize: 64 << 10})
	require.NoError(t, err)
	spec.Log.Path = r.sandboxFile(full.Spec.ID, sandboxShmDir) + "/log"
	launch(t, r, spec)
	require.Equal(t, 4, ended(t, r, "c").ExitCode)
	b, err := os.ReadFile(spec.Log.Path)
	require.NoError(t, err)
	require.True(t, len(b) == 0 || b[len(b)-1] == '\n')
}

func TestExecTerminal(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		launch(t, r, sh("c", sandboxFor(t, r, "pod"), "exec sleep 1000"))
		in, out := io.Pipe()
		sizes := make(chan TermSize, 1)
		sizes <- TermSize{Width: 123, Height: 45}
		screen := newExpect("45 123")
		go func() {
			_, _ = io.WriteString(out, "until stty size | grep -q 123; do :; done; stty size; test -t 0 && test -t 1 && test -t 2 && exit 7\n")
		}()
		code, err := r.Exec(t.Context(), "c", ExecSpec{Args: []string{"sh"}, TTY: true, Streams: Streams{Stdin: in, Stdout: screen, Resize: sizes}})
		require.NoError(t, err)
		require.Equal(t, 7, code)
		require.Contains(t, screen.String(), "45 123")
		require.NoError(t, in.Close())
	})
}

func TestExecDetails(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		spec := sh("c", sandboxFor(t, r, "pod"), "exec sleep 1000")
		spec.Env, spec.User = []string{"A=1", "B=2"}, User{UID: 5, GID: 6}
		launch(t, r, spec)
		run := func(e ExecSpec) (string, int) {
			var out bytes.Buffer
			e.Stdout, e.Stderr = &out, &out
			code, err := r.Exec(t.Context(), "c", e)
			require.NoError(t, err)
			return out.String(), code
		}
		out, _ := run(ExecSpec{Args: []string{"sh", "-c", "echo $A $B; id -u; id -g; pwd; grep -c devtmpfs /dev/null; ls /proc/self/fd | wc -l"}, Env: []string{"B=3"}, Cwd: "/tmp"})
		require.Equal(t, "1 3\n5\n6\n/tmp\n0\n4\n", out)
		out, _ = run(ExecSpec{Args: []string{"id", "-G"}, User: &User{UID: 8, GID: 9, AdditionalGroups: []int64{10}}})
		require.Equal(t, "9 10\n", out)
		_, code := run(ExecSpec{Args: []string{"sh", "-c", "kill -9 $$"}})
		require.Equal(t, 137, code)

		// A child that keeps the pipe open does not keep Exec.
		out, code = run(ExecSpec{Args: []string{"sh", "-c", "sleep 1000 & echo done"}})
		require.Equal(t, "done\n", out)
		require.Zero(t, code)

		big := strings.Repeat("0123456789abcdef", 1<<14)
		var got bytes.Buffer
		code, err := r.Exec(t.Context(), "c", ExecSpec{Args: []string{"cat"}, Streams: Streams{Stdin: strings.NewReader(big), Stdout: &got}})
		require.NoError(t, err)
		require.Zero(t, code)
		require.Equal(t, big, got.String())

		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err = r.Exec(ctx, "c", ExecSpec{Args: []string{"sleep", "77777"}})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Eventually(t, func() bool {
			out, _ := run(ExecSpec{Args: []string{"ps"}})
			return !strings.Contains(out, "77777")
		}, 10*time.Second, time.Millisecond)

		_, err = r.Exec(t.Context(), "c", ExecSpec{Args: []string{"/no/such"}})
		require.Error(t, err)
		require.False(t, errors.Is(err, ErrState))
		_, err = r.Exec(t.Context(), "c", ExecSpec{Args: []string{"true"}, User: &User{UID: -1}})
		require.ErrorIs(t, err, ErrInvalid)
	})
}

func TestAttach(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		sb := sandboxFor(t, r, "pod")
		spec := sh("once", sb, "cat; echo bye >&2; exit 3")
		spec.Stdin, spec.StdinOnce = true, true
		spec.Log.Path = filepath.Join(t.TempDir(), "log")
		launch(t, r, spec)
		var out, errs bytes.Buffer
		require.NoError(t, r.Attach(t.Context(), "once", Streams{Stdin: strings.NewReader("hello"), Stdout: &out, Stderr: &errs}))
		require.Equal(t, "hello", out.String())
		require.Equal(t, "bye\n", errs.String())
		require.Equal(t, 3, ended(t, r, "once").ExitCode)
		require.Equal(t, []string{"bye", "hello"}, sorted(regexp.MustCompile(`hello|bye`).FindAllString(plain(t, spec.Log.Path), -1)))

		tty := sh("tty", sb, "exec sh -i")
		tty.TTY, tty.Stdin = true, true
		launch(t, r, tty)
		screen := newExpect("got it")
		in, w := io.Pipe()
		go func() {
			_, _ = io.WriteString(w, "echo got it; until stty size | grep -q '7 9'; do :; done; exit 5\n")
		}()
		sizes := make(chan TermSize, 1)
		sizes <- TermSize{Width: 9, Height: 7}
		require.NoError(t, r.Attach(t.Context(), "tty", Streams{Stdin: in, Stdout: screen, Resize: sizes}))
		require.Equal(t, 5, ended(t, r, "tty").ExitCode)
		require.NoError(t, in.Close())
	})
}

// A terminal and an open standard input survive the launcher.
func TestStreamsSurviveLauncher(t *testing.T) {
	cfg := config(t)
	r := openFor(t, cfg)
	sb := sandboxFor(t, r, "pod")
	for _, tty := range []bool{false, true} {
		spec := sh(fmt.Sprintf("tty-%v", tty), sb, "read x; echo got $x; exit 5")
		spec.TTY, spec.Stdin = tty, true
		launch(t, r, spec)
		killPID(t, launcherPID(t, cfg))
		var out bytes.Buffer
		in, w := io.Pipe()
		go func() { _, _ = io.WriteString(w, "this\n") }()
		require.NoError(t, r.Attach(t.Context(), spec.ID, Streams{Stdin: in, Stdout: &out}))
		require.Contains(t, out.String(), "got this")
		require.Equal(t, 5, ended(t, r, spec.ID).ExitCode)
		require.NoError(t, in.Close())
	}
}

func TestEvents(t *testing.T) {
	r := inProcess(t)
	ctx, cancel := context.WithCancel(t.Context())
	events := r.Events(ctx)
	launch(t, r, sh("c", sandboxFor(t, r, "pod"), "exit 2"))
	ended(t, r, "c")
	require.NoError(t, r.RemoveContainer(t.Context(), "c"))
	for _, want := range []EventType{EventCreated, EventStarted, EventExited, EventRemoved} {
		e := <-events
		require.Equal(t, want, e.Type)
		require.Equal(t, "c", e.Status.Spec.ID)
		if want == EventExited {
			require.Equal(t, 2, e.Status.ExitCode)
		}
	}
	cancel()
	_, open := <-events
	require.False(t, open)

	// One who doesn't read is cut off, and nobody waits for it.
	slow := r.Events(t.Context())
	c := &container{}
	r.mu.Lock()
	for range eventBuffer + 1 {
		r.publish(EventCreated, c)
	}
	require.Empty(t, r.events)
	r.mu.Unlock()
	for range slow {
	}
}
