//go:build linux

package image

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// mountOverlay mounts an overlay on target; lowers has the topmost first. The upper layer is volatile: it doesn't
// outlive a power cut, and so need not be flushed.
func mountOverlay(target string, lowers []string, upper, work string) error {
	err := mountByFsopen(target, lowers, upper, work)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		// Before Linux 6.5 there is no lowerdir+, before 5.2 no fsopen.
		if cerr := mountClassic(target, lowers, upper, work); cerr == nil {
			return nil
		} else if !errors.Is(cerr, unix.EINVAL) {
			err = cerr
		}
	}
	if err == nil {
		return nil
	}
	for _, e := range []error{unix.EINVAL, unix.ENODEV, unix.EOPNOTSUPP} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: overlayfs on the file system of %s: %w", ErrUnsupported, target, err)
		}
	}
	return err
}

func mountByFsopen(target string, lowers []string, upper, work string) error {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("fsopen overlay", err)
	}
	defer unix.Close(fd)
	for _, l := range lowers {
		if err := unix.FsconfigSetString(fd, "lowerdir+", l); err != nil {
			return fsError(fd, "lowerdir+", err)
		}
	}
	for _, kv := range [][2]string{{"upperdir", upper}, {"workdir", work}} {
		if err := unix.FsconfigSetString(fd, kv[0], kv[1]); err != nil {
			return fsError(fd, kv[0], err)
		}
	}
	// Kernels that know lowerdir+ know these, but may be built without.
	_ = unix.FsconfigSetString(fd, "index", "off")
	_ = unix.FsconfigSetFlag(fd, "volatile")
	if err := unix.FsconfigCreate(fd); err != nil {
		return fsError(fd, "create", err)
	}
	m, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fsError(fd, "fsmount", err)
	}
	defer unix.Close(m)
	return os.NewSyscallError("move_mount", unix.MoveMount(m, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// fsError adds what the kernel has to say about a failure.
func fsError(fd int, what string, err error) error {
	buf := make([]byte, 512)
	n, rerr := unix.Read(fd, buf)
	if rerr == nil && n > 0 {
		return fmt.Errorf("overlay %s: %s: %w", what, short(string(buf[:n])), err)
	}
	return fmt.Errorf("overlay %s: %w", what, err)
}

// mountClassic names the layers by descriptors, as all options together must fit a page.
func mountClassic(target string, lowers []string, upper, work string) error {
	var names []string
	for _, dir := range slices.Concat(lowers, []string{upper, work}) {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: dir, Err: err}
		}
		defer unix.Close(fd)
		names = append(names, fmt.Sprintf("/proc/self/fd/%d", fd))
	}
	n := len(lowers)
	opts := "lowerdir=" + strings.Join(names[:n], ":") + ",upperdir=" + names[n] + ",workdir=" + names[n+1]
	if len(opts) >= os.Getpagesize()-len(",index=off,volatile") {
		return fmt.Errorf("%w: %d layers on a kernel before 6.5", ErrUnsupported, n)
	}
	var err error
	for _, more := range []string{",index=off,volatile", ",index=off", ""} {
		if err = unix.Mount("overlay", target, "overlay", 0, opts+more); !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	return os.NewSyscallError("mount overlay", err)
}

// mounted says whether path is a mount point: it lies on another file system than its folder.
func mounted(path string) bool {
	var st, up unix.Stat_t
	return unix.Lstat(path, &st) == nil && unix.Lstat(filepath.Dir(path), &up) == nil && st.Dev != up.Dev
}

func isReadOnly(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Flags&unix.ST_RDONLY != 0
}

// unmount takes away whatever is mounted on path. What still uses it goes on; nothing new can.
func unmount(path string) error {
	var err error
	for range 16 { // mounts may lie on each other
		if !mounted(path) {
			return nil
		}
		if err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW); errors.Is(err, unix.EBUSY) {
			err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
	}
	if !mounted(path) {
		return nil
	}
	return &os.PathError{Op: "unmount", Path: path, Err: cmp.Or(err, error(unix.EBUSY))}
}

// finishRoot makes mount points in a mounted root and closes it if it is to be read-only.
func finishRoot(root string, opt MountOptions) error {
	dirs, files := opt.Dirs, opt.Files
	if opt.ReadOnly {
		d := DefaultMountPoints()
		dirs, files = slices.Concat(d.Dirs, dirs), slices.Concat(d.Files, files)
	}
	if len(dirs)+len(files) > 0 {
		if err := makePoints(root, dirs, files); err != nil {
			return err
		}
	}
	if !opt.ReadOnly {
		return nil
	}
	err := unix.MountSetattr(unix.AT_FDCWD, root, unix.AT_SYMLINK_NOFOLLOW, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.12
		err = unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	}
	return os.NewSyscallError("make root read-only", err)
}

func makePoints(root string, dirs, files []string) error {
	r, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, p := range dirs {
		if err := makeDir(r, path.Clean("/"+p)); err != nil {
			return fmt.Errorf("mount point %.200q: %w", p, err)
		}
	}
	for _, p := range files {
		if err := makeFile(r, path.Clean("/"+p)); err != nil {
			return fmt.Errorf("mount point %.200q: %w", p, err)
		}
	}
	return nil
}

func makeDir(root *os.File, p string) error {
	f, err := ensureDir(root, p)
	if err != nil {
		return err
	}
	return f.Close()
}

// ensureDir opens a folder of root, and makes it and those above where they are missing, with mode 0755 whatever the
// umask. A container may be at work in root: nothing is done by a path that it could change meanwhile.
func ensureDir(root *os.File, p string) (*os.File, error) {
	f, err := pathrs.OpenatInRoot(root, p)
	if !errors.Is(err, os.ErrNotExist) || p == "/" {
		return f, err
	}
	up, err := ensureDir(root, path.Dir(p))
	if err != nil {
		return nil, err
	}
	defer up.Close()
	if err := unix.Mkdirat(int(up.Fd()), path.Base(p), 0o755); err != nil {
		return nil, &os.PathError{Op: "mkdir", Path: p, Err: err}
	}
	fd, err := unix.Openat(int(up.Fd()), path.Base(p), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: p, Err: err}
	}
	f = os.NewFile(uintptr(fd), p)
	if err := f.Chmod(0o755); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func makeFile(root *os.File, p string) error {
	dir, err := ensureDir(root, path.Dir(p))
	if err != nil {
		return err
	}
	defer dir.Close()
	fd, err := unix.Openat(int(dir.Fd()), path.Base(p), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: p, Err: err}
	}
	f := os.NewFile(uintptr(fd), p)
	return errors.Join(f.Chmod(0o644), f.Close())
}
