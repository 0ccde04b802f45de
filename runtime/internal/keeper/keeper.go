//go:build linux

// Package keeper starts the keeper: the small process, written in C, that outlives the
// agent and the launcher, keeps exit codes and restarts the launcher. Linking this
// package is what makes a binary able to be one. The launcher's side of the line to
// its keeper is here too.
package keeper

// #cgo CFLAGS: -Wall -O2
import "C"

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What a process's first argument is when it is to be a keeper or a launcher; keeper.c
// agrees.
const (
	Name         = "bedplate-keeper"
	LauncherName = "bedplate-launcher"
)

// Descriptors that a launcher is born with.
const (
	LauncherControl = 3
	LauncherListen  = 4
)

// Files are what a keeper is born with. The caller keeps and closes its own copies.
type Files struct {
	Lock   *os.File // locked; the keeper holds the lock for as long as it lives
	Listen *os.File // the socket that launchers accept requests on
	Spool  *os.File // the folder for exit codes
	Log    *os.File // its and the launchers' standard error
}

// Start starts a keeper for dir. place is called with its PID before it
// starts anything, to put it into its cgroup. env is the launchers' environment.
func Start(ctx context.Context, dir string, files Files, env []string, place func(pid int) error) (pid int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("start keeper: socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "keeper"), os.NewFile(uintptr(pair[1]), "keeper")
	defer ours.Close()
	defer theirs.Close()
	// The keeper reads and writes its end with plain blocking calls.
	if err := unix.SetNonblock(pair[1], false); err != nil {
		return 0, fmt.Errorf("start keeper: %w", err)
	}
	cmd := exec.Cmd{
		Path: "/proc/self/exe", Args: []string{Name, dir}, Env: env, Dir: "/", Stderr: files.Log,
		ExtraFiles:  []*os.File{theirs, files.Lock, files.Listen, files.Spool},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	// It forks at once and the first process ends, so that it is nobody's child here.
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("start keeper: %w", err)
	}
	_ = theirs.Close()
	return greet(ctx, ours, place)
}

func greet(ctx context.Context, c *os.File, place func(pid int) error) (int, error) {
	const patience = 10 * time.Second
	deadline := time.Now().Add(patience)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := c.SetDeadline(deadline); err != nil {
		return 0, fmt.Errorf("start keeper: %w", err)
	}
	line, err := bufio.NewReaderSize(c, 16).ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("start keeper: no greeting: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0, fmt.Errorf("start keeper: greeting %q: %w", line, err)
	}
	if err := place(pid); err != nil {
		return 0, fmt.Errorf("start keeper: %w", err) // closing c ends it
	}
	if _, err := c.Write([]byte("g")); err != nil {
		return 0, fmt.Errorf("start keeper: %w", err)
	}
	return pid, nil
}

// Line is a launcher's line to its keeper. Not for concurrent use.
type Line struct{ c *net.UnixConn }

// NewLine takes over f, a launcher's descriptor LauncherControl.
func NewLine(f *os.File) (*Line, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("line to the keeper: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("line to the keeper: is a %T", c), c.Close())
	}
	return &Line{u}, nil
}

// Close closes the line.
func (l *Line) Close() error { return l.c.Close() }

// Keep gives the keeper a duplicate of f under key, an ID and a name with a slash
// between them, for launchers to come.
func (l *Line) Keep(key string, f *os.File) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("keep %s: %w", key, err)
	}
	var werr error
	if err := rc.Control(func(fd uintptr) {
		_, _, werr = l.c.WriteMsgUnix([]byte("+"+key), unix.UnixRights(int(fd)), nil)
	}); err != nil {
		return fmt.Errorf("keep %s: %w", key, err)
	}
	if werr != nil {
		return fmt.Errorf("keep %s: %w", key, werr)
	}
	answer, _, err := l.receive()
	if err != nil {
		return fmt.Errorf("keep %s: %w", key, err)
	}
	if answer != "ok" {
		return fmt.Errorf("keep %s: the keeper holds too many descriptors", key)
	}
	return nil
}

// Drop has the keeper close everything whose key begins with prefix.
func (l *Line) Drop(prefix string) error {
	if _, err := l.c.Write([]byte("-" + prefix)); err != nil {
		return fmt.Errorf("drop %s: %w", prefix, err)
	}
	return nil
}

// Kept returns duplicates of everything that is kept, by key. The caller owns them.
func (l *Line) Kept() (map[string]*os.File, error) {
	if _, err := l.c.Write([]byte("?")); err != nil {
		return nil, fmt.Errorf("ask the keeper: %w", err)
	}
	kept := map[string]*os.File{}
	for {
		key, f, err := l.receive()
		if err != nil {
			return kept, fmt.Errorf("ask the keeper: %w", err)
		}
		if f == nil {
			return kept, nil
		}
		kept[key] = f
	}
}

func (l *Line) receive() (string, *os.File, error) {
	text, oob := make([]byte, 256), make([]byte, unix.CmsgSpace(4))
	n, on, _, _, err := l.c.ReadMsgUnix(text, oob)
	if err != nil {
		return "", nil, err
	}
	if n == 0 {
		return "", nil, errors.New("the keeper is gone")
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:on])
	if err != nil || len(msgs) == 0 {
		return string(text[:n]), nil, err
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return "", nil, err
	}
	return string(text[:n]), os.NewFile(uintptr(fds[0]), string(text[:n])), nil
}
