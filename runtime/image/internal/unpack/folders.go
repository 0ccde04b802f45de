//go:build linux

package unpack

import (
	"errors"
	"fmt"
	"os"
	"path"

	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// folders opens folders of a layer and keeps the last few open, by cleaned path. Whoever removes or replaces a
// name must forget() them, as a path may then lead elsewhere.
type folders struct {
	root *os.File
	open map[string]*os.File
}

// find opens a folder that exists. The caller doesn't own the file.
func (f *folders) find(dir string) (*os.File, error) {
	if dir == "" || dir == "." {
		return f.root, nil
	}
	if d := f.open[dir]; d != nil {
		return d, nil
	}
	d, err := pathrs.OpenatInRoot(f.root, dir)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		d.Close()
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		d.Close()
		return nil, fmt.Errorf("%w: %.200q isn't a folder", ErrInvalid, dir)
	}
	f.keep(dir, d)
	return d, nil
}

func (f *folders) keep(dir string, d *os.File) {
	if len(f.open) >= openFolders {
		f.forget()
	}
	f.open[dir] = d
}

func (f *folders) forget() {
	for k, d := range f.open {
		d.Close()
		delete(f.open, k)
	}
}

func (f *folders) close() {
	f.forget()
	f.root.Close()
}

// parent opens the folder that p lies in and makes it when no entry named it, as root's with mode 0755.
func (u *unpacker) parent(p string) (fd int, base string, err error) {
	dir, base := path.Split(p)
	d, err := u.ensure(path.Clean(dir))
	if err != nil {
		return -1, "", err
	}
	return int(d.Fd()), base, nil
}

func (u *unpacker) ensure(dir string) (*os.File, error) {
	d, err := u.folders.find(dir)
	if !errors.Is(err, unix.ENOENT) {
		return d, refine(err)
	}
	if err := u.count(); err != nil {
		return nil, err
	}
	up, err := u.ensure(path.Dir(dir))
	if err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(int(up.Fd()), path.Base(dir), 0o755); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("%w: %.200q is a symbolic link to nothing", ErrInvalid, dir)
		}
		return nil, os.NewSyscallError("mkdir", err)
	}
	// Whatever the process's umask is.
	if err := unix.Fchmodat(int(up.Fd()), path.Base(dir), 0o755, 0); err != nil {
		return nil, os.NewSyscallError("chmod", err)
	}
	d, err = u.folders.find(dir)
	return d, refine(err)
}

// refine names the failures that only a strange archive causes.
func refine(err error) error {
	for _, e := range []error{unix.ENOTDIR, unix.ELOOP, unix.ENAMETOOLONG, unix.EXDEV, unix.EINVAL} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w path: %v", ErrInvalid, err)
		}
	}
	return err
}

// later has a folder's modification time set at the end.
func (u *unpacker) later(p string, t unix.Timespec) error {
	if _, ok := u.times[p]; !ok {
		if u.names += len(p); u.names > maxFolderNames {
			return fmt.Errorf("%w: folder names over %d bytes", ErrTooLarge, maxFolderNames)
		}
	}
	u.times[p] = t
	return nil
}

func (u *unpacker) setTimes() error {
	for p, t := range u.times {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		d, err := u.folders.find(p)
		if errors.Is(err, unix.ENOENT) {
			continue // named through a link that a later entry replaced
		}
		if err != nil {
			return fmt.Errorf("set time of %.200q: %w", p, err)
		}
		if err := utimes(int(d.Fd()), ".", t); err != nil {
			return fmt.Errorf("set time of %.200q: %w", p, err)
		}
	}
	return nil
}

func utimes(fd int, name string, t unix.Timespec) error {
	ts := []unix.Timespec{t, t}
	return os.NewSyscallError("utimensat", unix.UtimesNanoAt(fd, name, ts, unix.AT_SYMLINK_NOFOLLOW))
}
