//go:build linux

package runtime

import (
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// SandboxSpec says what a sandbox shall be. It is plain data: copy it, compare it,
// print it; only [Runtime.CreateSandbox] touches the machine.
type SandboxSpec struct {
	// ID names the sandbox: 1 to 64 of [A-Za-z0-9_.-], the first a letter or digit.
	// Required.
	ID string
	// Hostname is set in the sandbox's UTS namespace. Empty: the ID cut to 63
	// characters. Must be empty with HostNetwork, which keeps the host's name.
	Hostname string
	// HostNetwork shares the host's network and UTS namespaces.
	HostNetwork bool
	// HostNetworkPath is the network namespace that HostNetwork means, by its absolute path. Empty: that of this
	// process.
	HostNetworkPath string
	// HostIPC shares the host's IPC namespace and its /dev/shm.
	HostIPC bool
	// HostPID lets containers see the host's processes.
	HostPID bool
	// SharedPID would give all containers one PID namespace. Not offered:
	// CreateSandbox answers ErrUnsupported.
	SharedPID bool
	// Sysctls are written in the sandbox's own namespaces: net.* (not with
	// HostNetwork), kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.* (not with
	// HostIPC). Others are refused. Unless set here or HostNetwork, every group may
	// open ICMP echo sockets (net.ipv4.ping_group_range).
	Sysctls map[string]string
	// CgroupPath is the pod's cgroup below Config.CgroupParent: a clean relative
	// path. Empty: "pod-" and the ID.
	CgroupPath string
	// Resources limit the whole pod.
	Resources Resources
	// ShmSize is the size of /dev/shm in bytes. Zero: 64 MiB.
	ShmSize int64
	// Labels and Annotations are kept with the sandbox and never interpreted.
	Labels, Annotations map[string]string
}

// ContainerSpec says what a container shall be. It is plain data. The runtime adds
// the usual mounts (/proc, /dev, /dev/pts, /dev/shm, /dev/mqueue, /sys,
// /sys/fs/cgroup), devices, namespaces of its sandbox and security defaults.
type ContainerSpec struct {
	// ID names the container, in the form of a sandbox's ID; unique in the Runtime.
	// Required.
	ID string
	// SandboxID is the sandbox that it runs in. Required.
	SandboxID string
	// Rootfs is the absolute path of the root file system, a directory (or mount)
	// that the caller prepares before StartContainer and removes after
	// RemoveContainer. Required.
	Rootfs string
	// ReadOnlyRoot mounts the root read-only; mount points must exist in it.
	ReadOnlyRoot bool

	// Args is the command, looked up in PATH of Env. Required.
	Args []string
	// Env is KEY=VALUE. Without PATH the usual one is added.
	Env []string
	// Cwd is an absolute path. Empty: "/". It is made if missing.
	Cwd string
	// User runs the command. Zero: root.
	User User
	// TTY gives the command a terminal as its standard input and output.
	TTY bool
	// Stdin keeps standard input open for [Runtime.Attach]; otherwise it is empty.
	Stdin bool
	// StdinOnce closes standard input when the first attached one ends.
	StdinOnce bool

	// Mounts are made after the default ones, in order. One whose destination is
	// that of a default mount replaces it. Bind mounts need the option bind or
	// rbind, as in the OCI runtime specification.
	Mounts []specs.Mount
	// Devices are made in /dev and allowed, beside the default ones.
	Devices []specs.LinuxDevice

	// Privileged: every capability, every device of the host, no seccomp
	// profile, nothing masked or read-only.
	Privileged bool
	// AddCapabilities and DropCapabilities change [DefaultCapabilities]. Names come with or
	// without CAP_, in any case; ALL stands for every one. Drop first, then add,
	// except that a dropped name beats an added ALL.
	AddCapabilities, DropCapabilities []string
	// NoNewPrivileges forbids gaining privileges by set-uid programs.
	NoNewPrivileges bool
	// Seccomp is the system call filter. Zero: Config.Seccomp.
	Seccomp Seccomp
	// MaskedPaths are hidden. Nil: [DefaultMaskedPaths]. Empty and not nil: none.
	MaskedPaths []string
	// ReadOnlyPaths are made read-only. Nil: [DefaultReadOnlyPaths]. Empty: none.
	ReadOnlyPaths []string

	// Resources limit the container, within its sandbox's.
	Resources Resources
	// OOMScoreAdj is -1000 to 1000. What the machine doesn't allow is raised to what
	// it does, and reported in ContainerStatus.Warnings.
	OOMScoreAdj int
	// Rlimits replace inherited ones. Those above what the machine allows are
	// lowered, and reported in ContainerStatus.Warnings.
	Rlimits []specs.POSIXRlimit

	// Log says where output goes. Zero: it is read and dropped.
	Log Log
	// StopSignal begins StopContainer. Zero: SIGTERM.
	StopSignal syscall.Signal
	// Labels and Annotations are kept with the container and never interpreted.
	Labels, Annotations map[string]string
}

// User is who a command runs as, in numbers: each 0 to 2^31-1. The
// additional groups are exactly those listed here.
type User struct {
	UID, GID         int64
	AdditionalGroups []int64
}

// SeccompMode chooses a kind of filter.
type SeccompMode string

const (
	// SeccompInherit takes the runtime's default, for a container Config.Seccomp,
	// for a Config SeccompDefault if the binary was built with the tag seccomp and
	// SeccompUnconfined otherwise.
	SeccompInherit SeccompMode = ""
	// SeccompDefault is the profile that the container world shares.
	SeccompDefault SeccompMode = "RuntimeDefault"
	// SeccompUnconfined is none.
	SeccompUnconfined SeccompMode = "Unconfined"
	// SeccompLocalhost reads the profile in Path.
	SeccompLocalhost SeccompMode = "Localhost"
)

// Seccomp is a system call filter.
type Seccomp struct {
	Mode SeccompMode
	// Path is the absolute path of a JSON profile, for SeccompLocalhost. It is read by
	// CreateContainer. A profile that would filter nothing is refused.
	Path string
}

// Resources are limits. Zero fields set none.
type Resources struct {
	// Memory is in bytes. With cgroup v2 a container that has a limit doesn't swap, and
	// one that exceeds it ends as a whole, whichever of its processes did.
	Memory int64
	// CPUShares is the relative weight, 2 to 262144 (a thousandth of a CPU is
	// 1.024 shares). cgroup v2 gets the equivalent weight.
	CPUShares uint64
	// CPUQuota is microseconds of CPU per period; CPUPeriod is microseconds.
	// A quota without a period takes 100,000.
	CPUQuota  int64
	CPUPeriod uint64
	// CPUs and Mems are cpuset lists, such as "0-1,3".
	CPUs, Mems string
	// Pids is the highest number of processes.
	Pids int64
}

// Log is a log file in CRI format: time, stream, F or P, text.
type Log struct {
	// Path is absolute; its directory must exist. A symbolic link, a file with
	// several links and anything but a regular file are refused.
	Path string
	// MaxBytes rotates the file once it would be exceeded: Path becomes Path.1,
	// which becomes Path.2 and so on. Zero: 10 MiB.
	MaxBytes int64
	// MaxFiles is how many files there are at most, the current one included.
	// Zero: 5.
	MaxFiles int
}
