//go:build linux

// Package cg makes, limits, reads, empties and removes cgroups of version 1 and 2 by
// their absolute path, whoever made them and whatever is in them.
package cg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // device rules
	"github.com/opencontainers/cgroups/manager"
	"golang.org/x/sys/unix"
)

// Group is one cgroup, in every hierarchy.
type Group struct{ m cgroups.Manager }

// Open returns the group at path, an absolute path within each hierarchy. It need not
// exist.
func Open(path string) (*Group, error) { return open(path, &cgroups.Resources{}) }

func open(path string, r *cgroups.Resources) (*Group, error) {
	r.SkipDevices = true
	m, err := manager.New(&cgroups.Cgroup{Path: path, Resources: r})
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", path, err)
	}
	return &Group{m}, nil
}

// Create makes the group at path and limits it.
func Create(path string, r cgroups.Resources) (*Group, error) {
	g, err := open(path, &r)
	if err != nil {
		return nil, err
	}
	if err := g.m.Apply(-1); err != nil {
		return nil, fmt.Errorf("create cgroup %s: %w", path, err)
	}
	if err := g.set(&r); err != nil {
		return nil, errors.Join(fmt.Errorf("limit cgroup %s: %w", path, err), g.Remove())
	}
	return g, nil
}

// detected is done when the library has set limits once: it then finds out the names of files and keeps them in a variable of
// the process, without a lock.
var detected sync.Once

func (g *Group) set(r *cgroups.Resources) (err error) {
	done := false
	detected.Do(func() { err, done = g.m.Set(r), true })
	if !done {
		err = g.m.Set(r)
	}
	return err
}

// Add moves a process into the group, making it if need be.
func (g *Group) Add(pid int) error {
	if err := g.m.Apply(pid); err != nil {
		return fmt.Errorf("add process %d to cgroup: %w", pid, err)
	}
	return nil
}

// Exists tells whether any hierarchy has the group.
func (g *Group) Exists() bool {
	for _, p := range g.m.GetPaths() {
		if cgroups.PathExists(p) {
			return true
		}
	}
	return false
}

// Stats is what the group has used.
type Stats struct {
	CPU                                             time.Duration
	Memory, WorkingSet, Anonymous, Limit, Pids, OOM uint64
}

// Stats reads CPU, memory and pids. fs.ErrNotExist if there is no such group.
func (g *Group) Stats() (Stats, error) {
	if !g.Exists() {
		return Stats{}, fmt.Errorf("read cgroup: %w", fs.ErrNotExist)
	}
	s, err := g.m.Stats(&cgroups.StatsOptions{Controllers: cgroups.CPU | cgroups.Memory | cgroups.Pids})
	if err != nil {
		return Stats{}, fmt.Errorf("read cgroup: %w", err)
	}
	m := s.MemoryStats
	out := Stats{
		CPU:    time.Duration(s.CpuStats.CpuUsage.TotalUsage),
		Memory: m.Usage.Usage, WorkingSet: m.Usage.Usage, Pids: s.PidsStats.Current,
		// Version 1 has totals of the subtree beside the group's own figures.
		Anonymous: first(m.Stats, "total_rss", "anon"),
	}
	inactive := first(m.Stats, "total_inactive_file", "inactive_file")
	out.WorkingSet -= min(inactive, out.WorkingSet)
	if unlimited := uint64(1) << 62; m.Usage.Limit < unlimited {
		out.Limit = m.Usage.Limit
	}
	out.OOM = g.OOMKills()
	return out, nil
}

func first(m map[string]uint64, keys ...string) uint64 {
	for _, k := range keys {
		if v, ok := m[k]; ok {
			return v
		}
	}
	return 0
}

// OOMKills counts the processes that the kernel killed in the group for want of memory; 0
// where it can't be read.
func (g *Group) OOMKills() uint64 {
	n, err := g.m.OOMKillCount()
	if err != nil {
		return 0
	}
	return n
}

// Kill ends every process in the group and below, and returns once there is none, or
// with an error after patience.
func (g *Group) Kill(patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		pids, err := g.pids()
		if err != nil || len(pids) == 0 {
			return err
		}
		g.thaw()
		if err := g.killOnce(pids, deadline); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("kill cgroup: processes %v don't end", pids)
		}
	}
}

// killOnce kills those of pids that are in the group, and waits for their end. A PID may
// have gone to another process since it was listed: one that is still listed after it was
// opened has not.
func (g *Group) killOnce(pids []int, deadline time.Time) error {
	open := map[int]int{}
	defer func() {
		for _, fd := range open {
			_ = unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			open[pid] = fd
		}
	}
	still, err := g.pids()
	if err != nil {
		return err
	}
	all := g.killAll()
	var ends []unix.PollFd
	for _, pid := range still {
		if fd, ok := open[pid]; ok {
			if !all {
				_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			}
			ends = append(ends, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	if len(ends) == 0 {
		time.Sleep(time.Millisecond) // what was listed is about to leave the list
	}
	for i := range ends {
		left := max(time.Until(deadline).Milliseconds(), 0)
		_, _ = unix.Poll(ends[i:i+1], int(left))
	}
	return nil
}

// killAll has the kernel kill everything in the group at once, whatever is forked meanwhile too: version 2 since
// Linux 5.14. It tells whether it could.
func (g *Group) killAll() bool {
	for _, p := range g.m.GetPaths() {
		if cgroups.WriteFile(p, "cgroup.kill", "1") != nil {
			return false
		}
	}
	return true
}

// pids lists processes in every hierarchy: after a crash it may be in some of them.
func (g *Group) pids() ([]int, error) {
	var all []int
	for _, p := range g.m.GetPaths() {
		pids, err := cgroups.GetAllPids(p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return nil, fmt.Errorf("list cgroup: %w", err)
		}
		if len(pids) > 0 {
			return pids, nil
		}
		all = append(all, pids...)
	}
	return all, nil
}

// thaw lets frozen processes die.
func (g *Group) thaw() {
	if s, err := g.m.GetFreezerState(); err == nil && s == cgroups.Frozen {
		_ = g.m.Freeze(cgroups.Thawed)
	}
}

// Remove kills what runs in the group and removes it and those below. Of none it is
// a no-op.
func (g *Group) Remove() error {
	if !g.Exists() {
		return nil
	}
	if err := g.Kill(10 * time.Second); err != nil {
		return err
	}
	for _, p := range g.m.GetPaths() {
		if err := cgroups.RemovePath(p); err != nil {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
	return nil
}

// Prune removes the group's empty descendants, and itself if it is empty then.
func (g *Group) Prune() {
	for _, p := range g.m.GetPaths() {
		_ = cgroups.RemovePath(p)
	}
}

// Check tells what this machine lacks to run containers under cgroups.
func Check() error {
	if cgroups.IsCgroup2UnifiedMode() {
		b, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
		if err != nil {
			return fmt.Errorf("cgroup version 2: %w", err)
		}
		return missing(strings.Fields(string(b)), "cpu", "memory", "pids")
	}
	subsystems, err := cgroups.GetAllSubsystems()
	if err != nil {
		return fmt.Errorf("cgroups: %w", err)
	}
	var mounted []string
	for _, s := range subsystems {
		if _, err := cgroups.FindCgroupMountpoint("", s); err == nil {
			mounted = append(mounted, s)
		}
	}
	return missing(mounted, "cpu", "memory", "pids", "devices", "freezer")
}

func missing(have []string, want ...string) error {
	set := map[string]bool{}
	for _, h := range have {
		set[h] = true
	}
	for _, w := range want {
		if !set[w] {
			return fmt.Errorf("the cgroup controller %q is not available: mount it, or boot with it enabled", w)
		}
	}
	return nil
}

// Join builds the absolute path of a group below parent.
func Join(parent, rel string) string { return filepath.Join("/", parent, rel) }
