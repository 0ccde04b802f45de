//go:build linux

package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/internal/engine"
	"github.com/bedplate/bedplate/runtime/internal/wire"
)

// TermSize is the size of a terminal in characters.
type TermSize struct{ Width, Height uint16 }

// Streams are the standard streams of an exec or attach. Nil ones are not connected.
type Streams struct {
	// Stdin is read until it ends or the command does. A Read that blocks
	// then is waited for by nobody.
	Stdin io.Reader
	// Stdout and Stderr get output, each from a goroutine of its own. With a terminal
	// Stderr gets nothing. A Write that fails ends the copying.
	Stdout, Stderr io.Writer
	// Resize changes the terminal's size, from the first value on. Nil, or closed: no changes.
	Resize <-chan TermSize
}

// ExecSpec is a command to run in a running container, with its capabilities, filter
// and limits.
type ExecSpec struct {
	Args []string
	// Env is added to the container's.
	Env []string
	// Cwd is absolute. Empty: the container's.
	Cwd string
	// User is nil for the container's.
	User *User
	// TTY gives the command a terminal.
	TTY bool
	Streams
}

// Exec runs a command in a running container and returns its exit code, 128 and the
// number of the signal that ended it. All output that the command itself wrote has been
// written when Exec returns. When ctx ends, the command is killed, and the error is
// ctx's. Errors are ErrInvalid, ErrNotFound, ErrState if the container doesn't run,
// ErrClosed, and that the command can't be run.
func (r *Runtime) Exec(ctx context.Context, id string, spec ExecSpec) (exitCode int, err error) {
	code, err := r.exec(ctx, id, spec)
	if errors.Is(err, engine.ErrNotRunning) {
		err = fmt.Errorf("%w: %w", ErrState, err)
	}
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", id, err)
	}
	return code, nil
}

func (r *Runtime) exec(ctx context.Context, id string, spec ExecSpec) (int, error) {
	if err := spec.validate(); err != nil {
		return 0, err
	}
	c, err := r.find(id)
	if err != nil {
		return 0, err
	}
	if st := r.statusOf(c); st.State != StateRunning {
		return 0, fmt.Errorf("%w: it is %s", ErrState, st.State)
	}
	ctx, cancel := r.joined(ctx)
	defer cancel()
	p := &plumbing{s: spec.Streams, tty: spec.TTY, quit: make(chan struct{})}
	defer p.close()
	req := engine.ExecRequest{Args: spec.Args, Env: spec.Env, Cwd: spec.Cwd, TTY: spec.TTY}
	if spec.User != nil {
		u := spec.User.oci()
		req.User = &u
	}
	var stdio [3]*os.File
	if !spec.TTY {
		if stdio, err = p.pipes(); err != nil {
			return 0, err
		}
	}
	exit, err := r.driver.exec(ctx, id, req, stdio, func(_ int, master *os.File) error {
		if master != nil {
			return p.terminal(master)
		}
		p.start()
		return nil
	})
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if err != nil {
		return 0, err
	}
	return exit.Code, p.drain(ctx)
}

func (s *ExecSpec) validate() error {
	if err := checkCommand(s.Args, s.Env, s.Cwd); err != nil {
		return err
	}
	if s.User != nil {
		return s.User.validate()
	}
	return nil
}

// joined ends with ctx, and with the Runtime.
func (r *Runtime) joined(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(r.ctx, func() { cancel(ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// Attach connects to a running container's standard streams until its output ends. It gets
// output from now on, beside the log. Writers that are slow slow the container; one that
// blocks for a second is cut off, with an error. Errors are ErrNotFound, ErrState if it doesn't run,
// ErrClosed and ctx's.
func (r *Runtime) Attach(ctx context.Context, id string, s Streams) error {
	err := r.attach(ctx, id, s)
	if errors.Is(err, engine.ErrNotRunning) {
		err = fmt.Errorf("%w: %w", ErrState, err)
	}
	if err != nil {
		return fmt.Errorf("attach to container %s: %w", id, err)
	}
	return nil
}

func (r *Runtime) attach(ctx context.Context, id string, s Streams) error {
	c, err := r.find(id)
	if err != nil {
		return err
	}
	st := r.statusOf(c)
	if st.State != StateRunning {
		return fmt.Errorf("%w: it is %s", ErrState, st.State)
	}
	ctx, cancel := r.joined(ctx)
	defer cancel()
	p := &plumbing{s: s, quit: make(chan struct{})}
	defer p.close()
	p.s.Stdin = nil // comes another way
	theirs, err := p.pipes()
	if err != nil {
		return err
	}
	a, err := r.driver.attach(ctx, id, theirs[1], theirs[2])
	if err != nil {
		return err
	}
	defer a.close()
	p.start()
	if a.stdin != nil {
		defer a.stdin.Close()
		p.feed(a, s, st.Spec)
	}
	if err := a.wait(ctx); err != nil {
		return err
	}
	return p.drain(ctx)
}

// feed copies s.Stdin to a container's standard input.
func (p *plumbing) feed(a *attachment, s Streams, spec ContainerSpec) {
	if spec.TTY {
		p.resize(a.stdin, s.Resize)
	}
	if s.Stdin == nil {
		return
	}
	go func() {
		_, err := io.Copy(a.stdin, s.Stdin)
		if err == nil && spec.StdinOnce {
			_ = a.stdin.Close()
			_ = a.closeStdin()
		}
	}()
}

// plumbing connects readers and writers to another process's descriptors.
type plumbing struct {
	s     Streams
	tty   bool
	in    *os.File
	outs  []*os.File
	to    []io.Writer
	wg    sync.WaitGroup
	errMu sync.Mutex
	err   error
	quit  chan struct{} // closed when all is over
}

// pipes makes a pipe for every stream that is connected, and returns the other ends.
func (p *plumbing) pipes() (theirs [3]*os.File, err error) {
	if p.s.Stdin != nil {
		if p.in, theirs[0], err = wire.Pipe(true); err != nil {
			return theirs, err
		}
	}
	for i, w := range []io.Writer{p.s.Stdout, p.s.Stderr} {
		if w == nil {
			continue
		}
		ours, other, err := wire.Pipe(false)
		if err != nil {
			wire.Close(theirs[:]...)
			return [3]*os.File{}, err
		}
		p.outs, p.to, theirs[i+1] = append(p.outs, ours), append(p.to, w), other
	}
	return theirs, nil
}

// terminal connects a terminal's master instead.
func (p *plumbing) terminal(master *os.File) error {
	fd, err := wire.Dup(master)
	if err != nil {
		return errors.Join(err, master.Close())
	}
	p.in = os.NewFile(uintptr(fd), "terminal")
	p.outs, p.to = []*os.File{master}, []io.Writer{p.s.Stdout}
	if p.s.Stdout == nil {
		p.to[0] = io.Discard
	}
	p.resize(p.in, p.s.Resize)
	p.start()
	return nil
}

func (p *plumbing) start() {
	for i, f := range p.outs {
		p.wg.Go(func() { p.copy(p.to[i], f) })
	}
	if p.in == nil || p.s.Stdin == nil {
		return
	}
	go func() {
		_, _ = io.Copy(p.in, p.s.Stdin)
		if !p.tty {
			_ = p.in.Close()
		}
	}()
}

func (p *plumbing) resize(f *os.File, sizes <-chan TermSize) {
	if sizes == nil {
		return
	}
	go func() {
		for {
			select {
			case s, ok := <-sizes:
				if !ok {
					return
				}
				setSize(f, s)
			case <-p.quit:
				return
			}
		}
	}()
}

func setSize(f *os.File, s TermSize) {
	rc, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = rc.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: s.Height, Col: s.Width})
	})
}

// copy reads until the end, or until nothing is left once the command has ended: its
// children may hold the other end for ever.
func (p *plumbing) copy(w io.Writer, f *os.File) {
	buf := make([]byte, 32<<10)
	for {
		n, err := f.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			n, err = readNow(f, buf)
		}
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				p.fail(err)
				_ = f.Close() // the command gets SIGPIPE, as it would in a pipeline
				return
			}
		}
		if err != nil || n == 0 {
			return // the end; of a terminal, EIO
		}
	}
}

// readNow reads what is there.
func readNow(f *os.File, buf []byte) (n int, err error) {
	rc, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var rerr error
	err = rc.Control(func(fd uintptr) { n, rerr = unix.Read(int(fd), buf) })
	return max(n, 0), errors.Join(err, rerr)
}

func (p *plumbing) fail(err error) {
	p.errMu.Lock()
	defer p.errMu.Unlock()
	p.err = errors.Join(p.err, err)
}

// drain waits until everything that was written has been copied. The command has ended.
func (p *plumbing) drain(ctx context.Context) error {
	for _, f := range p.outs {
		_ = f.SetReadDeadline(time.Unix(1, 0))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.wg.Wait()
	}()
	select {
	case <-done:
		p.errMu.Lock()
		defer p.errMu.Unlock()
		return p.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *plumbing) close() {
	close(p.quit)
	wire.Close(p.in)
	wire.Close(p.outs...)
}
