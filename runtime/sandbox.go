//go:build linux

package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/internal/cg"
	"github.com/bedplate/bedplate/runtime/internal/crash"
	"github.com/bedplate/bedplate/runtime/internal/engine"
	"github.com/bedplate/bedplate/runtime/internal/nspin"
)

// sandbox is what is known of a sandbox. Guarded by Runtime.mu but for op.
type sandbox struct {
	status SandboxStatus
	op     chan struct{} // taken by who makes or removes it
	made   bool
}

// sandboxRecord is what is stored of a sandbox, before any of it exists.
type sandboxRecord struct {
	Format    int
	Spec      SandboxSpec
	CreatedAt time.Time
}

// Files in a sandbox's folder. ready is written last when it is made and deleted first
// when it is removed: a sandbox without it doesn't exist.
func (r *Runtime) sandboxFile(id, name string) string { return filepath.Join(r.dir.Sandbox(id), name) }

const (
	sandboxSpecFile  = "spec.json"
	sandboxReadyFile = "ready"
	sandboxNsDir     = "ns"
	sandboxShmDir    = "shm"
)

func pinSpec(s SandboxSpec) nspin.Spec {
	p := nspin.Spec{Net: !s.HostNetwork, UTS: !s.HostNetwork, IPC: !s.HostIPC, Hostname: s.Hostname, Sysctls: s.Sysctls}
	if p.Hostname == "" {
		p.Hostname = s.ID[:min(len(s.ID), 63)]
	}
	const ping = "net.ipv4.ping_group_range"
	if _, set := s.Sysctls[ping]; !set && p.Net {
		p.Sysctls = map[string]string{ping: "0 2147483647"}
		for k, v := range s.Sysctls {
			p.Sysctls[k] = v
		}
	}
	return p
}

func (r *Runtime) sandboxStatus(rec sandboxRecord) SandboxStatus {
	st := SandboxStatus{Spec: rec.Spec, CreatedAt: rec.CreatedAt}
	rel := rec.Spec.CgroupPath
	if rel == "" {
		rel = "pod-" + rec.Spec.ID
	}
	st.CgroupPath = cg.Join(r.cfg.CgroupParent, rel)
	if !rec.Spec.HostNetwork {
		st.NetnsPath = r.sandboxFile(rec.Spec.ID, sandboxNsDir+"/"+nspin.Net)
	}
	return st
}

// CreateSandbox makes a sandbox: namespaces, host name, sysctls, lo up, /dev/shm, cgroup. On
// error nothing is left. Errors are ErrInvalid, ErrUnsupported, ErrExists, ErrClosed and the
// machine's.
func (r *Runtime) CreateSandbox(ctx context.Context, spec SandboxSpec) (SandboxStatus, error) {
	st, err := r.createSandbox(ctx, spec)
	if err != nil {
		return SandboxStatus{}, fmt.Errorf("create sandbox %s: %w", spec.ID, err)
	}
	return st, nil
}

func (r *Runtime) createSandbox(ctx context.Context, spec SandboxSpec) (SandboxStatus, error) {
	if err := errors.Join(spec.validate(), ctx.Err()); err != nil {
		return SandboxStatus{}, err
	}
	rec := sandboxRecord{Format: format, Spec: spec, CreatedAt: time.Now()}
	s := &sandbox{status: r.sandboxStatus(rec), op: make(chan struct{}, 1)}
	s.op <- struct{}{}
	defer func() { <-s.op }()
	if err := r.reserveSandbox(spec.ID, s); err != nil {
		return SandboxStatus{}, err
	}
	defer r.wg.Done()
	err := r.makeSandbox(rec, s.status)
	if err != nil {
		err = errors.Join(err, r.unmakeSandbox(spec.ID, s.status.CgroupPath))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		delete(r.sandboxes, spec.ID)
		return SandboxStatus{}, err
	}
	s.made, s.status.Ready = true, true
	return s.status, nil
}

// reserveSandbox takes the ID and the cgroup.
func (r *Runtime) reserveSandbox(id string, s *sandbox) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	if r.sandboxes[id] != nil {
		return ErrExists
	}
	for other, o := range r.sandboxes {
		a, b := s.status.CgroupPath+"/", o.status.CgroupPath+"/"
		if strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
			return fmt.Errorf("%w: cgroup %s is within that of sandbox %s, or around it", ErrExists, s.status.CgroupPath, other)
		}
	}
	r.sandboxes[id] = s
	r.wg.Add(1)
	return nil
}

func (r *Runtime) makeSandbox(rec sandboxRecord, st SandboxStatus) error {
	id := rec.Spec.ID
	if err := os.Mkdir(r.dir.Sandbox(id), 0o700); err != nil {
		return err
	}
	if err := engine.Save(r.sandboxFile(id, sandboxSpecFile), rec); err != nil {
		return err
	}
	crash.At("sandbox.recorded")
	ns := r.sandboxFile(id, sandboxNsDir)
	if err := os.Mkdir(ns, 0o700); err != nil {
		return err
	}
	if err := nspin.Create(ns, pinSpec(rec.Spec)); err != nil {
		return err
	}
	crash.At("sandbox.namespaces")
	if err := r.mountShm(rec.Spec); err != nil {
		return err
	}
	crash.At("sandbox.shm")
	if _, err := cg.Create(st.CgroupPath, rec.Spec.Resources.cgroup()); err != nil {
		return err
	}
	crash.At("sandbox.cgroup")
	if err := os.WriteFile(r.sandboxFile(id, sandboxReadyFile), nil, 0o600); err != nil {
		return err
	}
	crash.At("sandbox.ready")
	return nil
}

func (r *Runtime) mountShm(s SandboxSpec) error {
	if s.HostIPC {
		return nil
	}
	const usual = 64 << 20
	dir := r.sandboxFile(s.ID, sandboxShmDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	size := cmp.Or(s.ShmSize, usual)
	err := unix.Mount("shm", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size="+strconv.FormatInt(size, 10))
	if err != nil {
		return fmt.Errorf("mount /dev/shm: %w", err)
	}
	return nil
}

// unmakeSandbox removes whatever there is of a sandbox.
func (r *Runtime) unmakeSandbox(id, cgroup string) error {
	if err := os.Remove(r.sandboxFile(id, sandboxReadyFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	crash.At("sandbox.unready")
	g, err := cg.Open(cgroup)
	if err != nil {
		return err
	}
	if err := g.Remove(); err != nil {
		return err
	}
	crash.At("sandbox.cgroup-removed")
	if err := nspin.Remove(r.sandboxFile(id, sandboxNsDir)); err != nil {
		return err
	}
	crash.At("sandbox.unpinned")
	if err := nspin.Unmount(r.sandboxFile(id, sandboxShmDir)); err != nil {
		return err
	}
	crash.At("sandbox.shm-unmounted")
	return os.RemoveAll(r.dir.Sandbox(id))
}

// loadSandbox adopts a sandbox, or finishes removing what is not a whole one.
func (r *Runtime) loadSandbox(id string) error {
	var rec sandboxRecord
	err := engine.Load(r.sandboxFile(id, sandboxSpecFile), &rec)
	if err == nil {
		_, err = os.Stat(r.sandboxFile(id, sandboxReadyFile))
	}
	if err != nil || rec.Spec.ID != id {
		r.cfg.Log.Info("removing a sandbox that was not finished", "sandbox", id, "err", err)
		if rec.Spec.ID != id { // its record is damaged, or was never written
			rec.Spec = SandboxSpec{ID: id}
		}
		return r.unmakeSandbox(id, r.sandboxStatus(rec).CgroupPath)
	}
	s := &sandbox{status: r.sandboxStatus(rec), op: make(chan struct{}, 1), made: true}
	s.status.Ready = nspin.Pinned(r.sandboxFile(id, sandboxNsDir), pinSpec(rec.Spec))
	r.sandboxes[id] = s
	return nil
}

// Sandbox returns what is known of a sandbox. The error is ErrNotFound.
func (r *Runtime) Sandbox(id string) (SandboxStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[id]
	if s == nil || !s.made {
		return SandboxStatus{}, fmt.Errorf("sandbox %s: %w", id, ErrNotFound)
	}
	return s.status, nil
}

// Sandboxes returns all sandboxes by ID.
func (r *Runtime) Sandboxes() []SandboxStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []SandboxStatus
	for _, s := range r.sandboxes {
		if s.made {
			all = append(all, s.status)
		}
	}
	slices.SortFunc(all, func(a, b SandboxStatus) int { return cmp.Compare(a.Spec.ID, b.Spec.ID) })
	return all
}

// RemoveSandbox kills and removes the sandbox's containers, and removes the sandbox. Of none it is
// a no-op. Detach its network before: interfaces go with the namespace, whatever
// else the network made does not.
func (r *Runtime) RemoveSandbox(ctx context.Context, id string) error {
	if err := r.removeSandbox(ctx, id); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", id, err)
	}
	return nil
}

func (r *Runtime) removeSandbox(ctx context.Context, id string) error {
	r.mu.Lock()
	s := r.sandboxes[id]
	r.mu.Unlock()
	if s == nil {
		return r.ifOpen()
	}
	if err := take(ctx, s.op); err != nil {
		return err
	}
	defer func() { <-s.op }()
	r.mu.Lock()
	if r.sandboxes[id] != s { // somebody was faster
		r.mu.Unlock()
		return nil
	}
	if r.closed {
		r.mu.Unlock()
		return ErrClosed
	}
	s.made = false // nobody creates another container in it
	r.wg.Add(1)
	r.mu.Unlock()
	defer r.wg.Done()
	for _, c := range r.Containers() {
		if c.Spec.SandboxID != id {
			continue
		}
		if err := r.RemoveContainer(ctx, c.Spec.ID); err != nil {
			return r.unremoved(s, err)
		}
	}
	if err := r.unmakeSandbox(id, s.status.CgroupPath); err != nil {
		return r.unremoved(s, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sandboxes, id)
	return nil
}

// unremoved keeps a sandbox listed that could not be removed, so that it is tried again.
func (r *Runtime) unremoved(s *sandbox, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.made, s.status.Ready = true, false
	return err
}

// take waits for a lock of one.
func take(ctx context.Context, op chan struct{}) error {
	select {
	case op <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// SandboxStats reads what the pod has used, all containers together. The error may be ErrNotFound.
func (r *Runtime) SandboxStats(id string) (Stats, error) {
	s, err := r.Sandbox(id)
	if err != nil {
		return Stats{}, err
	}
	return readStats(s.CgroupPath)
}

func readStats(cgroup string) (Stats, error) {
	g, err := cg.Open(cgroup)
	if err != nil {
		return Stats{}, err
	}
	s, err := g.Stats()
	if err != nil {
		return Stats{}, err
	}
	return Stats{
		Time: time.Now(), CPU: s.CPU, Memory: s.Memory, WorkingSet: s.WorkingSet, Anonymous: s.Anonymous,
		Limit: s.Limit, OOMKills: s.OOM, Pids: s.Pids,
	}, nil
}

// cgroup translates limits for a pod's cgroup.
func (l Resources) cgroup() cgroups.Resources {
	r := cgroups.Resources{
		Memory: l.Memory, CpuShares: l.CPUShares, CpuWeight: cgroups.ConvertCPUSharesToCgroupV2Value(l.CPUShares),
		CpuQuota: l.CPUQuota, CpuPeriod: l.period(), CpusetCpus: l.CPUs, CpusetMems: l.Mems,
	}
	if l.Pids > 0 {
		r.PidsLimit = &l.Pids
	}
	return r
}

func (l Resources) period() uint64 {
	if l.CPUQuota > 0 && l.CPUPeriod == 0 {
		return 100_000
	}
	return l.CPUPeriod
}
