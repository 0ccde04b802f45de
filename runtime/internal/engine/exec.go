//go:build linux

package engine

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/internal/proc"
	"github.com/bedplate/bedplate/runtime/internal/wire"
)

// ExecRequest is a command to run in a running container.
type ExecRequest struct {
	Args, Env []string
	Cwd       string      // empty: the container's
	User      *specs.User // nil: the container's
	TTY       bool
}

// Exec runs a command and waits for it; when ctx ends, it is killed. stdio are its
// standard streams, nil for /dev/null; Exec closes them. With TTY there are none, and
// started gets the terminal's master, to keep.
func (e *Engine) Exec(ctx context.Context, id string, req ExecRequest, stdio [3]*os.File, started func(pid int, master *os.File) error) (proc.Exit, error) {
	defer wire.Close(stdio[:]...)
	p, master, err := e.spawn(id, req, stdio)
	if err != nil {
		return proc.Exit{}, err
	}
	defer p.Close()
	wire.Close(stdio[:]...) // the command's own are the last: whoever reads sees its end
	if err := started(p.PID, master); err != nil {
		_ = p.Signal(unix.SIGKILL)
	}
	if p.Wait(ctx) != nil {
		_ = p.Signal(unix.SIGKILL)
		if err := p.Wait(e.stop); err != nil {
			return proc.Exit{}, err
		}
	}
	exit, _, err := p.Peek()
	err = errors.Join(err, p.Reap())
	e.disown(p.PID)
	return exit, err
}

func (e *Engine) spawn(id string, req ExecRequest, stdio [3]*os.File) (*proc.Process, *os.File, error) {
	if _, err := e.get(id); err != nil {
		return nil, nil, err
	}
	var b Bundle
	if err := Load(e.dir.bundleFile(id), &b); err != nil {
		return nil, nil, err
	}
	c, err := e.load(id)
	if err != nil {
		return nil, nil, err
	}
	p := process(execSpec(b.Spec.Process, req))
	for i, f := range stdio {
		if f == nil {
			continue // a nil *os.File in an interface is not nil
		}
		switch i {
		case 0:
			p.Stdin = f
		case 1:
			p.Stdout = f
		case 2:
			p.Stderr = f
		}
	}
	var console *os.File
	if req.TTY {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, nil, os.NewSyscallError("socketpair", err)
		}
		console, p.ConsoleSocket = os.NewFile(uintptr(pair[0]), consoleName), os.NewFile(uintptr(pair[1]), consoleName)
		defer wire.Close(console, p.ConsoleSocket)
	}
	pid, err := e.begin(id, c, p)
	if err != nil {
		return nil, nil, err
	}
	h, err := proc.Open(pid, 0) // our child: its PID stays its own until we reap it
	if err != nil {
		e.disown(pid)
		return nil, nil, err
	}
	if !req.TTY {
		return h, nil, nil
	}
	master, err := receiveMaster(console)
	if err != nil {
		_ = h.Signal(unix.SIGKILL)
		err = errors.Join(err, h.Wait(e.stop), h.Reap(), h.Close())
		e.disown(pid)
		return nil, nil, err
	}
	return h, master, nil
}

// execSpec overlays a request on what the container's own command has.
func execSpec(base *specs.Process, req ExecRequest) *specs.Process {
	p := *base
	p.Args = req.Args
	if req.Cwd != "" {
		p.Cwd = req.Cwd
	}
	if req.User != nil {
		p.User = *req.User
	}
	env := map[string]string{}
	for _, kv := range slices.Concat(base.Env, req.Env) {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	if req.TTY && env["TERM"] == "" {
		env["TERM"] = "xterm"
	}
	p.Env = nil
	for _, k := range slices.Sorted(maps.Keys(env)) {
		p.Env = append(p.Env, k+"="+env[k])
	}
	return &p
}

// Attachment is a connection to a running container's standard streams.
type Attachment struct {
	// Stdin is where to write for its standard input, a copy that the caller
	// closes; nil if it has none. With a terminal it is the master.
	Stdin *os.File
	// Done is closed when the container's output has ended or the client was too slow,
	// and everything is written.
	Done <-chan struct{}
	sub  *subscriber
	out  *output
}

// Attach copies a container's output from now on to files, which it takes over.
func (e *Engine) Attach(id string, stdout, stderr *os.File) (*Attachment, error) {
	r, err := e.get(id)
	if err != nil {
		wire.Close(stdout, stderr)
		return nil, err
	}
	files := map[string]*os.File{}
	if stdout != nil {
		files[stdoutName] = stdout
	}
	if stderr != nil {
		files[stderrName] = stderr
	}
	a := &Attachment{out: r.out}
	if r.stdin != nil {
		fd, err := wire.Dup(r.stdin)
		if err != nil {
			wire.Close(stdout, stderr)
			return nil, err
		}
		a.Stdin = os.NewFile(uintptr(fd), stdinName)
	}
	a.sub = r.out.subscribe(files)
	a.Done = a.sub.done
	return a, nil
}

// Close detaches.
func (a *Attachment) Close() error {
	a.out.unsubscribe(a.sub)
	return a.sub.err
}

// CloseStdin ends a container's standard input, once and for all.
func (e *Engine) CloseStdin(id string) error {
	r, err := e.get(id)
	if err != nil {
		return err
	}
	if r.stdin == nil || r.tty {
		return nil
	}
	e.keeperMu.Lock()
	defer e.keeperMu.Unlock()
	if e.keeper != nil {
		if err := e.keeper.Drop(id + "/" + stdinName); err != nil {
			return err
		}
	}
	if err := r.stdin.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
