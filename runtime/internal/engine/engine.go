//go:build linux

// Package engine starts containers on libcontainer and looks after them: it is what a
// launcher does, or the caller's own process where there is no launcher. It
// copies output, attaches and executes, and writes exit codes of its children to
// the spool. All that must outlive it is on disk, or with the keeper.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/internal/cg"
	"github.com/bedplate/bedplate/runtime/internal/crash"
	"github.com/bedplate/bedplate/runtime/internal/proc"
)

// ErrNotRunning tells that the container doesn't run, or is unknown.
var ErrNotRunning = errors.New("container is not running")

// Keeper holds descriptors for engines to come.
type Keeper interface {
	Keep(key string, f *os.File) error
	Drop(prefix string) error
}

// Engine runs the containers of one state folder. Its methods may be called concurrently.
type Engine struct {
	dir  Layout
	log  *slog.Logger
	boot string
	stop context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup

	keeperMu sync.Mutex
	keeper   Keeper // nil: none

	spawning sync.RWMutex // held for reading while a command begins

	mu       sync.Mutex
	running  map[string]*running
	busy     map[string]chan struct{}
	commands map[int]bool // PIDs of what Exec runs
}

// running is a container whose command has not ended.
type running struct {
	id    string
	proc  *proc.Process
	start uint64
	tty   bool
	out   *output
	stdin *os.File // what to write to for its standard input; nil if it has none
	ended chan struct{}
}

// New returns an engine for dir. keeper may be nil.
func New(dir Layout, log *slog.Logger, keeper Keeper) (*Engine, error) {
	boot, err := BootID()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Engine{
		dir: dir, log: log, boot: boot, stop: ctx, end: cancel, keeper: keeper,
		running: map[string]*running{}, busy: map[string]chan struct{}{}, commands: map[int]bool{},
	}, nil
}

// Close stops looking after containers, which go on.
func (e *Engine) Close() {
	e.end()
	e.mu.Lock()
	for _, r := range e.running {
		_ = r.proc.Close()
	}
	e.mu.Unlock()
	e.wg.Wait()
}

// lock serialises work on one container.
func (e *Engine) lock(id string) (unlock func()) {
	for {
		e.mu.Lock()
		c, taken := e.busy[id]
		if !taken {
			c = make(chan struct{})
			e.busy[id] = c
			e.mu.Unlock()
			return func() {
				e.mu.Lock()
				delete(e.busy, id)
				e.mu.Unlock()
				close(c)
			}
		}
		e.mu.Unlock()
		<-c
	}
}

// Idle waits until no start is under way.
func (e *Engine) Idle(ctx context.Context) error {
	for {
		e.mu.Lock()
		var c chan struct{}
		for _, c = range e.busy {
			break
		}
		e.mu.Unlock()
		if c == nil {
			return nil
		}
		select {
		case <-c:
		case <-ctx.Done():
			return fmt.Errorf("a container is still being started: %w", context.Cause(ctx))
		}
	}
}

// Start runs a container's command. Of one that was started before it only returns what it
// returned then, so that it can be repeated after a crash of either side.
func (e *Engine) Start(id string) (Run, error) {
	defer e.lock(id)()
	run, err := e.dir.Run(id)
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return run, err
	}
	var b Bundle
	if err := Load(e.dir.bundleFile(id), &b); err != nil {
		return Run{}, err
	}
	if err := e.Clean(id, b.Spec.Linux.CgroupsPath); err != nil {
		return Run{}, err
	}
	s := &starting{e: e, id: id, b: b}
	run, err = s.start()
	if err != nil {
		return Run{}, errors.Join(err, s.undo())
	}
	return run, nil
}

// Clean removes what a start that never finished, or a container that has ended, left:
// processes, cgroup, libcontainer's state, kept descriptors.
func (e *Engine) Clean(id, cgroup string) error {
	e.drop(id)
	return Clean(e.dir, id, cgroup)
}

// Clean is Engine.Clean without an engine.
func Clean(dir Layout, id, cgroup string) error {
	g, err := cg.Open(cgroup)
	if err != nil {
		return err
	}
	if err := g.Remove(); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir.Libcontainer(), id)); err != nil {
		return fmt.Errorf("clean container %s: %w", id, err)
	}
	return nil
}

func (e *Engine) keep(id, name string, f *os.File) error {
	e.keeperMu.Lock()
	defer e.keeperMu.Unlock()
	if e.keeper == nil {
		return nil
	}
	return e.keeper.Keep(id+"/"+name, f)
}

func (e *Engine) drop(id string) {
	e.keeperMu.Lock()
	defer e.keeperMu.Unlock()
	if e.keeper == nil {
		return
	}
	if err := e.keeper.Drop(id + "/"); err != nil {
		e.log.Error("line to the keeper", "err", err)
	}
}

// supervise takes over a container that runs.
func (e *Engine) supervise(r *running, private bool, cgroup string) {
	e.mu.Lock()
	e.running[r.id] = r
	e.mu.Unlock()
	r.out.run()
	e.wg.Go(func() { e.watch(r, private, cgroup) })
}

// watch waits for the end of a container and records it. The output comes first, so
// that whoever learns of the end finds the log whole.
func (e *Engine) watch(r *running, private bool, cgroup string) {
	err := r.proc.Wait(e.stop)
	r.out.drain(time.Second)
	if err == nil {
		e.record(r)
	}
	e.mu.Lock()
	delete(e.running, r.id)
	e.mu.Unlock()
	close(r.ended)
	if r.stdin != nil {
		_ = r.stdin.Close()
	}
	_ = r.proc.Close()
	if err != nil {
		return // the engine is closing
	}
	e.drop(r.id)
	if !private {
		e.killRest(r.id, cgroup)
	}
}

func (e *Engine) record(r *running) {
	exit, mine, err := r.proc.Peek()
	if err == nil && mine {
		err = e.dir.Spool().Write(r.proc.PID, r.start, exit, time.Now())
	}
	crash.At("exit.spooled")
	if err != nil {
		e.log.Error("record exit code", "container", r.id, "err", err)
	}
	if err := r.proc.Reap(); err != nil {
		e.log.Error("reap", "container", r.id, "err", err)
	}
}

// killRest ends what a container without a PID namespace of its own leaves behind.
func (e *Engine) killRest(id, cgroup string) {
	g, err := cg.Open(cgroup)
	if err == nil {
		err = g.Kill(5 * time.Second)
	}
	if err != nil {
		e.log.Error("kill what an ended container left", "container", id, "err", err)
	}
}

func (e *Engine) get(id string) (*running, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.running[id]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("container %s: %w", id, ErrNotRunning)
}

// Reopen has the container's log opened anew, after its file was renamed.
func (e *Engine) Reopen(id string) error {
	r, err := e.get(id)
	if err != nil {
		return err
	}
	return r.out.reopen()
}

// Adopt takes over containers that were started by an engine before, with the
// descriptors that its keeper kept. Of those that can't be it says why, and goes on.
func (e *Engine) Adopt(kept map[string]*os.File) error {
	entries, err := os.ReadDir(e.dir.Containers())
	if err != nil {
		return fmt.Errorf("adopt containers: %w", err)
	}
	for _, entry := range entries {
		id := entry.Name()
		if err := e.adopt(id, kept); err != nil && !errors.Is(err, os.ErrNotExist) {
			e.log.Error("adopt container", "container", id, "err", err)
		}
	}
	for key, f := range kept {
		_ = f.Close()
		id, _, _ := strings.Cut(key, "/")
		e.mu.Lock()
		_, lives := e.running[id]
		e.mu.Unlock()
		if !lives {
			e.drop(id)
		}
	}
	return nil
}

func (e *Engine) adopt(id string, kept map[string]*os.File) error {
	run, err := e.dir.Run(id)
	if err != nil {
		return err
	}
	var b Bundle
	if err := Load(e.dir.bundleFile(id), &b); err != nil {
		return err
	}
	out, stdin, err := e.reconnect(id, b, kept)
	if err != nil {
		return err
	}
	p, err := proc.Open(run.PID, run.StartTime)
	if run.Boot != e.boot {
		err = proc.ErrGone
	}
	if err != nil {
		// It ended while no engine lived: write what is left of its output.
		if p != nil {
			_ = p.Close()
		}
		out.run()
		out.drain(time.Second)
		if stdin != nil {
			_ = stdin.Close()
		}
		return nil
	}
	// It is about to open its end, or went past long ago.
	if err := e.release(id, p, time.Second); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		e.log.Error("release container", "container", id, "err", err)
	}
	e.supervise(&running{
		id: id, proc: p, start: run.StartTime, tty: b.TTY, out: out, stdin: stdin, ended: make(chan struct{}),
	}, privatePID(b.Spec), b.Spec.Linux.CgroupsPath)
	return nil
}

// reconnect finds a container's streams again: with the keeper, or as named pipes.
func (e *Engine) reconnect(id string, b Bundle, kept map[string]*os.File) (*output, *os.File, error) {
	out, err := newOutput(e.log.With("container", id), b)
	if err != nil {
		e.log.Error("output of a container is dropped", "container", id, "err", err)
		b.LogPath = ""
		if out, err = newOutput(e.log, b); err != nil {
			return nil, nil, err
		}
	}
	take := func(name string) *os.File {
		f := kept[id+"/"+name]
		delete(kept, id+"/"+name)
		return f
	}
	if b.TTY {
		return e.reconnectTerminal(out, take(consoleName))
	}
	for _, name := range []string{stdoutName, stderrName} {
		f := take(name)
		if f == nil {
			// There is no writer any more if it ended: then this only shows an end.
			if f, err = openFifo(e.dir.stream(id, name)); err != nil {
				out.close()
				return nil, nil, err
			}
			if err := e.keep(id, name, f); err != nil {
				e.log.Error("keep stream", "container", id, "err", err)
			}
		}
		src, err := newFifo(f)
		if err != nil {
			out.close()
			return nil, nil, err
		}
		out.add(name, src)
	}
	return out, take(stdinName), nil
}

func (e *Engine) reconnectTerminal(out *output, master *os.File) (*output, *os.File, error) {
	if master == nil {
		return out, nil, nil // it went with a keeper
	}
	src, in, err := splitTerminal(master)
	if err != nil {
		out.close()
		return nil, nil, err
	}
	out.add(stdoutName, src)
	return out, in, nil
}

// release lets an init stage, which waits for a reader of its fifo, become the command.
// It may be called again after a crash amid it.
func (e *Engine) release(id string, p *proc.Process, patience time.Duration) error {
	path := filepath.Join(e.dir.Libcontainer(), id, "exec.fifo")
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	defer f.Close()
	if err := f.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(e.stop)
	var wg sync.WaitGroup
	wg.Go(func() { // a dead one opens nothing any more
		if p.Wait(ctx) == nil {
			_ = f.SetReadDeadline(time.Unix(1, 0))
		}
	})
	defer wg.Wait()
	defer cancel()
	if err := awaitWriter(f); err != nil {
		if !proc.Alive(p.PID, 0) {
			err = errors.New("it ended before its command ran")
		}
		return fmt.Errorf("release container: %w", err)
	}
	return os.Remove(path)
}

// awaitWriter waits until somebody has written to a pipe that may have no writer yet, or
// has closed it.
func awaitWriter(f *os.File) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	err = rc.Read(wrote)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	// A command may have run and ended before we came to look.
	late := false
	if cerr := rc.Control(func(fd uintptr) { late = wrote(fd) }); cerr != nil || !late {
		return err
	}
	return nil
}

func wrote(fd uintptr) bool {
	var b [1]byte
	if n, _ := unix.Read(int(fd), b[:]); n > 0 {
		return true
	}
	ends := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	_, err := unix.Poll(ends, 0)
	return err == nil && ends[0].Revents&unix.POLLHUP != 0
}

// load finds libcontainer's own idea of a container.
func (e *Engine) load(id string) (*libcontainer.Container, error) {
	c, err := libcontainer.Load(e.dir.Libcontainer(), id)
	if errors.Is(err, libcontainer.ErrNotExist) {
		return nil, fmt.Errorf("container %s: %w", id, ErrNotRunning)
	}
	return c, err
}
