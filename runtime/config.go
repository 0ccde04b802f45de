//go:build linux

package runtime

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/runc/libcontainer/seccomp"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/internal/cg"
	"github.com/bedplate/bedplate/runtime/internal/launcher"
	_ "github.com/bedplate/bedplate/runtime/internal/reexec" // libcontainer's init stage
)

// initialised tells Open that the program can be a launcher. It is a global because it
// is about the program, not about a Runtime.
var initialised atomic.Bool

// Init lets the program be what this package starts it as. It must be called on the
// first line of main, and of TestMain, before flags are parsed: in a launcher it doesn't
// return. Otherwise it does nothing that can be seen.
func Init() {
	initialised.Store(true)
	if launcher.Is() {
		os.Exit(launcher.Main())
	}
}

// Config says where a Runtime keeps its things. The zero value of every field but Dir works.
type Config struct {
	// Dir is the folder for all state, an absolute path. It is made with mode 0700. One
	// process at a time may have it open. Required.
	Dir string
	// CgroupParent is the cgroup, an absolute path within each hierarchy, below which this
	// Runtime alone makes cgroups. Empty: "/bedplate-" and a hash of Dir.
	CgroupParent string
	// Seccomp is the filter of containers that don't ask for one. Zero:
	// SeccompDefault in binaries built with the tag seccomp, else SeccompUnconfined.
	Seccomp Seccomp
	// InProcess runs containers as children of this process: no keeper, no launcher.
	// Their exit codes are lost if it ends before them.
	InProcess bool
	// Log gets what no caller is told. Nil: nothing.
	Log *slog.Logger

	env []string // of launchers, in tests
}

func (c *Config) validate() error {
	if c.Dir == "" || !filepath.IsAbs(c.Dir) || filepath.Clean(c.Dir) == "/" {
		return fmt.Errorf("%w: Config.Dir %q must be an absolute path of a folder", ErrInvalid, c.Dir)
	}
	c.Dir = filepath.Clean(c.Dir)
	if strings.ContainsAny(c.Dir, ",\n\x00") {
		return fmt.Errorf("%w: Config.Dir %q has a comma or a control character, which namespace paths can't have", ErrInvalid, c.Dir)
	}
	if c.CgroupParent == "" {
		c.CgroupParent = fmt.Sprintf("/bedplate-%x", sha256.Sum256([]byte(c.Dir)))[:len("/bedplate-")+12]
	}
	if p := filepath.Clean(c.CgroupParent); !filepath.IsAbs(p) || p == "/" {
		return fmt.Errorf("%w: Config.CgroupParent %q must be an absolute path below the root", ErrInvalid, c.CgroupParent)
	}
	c.CgroupParent = filepath.Clean(c.CgroupParent)
	if c.Seccomp.Mode == SeccompInherit {
		c.Seccomp.Mode = SeccompUnconfined
		if seccomp.Enabled {
			c.Seccomp.Mode = SeccompDefault
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return checkSeccomp(c.Seccomp)
}

// checkMachine says, in one line, what is missing to run containers here.
func checkMachine() error {
	if !initialised.Load() {
		return ErrNotInitialised
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: running containers needs root, and this process has user ID %d: run it as root", ErrUnsupported, os.Geteuid())
	}
	fd, err := unix.PidfdOpen(os.Getpid(), unix.PIDFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("%w: no pidfds (%w): Linux 5.10 or newer is needed", ErrUnsupported, err)
	}
	_ = unix.Close(fd)
	var st unix.Statfs_t
	if err := unix.Statfs("/proc", &st); err != nil || st.Type != unix.PROC_SUPER_MAGIC {
		return fmt.Errorf("%w: /proc is not mounted: mount -t proc proc /proc", ErrUnsupported)
	}
	if err := cg.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return nil
}

// lockDir takes the folder for this process.
func lockDir(path string) (*os.File, error) {
	f, err := launcher.Lock(path)
	if errors.Is(err, launcher.ErrLocked) {
		return nil, fmt.Errorf("%w: another process has the folder open: end it, or use another folder", ErrInUse)
	}
	return f, err
}

// keeperGroup is the cgroup, below the parent, of keeper and launcher.
const keeperGroup = "keeper"

// startKeeper makes sure that a keeper serves the folder.
func (r *Runtime) startKeeper(ctx context.Context) error {
	r.keeping.Lock() // the loser of a race must find the winner's socket
	defer r.keeping.Unlock()
	g, err := cg.Open(cg.Join(r.cfg.CgroupParent, keeperGroup))
	if err != nil {
		return err
	}
	env := append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, r.cfg.env...)
	return launcher.Keep(ctx, r.dir, env, func(pid int) error {
		// Where the kernel allows it, the keeper is the last to be killed for memory.
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("-998"), 0)
		return g.Add(pid)
	})
}
