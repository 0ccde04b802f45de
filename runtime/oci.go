//go:build linux

package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/capabilities"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/bedplate/bedplate/runtime/internal/nspin"
)

// DefaultCapabilities returns what a container may do unless it asks for more or less: the
// container world's usual set, without NET_RAW, which lets it forge packets.
func DefaultCapabilities() []string {
	return []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
		"CAP_NET_BIND_SERVICE", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
}

// DefaultMaskedPaths returns what containers don't see of the host.
func DefaultMaskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
}

// DefaultReadOnlyPaths returns what containers see of the host and can't change.
func DefaultReadOnlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

const (
	defaultPath     = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	allCapabilities = "CAP_ALL"
)

// capabilityNames are all capabilities, by their number.
var capabilityNames = capabilities.KnownCapabilities()

func capName(s string) string {
	s = strings.ToUpper(s)
	if !strings.HasPrefix(s, "CAP_") {
		s = "CAP_" + s
	}
	return s
}

// machine is what a spec's translation must know of where it will run.
type machine struct {
	capabilities []string            // that this process has, and so can give
	unified      bool                // cgroup v2
	devices      []specs.LinuxDevice // of the host, for privileged containers
}

// thisMachine looks.
func thisMachine(s ContainerSpec) (machine, error) {
	m := machine{unified: cgroups.IsCgroup2UnifiedMode()}
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return m, err
	}
	_, rest, _ := strings.Cut(string(b), "CapPrm:")
	line, _, _ := strings.Cut(rest, "\n")
	bits, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		return m, fmt.Errorf("read own capabilities: %w", err)
	}
	for n, name := range capabilityNames {
		if bits&(1<<n) != 0 {
			m.capabilities = append(m.capabilities, name)
		}
	}
	if s.Privileged {
		if m.devices, err = hostDevices(); err != nil {
			return m, fmt.Errorf("list devices: %w", err)
		}
	}
	return m, nil
}

// sandboxView is a sandbox as its containers need it.
type sandboxView struct {
	SandboxStatus
	Ns, Shm string // folders of pins and of /dev/shm
	Cgroup  string // of the container
}

// ociSpec translates a container's spec into the OCI runtime specification, all but the
// system call filter. It is a function of its arguments. Labels and annotations have no
// part in it.
func ociSpec(s ContainerSpec, sb sandboxView, m machine) (*specs.Spec, []string) {
	caps, warnings := grant(s, m.capabilities)
	o := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: s.Rootfs, Readonly: s.ReadOnlyRoot},
		Mounts:  mounts(s, sb),
		Process: &specs.Process{
			Terminal: s.TTY, Args: s.Args, Env: withPath(s.Env), Cwd: s.Cwd, User: s.User.oci(),
			Capabilities: caps, NoNewPrivileges: s.NoNewPrivileges, OOMScoreAdj: &s.OOMScoreAdj, Rlimits: slices.Clone(s.Rlimits),
		},
		Linux: &specs.Linux{
			Namespaces: namespaces(sb, m.unified), CgroupsPath: sb.Cgroup, Resources: s.Resources.oci(),
			Devices: slices.Clone(s.Devices), RootfsPropagation: "rprivate",
			MaskedPaths: s.MaskedPaths, ReadonlyPaths: s.ReadOnlyPaths,
		},
	}
	if o.Process.Cwd == "" {
		o.Process.Cwd = "/"
	}
	if o.Linux.MaskedPaths == nil && !s.Privileged {
		o.Linux.MaskedPaths = DefaultMaskedPaths()
	}
	if o.Linux.ReadonlyPaths == nil && !s.Privileged {
		o.Linux.ReadonlyPaths = DefaultReadOnlyPaths()
	}
	if needsSlave(s.Mounts) {
		o.Linux.RootfsPropagation = "rslave"
	}
	if m.unified {
		asOne(o.Linux.Resources)
	}
	deviceRules(o, s, m)
	return o, warnings
}

// asOne sets what Kubernetes sets with version 2 of cgroups alone: want of memory ends a container as a whole, and
// one that has a limit doesn't swap.
func asOne(r *specs.LinuxResources) {
	r.Unified = map[string]string{"memory.oom.group": "1"}
	if r.Memory != nil {
		r.Memory.Swap = r.Memory.Limit
	}
}

// needsSlave tells whether a mount wants to see what is mounted on its source later.
func needsSlave(mounts []specs.Mount) bool {
	for _, m := range mounts {
		for _, o := range m.Options {
			if o == "rslave" || o == "slave" || o == "rshared" || o == "shared" {
				return true
			}
		}
	}
	return false
}

func withPath(env []string) []string {
	if slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "PATH=") }) {
		return env
	}
	return append([]string{defaultPath}, env...)
}

func (u User) oci() specs.User {
	o := specs.User{UID: uint32(u.UID), GID: uint32(u.GID)}
	for _, g := range u.AdditionalGroups {
		o.AdditionalGids = append(o.AdditionalGids, uint32(g))
	}
	return o
}

// grant works out a container's capabilities. What it asks for by name and this process
// has not is a warning; of ALL it gets what there is.
func grant(s ContainerSpec, have []string) (*specs.LinuxCapabilities, []string) {
	set, dropped := map[string]bool{}, map[string]bool{}
	for _, c := range DefaultCapabilities() {
		set[c] = true
	}
	for _, c := range s.DropCapabilities {
		if capName(c) == allCapabilities {
			clear(set)
		}
		dropped[capName(c)] = true
		delete(set, capName(c))
	}
	for _, c := range s.AddCapabilities {
		if capName(c) != allCapabilities {
			set[capName(c)] = true
			continue
		}
		for _, c := range have {
			set[c] = set[c] || !dropped[c]
		}
	}
	if s.Privileged {
		for _, c := range have {
			set[c] = true
		}
	}
	var list, warnings []string
	for _, c := range capabilityNames {
		switch {
		case !set[c]:
		case slices.Contains(have, c):
			list = append(list, c)
		default:
			warnings = append(warnings, "capability "+c+" is not given: the machine doesn't have it")
		}
	}
	// Nothing inheritable, nothing ambient: a program gets only what it is run with.
	return &specs.LinuxCapabilities{Bounding: list, Effective: list, Permitted: list}, warnings
}

func namespaces(sb sandboxView, unified bool) []specs.LinuxNamespace {
	ns := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	if unified {
		ns = append(ns, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	pinned := func(t specs.LinuxNamespaceType, file string) {
		ns = append(ns, specs.LinuxNamespace{Type: t, Path: filepath.Join(sb.Ns, file)})
	}
	if !sb.Spec.HostPID {
		ns = append(ns, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	switch {
	case sb.Spec.HostNetworkPath != "":
		ns = append(ns, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: sb.Spec.HostNetworkPath})
	case !sb.Spec.HostNetwork:
		pinned(specs.NetworkNamespace, nspin.Net)
		pinned(specs.UTSNamespace, nspin.UTS)
	}
	if !sb.Spec.HostIPC {
		pinned(specs.IPCNamespace, nspin.IPC)
	}
	return ns
}

// mounts are the default ones, less those replaced, and the container's own.
func mounts(s ContainerSpec, sb sandboxView) []specs.Mount {
	access := "ro"
	if s.Privileged {
		access = "rw"
	}
	defaults := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev/shm", Type: "bind", Source: sb.Shm, Options: []string{"rbind", "nosuid", "noexec", "nodev", "rw"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
	kept := slices.DeleteFunc(defaults, func(d specs.Mount) bool {
		return slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == d.Destination })
	})
	return append(kept, s.Mounts...)
}

// deviceRules denies all devices but the default ones, which libcontainer adds, and those
// asked for.
func deviceRules(o *specs.Spec, s ContainerSpec, m machine) {
	o.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: s.Privileged, Access: "rwm"}}
	for _, d := range s.Devices {
		if d.Type != "p" {
			o.Linux.Resources.Devices = append(o.Linux.Resources.Devices, specs.LinuxDeviceCgroup{
				Allow: true, Type: d.Type, Major: &d.Major, Minor: &d.Minor, Access: "rwm",
			})
		}
	}
	for _, d := range m.devices {
		if slices.ContainsFunc(s.Devices, func(have specs.LinuxDevice) bool { return have.Path == d.Path }) {
			continue
		}
		o.Linux.Devices = append(o.Linux.Devices, d)
	}
}
