package agent

import (
	"cmp"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Version is the release of Kubernetes whose node API and behaviour this agent has.
const Version = "v1.37.0+bedplate"

// machineMemory is the memory of the machine in bytes, machineAvailable what of it can be had; 0 if the machine
// doesn't say.
func machineMemory() int64    { return meminfo("MemTotal:") }
func machineAvailable() int64 { return meminfo("MemAvailable:") }

func meminfo(field string) int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == field {
			kb, _ := strconv.ParseInt(f[1], 10, 64)
			return kb << 10
		}
	}
	return 0
}

func machineCPUs() int { return runtime.NumCPU() }

// machinePids is how many more processes the machine can have.
func machinePids() int64 {
	most, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return leastPids
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return leastPids
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(most)), 10, 64)
	return n - int64(info.Procs)
}

// size is that of a file system, in bytes.
type size struct{ total, free int64 }

func diskSize(path string) size {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return size{}
	}
	return size{int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize}
}

func machineInfo() corev1.NodeSystemInfo {
	var u unix.Utsname
	kernel := ""
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	return corev1.NodeSystemInfo{
		MachineID: line("/etc/machine-id"), BootID: line("/proc/sys/kernel/random/boot_id"), SystemUUID: cmp.Or(line("/sys/class/dmi/id/product_uuid"), line("/etc/machine-id")),
		KernelVersion: kernel, OSImage: osImage(), ContainerRuntimeVersion: Scheme + "://0.0.0",
		KubeletVersion: Version, OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
	}
}

func line(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func osImage() string {
	for l := range strings.Lines(line("/etc/os-release")) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(l), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return ""
}
