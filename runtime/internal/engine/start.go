//go:build linux

package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/internal/crash"
	"github.com/bedplate/bedplate/runtime/internal/proc"
	"github.com/bedplate/bedplate/runtime/internal/wire"
)

// Names of streams: of files, of what the keeper keeps and in logs.
const (
	stdinName   = "stdin"
	stdoutName  = "stdout"
	stderrName  = "stderr"
	consoleName = "console"
)

// starting is one attempt to start a container.
type starting struct {
	e        *Engine
	id       string
	b        Bundle
	warnings []string

	c     *libcontainer.Container
	p     *libcontainer.Process
	out   *output
	stdin *os.File   // our end
	child []*os.File // the container's ends
}

func (s *starting) start() (Run, error) {
	config, err := s.config()
	if err != nil {
		return Run{}, err
	}
	if s.out, err = newOutput(s.e.log.With("container", s.id), s.b); err != nil {
		return Run{}, err
	}
	if s.c, err = libcontainer.Create(s.e.dir.Libcontainer(), s.id, config); err != nil {
		return Run{}, err
	}
	crash.At("start.state")
	s.p = process(s.b.Spec.Process)
	s.p.Init = true
	console, err := s.connect()
	if err != nil {
		return Run{}, err
	}
	crash.At("start.connected")
	err = s.c.Start(s.p)
	wire.Close(s.child...)
	if err == nil && console != nil {
		err = s.terminal(console)
	}
	if console != nil {
		_ = console.Close()
	}
	if err != nil {
		return Run{}, err
	}
	crash.At("start.created")
	return s.release()
}

// release records the process and lets it become the command.
func (s *starting) release() (Run, error) {
	st, err := s.c.State()
	if err != nil {
		return Run{}, err
	}
	run := Run{
		PID: st.InitProcessPid, StartTime: st.InitProcessStartTime, StartedAt: time.Now(),
		Boot: s.e.boot, Warnings: s.warnings,
	}
	p, err := proc.Open(run.PID, run.StartTime)
	if err != nil {
		return Run{}, err
	}
	if err := errors.Join(s.e.dir.Spool().Expect(run.PID, run.StartTime), Save(s.e.dir.runFile(s.id), run)); err != nil {
		return Run{}, errors.Join(err, p.Close())
	}
	crash.At("start.recorded")
	const patience = 30 * time.Second
	if err := s.e.release(s.id, p, patience); err != nil {
		return Run{}, errors.Join(err, p.Close(), s.e.dir.Spool().Remove(run.PID, run.StartTime), os.Remove(s.e.dir.runFile(s.id)))
	}
	crash.At("start.released")
	s.e.supervise(&running{
		id: s.id, proc: p, start: run.StartTime, tty: s.b.TTY, out: s.out, stdin: s.stdin, ended: make(chan struct{}),
	}, privatePID(s.b.Spec), s.b.Spec.Linux.CgroupsPath)
	return run, nil
}

// undo leaves nothing of a start that went wrong.
func (s *starting) undo() error {
	wire.Close(s.child...)
	wire.Close(s.stdin)
	if s.out != nil {
		s.out.close()
	}
	err := s.e.Clean(s.id, s.b.Spec.Linux.CgroupsPath)
	if s.p != nil {
		_, _ = s.p.Wait() // the killed init stage, if there was one
	}
	return err
}

// config translates the spec, fitting it to what this machine allows.
func (s *starting) config() (*configs.Config, error) {
	spec := s.b.Spec
	// libcontainer refuses a root behind a link, and so do we; but its parents may be links.
	parent, err := filepath.EvalSymlinks(filepath.Dir(spec.Root.Path))
	if err != nil {
		return nil, fmt.Errorf("root file system: %w", err)
	}
	spec.Root.Path = filepath.Join(parent, filepath.Base(spec.Root.Path))
	s.fit(spec.Process)
	c, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{CgroupName: s.id, Spec: spec})
	if err != nil {
		return nil, err
	}
	for _, r := range spec.Process.Rlimits {
		n, ok := rlimits[r.Type]
		if !ok {
			return nil, fmt.Errorf("rlimit %q is unknown", r.Type)
		}
		c.Rlimits = append(c.Rlimits, configs.Rlimit{Type: n, Hard: r.Hard, Soft: r.Soft})
	}
	return c, nil
}

// fit lowers limits that need privileges which this machine doesn't give.
func (s *starting) fit(p *specs.Process) {
	for i, r := range p.Rlimits {
		most := mostOf(r.Type)
		if r.Hard <= most {
			continue
		}
		p.Rlimits[i].Hard, p.Rlimits[i].Soft = most, min(r.Soft, most)
		s.warn("%s is %d instead of %d: the machine allows no more", r.Type, most, r.Hard)
	}
	if p.OOMScoreAdj == nil {
		return
	}
	if least := leastOOMScore(); *p.OOMScoreAdj < least {
		s.warn("oom_score_adj is %d instead of %d: the machine allows no less", least, *p.OOMScoreAdj)
		p.OOMScoreAdj = &least
	}
}

func (s *starting) warn(format string, args ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, args...))
}

// mayRaise tells whether this process may raise hard limits.
func mayRaise() bool {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), "CapEff:")
	line, _, _ := strings.Cut(rest, "\n")
	caps, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	return err == nil && caps&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// mostOf is the highest that this process may make a hard limit of a child. A privileged one is bound too for open
// files, by fs.nr_open.
func mostOf(limit string) uint64 {
	var have unix.Rlimit
	n, ok := rlimits[limit]
	switch {
	case !ok:
		return unix.RLIM_INFINITY
	case !mayRaise():
		if unix.Getrlimit(n, &have) == nil {
			return have.Max
		}
	case n == unix.RLIMIT_NOFILE:
		if most, err := readNumber("/proc/sys/fs/nr_open"); err == nil {
			return uint64(most)
		}
	}
	return unix.RLIM_INFINITY
}

func readNumber(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// leastOOMScore is the lowest oom_score_adj that this process may give to a child.
func leastOOMScore() int {
	if mayRaise() {
		return -1000
	}
	n, err := readNumber("/proc/self/oom_score_adj")
	if err != nil {
		return 0
	}
	return n
}

// connect makes the container's standard streams. It returns the socket that the
// terminal's master will come from, if there is to be one.
func (s *starting) connect() (console *os.File, err error) {
	if s.b.TTY {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("socketpair", err)
		}
		s.p.ConsoleSocket = os.NewFile(uintptr(pair[1]), consoleName)
		s.child = append(s.child, s.p.ConsoleSocket)
		return os.NewFile(uintptr(pair[0]), consoleName), nil
	}
	for _, name := range []string{stdoutName, stderrName} {
		if err := s.pipe(name); err != nil {
			return nil, err
		}
	}
	s.p.Stdout, s.p.Stderr = s.child[0], s.child[1]
	if !s.b.Stdin {
		return nil, nil
	}
	ours, theirs, err := wire.Pipe(true)
	if err != nil {
		return nil, err
	}
	s.stdin, s.child, s.p.Stdin = ours, append(s.child, theirs), theirs
	return nil, s.e.keep(s.id, stdinName, ours)
}

// pipe makes a named pipe for output. The container opens it for reading too: it
// gets neither SIGPIPE nor an end while nobody else reads.
func (s *starting) pipe(name string) error {
	path := s.e.dir.stream(s.id, name)
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	f, err := openFifo(path)
	if err != nil {
		return err
	}
	src, err := newFifo(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.out.add(name, src)
	if err := s.e.keep(s.id, name, f); err != nil {
		return err
	}
	child, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	s.child = append(s.child, child)
	return nil
}

func openFifo(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

func (s *starting) terminal(console *os.File) error {
	master, err := receiveMaster(console)
	if err != nil {
		return err
	}
	if err := s.e.keep(s.id, consoleName, master); err != nil {
		return errors.Join(err, master.Close())
	}
	src, in, err := splitTerminal(master)
	if err != nil {
		return err
	}
	s.out.add(stdoutName, src)
	s.stdin = in
	return nil
}

// splitTerminal takes over a master and returns it as source, and for writing to.
func splitTerminal(master *os.File) (*terminal, *os.File, error) {
	fd, err := wire.Dup(master)
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	in := os.NewFile(uintptr(fd), consoleName)
	src, err := newTerminal(master)
	if err != nil {
		return nil, nil, errors.Join(err, master.Close(), in.Close())
	}
	return src, in, nil
}

// receiveMaster takes the master of a terminal from a socket that libcontainer's init stage
// has already sent it to.
func receiveMaster(console *os.File) (*os.File, error) {
	name, oob := make([]byte, 256), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(console.Fd()), name, oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 {
		return nil, fmt.Errorf("receive terminal: %d control messages: %w", len(msgs), errors.Join(err))
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	return wire.Pollable(os.NewFile(uintptr(fds[0]), consoleName))
}

// process translates the part of a spec that start and exec share.
func process(p *specs.Process) *libcontainer.Process {
	groups := make([]int, len(p.User.AdditionalGids))
	for i, g := range p.User.AdditionalGids {
		groups[i] = int(g)
	}
	return &libcontainer.Process{
		Args: p.Args, Env: p.Env, Cwd: p.Cwd,
		UID: int(p.User.UID), GID: int(p.User.GID), AdditionalGroups: groups,
	}
}

// privatePID tells whether all of a container's processes end with its first.
func privatePID(spec *specs.Spec) bool {
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == specs.PIDNamespace {
			return ns.Path == ""
		}
	}
	return false
}

var rlimits = map[string]int{
	"RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_DATA": unix.RLIMIT_DATA,
	"RLIMIT_STACK": unix.RLIMIT_STACK, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_RSS": unix.RLIMIT_RSS,
	"RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME": unix.RLIMIT_RTTIME,
}
