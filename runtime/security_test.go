//go:build linux

package runtime

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	stdruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/bedplate/bedplate/runtime/internal/testroot"
)

// rounds is how often a race is tried.
const rounds = 20

// canary is a folder of the host that attacks aim at, and its hash.
func canary(t testing.TB) (dir string, check func()) {
	dir = t.TempDir()
	for _, f := range []string{"null", "pts/0", "self/status", "sys/kernel/core_pattern", "deep/file"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, f), []byte("canary"), 0o644))
	}
	before := treeHash(t, dir)
	return dir, func() { t.Helper(); require.Equal(t, before, treeHash(t, dir), "the host was written to") }
}

func treeHash(t testing.TB, dir string) string {
	h := sha256.New()
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(h, p, st.Mode(), st.Size(), st.ModTime())
		if d.Type().IsRegular() {
			b, err := os.ReadFile(p)
			h.Write(b)
			return err
		}
		return nil
	}))
	return fmt.Sprintf("%x", h.Sum(nil))
}

// try starts a container that may be refused, and removes it.
func try(t testing.TB, r *Runtime, spec ContainerSpec) (ContainerStatus, error) {
	_, err := r.CreateContainer(t.Context(), spec)
	if err != nil {
		return ContainerStatus{}, err
	}
	defer func() { require.NoError(t, r.RemoveContainer(t.Context(), spec.ID)) }()
	if err := r.StartContainer(t.Context(), spec.ID); err != nil {
		return ContainerStatus{}, err
	}
	return ended(t, r, spec.ID), nil
}

func inProcess(t testing.TB) *Runtime {
	cfg := config(t)
	cfg.InProcess = true
	return openFor(t, cfg)
}

// CVE-2019-5736: a container writes to its runtime through /proc/PID/exe.
func TestBinaryCannotBeOverwritten(t *testing.T) {
	r := inProcess(t)
	sum := fileHash(t, "/proc/self/exe")
	spec := sh("c", sandboxFor(t, r, "pod"), "while :; do for p in /proc/[0-9]*; do { echo x >> $p/exe; } 2>/dev/null; done; done")
	spec.AddCapabilities = []string{"ALL"}
	launch(t, r, spec)
	for range rounds {
		_, err := r.Exec(t.Context(), "c", ExecSpec{Args: []string{"/bin/true"}})
		require.NoError(t, err)
	}
	require.Equal(t, sum, fileHash(t, "/proc/self/exe"))
}

func fileHash(t testing.TB, path string) string {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	require.NoError(t, err)
	return fmt.Sprintf("%x", h.Sum(nil))
}

// CVE-2024-21626: the working directory is a descriptor that leads to the host.
func TestCwdOverDescriptors(t *testing.T) {
	r := inProcess(t)
	sb := sandboxFor(t, r, "pod")
	for fd := range 1025 {
		for _, p := range []string{"/proc/self/fd/%d", "/proc/thread-self/fd/%d", "/proc/1/fd/%d", "/./proc//self/fd/%d"} {
			spec := sh("c", sb, "true")
			spec.Cwd = fmt.Sprintf(p, fd)
			_, err := r.CreateContainer(t.Context(), spec)
			require.ErrorIs(t, err, ErrInvalid)
		}
	}
	root := testroot.New(t)
	const fds = 14 // more than an init stage has open
	for fd := range fds {
		require.NoError(t, os.Symlink(fmt.Sprintf("/proc/self/fd/%d", fd), filepath.Join(root, fmt.Sprintf("l%d", fd))))
	}
	launch(t, r, func() ContainerSpec { s := sh("host", sb, "exec sleep 1000"); s.Rootfs = root; return s }())
	for fd := range fds {
		spec := sh("c", sb, "true")
		spec.Rootfs, spec.Cwd = root, fmt.Sprintf("/l%d", fd)
		_, err := try(t, r, spec)
		require.Error(t, err)
		_, err = r.Exec(t.Context(), "host", ExecSpec{Args: []string{"true"}, Cwd: spec.Cwd})
		require.Error(t, err)
	}
	out, _ := output(t, r, sh("fds", sb, "ls /proc/self/fd"))
	require.Equal(t, "0\n1\n2\n3\n", out, "3 is of ls itself")
}

// swap exchanges two paths until stopped.
func swap(t testing.TB, a, b string) (stop func()) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
				stdruntime.Gosched()
			}
		}
	})
	return func() { close(quit); wg.Wait() }
}

// CVE-2025-31133: /dev/null, which masks paths, is exchanged for a link.
func TestMaskThroughSwappedNull(t *testing.T) {
	r := inProcess(t)
	sb := sandboxFor(t, r, "pod")
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	require.NoError(t, err)
	dev := t.TempDir()
	for _, d := range []string{"pts", "shm", "mqueue"} {
		require.NoError(t, os.Mkdir(filepath.Join(dev, d), 0o755))
	}
	require.NoError(t, unix.Mknod(filepath.Join(dev, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	require.NoError(t, os.Symlink("/proc/sys/kernel/core_pattern", filepath.Join(dev, "evil")))
	defer swap(t, filepath.Join(dev, "null"), filepath.Join(dev, "evil"))()
	for i := range rounds {
		spec := sh(fmt.Sprintf("c%d", i), sb, "echo '|/evil' > /proc/kcore; echo '|/evil' > /proc/sys/kernel/core_pattern; cat /proc/kcore | head -c 10")
		spec.Mounts = []specs.Mount{{Destination: "/dev", Source: dev, Options: []string{"rbind", "rw"}}}
		_, _ = try(t, r, spec)
	}
	after, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	require.NoError(t, err)
	require.Equal(t, pattern, after)
}

// CVE-2025-52565: with a terminal, the console is a real pseudo-terminal of the container's.
func TestConsoleIsTerminal(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		spec := sh("c", sandboxFor(t, r, "pod"), "tty; test -c /dev/console && grep -c ' /dev/console .*devpts' /proc/self/mountinfo; stat -c %T /dev/console")
		spec.TTY = true
		out, st := output(t, r, spec)
		require.Zero(t, st.ExitCode, out)
		require.Contains(t, out, "1\r\n")
	})
}

// CVE-2025-52881, 2019-19921, 2023-27561, 2026-41579: the image's /proc, /sys or /dev leads
// elsewhere.
func TestImageWithLinks(t *testing.T) {
	r := inProcess(t)
	sb := sandboxFor(t, r, "pod")
	for _, name := range []string{"proc", "sys", "dev", "dev/pts", "dev/shm", "sys/fs"} {
		for i, prefix := range []string{"", "/../../../../../..", ".."} {
			host, check := canary(t)
			root := testroot.New(t)
			require.NoError(t, os.RemoveAll(filepath.Join(root, name)))
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
			target := host
			if prefix != "" {
				target = prefix + strings.Repeat("/..", 12) + host
			}
			require.NoError(t, os.Symlink(target, filepath.Join(root, name)))
			spec := sh(fmt.Sprintf("c%d", i), sb, "true")
			spec.Rootfs, spec.ReadOnlyRoot = root, false
			_, _ = try(t, r, spec)
			check()
		}
	}
}

// CVE-2021-30465, 2024-45310: a mount target in a volume is exchanged for a link.
func TestMountTargetSwapped(t *testing.T) {
	r := inProcess(t)
	sb := sandboxFor(t, r, "pod")
	host, check := canary(t)
	volume := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(volume, "sub"), 0o755))
	require.NoError(t, os.Symlink(strings.Repeat("../", 20)+host, filepath.Join(volume, "evil")))
	defer swap(t, filepath.Join(volume, "sub"), filepath.Join(volume, "evil"))()
	for i := range rounds {
		spec := sh(fmt.Sprintf("c%d", i), sb, "echo x > /run/sub/deep/file; echo x > /run/sub/new/file")
		spec.Mounts = []specs.Mount{
			{Destination: "/run", Source: volume, Options: []string{"rbind", "rw"}},
			{Destination: "/run/sub/new", Type: "tmpfs", Source: "tmpfs", Options: []string{"rw"}},
		}
		_, _ = try(t, r, spec)
	}
	check()
}

// CVE-2022-29162, 2023-25173: nothing inheritable, exactly the groups asked for.
func TestCredentials(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		spec := sh("c", sandboxFor(t, r, "pod"), "cat /proc/self/status")
		spec.User = User{UID: 1000, GID: 2000, AdditionalGroups: []int64{7, 8}}
		out, st := output(t, r, spec)
		require.Zero(t, st.ExitCode)
		status := fieldsOf(out)
		require.Equal(t, "0000000000000000", status["CapInh"])
		require.Equal(t, "0000000000000000", status["CapAmb"])
		require.Equal(t, "0000000000000000", status["CapEff"])
		require.Equal(t, "7 8", status["Groups"])
		require.Equal(t, "1000\t1000\t1000\t1000", status["Uid"])
		require.Equal(t, "2000\t2000\t2000\t2000", status["Gid"])
		require.Equal(t, "0", status["NoNewPrivs"])

		root := sh("root", "pod", "cat /proc/self/status; wc -c < /proc/interrupts; ls /sys/firmware; echo 1 > /proc/sys/vm/swappiness")
		root.NoNewPrivileges = true
		out, _ = output(t, r, root)
		status = fieldsOf(out)
		require.Equal(t, "0000000000000000", status["CapInh"])
		require.Equal(t, "1", status["NoNewPrivs"])
		require.Equal(t, fmt.Sprintf("%016x", capBits(DefaultCapabilities())), status["CapEff"])
		require.Equal(t, status["CapEff"], status["CapBnd"])
		want := "0"
		if seccomp.Enabled {
			want = "2"
		}
		require.Equal(t, want, status["Seccomp"])
		require.Contains(t, out, "/proc/sys/vm/swappiness: Read-only file system")
		require.Contains(t, out, "\n0\n", "/proc/interrupts is masked")
	})
}

func fieldsOf(status string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(status) {
		k, v, _ := strings.Cut(line, ":")
		m[k] = strings.TrimSpace(v)
	}
	return m
}

func capBits(names []string) (bits uint64) {
	for n, name := range capabilityNames {
		for _, want := range names {
			if name == want {
				bits |= 1 << n
			}
		}
	}
	return bits
}

// CVE-2023-2431: an empty profile filters nothing, silently.
func TestEmptySeccompProfile(t *testing.T) {
	o, _ := ociSpec(sh("c", "pod", ""), sandboxView{}, machine{})
	for _, body := range []string{"{}", "null", `{"syscalls":[]}`, `{"defaultAction":""}`, `{"defaultAction":"SCMP_ACT_ALLOW"}`, "", "[]", "x"} {
		_, err := parseProfile("p", body, o)
		require.ErrorIs(t, err, ErrInvalid, body)
	}
	_, err := parseProfile("p", `{"defaultAction":"SCMP_ACT_ERRNO","listenerPath":"/x"}`, o)
	require.ErrorIs(t, err, ErrUnsupported)
	p, err := parseProfile("p", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}`, o)
	require.NoError(t, err)
	require.Len(t, p.Syscalls, 1)
}

func TestSeccomp(t *testing.T) {
	r := inProcess(t)
	sb := sandboxFor(t, r, "pod")
	profile := filepath.Join(t.TempDir(), "p.json")
	require.NoError(t, os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":2}]}`), 0o600))
	spec := sh("c", sb, "mkdir /tmp/x 2>&1; unshare -U true 2>&1 && echo unshared")
	spec.Mounts = []specs.Mount{{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"}}
	spec.Seccomp = Seccomp{Mode: SeccompLocalhost, Path: profile}
	if !seccomp.Enabled {
		_, err := r.CreateContainer(t.Context(), spec)
		require.ErrorIs(t, err, ErrUnsupported)
		require.ErrorContains(t, err, "-tags seccomp")
		return
	}
	out, _ := output(t, r, spec)
	require.Contains(t, out, "No such file")
	for mode, allowed := range map[SeccompMode]bool{SeccompDefault: false, SeccompUnconfined: true} {
		spec.ID, spec.Seccomp = string("m-"+mode), Seccomp{Mode: mode}
		out, _ := output(t, r, spec)
		require.NotContains(t, out, "No such file")
		require.Equal(t, allowed, strings.Contains(out, "unshared"), out)
	}
	spec.ID, spec.Seccomp = "missing", Seccomp{Mode: SeccompLocalhost, Path: profile + "x"}
	_, err := r.CreateContainer(t.Context(), spec)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// CVE-2026-53488, 94603: labels and annotations are data.
func TestLabelsChangeNothing(t *testing.T) {
	m, err := thisMachine(ContainerSpec{})
	require.NoError(t, err)
	bare, _ := ociSpec(sh("c", "pod", "true"), sandboxView{}, m)
	want, err := json.Marshal(bare)
	require.NoError(t, err)
	known := rapid.SampledFrom([]string{
		"org.systemd.property.ExecStart", "run.oci.hooks.stdout", "io.kubernetes.cri.container-type", "org.criu.config",
		"io.containerd.runtime-options", "run.oci.systemd.force_cgroup_v1", "org.opencontainers.image.stopSignal",
	})
	rapid.Check(t, func(t *rapid.T) {
		s := sh("c", "pod", "true")
		s.Labels = rapid.MapOf(rapid.OneOf(known, rapid.String()), rapid.String()).Draw(t, "labels")
		s.Annotations = rapid.MapOf(rapid.OneOf(known, rapid.String()), rapid.String()).Draw(t, "annotations")
		o, _ := ociSpec(s, sandboxView{}, m)
		got, err := json.Marshal(o)
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

// CVE-2020-15257, 2024-25621: nobody but root, and no container, reaches the socket.
func TestSocketIsPrivate(t *testing.T) {
	cfg := config(t)
	require.NoError(t, os.Chmod(cfg.Dir, 0o777))
	r := openFor(t, cfg)
	for path, mode := range map[string]fs.FileMode{
		cfg.Dir: 0o700 | fs.ModeDir, r.dir.Socket(): 0o600 | fs.ModeSocket, r.dir.Containers(): 0o700 | fs.ModeDir,
		r.dir.LauncherLog(): 0o600, r.dir.KeeperLock(): 0o600,
	} {
		st, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, st.Mode(), path)
	}
	b, err := os.ReadFile("/proc/net/unix")
	require.NoError(t, err)
	require.NotContains(t, string(b), "@bedplate")
	require.NotRegexp(t, regexp.MustCompile(`@.*`+regexp.QuoteMeta(filepath.Base(cfg.Dir))), string(b))
	_, err = r.CreateSandbox(t.Context(), SandboxSpec{ID: "pod", HostNetwork: true})
	require.NoError(t, err)
	out, _ := output(t, r, sh("c", "pod", "ls -d "+cfg.Dir+" "+r.dir.Socket()+" 2>&1"))
	require.NotContains(t, strings.ReplaceAll(out, "ls: "+cfg.Dir, ""), "\n"+cfg.Dir)
	require.Contains(t, out, "No such file")
}

// kubernetes#81125: the log is replaced by something else.
func TestLogIsNoTrap(t *testing.T) {
	r := inProcess(t)
	sb := sandboxFor(t, r, "pod")
	host, check := canary(t)
	dir := t.TempDir()
	traps := map[string]func(path string) error{
		"symlink":  func(p string) error { return os.Symlink(filepath.Join(host, "null"), p) },
		"dangling": func(p string) error { return os.Symlink(filepath.Join(host, "new"), p) },
		"hardlink": func(p string) error { return os.Link(filepath.Join(host, "null"), p) },
		"fifo":     func(p string) error { return unix.Mkfifo(p, 0o600) },
		"folder":   func(p string) error { return os.Mkdir(p, 0o700) },
		"device":   func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) },
	}
	for name, make := range traps {
		spec := sh(name, sb, "echo gotcha")
		spec.Log.Path = filepath.Join(dir, name)
		require.NoError(t, make(spec.Log.Path))
		_, err := try(t, r, spec)
		var se *StartError
		require.ErrorAs(t, err, &se, name)
	}
	require.NoError(t, os.Remove(filepath.Join(dir, "hardlink")))
	check()
}

// CVE-2022-31030, 2025-64329: exec and attach leave nothing, whatever their output.
func TestAttachAndExecLeakNothing(t *testing.T) {
	both(t, func(t *testing.T, r *Runtime) {
		spec := sh("c", sandboxFor(t, r, "pod"), "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done")
		launch(t, r, spec)
		before := stdruntime.NumGoroutine()
		fds := openFiles(t)
		for range rounds {
			says(t, r, "c", "y")
		}
		for range rounds / 4 {
			ctx, cancel := contextWithTimeout(t, 100*time.Millisecond)
			var sink bytes.Buffer
			_, err := r.Exec(ctx, "c", ExecSpec{Args: []string{"yes"}, Streams: Streams{Stdout: &limited{w: &sink, n: 1 << 20}}})
			require.Error(t, err)
			cancel()
		}
		require.Eventually(t, func() bool {
			return stdruntime.NumGoroutine() <= before+2 && openFiles(t) <= fds+4
		}, 20*time.Second, 20*time.Millisecond)
	})
}

func openFiles(t testing.TB) int {
	e, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(e)
}

// Kernels from 6.17 on corrupt the memory of callers older than these.
func TestVersions(t *testing.T) {
	b, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	for module, least := range map[string][3]int{"github.com/opencontainers/runc": {1, 5, 2}, "github.com/opencontainers/cgroups": {0, 1, 0}} {
		m := regexp.MustCompile(regexp.QuoteMeta(module) + ` v(\d+)\.(\d+)\.(\d+)`).FindStringSubmatch(string(b))
		require.Len(t, m, 4, module)
		var have [3]int
		for i := range have {
			_, err := fmt.Sscan(m[i+1], &have[i])
			require.NoError(t, err)
		}
		require.GreaterOrEqual(t, fmt.Sprintf("%03d", have), fmt.Sprintf("%03d", least))
	}
}
