//go:build linux

package node

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime"
)

// aloneEnv says that this process has network and mounts to itself.
const aloneEnv = "NODE_TEST_ALONE"

// TestMain runs the tests in a network namespace and a mount namespace of their own, which are the machine to them: so
// all is real, and what is there before and after can be compared.
func TestMain(m *testing.M) {
	if step := os.Getenv(crashEnv); step != "" {
		dieAt(step)
	}
	runtime.Init()
	if c := os.Getenv(childEnv); c != "" {
		os.Exit(childMain(c))
	}
	if os.Getenv(aloneEnv) == "" {
		os.Exit(alone())
	}
	os.Exit(run(m))
}

// alone runs this program again.
func alone() int {
	goruntime.LockOSThread() // what it starts ends with its thread
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), aloneEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run the tests in namespaces of their own (this needs root):", err)
		return 1
	}
	return 0
}

func run(m *testing.M) int {
	if err := settle(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// settle makes of the new namespaces what a machine is. What others have mounted for a while is let go of.
func settle() error {
	all, err := mounts()
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(all) {
		path := strings.TrimPrefix(m, "mount ")
		if strings.HasPrefix(path, "/run/netns") || strings.HasPrefix(path, os.TempDir()+"/") {
			if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("unmount %s: %w", path, err)
			}
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	return unix.Mount("tmpfs", "/run/netns", "tmpfs", 0, "")
}

var (
	dirsMu sync.Mutex
	dirs   []string // of all nodes
)

// inventory is all that a node could leave behind.
func inventory() (list []string, err error) {
	for _, part := range []func() ([]string, error){links, addresses, routes, tables, sysctls, namespaces, mounts, processes, groups} {
		l, err := part()
		if err != nil {
			return nil, err
		}
		list = append(list, l...)
	}
	slices.Sort(list)
	return list, nil
}

func links() (out []string, err error) {
	list, err := netlink.LinkList()
	for _, l := range list {
		out = append(out, "link "+l.Attrs().Name)
	}
	return out, err
}

// addresses leaves out those that the kernel gives each link when it comes to it.
func addresses() (out []string, err error) {
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	for _, a := range list {
		if !a.IP.IsLinkLocalUnicast() {
			out = append(out, "address "+a.String())
		}
	}
	return out, err
}

func routes() (out []string, err error) {
	list, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	for _, r := range list {
		if r.Dst != nil && (r.Dst.IP.IsLinkLocalUnicast() || r.Dst.IP.IsMulticast()) && r.Dst.IP.To4() == nil {
			continue // as with addresses
		}
		out = append(out, "route "+r.String())
	}
	if err != nil {
		return nil, err
	}
	rules, err := netlink.RuleList(netlink.FAMILY_ALL)
	for _, r := range rules {
		out = append(out, "rule "+r.String())
	}
	return out, err
}

func tables() (out []string, err error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	list, err := c.ListTables()
	for _, t := range list {
		out = append(out, fmt.Sprintf("nftables table %d %s", t.Family, t.Name))
	}
	return out, err
}

// sysctls are those of the network, but for counters.
func sysctls() (out []string, err error) {
	for _, root := range []string{"/proc/sys/net/ipv4", "/proc/sys/net/ipv6", "/proc/sys/net/netfilter"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, "nf_conntrack_count") {
				return nil
			}
			if b, err := os.ReadFile(path); err == nil {
				out = append(out, "sysctl "+path+" "+strings.TrimSpace(string(b)))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func namespaces() ([]string, error) { return filepath.Glob("/run/netns/*") }

func mounts() (out []string, err error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 {
			out = append(out, "mount "+f[4])
		}
	}
	return out, err
}

// groupsOf are the names of the cgroups of the nodes so far.
func groupsOf() (names []string) {
	dirsMu.Lock()
	defer dirsMu.Unlock()
	for _, d := range dirs {
		sum := sha256.Sum256([]byte(filepath.Join(d, "runtime")))
		names = append(names, fmt.Sprintf("bedplate-%x", sum[:6]))
	}
	return names
}

// processes are those of pods, and all others that are in the namespaces of this one.
func processes() (out []string, err error) {
	mine := map[string]string{}
	for _, ns := range []string{"net", "mnt"} {
		if mine[ns], err = os.Readlink("/proc/self/ns/" + ns); err != nil {
			return nil, err
		}
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	names := groupsOf()
	for _, p := range all {
		command, err := os.ReadFile(p + "/cmdline")
		if err != nil || len(command) == 0 || p == fmt.Sprintf("/proc/%d", os.Getpid()) {
			continue // it has ended
		}
		group, _ := os.ReadFile(p + "/cgroup")
		ours := slices.ContainsFunc(names, func(n string) bool { return strings.Contains(string(group), n) })
		for ns, own := range mine {
			its, err := os.Readlink(p + "/ns/" + ns)
			ours = ours || err == nil && its == own
		}
		if ours {
			out = append(out, "process "+p+" "+strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return out, err
}

func groups() (out []string, err error) {
	for _, name := range groupsOf() {
		for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
			list, err := filepath.Glob(pattern + name)
			if err != nil {
				return nil, err
			}
			out = append(out, list...)
		}
	}
	return out, nil
}
