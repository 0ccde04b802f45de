//go:build linux

package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/bedplate/bedplate/runtime/internal/spool"
)

// Layout is the state folder: who keeps what where.
type Layout string

// Paths in the state folder.
func (l Layout) path(elem ...string) string {
	return filepath.Join(append([]string{string(l)}, elem...)...)
}
func (l Layout) Containers() string          { return l.path("containers") }
func (l Layout) Container(id string) string  { return l.path("containers", id) }
func (l Layout) Sandboxes() string           { return l.path("sandboxes") }
func (l Layout) Sandbox(id string) string    { return l.path("sandboxes", id) }
func (l Layout) Spool() spool.Dir            { return spool.Dir(l.path("spool")) }
func (l Layout) Libcontainer() string        { return l.path("libcontainer") }
func (l Layout) Socket() string              { return l.path("launcher.sock") }
func (l Layout) KeeperLock() string          { return l.path("keeper.lock") }
func (l Layout) AgentLock() string           { return l.path("agent.lock") }
func (l Layout) LauncherLog() string         { return l.path("launcher.log") }
func (l Layout) stream(id, s string) string  { return l.path("containers", id, s) }
func (l Layout) runFile(id string) string    { return l.path("containers", id, "run.json") }
func (l Layout) bundleFile(id string) string { return l.path("containers", id, "bundle.json") }

// Bundle is what the engine must know of a container to start it. The agent writes it.
type Bundle struct {
	Spec       *specs.Spec
	TTY, Stdin bool
	LogPath    string // empty: output is dropped
	LogBytes   int64
	LogFiles   int
}

// Run is what the engine tells of a started container. It is on disk before the
// container's command may run.
type Run struct {
	PID       int
	StartTime uint64
	StartedAt time.Time
	Boot      string // the machine's boot ID: PIDs of another mean nothing
	Warnings  []string
}

// SaveBundle writes a container's bundle.
func (l Layout) SaveBundle(id string, b Bundle) error { return Save(l.bundleFile(id), b) }

// Run reads a container's run; os.ErrNotExist if it was never started.
func (l Layout) Run(id string) (Run, error) {
	var r Run
	err := Load(l.runFile(id), &r)
	return r, err
}

// Save writes v as JSON, whole or not at all.
func Save(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("save %s: %w", filepath.Base(path), err)
	}
	tmp := path + ".tmp"
	if err := errors.Join(os.WriteFile(tmp, b, 0o600), os.Rename(tmp, path)); err != nil {
		return fmt.Errorf("save %s: %w", filepath.Base(path), err)
	}
	return nil
}

// Load reads what Save wrote.
func Load(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("load %s: %w", path, err)
	}
	return nil
}

// BootID tells this boot of the machine from others.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot ID: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
