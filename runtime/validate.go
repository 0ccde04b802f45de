//go:build linux

package runtime

import (
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// firstOf returns the first error.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *SandboxSpec) validate() error {
	if s.SharedPID {
		return fmt.Errorf("%w: SharedPID: containers of one sandbox can't share a PID namespace", ErrUnsupported)
	}
	return firstOf(
		checkID("ID", s.ID),
		s.checkHostname(),
		s.checkSysctls(),
		s.checkCgroup(),
		s.Resources.validate(),
	)
}

func (s *SandboxSpec) checkHostname() error {
	const most = 64
	switch {
	case s.HostNetwork && s.Hostname != "":
		return invalid("Hostname %q with HostNetwork, which keeps the host's", s.Hostname)
	case s.HostNetworkPath != "" && (!s.HostNetwork || !filepath.IsAbs(s.HostNetworkPath)):
		return invalid("HostNetworkPath %q must be an absolute path, and goes with HostNetwork", s.HostNetworkPath)
	case len(s.Hostname) > most || strings.ContainsAny(s.Hostname, "\x00\n/"):
		return invalid("Hostname %q", s.Hostname)
	case s.ShmSize < 0:
		return invalid("ShmSize %d is negative", s.ShmSize)
	}
	return nil
}

func (s *SandboxSpec) checkCgroup() error {
	if p := s.CgroupPath; p != "" && (!filepath.IsLocal(p) || filepath.Clean(p) != p || p == "." || p == keeperGroup || strings.ContainsAny(p, "\x00\n:")) {
		return invalid("CgroupPath %q must be a clean path below the parent", p)
	}
	return nil
}

var ipcSysctls = []string{
	"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
	"kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
}

var sysctlForm = regexp.MustCompile(`^[a-z0-9_]+([./][A-Za-z0-9_-]+)+$`)

func (s *SandboxSpec) checkSysctls() error {
	for name, value := range s.Sysctls {
		dotted := strings.ReplaceAll(name, "/", ".")
		net := strings.HasPrefix(dotted, "net.")
		ipc := slices.Contains(ipcSysctls, dotted) || strings.HasPrefix(dotted, "fs.mqueue.")
		switch {
		case !sysctlForm.MatchString(name) || strings.ContainsRune(value, 0):
			return invalid("sysctl %q", name)
		case !net && !ipc:
			return invalid("sysctl %q is the whole machine's", name)
		case net && s.HostNetwork, ipc && s.HostIPC:
			return invalid("sysctl %q would be the host's", name)
		}
	}
	return nil
}

func checkID(field, id string) error {
	if !idForm.MatchString(id) {
		return invalid("%s %q must be 1 to 64 of A-Z a-z 0-9 _ . -, the first a letter or digit", field, id)
	}
	return nil
}

func (s *ContainerSpec) validate() error {
	return firstOf(
		checkID("ID", s.ID),
		checkID("SandboxID", s.SandboxID),
		checkAbs("Rootfs", s.Rootfs, false),
		checkCommand(s.Args, s.Env, s.Cwd),
		s.User.validate(),
		s.checkMounts(),
		s.checkDevices(),
		s.checkLimits(),
		s.checkCapabilities(),
		checkSeccomp(s.Seccomp),
		checkPaths("MaskedPaths", s.MaskedPaths),
		checkPaths("ReadOnlyPaths", s.ReadOnlyPaths),
		s.Log.validate(),
		s.Resources.validate(),
	)
}

// checkAbs wants a clean absolute path, and not the root.
func checkAbs(field, path string, root bool) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0) || path == "/" && !root {
		return invalid("%s %q must be a clean absolute path", field, path)
	}
	return nil
}

func checkPaths(field string, paths []string) error {
	for _, p := range paths {
		if err := checkAbs(field, p, false); err != nil {
			return err
		}
	}
	return nil
}

func checkCommand(args, env []string, cwd string) error {
	if len(args) == 0 || args[0] == "" {
		return invalid("Args must name a command")
	}
	for _, a := range args {
		if strings.ContainsRune(a, 0) {
			return invalid("Args has %q with a NUL", a)
		}
	}
	for _, kv := range env {
		if k, _, ok := strings.Cut(kv, "="); !ok || k == "" || strings.ContainsRune(kv, 0) {
			return invalid("Env has %q, which is not KEY=VALUE", kv)
		}
	}
	if cwd == "" {
		return nil
	}
	if !filepath.IsAbs(cwd) || strings.ContainsRune(cwd, 0) {
		return invalid("Cwd %q must be an absolute path", cwd)
	}
	// A descriptor would lead out of the container. What gets there through links is
	// refused when it starts.
	if c := filepath.Clean(cwd); strings.HasPrefix(c, "/proc/") {
		return invalid("Cwd %q is in /proc", cwd)
	}
	return nil
}

func (u User) validate() error {
	for _, id := range append([]int64{u.UID, u.GID}, u.AdditionalGroups...) {
		if id < 0 || id > math.MaxInt32 {
			return invalid("User has ID %d, which is not in 0 to %d", id, math.MaxInt32)
		}
	}
	return nil
}

func (s *ContainerSpec) checkMounts() error {
	for i, m := range s.Mounts {
		if err := checkAbs(fmt.Sprintf("Mounts[%d].Destination", i), m.Destination, false); err != nil {
			return err
		}
		if strings.ContainsRune(m.Source, 0) || strings.ContainsRune(m.Type, 0) {
			return invalid("Mounts[%d] has a NUL", i)
		}
		bind := slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
		if bind && !filepath.IsAbs(m.Source) {
			return invalid("Mounts[%d].Source %q must be an absolute path", i, m.Source)
		}
		if !bind && (m.Type == "" || m.Type == "bind") {
			return invalid("Mounts[%d] needs a type, or the option bind", i)
		}
		if len(m.UIDMappings)+len(m.GIDMappings) > 0 {
			return fmt.Errorf("%w: Mounts[%d] has ID mappings", ErrUnsupported, i)
		}
	}
	return nil
}

func (s *ContainerSpec) checkDevices() error {
	for i, d := range s.Devices {
		if err := checkAbs(fmt.Sprintf("Devices[%d].Path", i), d.Path, false); err != nil {
			return err
		}
		if !strings.HasPrefix(d.Path, "/dev/") || !slices.Contains([]string{"c", "b", "u", "p"}, d.Type) {
			return invalid("Devices[%d] must be of type c, b, u or p in /dev", i)
		}
	}
	return nil
}

func (s *ContainerSpec) checkLimits() error {
	const least, most = -1000, 1000
	if s.OOMScoreAdj < least || s.OOMScoreAdj > most {
		return invalid("OOMScoreAdj %d is not in %d to %d", s.OOMScoreAdj, least, most)
	}
	const signals = 64
	if s.StopSignal < 0 || s.StopSignal > signals {
		return invalid("StopSignal %d", s.StopSignal)
	}
	seen := map[string]bool{}
	for _, l := range s.Rlimits {
		if !rlimitForm.MatchString(l.Type) || seen[l.Type] || l.Soft > l.Hard {
			return invalid("Rlimits has %s with soft %d and hard %d, or has it twice", l.Type, l.Soft, l.Hard)
		}
		seen[l.Type] = true
	}
	return nil
}

var rlimitForm = regexp.MustCompile(`^RLIMIT_(AS|CORE|CPU|DATA|FSIZE|LOCKS|MEMLOCK|MSGQUEUE|NICE|NOFILE|NPROC|RSS|RTPRIO|RTTIME|SIGPENDING|STACK)$`)

func (s *ContainerSpec) checkCapabilities() error {
	for _, c := range slices.Concat(s.AddCapabilities, s.DropCapabilities) {
		if n := capName(c); n != allCapabilities && !slices.Contains(capabilityNames, n) {
			return invalid("capability %q is unknown", c)
		}
	}
	return nil
}

func (l Log) validate() error {
	if l.Path == "" {
		return nil
	}
	const least = 4 << 10
	if l.MaxBytes < 0 || l.MaxBytes > 0 && l.MaxBytes < least || l.MaxFiles < 0 {
		return invalid("Log allows %d bytes in %d files: %d bytes in one are the least", l.MaxBytes, l.MaxFiles, least)
	}
	return checkAbs("Log.Path", l.Path, false)
}

var cpusetForm = regexp.MustCompile(`^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$`)

func (l Resources) validate() error {
	const leastQuota = 1000
	switch {
	case l.Memory < 0 || l.Pids < 0:
		return invalid("Resources has a negative limit")
	case l.CPUShares != 0 && (l.CPUShares < 2 || l.CPUShares > 262144):
		return invalid("Resources.CPUShares %d is not in 2 to 262144", l.CPUShares)
	case l.CPUQuota < 0 || l.CPUQuota > 0 && l.CPUQuota < leastQuota:
		return invalid("Resources.CPUQuota %d µs is less than %d", l.CPUQuota, leastQuota)
	case l.CPUPeriod != 0 && (l.CPUPeriod < leastQuota || l.CPUPeriod > 1_000_000):
		return invalid("Resources.CPUPeriod %d µs is not in 1000 to 1000000", l.CPUPeriod)
	case l.CPUs != "" && !cpusetForm.MatchString(l.CPUs), l.Mems != "" && !cpusetForm.MatchString(l.Mems):
		return invalid("Resources: %q, %q is no list of CPUs or memory nodes", l.CPUs, l.Mems)
	}
	return nil
}

// oci translates limits for a container.
func (l Resources) oci() *specs.LinuxResources {
	r := &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: l.CPUs, Mems: l.Mems}}
	if l.Memory > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &l.Memory}
	}
	if l.CPUShares > 0 {
		r.CPU.Shares = &l.CPUShares
	}
	if l.CPUQuota > 0 {
		period := l.period()
		r.CPU.Quota, r.CPU.Period = &l.CPUQuota, &period
	}
	if l.Pids > 0 {
		r.Pids = &specs.LinuxPids{Limit: &l.Pids}
	}
	return r
}
