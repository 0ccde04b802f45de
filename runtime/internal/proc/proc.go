//go:build linux

// Package proc identifies, waits for and signals processes that may be anybody's
// children. A process is named by its PID and start time, so that a recycled PID is
// never taken for it, and waited for on a pidfd in Go's own poller: no thread blocks
// and nothing polls.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrGone tells that the process has ended and was reaped, or never was.
var ErrGone = errors.New("process is gone")

// Stat reads the start time (clock ticks since boot) and state letter of a process.
func Stat(pid int) (start uint64, state byte, err error) {
	f, err := fields(pid)
	if err != nil {
		return 0, 0, err
	}
	start, err = strconv.ParseUint(string(f[startField]), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("stat process %d: %w", pid, err)
	}
	return start, f[0][0], nil
}

// Parent returns the command line, its arguments separated by NUL, and PID of a process's
// parent.
func Parent(pid int) (ppid int, command string, err error) {
	f, err := fields(pid)
	if err != nil {
		return 0, "", err
	}
	ppid, err = strconv.Atoi(string(f[1]))
	if err != nil {
		return 0, "", fmt.Errorf("stat process %d: %w", pid, err)
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(ppid) + "/cmdline")
	return ppid, string(b), err
}

// Children returns the children of a process, zombies among them, with the names of their commands.
func Children(of int) (map[int]string, error) {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	out := map[int]string{}
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		f, err := fields(pid)
		if err != nil || string(f[1]) != strconv.Itoa(of) {
			continue // it may have gone meanwhile
		}
		if name, err := os.ReadFile("/proc/" + e.Name() + "/comm"); err == nil {
			out[pid] = string(bytes.TrimSuffix(name, []byte("\n")))
		}
	}
	return out, nil
}

// startField is where the start time is, in what fields returns.
const startField = 22 - 3 // in proc(5), after pid and comm

// fields are those of /proc/PID/stat after the command.
func fields(pid int) ([][]byte, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			err = ErrGone
		}
		return nil, fmt.Errorf("stat process %d: %w", pid, err)
	}
	// The command may hold spaces and parentheses: fields count from the last one.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) <= startField {
		return nil, fmt.Errorf("stat process %d: short line %q", pid, b)
	}
	return f, nil
}

// Alive tells whether the process of that PID and, unless start is 0, that start time runs
// (a zombie doesn't).
func Alive(pid int, start uint64) bool {
	s, state, err := Stat(pid)
	return err == nil && (start == 0 || s == start) && state != 'Z' && state != 'X'
}

// Process is a handle that stays on one process whatever happens to its PID.
// Its methods may be called concurrently.
type Process struct {
	PID int
	f   *os.File
}

// Open returns a handle on the process with that PID and, unless start is 0, that
// start time; ErrGone if there is none.
func Open(pid int, start uint64) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		if errors.Is(err, unix.ESRCH) {
			err = ErrGone
		}
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	// The pidfd holds whichever process has the PID now; compare only after opening it.
	if start != 0 {
		s, _, err := Stat(pid)
		if err == nil && s != start {
			err = fmt.Errorf("open process %d: %w", pid, ErrGone)
		}
		if err != nil {
			_ = unix.Close(fd)
			return nil, err
		}
	}
	return &Process{PID: pid, f: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// Close releases the handle and ends a Wait with os.ErrClosed.
func (p *Process) Close() error { return p.f.Close() }

// Wait returns nil once the process has ended, reaped or not.
func (p *Process) Wait(ctx context.Context) error {
	c, err := p.f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.f.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() {
			_ = p.f.SetReadDeadline(time.Time{})
		}
	}()
	err = c.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && n > 0
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	return err
}

// Signal sends sig; ErrGone if the process was reaped already.
func (p *Process) Signal(sig syscall.Signal) error {
	return p.control(func(fd int) error {
		err := unix.PidfdSendSignal(fd, sig, nil, 0)
		if errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("signal process %d: %w", p.PID, ErrGone)
		}
		if err != nil {
			return fmt.Errorf("signal process %d: %w", p.PID, err)
		}
		return nil
	})
}

// Exit is how a process ended.
type Exit struct {
	Code   int // the exit code; 128 and the signal's number if a signal ended it
	Signal syscall.Signal
}

// Peek returns how a child of this process ended, without reaping it. ok is false if
// it runs, is not a child, or was reaped.
func (p *Process) Peek() (e Exit, ok bool, err error) {
	err = p.control(func(fd int) error {
		e, ok, err = waitid(fd, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT)
		return err
	})
	return e, ok, err
}

// Reap removes an ended child from the process table. Of no child it is a no-op.
func (p *Process) Reap() error {
	return p.control(func(fd int) error {
		_, _, err := waitid(fd, unix.WEXITED|unix.WNOHANG)
		return err
	})
}

func (p *Process) control(f func(fd int) error) error {
	c, err := p.f.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := c.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

func waitid(fd, options int) (Exit, bool, error) {
	var si siginfo
	for {
		err := rawWaitid(fd, &si, options)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return Exit{}, false, nil
		case err != nil:
			return Exit{}, false, fmt.Errorf("waitid: %w", err)
		case si.pid == 0:
			return Exit{}, false, nil
		}
		return FromWait(int(si.code), int(si.status)), true, nil
	}
}

// FromWait translates the si_code and si_status of waitid(2).
func FromWait(code, status int) Exit {
	const cldExited = 1
	if code == cldExited {
		return Exit{Code: status}
	}
	return Exit{Code: 128 + status, Signal: syscall.Signal(status)}
}
