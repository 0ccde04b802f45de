//go:build linux

package launcher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/internal/engine"
	"github.com/bedplate/bedplate/runtime/internal/keeper"
	"github.com/bedplate/bedplate/runtime/internal/proc"
	"github.com/bedplate/bedplate/runtime/internal/wire"
)

// ErrNoKeeper tells that no keeper serves the folder.
var ErrNoKeeper = errors.New("no keeper runs")

// Client asks the launcher of a state folder. Its methods may be called concurrently.
type Client struct{ Dir engine.Layout }

// at calls f with a path of the folder's socket that fits into a socket address,
// however long the folder's own is.
func at(dir engine.Layout, f func(path string) error) error {
	fd, err := unix.Open(string(dir), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: string(dir), Err: err}
	}
	defer unix.Close(fd)
	return f(fmt.Sprintf("/proc/self/fd/%d/launcher.sock", fd))
}

// Listen makes the socket for a new keeper.
func Listen(dir engine.Layout) (f *os.File, err error) {
	if err := os.Remove(dir.Socket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen: %w", err)
	}
	err = at(dir, func(path string) error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		defer l.Close()
		l.SetUnlinkOnClose(false)
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		f, err = l.File()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return f, nil
}

// dial connects, and sends r with files. The connection closes when ctx ends, until
// stop is called.
func (c *Client) dial(ctx context.Context, r request, files ...*os.File) (w *wire.Conn, stop func() bool, err error) {
	err = at(c.Dir, func(path string) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err != nil {
			return err
		}
		w = &wire.Conn{UnixConn: conn.(*net.UnixConn)}
		return nil
	})
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) {
		return nil, nil, ErrNoKeeper
	}
	if err != nil {
		return nil, nil, err
	}
	stop = context.AfterFunc(ctx, func() { _ = w.Close() })
	r.Version = Version
	if err := w.Send(r, files...); err != nil {
		stop()
		_ = w.Close()
		return nil, nil, lost(ctx, err)
	}
	return w, stop, nil
}

// lost explains why a connection broke.
func lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}

// ask is a request with one answer.
func (c *Client) ask(ctx context.Context, r request) (response, error) {
	w, stop, err := c.dial(ctx, r)
	if err != nil {
		return response{}, err
	}
	defer w.Close()
	defer stop()
	var a response
	files, err := w.Receive(&a)
	wire.Close(files...)
	if err != nil {
		return response{}, lost(ctx, err)
	}
	return a, a.err()
}

// Hello returns the launcher's PID once it is there and at rest.
func (c *Client) Hello(ctx context.Context) (pid int, err error) {
	a, err := c.ask(ctx, request{Op: opHello})
	return a.PID, err
}

// Start is engine.Start. When the launcher dies over it, the next one is asked; the
// error is ErrLost or ErrNoKeeper only if there was none.
func (c *Client) Start(ctx context.Context, id string) (engine.Run, error) {
	const attempts = 3
	for n := 1; ; n++ {
		a, err := c.ask(ctx, request{Op: opStart, ID: id})
		if errors.Is(err, ErrLost) && n < attempts {
			continue
		}
		if err != nil {
			return engine.Run{}, err
		}
		return *a.Run, nil
	}
}

// Reopen is engine.Reopen.
func (c *Client) Reopen(ctx context.Context, id string) error {
	_, err := c.ask(ctx, request{Op: opReopen, ID: id})
	return err
}

// Quit ends the launcher and its keeper.
func (c *Client) Quit(ctx context.Context) error {
	_, err := c.ask(ctx, request{Op: opQuit})
	return err
}

// Exec is engine.Exec.
func (c *Client) Exec(ctx context.Context, id string, req engine.ExecRequest, stdio [3]*os.File, started func(pid int, master *os.File) error) (proc.Exit, error) {
	defer wire.Close(stdio[:]...)
	r := request{Op: opExec, ID: id, Exec: &req}
	var files []*os.File
	for i, f := range stdio {
		if f != nil {
			r.Streams[i], files = true, append(files, f)
		}
	}
	w, stop, err := c.dial(ctx, r, files...)
	if err != nil {
		return proc.Exit{}, err
	}
	defer w.Close()
	defer stop()
	wire.Close(stdio[:]...)
	var begun response
	for {
		var a response
		files, err := w.Receive(&a)
		if err != nil {
			kill(begun) // its launcher died; nobody could tell how it ends
			return proc.Exit{}, lost(ctx, err)
		}
		switch {
		case a.Err != "":
			wire.Close(files...)
			return proc.Exit{}, a.err()
		case a.Exit != nil:
			wire.Close(files...)
			return *a.Exit, nil
		}
		begun = a
		var master *os.File
		if len(files) == 1 {
			if master, err = wire.Pollable(files[0]); err != nil {
				return proc.Exit{}, err
			}
		}
		if err := started(a.PID, master); err != nil {
			return proc.Exit{}, err
		}
	}
}

// kill ends a process whose launcher is gone.
func kill(begun response) {
	if begun.PID == 0 || begun.StartTime == 0 {
		return
	}
	if p, err := proc.Open(begun.PID, begun.StartTime); err == nil {
		_ = p.Signal(unix.SIGKILL)
		_ = p.Close()
	}
}

// Attached is an attachment through a launcher.
type Attached struct {
	Stdin *os.File // the caller closes it; nil if there is none
	w     *wire.Conn
	stop  func() bool
}

// Attach is engine.Attach. It ends with ctx.
func (c *Client) Attach(ctx context.Context, id string, stdout, stderr *os.File) (*Attached, error) {
	defer wire.Close(stdout, stderr)
	r := request{Op: opAttach, ID: id}
	var files []*os.File
	for i, f := range []*os.File{nil, stdout, stderr} {
		if f != nil {
			r.Streams[i], files = true, append(files, f)
		}
	}
	w, stop, err := c.dial(ctx, r, files...)
	if err != nil {
		return nil, err
	}
	a := &Attached{w: w, stop: stop}
	var answer response
	got, err := w.Receive(&answer)
	if err == nil {
		err = answer.err()
	} else {
		err = lost(ctx, err)
	}
	if err == nil && len(got) == 1 {
		a.Stdin, err = wire.Pollable(got[0])
	}
	if err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Wait returns when the container's output has ended.
func (a *Attached) Wait(ctx context.Context) error {
	var answer response
	files, err := a.w.Receive(&answer)
	wire.Close(files...)
	if err != nil {
		return lost(ctx, err)
	}
	return answer.err()
}

// CloseStdin ends the container's standard input, once and for all.
func (a *Attached) CloseStdin() error { return a.w.Send(request{Version: Version, CloseStdin: true}) }

// Close detaches.
func (a *Attached) Close() {
	a.stop()
	_ = a.w.Close()
}

// Keep makes sure that a keeper serves the folder, starting one if not. place puts a new
// one into its cgroup, env is its launchers' environment.
func Keep(ctx context.Context, dir engine.Layout, env []string, place func(pid int) error) error {
	lock, err := Lock(dir.KeeperLock())
	if errors.Is(err, ErrLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close() // the keeper's duplicate holds the lock
	listen, err := Listen(dir)
	if err != nil {
		return err
	}
	defer listen.Close()
	spool, err := os.Open(string(dir.Spool()))
	if err != nil {
		return fmt.Errorf("start keeper: %w", err)
	}
	defer spool.Close()
	log, err := os.OpenFile(dir.LauncherLog(), os.O_RDWR|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("start keeper: %w", err)
	}
	defer log.Close()
	pid, err := keeper.Start(ctx, string(dir), keeper.Files{Lock: lock, Listen: listen, Spool: spool, Log: log}, env, place)
	if err != nil {
		return err
	}
	// For people, and for Gone. The lock is what counts.
	if err := lock.Truncate(0); err != nil {
		return fmt.Errorf("start keeper: %w", err)
	}
	if _, err := fmt.Fprintf(lock, "%d\n", pid); err != nil {
		return fmt.Errorf("start keeper: %w", err)
	}
	return nil
}

// KeeperPID reads who serves the folder. It may have ended.
func KeeperPID(dir engine.Layout) (pid int, err error) {
	b, err := os.ReadFile(dir.KeeperLock())
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscan(string(b), &pid)
	return pid, err
}

// Gone waits until no keeper serves the folder.
func Gone(ctx context.Context, dir engine.Layout) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		lock, err := Lock(dir.KeeperLock())
		if err == nil {
			return lock.Close()
		}
		if !errors.Is(err, ErrLocked) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("the keeper does not end: %w", context.Cause(ctx))
		}
	}
}

// ErrLocked tells that another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// Lock takes an exclusive lock that ends with the file, or with the process.
func Lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("lock %s: %w", path, ErrLocked)
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}
