package interop

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A step is one command of a scenario file, and what it must print:
//
//	$ kubectl get configmap a
//	NAME   DATA   AGE
//	a      1      ...
//
// Blanks match any number of blanks, and "..." stands for anything, within a line or as a line of its own for any number of lines. A command that
// starts with "!" must fail. Input for a command follows it, between a line "<<<" and a line ">>>". Lines that
// start with "#" are comments.
type step struct {
	line          int
	command       string
	fails         bool
	input, output string
}

func parseScript(text string) []step {
	var steps []step
	inInput := false
	for i, line := range strings.Split(text, "\n") {
		last := len(steps) - 1
		switch {
		case line == "<<<":
			inInput = true
		case line == ">>>":
			inInput = false
		case inInput:
			steps[last].input += line + "\n"
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "$ "), strings.HasPrefix(line, "! "):
			steps = append(steps, step{line: i + 1, command: line[2:], fails: line[0] == '!'})
		case last >= 0:
			steps[last].output += line + "\n"
		}
	}
	return steps
}

var blanks = regexp.MustCompile(" +")

// pattern turns expected output into a regular expression.
func pattern(output string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for line := range strings.SplitSeq(strings.TrimSpace(output), "\n") {
		if strings.TrimSpace(line) == "..." {
			b.WriteString(`(?:[^\n]*\n)*?`)
			continue
		}
		for i, part := range strings.Split(strings.TrimRight(line, " "), "...") {
			if i > 0 {
				b.WriteString(`[^\n]*`)
			}
			b.WriteString(blanks.ReplaceAllString(regexp.QuoteMeta(part), " +"))
		}
		b.WriteString(`[ ]*\n`)
	}
	b.WriteString(`\s*\z`)
	return regexp.MustCompile(b.String())
}

// runScript replays a scenario file of testdata with kubectl under a kubeconfig. Variables of env are replaced
// in it ($NAME).
func runScript(t *testing.T, file string, kubeconfig []byte, env map[string]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	require.NoError(t, err)
	k := newKubectl(t, kubeconfig)
	expand := func(s string) string {
		for name, value := range env {
			s = strings.ReplaceAll(s, "$"+name, value)
		}
		return s
	}
	for _, s := range parseScript(string(text)) {
		out, err := k.shell(t.Context(), expand(s.command), expand(s.input))
		at := fmt.Sprintf("%s:%d: %s\n%s", file, s.line, s.command, out)
		if s.fails {
			require.Error(t, err, at)
		} else {
			require.NoError(t, err, at)
		}
		want := expand(s.output)
		if !pattern(want).MatchString(out + "\n") {
			t.Fatalf("%s\nwanted:\n%s", at, want)
		}
	}
}

// kubectl runs the unmodified kubectl under one kubeconfig.
type kubectl struct{ dir, kubeconfig string }

func newKubectl(t *testing.T, kubeconfig []byte) *kubectl {
	t.Helper()
	dir := t.TempDir()
	k := &kubectl{dir: dir, kubeconfig: filepath.Join(dir, "kubeconfig")}
	require.NoError(t, os.WriteFile(k.kubeconfig, kubeconfig, 0o600))
	return k
}

// cmd is a shell command in which kubectl is ours.
func (k *kubectl) cmd(ctx context.Context, command string) *exec.Cmd {
	c := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", command)
	c.Dir = k.dir
	c.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "KUBECONFIG="+k.kubeconfig, "HOME="+k.dir, "TERM=dumb", "LC_ALL=C")
	return c
}

// shell runs a command to its end and returns what it printed.
func (k *kubectl) shell(ctx context.Context, command, input string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	c := k.cmd(ctx, command)
	c.Stdin = strings.NewReader(input)
	out, err := c.CombinedOutput()
	return string(out), err
}

// lines starts a command and yields the lines that it prints, until stop is called.
func (k *kubectl) lines(t *testing.T, command string) (lines <-chan string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := k.cmd(ctx, "exec "+command)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	ch := make(chan string, 1024)
	go func() {
		defer close(ch)
		for s := bufio.NewScanner(out); s.Scan(); {
			ch <- s.Text()
		}
	}()
	return ch, func() {
		cancel()
		_ = c.Wait() // it was killed
		if t.Failed() {
			t.Log(errs.String())
		}
	}
}

// next waits for a line that matches.
func next(t *testing.T, lines <-chan string, want string) string {
	t.Helper()
	timeout := time.After(time.Minute)
	var seen []string
	for {
		select {
		case line, ok := <-lines:
			require.True(t, ok, "the command ended before it printed %q, after %q", want, seen)
			seen = append(seen, line)
			if pattern(want).MatchString(line + "\n") {
				return line
			}
		case <-timeout:
			t.Fatalf("no line %q within a minute, only %q", want, seen)
		}
	}
}

// bin is where TestMain has put kubectl and examples/cluster.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if bin = os.Getenv(inside); bin != "" {
		if err := settle(); err != nil {
			fmt.Fprintln(os.Stderr, "make a place for the tests:", err)
			return 1
		}
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// kubectl is static, so that it runs in a container too.
	for _, b := range []struct{ in, name, pkg, cgo string }{{".", "kubectl", "./kubectl", "0"}, {"../..", "cluster", "./examples/cluster", "1"}} {
		build := exec.Command("go", "build", "-tags", "seccomp", "-ldflags=-s -w", "-o", filepath.Join(dir, b.name), b.pkg)
		build.Dir, build.Env = b.in, append(os.Environ(), "CGO_ENABLED="+b.cgo)
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", b.name, err, out)
			return 1
		}
	}
	return again(dir)
}
