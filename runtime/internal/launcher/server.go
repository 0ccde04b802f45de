//go:build linux

package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/internal/engine"
	"github.com/bedplate/bedplate/runtime/internal/keeper"
	"github.com/bedplate/bedplate/runtime/internal/proc"
	"github.com/bedplate/bedplate/runtime/internal/wire"
)

// maxConns bounds the requests in progress. More wait to be accepted.
const maxConns = 1024

// maxLog is the size in bytes at which a starting launcher empties its log.
const maxLog = 1 << 20

// Is tells whether this process was started to be a launcher.
func Is() bool { return len(os.Args) == 2 && os.Args[0] == keeper.LauncherName }

// Main is the launcher process. It returns its exit code: 0 ends the keeper too.
func Main() int {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(engine.Layout(os.Args[1]), log); err != nil {
		log.Error("launcher", "err", err)
		return 1
	}
	return 0
}

func run(dir engine.Layout, log *slog.Logger) error {
	if st, err := os.Stderr.Stat(); err == nil && st.Size() > maxLog {
		_ = os.Stderr.Truncate(0)
	}
	unix.CloseOnExec(keeper.LauncherControl)
	unix.CloseOnExec(keeper.LauncherListen)
	line, err := keeper.NewLine(os.NewFile(keeper.LauncherControl, "keeper"))
	if err != nil {
		return err
	}
	f := os.NewFile(keeper.LauncherListen, "listen")
	l, err := net.FileListener(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	ul, ok := l.(*net.UnixListener)
	if !ok {
		return fmt.Errorf("listen: socket is a %T", l)
	}
	e, err := engine.New(dir, log, line)
	if err != nil {
		return err
	}
	kept, err := line.Kept()
	if err != nil {
		return err
	}
	if err := e.Adopt(kept); err != nil {
		return err
	}
	s := &server{e: e, log: log, l: ul, slots: make(chan struct{}, maxConns)}
	return s.serve()
}

type server struct {
	e     *engine.Engine
	log   *slog.Logger
	l     *net.UnixListener
	slots chan struct{}
	quit  sync.Once
}

// serve answers until asked to quit.
func (s *server) serve() error {
	for {
		s.slots <- struct{}{}
		c, err := s.l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			s.log.Error("accept", "err", err)
			time.Sleep(10 * time.Millisecond) // out of descriptors, most likely
			<-s.slots
			continue
		}
		go func() {
			defer func() { <-s.slots }()
			defer c.Close()
			if err := s.handle(&wire.Conn{UnixConn: c}); err != nil {
				s.log.Error("request", "err", err)
			}
		}()
	}
}

// handle answers one connection. Its error is one of the connection; those of requests go to
// who asked.
func (s *server) handle(c *wire.Conn) error {
	if err := authorize(c.UnixConn); err != nil {
		return err
	}
	const patience = 10 * time.Second
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var r request
	files, err := c.Receive(&r)
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	_ = c.SetReadDeadline(time.Time{})
	if r.Version != Version {
		wire.Close(files...)
		return c.Send(failed(fmt.Errorf("the running launcher speaks protocol version %d, not %d: shut down the runtime with the program that started it", Version, r.Version)))
	}
	switch r.Op {
	case opExec:
		return s.exec(c, r, files)
	case opAttach:
		return s.attach(c, r, files)
	}
	wire.Close(files...)
	switch r.Op {
	case opHello:
		return s.hello(c)
	case opStart:
		return s.start(c, r.ID)
	case opReopen:
		return reply(c, s.e.Reopen(r.ID))
	case opQuit:
		defer s.quit.Do(func() { _ = s.l.Close() })
		return c.Send(response{Done: true})
	}
	return c.Send(failed(fmt.Errorf("unknown operation %q", r.Op)))
}

func reply(c *wire.Conn, err error) error {
	if err != nil {
		return c.Send(failed(err))
	}
	return c.Send(response{Done: true})
}

// authorize lets in who could do all this without us, and nobody else.
func authorize(c *net.UnixConn) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var cerr error
	if err := rc.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if cerr != nil {
		return os.NewSyscallError("getsockopt SO_PEERCRED", cerr)
	}
	if int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("refused user %d", cred.Uid)
	}
	return nil
}

// hello answers once the starts of an agent that died are through, so that a new one
// finds the folder at rest.
func (s *server) hello(c *wire.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.e.Idle(ctx); err != nil {
		return c.Send(failed(err))
	}
	return c.Send(response{PID: os.Getpid(), Done: true})
}

func (s *server) start(c *wire.Conn, id string) error {
	run, err := s.e.Start(id)
	if err != nil {
		return c.Send(failed(err))
	}
	return c.Send(response{Run: &run, Done: true})
}

// byStream sorts descriptors into stdin, stdout and stderr.
func byStream(which [3]bool, files []*os.File) (out [3]*os.File, err error) {
	for i, want := range which {
		if !want {
			continue
		}
		if len(files) == 0 {
			return out, errors.New("descriptors are missing")
		}
		out[i], files = files[0], files[1:]
	}
	if len(files) > 0 {
		return out, errors.New("too many descriptors")
	}
	return out, nil
}

func (s *server) exec(c *wire.Conn, r request, files []*os.File) error {
	stdio, err := byStream(r.Streams, files)
	if err == nil && r.Exec == nil {
		err = errors.New("exec without a command")
	}
	if err != nil {
		wire.Close(files...)
		return c.Send(failed(err))
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel() // the agent hung up
		var r request
		for {
			files, err := c.Receive(&r)
			wire.Close(files...)
			if err != nil {
				return
			}
		}
	}()
	exit, err := s.e.Exec(ctx, r.ID, *r.Exec, stdio, func(pid int, master *os.File) error {
		start, _, err := proc.Stat(pid)
		if master == nil {
			return errors.Join(err, c.Send(response{PID: pid, StartTime: start}))
		}
		defer master.Close()
		return errors.Join(err, c.Send(response{PID: pid, StartTime: start}, master))
	})
	if err != nil {
		err = c.Send(failed(err))
	} else {
		err = c.Send(response{Exit: &exit, Done: true})
	}
	if ctx.Err() != nil {
		return nil // nobody listens
	}
	return err
}

func (s *server) attach(c *wire.Conn, r request, files []*os.File) error {
	stdio, err := byStream(r.Streams, files)
	if err != nil || stdio[0] != nil {
		wire.Close(files...)
		return c.Send(failed(fmt.Errorf("attach: wrong descriptors: %w", errors.Join(err))))
	}
	for i, f := range stdio {
		if f == nil {
			continue
		}
		if stdio[i], err = wire.Pollable(f); err != nil {
			wire.Close(files...)
			return c.Send(failed(err))
		}
	}
	a, err := s.e.Attach(r.ID, stdio[1], stdio[2])
	if err != nil {
		return c.Send(failed(err))
	}
	if err := s.greetAttached(c, a); err != nil {
		return errors.Join(err, a.Close())
	}
	hungUp := make(chan struct{})
	go func() {
		defer close(hungUp)
		for {
			var m request
			files, err := c.Receive(&m)
			wire.Close(files...)
			if err != nil {
				return
			}
			if m.CloseStdin {
				_ = s.e.CloseStdin(r.ID)
			}
		}
	}()
	select {
	case <-hungUp:
		_ = a.Close()
		return nil
	case <-a.Done:
		return reply(c, a.Close())
	}
}

func (s *server) greetAttached(c *wire.Conn, a *engine.Attachment) error {
	if a.Stdin == nil {
		return c.Send(response{})
	}
	defer a.Stdin.Close()
	return c.Send(response{}, a.Stdin)
}
