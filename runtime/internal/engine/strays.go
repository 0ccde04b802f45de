//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/runc/libcontainer"

	"github.com/bedplate/bedplate/runtime/internal/proc"
)

// What libcontainer's helpers are called before they become a command.
const (
	helperName  = "runc:[1:CHILD]"
	commandName = "runc:[2:INIT]"
)

// begin starts a command in a container. Its PID is ours until disown.
func (e *Engine) begin(id string, c *libcontainer.Container, p *libcontainer.Process) (pid int, err error) {
	e.spawning.RLock()
	if err = c.Start(p); err == nil {
		if pid, err = p.Pid(); err == nil {
			e.own(pid)
		}
	}
	e.spawning.RUnlock()
	if err != nil {
		e.reapStrays(id)
	}
	return pid, err
}

func (e *Engine) own(pid int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.commands[pid] = true
}

func (e *Engine) disown(pid int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.commands, pid)
}

// reapStrays reaps the helpers that libcontainer forgets when a container is killed while a command starts in it. They
// are our children, and as long as one of them is a zombie in the container's PID namespace, the container's first
// process does not end.
//
// No command is begun meanwhile, so that only helpers without an owner are left. One of another engine in this process
// may be taken for ours: libcontainer doesn't mind who reaps those of the first name, and those of the second are
// told by their namespace.
func (e *Engine) reapStrays(id string) {
	e.spawning.Lock()
	defer e.spawning.Unlock()
	children, err := proc.Children(os.Getpid())
	if err != nil {
		e.log.Error("reap helpers", "container", id, "err", err)
	}
	inside := e.insider(id)
	for pid, name := range children {
		if name == helperName || name == commandName && inside(pid) {
			if err := reapSoon(pid); err != nil {
				e.log.Error("reap helper", "container", id, "pid", pid, "err", err)
			}
		}
	}
}

// insider tells PIDs that are in a container's own PID namespace and have no owner.
func (e *Engine) insider(id string) func(pid int) bool {
	r, err := e.get(id)
	if err != nil {
		return func(int) bool { return false } // it has ended, and so have all
	}
	space := func(pid int) string {
		s, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
		if err != nil {
			return ""
		}
		return s
	}
	its, ours := space(r.proc.PID), space(os.Getpid())
	return func(pid int) bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return its != "" && its != ours && pid != r.proc.PID && !e.commands[pid] && space(pid) == its
	}
}

// reapSoon reaps a child that was killed.
func reapSoon(pid int) error {
	p, err := proc.Open(pid, 0)
	if errors.Is(err, proc.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return errors.Join(p.Wait(ctx), p.Reap(), p.Close())
}
