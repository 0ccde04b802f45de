//go:build linux

package docs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	module = "github.com/bedplate/bedplate"
	folder = "internal/docs/snippets" // exists in the build's overlay alone
)

// snippet is a program that a document shows, with the output that it shows beside it.
type snippet struct {
	name, from string
	source     string
	output     string // "": it is compiled, not run
}

// TestSnippets compiles every Go block of the documents, which must be whole programs, and runs those that a text
// block follows: they must print just that. One whose source waits for an interrupt gets one then.
func TestSnippets(t *testing.T) {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	all := snippets(t, root)
	require.NotEmpty(t, all)
	binary := filepath.Join(t.TempDir(), "snippets")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "seccomp", "-overlay", lay(t, root, all), "-o", binary, "./"+folder)
	build.Dir = root
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, s := range all {
		if s.output == "" {
			continue
		}
		t.Run(s.from, func(t *testing.T) { run(t, binary, s) })
	}
}

func snippets(t *testing.T, root string) (all []snippet) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	for _, file := range append(files, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all = append(all, parse(filepath.Base(file), string(text), len(all))...)
	}
	return all
}

// parse finds the fenced Go blocks of a document, each with the text block that follows it directly.
func parse(file, text string, count int) (all []snippet) {
	var block []string
	kind, open, heading := "", false, ""
	for line := range strings.Lines(text) {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && !open:
			kind, open, block = fence, true, nil
		case isFence:
			open = false
			body := strings.Join(block, "")
			if kind == "go" {
				all = append(all, snippet{name: fmt.Sprintf("s%d", count+len(all)), from: file + " " + heading, source: body})
			} else if kind == "text" && len(all) > 0 && all[len(all)-1].output == "" {
				all[len(all)-1].output = body
			}
		case open:
			block = append(block, line)
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
	}
	return all
}

var (
	packageMain = regexp.MustCompile(`(?m)^package main$`)
	funcMain    = regexp.MustCompile(`(?m)^func main\(\) \{$`)
)

// lay makes an overlay in which each snippet is a package of this module and one program can run them all, so that
// linking is paid for once.
func lay(t *testing.T, root string, all []snippet) (overlay string) {
	t.Helper()
	dir, replace := t.TempDir(), map[string]string{}
	put := func(name, source string) {
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		require.NoError(t, os.WriteFile(file, []byte(source), 0o600))
		replace[filepath.Join(root, folder, name)] = file
	}
	var imports, cases strings.Builder
	for _, s := range all {
		require.Regexp(t, packageMain, s.source, "%s shows Go that is no whole program", s.from)
		require.Regexp(t, funcMain, s.source, "%s shows a program without main", s.from)
		formatted, err := format.Source([]byte(s.source))
		require.NoError(t, err, s.from)
		require.Equal(t, string(formatted), s.source, "%s shows Go that gofmt would change", s.from)
		source := packageMain.ReplaceAllString(s.source, "package "+s.name)
		put(s.name+"/main.go", funcMain.ReplaceAllString(source, "func Main() {"))
		fmt.Fprintf(&imports, "\t%q\n", path.Join(module, folder, s.name))
		fmt.Fprintf(&cases, "\tcase %q:\n\t\t%s.Main()\n", s.name, s.name)
	}
	put("main.go", "package main\n\nimport (\n\t\"os\"\n\n\t\""+module+"/runtime\"\n"+imports.String()+
		")\n\nfunc main() {\n\truntime.Init()\n\tswitch os.Args[1] {\n"+cases.String()+"\t}\n}\n")
	list, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	overlay = filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(overlay, list, 0o600))
	return overlay
}

func run(t *testing.T, binary string, s snippet) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, binary, s.name)
	c.Dir = t.TempDir()
	var stderr bytes.Buffer
	c.Stderr = &stderr
	stdout, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	var got strings.Builder
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		got.WriteString(lines.Text() + "\n")
		if got.String() == s.output && strings.Contains(s.source, "signal.NotifyContext") {
			require.NoError(t, c.Process.Signal(os.Interrupt))
		}
	}
	require.NoError(t, c.Wait(), "%s", &stderr)
	require.Equal(t, s.output, got.String(), "%s", &stderr)
}
