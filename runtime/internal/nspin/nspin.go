//go:build linux

// Package nspin makes namespaces that live without a process: a thread enters new
// ones, binds them onto files and ends.
package nspin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/internal/crash"
)

// Spec says which namespaces to make and how they look inside.
type Spec struct {
	Net, IPC, UTS bool
	Hostname      string            // with UTS
	Sysctls       map[string]string // of the namespaces made, and of no others
}

// Names of the files in a pin folder.
const (
	Net = "net"
	IPC = "ipc"
	UTS = "uts"
)

func (s Spec) flags() (flags int, names []string) {
	for _, n := range []struct {
		want bool
		flag int
		name string
	}{{s.Net, unix.CLONE_NEWNET, Net}, {s.IPC, unix.CLONE_NEWIPC, IPC}, {s.UTS, unix.CLONE_NEWUTS, UTS}} {
		if n.want {
			flags |= n.flag
			names = append(names, n.name)
		}
	}
	return flags, names
}

// Create makes the namespaces and pins them in dir, which must exist. On error nothing is left
// but, possibly, the folder's contents: Remove takes them away.
func Create(dir string, s Spec) error {
	flags, names := s.flags()
	if flags == 0 {
		return nil
	}
	done := make(chan error)
	go thread(func() { done <- create(dir, s, flags, names) })
	return <-done
}

// thread runs f on an operating system thread that ends with it. The main thread can't end,
// and /proc/self would show its namespaces: it is passed over.
func thread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f()
		return // without unlocking: the thread dies
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		thread(f)
	}()
	<-done
	runtime.UnlockOSThread()
}

func create(dir string, s Spec, flags int, names []string) error {
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("create namespaces: %w", err)
	}
	if s.UTS {
		if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
			return fmt.Errorf("set host name %q: %w", s.Hostname, err)
		}
	}
	if s.Net {
		if err := up("lo"); err != nil {
			return err
		}
	}
	for name, value := range s.Sysctls {
		if err := sysctl(name, value); err != nil {
			return err
		}
	}
	for _, n := range names {
		if err := pin(filepath.Join(dir, n), "/proc/thread-self/ns/"+n); err != nil {
			return err
		}
		crash.At("sandbox.pinned." + n)
	}
	return nil
}

func pin(file, ns string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("pin namespace: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("pin namespace: %w", err)
	}
	if err := unix.Mount(ns, file, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("pin namespace %s: %w", file, err)
	}
	return nil
}

func up(link string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set %s up: %w", link, err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(link)
	if err != nil {
		return fmt.Errorf("set %s up: %w", link, err)
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("set %s up: %w", link, err)
	}
	return nil
}

func sysctl(name, value string) error {
	if err := os.WriteFile(SysctlPath(name), []byte(value), 0); err != nil {
		return fmt.Errorf("set sysctl %s=%s: %w", name, value, err)
	}
	return nil
}

// SysctlPath is the file of a sysctl. As in sysctl(8), a name whose first separator is a
// dot has dots between its parts and slashes within; otherwise it is the other way round.
func SysctlPath(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' {
		name = strings.NewReplacer(".", "/", "/", ".").Replace(name)
	}
	return filepath.Join("/proc/sys", filepath.Join("/", name))
}

// Pinned tells whether all files in dir that Spec wants are namespaces.
func Pinned(dir string, s Spec) bool {
	_, names := s.flags()
	for _, n := range names {
		var st unix.Statfs_t
		if unix.Statfs(filepath.Join(dir, n), &st) != nil || st.Type != unix.NSFS_MAGIC {
			return false
		}
	}
	return true
}

// Remove unpins what is in dir and deletes it. Of none it is a no-op.
func Remove(dir string) error {
	var errs []error
	for _, n := range []string{Net, IPC, UTS} {
		file := filepath.Join(dir, n)
		if err := Unmount(file); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Unmount unmounts whatever is on path, never following a link. Of nothing it is a no-op.
func Unmount(path string) error {
	for {
		switch err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); {
		case err == nil:
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil
		default:
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}
