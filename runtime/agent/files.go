package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/runtime"
)

// A pod's folder has
//
//	shared/    a small file system in memory: what is mounted into containers, which may write there as they like
//	logs/      a folder for each container with <attempt>.log
const (
	sharedBytes = 2 << 20
	sharedFiles = 1 << 10
)

func sharedDir(podDir string) string { return filepath.Join(podDir, "shared") }

func messagePath(podDir, container string, attempt int) string {
	return filepath.Join(sharedDir(podDir), fmt.Sprintf("%s.%d.message", container, attempt))
}

func logPath(podDir, container string, attempt int) string {
	return filepath.Join(podDir, "logs", container, fmt.Sprintf("%d.log", attempt))
}

// removeLogs removes a log with its older parts.
func removeLogs(path string) error {
	older, err := filepath.Glob(path + ".*")
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range append(older, path) {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// makeDir makes a pod's folder, if it isn't there.
func (a *Agent) makeDir(uid types.UID) error {
	shared := sharedDir(a.podDir(uid))
	if err := os.MkdirAll(shared, 0o700); err != nil {
		return err
	}
	var here, parent unix.Stat_t
	if err := errors.Join(unix.Stat(shared, &here), unix.Stat(filepath.Dir(shared), &parent)); err != nil || here.Dev != parent.Dev {
		return err
	}
	options := fmt.Sprintf("mode=0700,size=%d,nr_inodes=%d", sharedBytes, sharedFiles)
	if err := unix.Mount("tmpfs", shared, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		return fmt.Errorf("mount %s: %w", shared, err)
	}
	return nil
}

func (a *Agent) removeDir(uid types.UID) error { return removePodDir(a.podDir(uid)) }

func removePodDir(dir string) error {
	shared := sharedDir(dir)
	err := unix.Unmount(shared, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", shared, err)
	}
	return os.RemoveAll(dir)
}

// sweepDirs removes the folders of pods that aren't known.
func (a *Agent) sweepDirs(known []string) error {
	root := filepath.Join(a.c.Dir, "pods")
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) {
			errs = append(errs, removePodDir(filepath.Join(root, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// writeFiles writes what every container of a pod finds under /etc. What is there already may have been changed by
// a container, and stays.
func (a *Agent) writeFiles(p *corev1.Pod, addrs []netip.Addr) error {
	resolv, err := a.resolvConf(p)
	if err != nil {
		return err
	}
	hosts, err := hostsFile(p, addrs, a.c.Domain)
	if err != nil {
		return err
	}
	shared := sharedDir(a.podDir(p.UID))
	for name, content := range map[string]string{"hosts": hosts, "hostname": hostname(p) + "\n", "resolv.conf": resolv} {
		if err := writeOnce(filepath.Join(shared, name), content); err != nil {
			return fmt.Errorf("write /etc/%s of the pod: %w", name, err)
		}
	}
	return nil
}

// writeOnce makes a file, whole or not at all, if it isn't there.
func writeOnce(path, content string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fresh := path + ".new"
	if err := os.WriteFile(fresh, []byte(content), 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// makeMessage makes the empty file for a run's termination message, which any user may write.
func makeMessage(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o666), f.Close())
}

// hostsFile is the machine's own for pods on its network, else the pod's; both with the pod's aliases. A pod with a
// subdomain has its full name there, too, in the cluster's domain.
func hostsFile(p *corev1.Pod, addrs []netip.Addr, domain string) (string, error) {
	var b strings.Builder
	if p.Spec.HostNetwork {
		own, err := os.ReadFile("/etc/hosts")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		b.Write(own)
	} else {
		b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		names := hostname(p)
		if p.Spec.Subdomain != "" && domain != "" {
			names = fmt.Sprintf("%s.%s.%s.svc.%s\t%s", names, p.Spec.Subdomain, p.Namespace, domain, names)
		}
		for _, addr := range addrs {
			fmt.Fprintf(&b, "%s\t%s\n", addr, names)
		}
	}
	for _, alias := range p.Spec.HostAliases {
		fmt.Fprintf(&b, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
	}
	return b.String(), nil
}

// resolvConf follows the pod's dnsPolicy and dnsConfig. Without servers of the node's own, ClusterFirst is Default.
func (a *Agent) resolvConf(p *corev1.Pod) (string, error) {
	var servers, search, options []string
	policy := p.Spec.DNSPolicy
	cluster := len(a.c.DNS) > 0 && (policy == corev1.DNSClusterFirstWithHostNet || policy == corev1.DNSClusterFirst && !p.Spec.HostNetwork)
	switch {
	case policy == corev1.DNSNone:
	case cluster:
		for _, addr := range a.c.DNS {
			servers = append(servers, addr.String())
		}
		search = []string{p.Namespace + ".svc." + a.c.Domain, "svc." + a.c.Domain, a.c.Domain}
		options = []string{"ndots:5"}
	default:
		own, err := os.ReadFile("/etc/resolv.conf")
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil || p.Spec.DNSConfig == nil {
			return string(own), err
		}
		servers, search, options = parseResolv(string(own))
	}
	if c := p.Spec.DNSConfig; c != nil {
		servers, search = append(servers, c.Nameservers...), append(search, c.Searches...)
		for _, o := range c.Options {
			if o.Value != nil {
				options = append(options, o.Name+":"+*o.Value)
			} else {
				options = append(options, o.Name)
			}
		}
	}
	return formatResolv(servers, search, options), nil
}

func parseResolv(s string) (servers, search, options []string) {
	for line := range strings.Lines(s) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			servers = append(servers, f[1])
		case "search":
			search = f[1:]
		case "options":
			options = append(options, f[1:]...)
		}
	}
	return servers, search, options
}

func formatResolv(servers, search, options []string) string {
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.String()
}

// The most of a termination message, and of the end of a log that stands in for one.
const (
	mostMessage     = 4 << 10
	mostLogMessage  = 2 << 10
	mostLogLines    = 80
	mostLogToSearch = 64 << 10
)

// learn reads the messages that runs have left, each once, and forgets those of runs that are gone.
func (w *worker) learn(pod *corev1.Pod) {
	messages := map[string]string{}
	for _, m := range w.members {
		for _, run := range []*runtime.ContainerStatus{m.now, m.before} {
			if run == nil || run.State != runtime.StateExited {
				continue
			}
			text, known := w.messages[run.Spec.ID]
			if !known {
				text = w.a.terminationMessage(pod.UID, m.spec, run)
			}
			messages[run.Spec.ID] = text
		}
	}
	w.messages = messages
}

// terminationMessage is what a run has written to its terminationMessagePath, or, if it wants that and has failed,
// the end of its log.
func (a *Agent) terminationMessage(uid types.UID, c *corev1.Container, run *runtime.ContainerStatus) string {
	dir, attempt := a.podDir(uid), number(run, labelAttempt)
	if s, err := a.head(messagePath(dir, c.Name, attempt), mostMessage); err == nil && s != "" {
		return s
	}
	if c.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError || run.ExitCode == 0 {
		return ""
	}
	return a.logTail(logPath(dir, c.Name, attempt))
}

// head reads the beginning of a file.
func (a *Agent) head(path string, most int64) (string, error) {
	f, err := openPlain(a.c.Dir, path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most))
	return string(b), err
}

// openPlain opens a file below a folder to read it: a regular one, under its only name, and nothing through a
// symbolic link. A container may have had its hands on what lies there.
func openPlain(root, path string) (*os.File, error) {
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return nil, err
	}
	dir, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat2(int(dir.Fd()), rel, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1 {
		return nil, errors.Join(err, f.Close(), fmt.Errorf("%s is no regular file with one name", path))
	}
	return f, nil
}
