//go:build linux

package unpack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

func (u *unpacker) rootEntry(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir {
		return fmt.Errorf("%w: the layer's root as entry type %q", ErrInvalid, h.Typeflag)
	}
	if err := u.attributes(int(u.folders.root.Fd()), h); err != nil {
		return err
	}
	return u.later("", timespec(h.ModTime))
}

func (u *unpacker) file(p string, h *tar.Header) error {
	dir, base, err := u.parent(p)
	if err != nil {
		return err
	}
	fd, err := u.create(dir, base, p)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), p)
	defer f.Close()
	if err := u.copy(f, h.Size); err != nil {
		return err
	}
	u.res.Bytes += h.Size
	if err := u.attributes(fd, h); err != nil {
		return err
	}
	return utimes(dir, base, timespec(h.ModTime))
}

func (u *unpacker) create(dir int, base, p string) (int, error) {
	const flags = unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(dir, base, flags, 0o600)
	if errors.Is(err, unix.EEXIST) {
		if _, err := u.replace(dir, base, p); err != nil {
			return -1, err
		}
		fd, err = unix.Openat(dir, base, flags, 0o600)
	}
	if err != nil {
		return -1, refine(os.NewSyscallError("open", err))
	}
	return fd, nil
}

// copy writes one file's content; stretches of zeros become holes.
func (u *unpacker) copy(f *os.File, size int64) error {
	var done int64
	hole := false
	for done < size {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(u.tar, u.buf[:min(size-done, int64(len(u.buf)))])
		if err != nil {
			return u.in.cause(fmt.Errorf("%w: content ends early: %v", ErrInvalid, err))
		}
		if hole = zero(u.buf[:n]); !hole {
			if _, err := f.WriteAt(u.buf[:n], done); err != nil {
				return err
			}
		}
		done += int64(n)
	}
	if hole {
		return f.Truncate(size)
	}
	return nil
}

func zero(b []byte) bool {
	return b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}

func (u *unpacker) folder(p string, h *tar.Header) error {
	dir, base, err := u.parent(p)
	if err != nil {
		return err
	}
	hidden, err := u.mkdir(dir, base, p)
	if err != nil {
		return err
	}
	fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer unix.Close(fd)
	if hidden {
		if err := setOpaque(fd); err != nil {
			return err
		}
	}
	if err := u.attributes(fd, h); err != nil {
		return err
	}
	return u.later(p, timespec(h.ModTime))
}

// mkdir makes a folder or keeps the one that is there, and reports whether it took a whiteout's place.
func (u *unpacker) mkdir(dir int, base, p string) (hidden bool, err error) {
	err = unix.Mkdirat(dir, base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		st, serr := lstat(dir, base)
		if serr != nil {
			return false, serr
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return false, nil
		}
		if hidden, err = u.replace(dir, base, p); err != nil {
			return false, err
		}
		err = unix.Mkdirat(dir, base, 0o700)
	}
	return hidden, refine(os.NewSyscallError("mkdir", err))
}

func (u *unpacker) symlink(p string, h *tar.Header) error {
	if h.Linkname == "" || len(h.Linkname) > maxName {
		return fmt.Errorf("%w: link target of %d bytes", ErrInvalid, len(h.Linkname))
	}
	dir, base, err := u.parent(p)
	if err != nil {
		return err
	}
	link := func() error { return unix.Symlinkat(h.Linkname, dir, base) }
	if err := u.fresh(dir, base, p, link); err != nil {
		return err
	}
	if err := unix.Fchownat(dir, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("chown", err)
	}
	return utimes(dir, base, timespec(h.ModTime))
}

// hardlink names a file of this layer again. Its owner, mode and times are the file's.
func (u *unpacker) hardlink(p string, h *tar.Header) error {
	target, err := clean(h.Linkname)
	if err != nil || target == "" {
		return fmt.Errorf("%w: hard link to %.200q", ErrInvalid, h.Linkname)
	}
	if target == p {
		return fmt.Errorf("%w: hard link to itself", ErrInvalid)
	}
	// The new name's folder first: making room for it may close folders.
	if _, _, err := u.parent(p); err != nil {
		return err
	}
	from, err := u.folders.find(path.Dir(target))
	if err != nil {
		return missing(target, err)
	}
	fromBase := path.Base(target)
	st, err := lstat(int(from.Fd()), fromBase)
	if err != nil {
		return missing(target, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFLNK, unix.S_IFIFO:
	default:
		return fmt.Errorf("%w: hard link to %.200q, which isn't a file", ErrInvalid, target)
	}
	return u.link(from, fromBase, st, p)
}

func (u *unpacker) link(from *os.File, fromBase string, st unix.Stat_t, p string) error {
	// A descriptor of our own, as replacing a name closes the kept ones.
	fd, err := unix.Dup(int(from.Fd()))
	if err != nil {
		return os.NewSyscallError("dup", err)
	}
	defer unix.Close(fd)
	dir, base, err := u.parent(p)
	if err != nil {
		return err
	}
	if old, err := lstat(dir, base); err == nil && old.Ino == st.Ino && old.Dev == st.Dev {
		return nil // the same file under another spelling: unlinking it could lose it
	}
	return u.fresh(dir, base, p, func() error { return unix.Linkat(fd, fromBase, dir, base, 0) })
}

func missing(target string, err error) error {
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: hard link to %.200q, which isn't in the layer", ErrInvalid, target)
	}
	return refine(err)
}

func (u *unpacker) fifo(p string, h *tar.Header) error {
	dir, base, err := u.parent(p)
	if err != nil {
		return err
	}
	mkfifo := func() error { return unix.Mknodat(dir, base, unix.S_IFIFO|0o600, 0) }
	if err := u.fresh(dir, base, p, mkfifo); err != nil {
		return err
	}
	if err := unix.Fchownat(dir, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("chown", err)
	}
	if err := unix.Fchmodat(dir, base, uint32(h.Mode)&0o7777, 0); err != nil {
		return os.NewSyscallError("chmod", err)
	}
	return utimes(dir, base, timespec(h.ModTime))
}

// fresh makes a name that must not exist; what an earlier entry of the layer made there goes.
func (u *unpacker) fresh(dir int, base, p string, create func() error) error {
	err := create()
	if errors.Is(err, unix.EEXIST) {
		if _, err := u.replace(dir, base, p); err != nil {
			return err
		}
		err = create()
	}
	return refine(err)
}

// replace removes what an earlier entry made, and reports whether that was a whiteout. Folders kept open are
// forgotten before the next entry, not at once, as dir is one of them.
func (u *unpacker) replace(dir int, base, p string) (wasWhiteout bool, err error) {
	st, err := lstat(dir, base)
	if err != nil {
		return false, err
	}
	flags := 0
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		flags = unix.AT_REMOVEDIR
	}
	err = unix.Unlinkat(dir, base, flags)
	if errors.Is(err, unix.ENOTEMPTY) {
		return false, fmt.Errorf("%w: takes the place of a folder that isn't empty", ErrInvalid)
	}
	if err != nil {
		return false, os.NewSyscallError("unlink", err)
	}
	u.stale = true
	delete(u.times, p)
	return st.Mode&unix.S_IFMT == unix.S_IFCHR, nil
}

func lstat(dir int, base string) (st unix.Stat_t, err error) {
	err = unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, os.NewSyscallError("stat", err)
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}
