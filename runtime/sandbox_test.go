//go:build linux

package runtime

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/internal/cg"
	"github.com/bedplate/bedplate/runtime/internal/proc"
)

func TestSandboxNamespaces(t *testing.T) {
	r := inProcess(t)
	st, err := r.CreateSandbox(t.Context(), SandboxSpec{
		ID: "pod", Hostname: "web-0", Sysctls: map[string]string{"net.ipv4.ip_unprivileged_port_start": "80", "kernel.shm_rmid_forced": "1"},
		Resources: Resources{Memory: 64 << 20, Pids: 50, CPUShares: 512, CPUQuota: 50_000},
		ShmSize:   1 << 20, Labels: map[string]string{"a": "b"},
	})
	require.NoError(t, err)
	require.True(t, st.Ready)
	var fs unix.Statfs_t
	require.NoError(t, unix.Statfs(st.NetnsPath, &fs))
	require.EqualValues(t, unix.NSFS_MAGIC, fs.Type)

	const look = `hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced
		ip -o link show lo | grep -c '<LOOPBACK,UP'; df -k /dev/shm | tail -1 | awk '{print $2}'; readlink /proc/self/ns/net`
	one, _ := output(t, r, sh("one", "pod", look+"; echo shared > /dev/shm/x"))
	two, _ := output(t, r, sh("two", "pod", look+"; cat /dev/shm/x"))
	require.Equal(t, one+"shared\n", two)
	require.Equal(t, []string{"web-0", "80", "1", "1", "1024"}, strings.Fields(one)[:5])

	stats, err := r.SandboxStats("pod")
	require.NoError(t, err)
	require.EqualValues(t, 64<<20, stats.Limit)
	require.Positive(t, stats.CPU)
	require.Zero(t, stats.Pids)

	_, err = r.CreateSandbox(t.Context(), SandboxSpec{ID: "pod"})
	require.ErrorIs(t, err, ErrExists)
	require.NoError(t, r.RemoveSandbox(t.Context(), "pod"))
	require.NoError(t, r.RemoveSandbox(t.Context(), "pod"))
	require.NoFileExists(t, st.NetnsPath)
	g, err := cg.Open(st.CgroupPath)
	require.NoError(t, err)
	require.False(t, g.Exists())
	require.Empty(t, r.Containers())
	_, err = r.Sandbox("pod")
	require.ErrorIs(t, err, ErrNotFound)
}

func TestSandboxOnHost(t *testing.T) {
	r := inProcess(t)
	st, err := r.CreateSandbox(t.Context(), SandboxSpec{ID: "pod", HostNetwork: true, HostIPC: true, HostPID: true})
	require.NoError(t, err)
	require.Empty(t, st.NetnsPath)
	out, _ := output(t, r, sh("c", "pod", "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done; sleep 1000 & echo $!"))
	for i, ns := range []string{"net", "ipc", "uts", "pid"} {
		host, err := os.Readlink("/proc/self/ns/" + ns)
		require.NoError(t, err)
		require.Equal(t, host, strings.Fields(out)[i])
	}
	// What a container without a PID namespace of its own left running ends with it.
	require.NoError(t, r.RemoveContainer(t.Context(), "c"))
	pid, err := strconv.Atoi(strings.Fields(out)[4])
	require.NoError(t, err)
	_, state, err := proc.Stat(pid)
	require.True(t, err != nil || state == 'Z', "state %c", state)
}

// TestSandboxOnAnotherHost: HostNetworkPath is what HostNetwork means.
func TestSandboxOnAnotherHost(t *testing.T) {
	r := inProcess(t)
	there, err := r.CreateSandbox(t.Context(), SandboxSpec{ID: "there"})
	require.NoError(t, err)
	st, err := r.CreateSandbox(t.Context(), SandboxSpec{ID: "pod", HostNetwork: true, HostNetworkPath: there.NetnsPath})
	require.NoError(t, err)
	require.Empty(t, st.NetnsPath)
	const look = "readlink /proc/self/ns/net"
	want, _ := output(t, r, sh("a", "there", look))
	got, _ := output(t, r, sh("b", "pod", look))
	require.Equal(t, want, got)
	require.Contains(t, got, "net:[")
}

func TestSandboxRefusals(t *testing.T) {
	r := inProcess(t)
	for name, c := range map[string]struct {
		spec SandboxSpec
		want error
	}{
		"no ID":               {SandboxSpec{}, ErrInvalid},
		"dots":                {SandboxSpec{ID: ".."}, ErrInvalid},
		"slash":               {SandboxSpec{ID: "a/b"}, ErrInvalid},
		"long":                {SandboxSpec{ID: strings.Repeat("a", 65)}, ErrInvalid},
		"shared PIDs":         {SandboxSpec{ID: "a", SharedPID: true}, ErrUnsupported},
		"host's name":         {SandboxSpec{ID: "a", HostNetwork: true, Hostname: "b"}, ErrInvalid},
		"long name":           {SandboxSpec{ID: "a", Hostname: strings.Repeat("a", 65)}, ErrInvalid},
		"cgroup above":        {SandboxSpec{ID: "a", CgroupPath: "../b"}, ErrInvalid},
		"cgroup of keeper":    {SandboxSpec{ID: "a", CgroupPath: "keeper"}, ErrInvalid},
		"absolute cgroup":     {SandboxSpec{ID: "a", CgroupPath: "/b"}, ErrInvalid},
		"machine's sysctl":    {SandboxSpec{ID: "a", Sysctls: map[string]string{"kernel.core_pattern": "x"}}, ErrInvalid},
		"machine's, slashed":  {SandboxSpec{ID: "a", Sysctls: map[string]string{"vm/swappiness": "1"}}, ErrInvalid},
		"escaping sysctl":     {SandboxSpec{ID: "a", Sysctls: map[string]string{"net.ipv4.//../../kernel/core_pattern": "1"}}, ErrInvalid},
		"dotted escape":       {SandboxSpec{ID: "a", Sysctls: map[string]string{"net/../kernel/core_pattern": "1"}}, ErrInvalid},
		"path without host":   {SandboxSpec{ID: "a", HostNetworkPath: "/run/netns/b"}, ErrInvalid},
		"relative host":       {SandboxSpec{ID: "a", HostNetwork: true, HostNetworkPath: "b"}, ErrInvalid},
		"host network sysctl": {SandboxSpec{ID: "a", HostNetwork: true, Sysctls: map[string]string{"net.ipv4.ip_forward": "1"}}, ErrInvalid},
		"host IPC sysctl":     {SandboxSpec{ID: "a", HostIPC: true, Sysctls: map[string]string{"kernel/shmmax": "1"}}, ErrInvalid},
		"shares":              {SandboxSpec{ID: "a", Resources: Resources{CPUShares: 1}}, ErrInvalid},
		"memory":              {SandboxSpec{ID: "a", Resources: Resources{Memory: -1}}, ErrInvalid},
		"unknown sysctl":      {SandboxSpec{ID: "a", Sysctls: map[string]string{"net.no.such": "1"}}, os.ErrNotExist},
		"CPUs":                {SandboxSpec{ID: "a", Resources: Resources{CPUs: "all"}}, ErrInvalid},
	} {
		_, err := r.CreateSandbox(t.Context(), c.spec)
		require.ErrorIs(t, err, c.want, name)
	}
	checkEmpty(t, r)
}

// A pod's cgroup is its own: removing one kills what is in it.
func TestCgroupsApart(t *testing.T) {
	r := inProcess(t)
	_, err := r.CreateSandbox(t.Context(), SandboxSpec{ID: "a", CgroupPath: "burstable/a"})
	require.NoError(t, err)
	for id, path := range map[string]string{"b": "burstable/a", "c": "burstable", "d": "burstable/a/d"} {
		_, err := r.CreateSandbox(t.Context(), SandboxSpec{ID: id, CgroupPath: path})
		require.ErrorIs(t, err, ErrExists)
	}
	st, err := r.CreateSandbox(t.Context(), SandboxSpec{ID: "e", CgroupPath: "burstable/ab"})
	require.NoError(t, err)
	require.Equal(t, r.cfg.CgroupParent+"/burstable/ab", st.CgroupPath)
}

func TestContainerRefusals(t *testing.T) {
	r := inProcess(t)
	sb := sandboxFor(t, r, "pod")
	for name, change := range map[string]func(*ContainerSpec){
		"no ID":              func(s *ContainerSpec) { s.ID = "" },
		"no command":         func(s *ContainerSpec) { s.Args = nil },
		"NUL":                func(s *ContainerSpec) { s.Args = []string{"a\x00b"} },
		"environment":        func(s *ContainerSpec) { s.Env = []string{"x"} },
		"host's root":        func(s *ContainerSpec) { s.Rootfs = "/" },
		"relative root":      func(s *ContainerSpec) { s.Rootfs = "root" },
		"unclean root":       func(s *ContainerSpec) { s.Rootfs = "/a/../b" },
		"relative cwd":       func(s *ContainerSpec) { s.Cwd = "a" },
		"user -1":            func(s *ContainerSpec) { s.User.UID = -1 },
		"user 2^31":          func(s *ContainerSpec) { s.User.UID = 1 << 31 },
		"group 2^32":         func(s *ContainerSpec) { s.User.GID = 1 << 32 },
		"added group -1":     func(s *ContainerSpec) { s.User.AdditionalGroups = []int64{-1} },
		"capability":         func(s *ContainerSpec) { s.AddCapabilities = []string{"FLY"} },
		"mount":              func(s *ContainerSpec) { s.Mounts = []specs.Mount{{Destination: "/a/../b", Type: "tmpfs"}} },
		"mount on root":      func(s *ContainerSpec) { s.Mounts = []specs.Mount{{Destination: "/", Type: "tmpfs"}} },
		"mount without type": func(s *ContainerSpec) { s.Mounts = []specs.Mount{{Destination: "/a", Source: "/b"}} },
		"relative bind": func(s *ContainerSpec) {
			s.Mounts = []specs.Mount{{Destination: "/a", Source: "b", Options: []string{"bind"}}}
		},
		"device":          func(s *ContainerSpec) { s.Devices = []specs.LinuxDevice{{Path: "/etc/x", Type: "c"}} },
		"oom score":       func(s *ContainerSpec) { s.OOMScoreAdj = 1001 },
		"rlimit":          func(s *ContainerSpec) { s.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} },
		"soft above hard": func(s *ContainerSpec) { s.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CPU", Soft: 2, Hard: 1}} },
		"relative log":    func(s *ContainerSpec) { s.Log.Path = "a" },
		"tiny log":        func(s *ContainerSpec) { s.Log = Log{Path: "/a", MaxBytes: 1} },
		"signal":          func(s *ContainerSpec) { s.StopSignal = 65 },
		"seccomp mode":    func(s *ContainerSpec) { s.Seccomp.Mode = "x" },
		"masked path":     func(s *ContainerSpec) { s.MaskedPaths = []string{"proc"} },
	} {
		s := sh("c", sb, "true")
		change(&s)
		_, err := r.CreateContainer(t.Context(), s)
		require.ErrorIs(t, err, ErrInvalid, name)
	}
	_, err := r.CreateContainer(t.Context(), sh("c", "other", "true"))
	require.ErrorIs(t, err, ErrNotFound)
	require.Empty(t, r.Containers())
	launch(t, r, sh("c", sb, "true"))
	_, err = r.CreateContainer(t.Context(), sh("c", sb, "true"))
	require.ErrorIs(t, err, ErrExists)
	ended(t, r, "c")
	require.ErrorIs(t, r.StartContainer(t.Context(), "c"), ErrState)
	require.ErrorIs(t, r.KillContainer("c", unix.SIGTERM), ErrState)
	_, err = r.Exec(t.Context(), "c", ExecSpec{Args: []string{"true"}})
	require.ErrorIs(t, err, ErrState)
	require.ErrorIs(t, r.Attach(t.Context(), "c", Streams{}), ErrState)
	require.ErrorIs(t, r.StartContainer(t.Context(), "none"), ErrNotFound)
}

// A command that can't be run ends the container, with the reason.
func TestStartErrors(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		sb := sandboxFor(t, r, "pod")
		for name, change := range map[string]func(*ContainerSpec){
			"no-such-command": func(s *ContainerSpec) { s.Args = []string{"/no/such"} },
			"no-such-root":    func(s *ContainerSpec) { s.Rootfs = "/no/such" },
			"no-such-source": func(s *ContainerSpec) {
				s.Mounts = []specs.Mount{{Destination: "/run", Source: "/no/such", Options: []string{"bind"}}}
			},
			"no-log-folder": func(s *ContainerSpec) { s.Log.Path = "/no/such/log" },
		} {
			s := sh(name, sb, "true")
			change(&s)
			_, err := r.CreateContainer(t.Context(), s)
			require.NoError(t, err)
			err = r.StartContainer(t.Context(), name)
			var se *StartError
			require.ErrorAs(t, err, &se, name)
			st := ended(t, r, name)
			require.Equal(t, ReasonStartError, st.Reason)
			require.Equal(t, 128, st.ExitCode)
			require.NotEmpty(t, st.Message)
			require.NoError(t, r.RemoveContainer(t.Context(), name))
		}
		_, st := output(t, r, sh("fine", sb, "true"))
		require.Equal(t, ReasonCompleted, st.Reason)
		require.NoError(t, r.RemoveSandbox(t.Context(), sb))
		checkEmpty(t, r)
	})
}

func TestLimits(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		sb := sandboxFor(t, r, "pod")
		oom := sh("oom", sb, "exec tail -c 200m /dev/zero")
		oom.Resources.Memory = 64 << 20
		_, st := output(t, r, oom)
		require.True(t, st.OOMKilled)
		require.Equal(t, ReasonOOMKilled, st.Reason)
		require.Equal(t, 137, st.ExitCode)
		stats, err := r.ContainerStats("oom")
		require.NoError(t, err)
		require.Positive(t, stats.OOMKills)

		pids := sh("pids", sb, "i=0; while [ $i -lt 40 ]; do sleep 100 & i=$((i+1)); done")
		pids.Resources.Pids = 10
		out, st := output(t, r, pids)
		require.NotZero(t, st.ExitCode)
		require.Contains(t, out, "can't fork")

		high := sh("high", sb, "ulimit -n; cat /proc/self/oom_score_adj; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true")
		high.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1 << 30, Hard: 1 << 30}, {Type: "RLIMIT_CORE"}}
		high.OOMScoreAdj = -999
		high.Resources.Memory = 48 << 20
		out, st = output(t, r, high)
		require.Zero(t, st.ExitCode)
		require.Contains(t, out, "50331648\n")
		if f := strings.Fields(out); f[0] != "1073741824" {
			require.Contains(t, fmt.Sprint(st.Warnings), "RLIMIT_NOFILE")
		}
		if f := strings.Fields(out); f[1] != "-999" {
			require.Contains(t, fmt.Sprint(st.Warnings), "oom_score_adj")
		}
	})
}

func TestPrivileged(t *testing.T) {
	r := inProcess(t)
	devices, err := hostDevices()
	require.NoError(t, err)
	last := devices[len(devices)-1].Path
	s := sh("c", sandboxFor(t, r, "pod"), "cat /proc/self/status; ls "+last+"; mount -t tmpfs x /tmp && echo mounted; touch /proc/sys/vm/swappiness && echo writable")
	s.Privileged = true
	out, st := output(t, r, s)
	require.Zero(t, st.ExitCode, out)
	own, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	require.Equal(t, fieldsOf(string(own))["CapEff"], fieldsOf(out)["CapEff"])
	require.Contains(t, out, last+"\nmounted\nwritable\n")
}

func TestDevicesAreDenied(t *testing.T) {
	r := inProcess(t)
	s := sh("c", sandboxFor(t, r, "pod"), "mknod /tmp/kmsg c 1 11; head -c 1 /tmp/kmsg; head -c 1 /dev/zero | wc -c; ls /dev")
	s.Mounts = []specs.Mount{{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"}}
	out, _ := output(t, r, s)
	require.Contains(t, out, "/tmp/kmsg: Operation not permitted")
	require.Contains(t, out, "1\n")
	require.Equal(t, 3, strings.Count(out, "kmsg")+strings.Count(out, "null")+strings.Count(out, "full"), out)
}
