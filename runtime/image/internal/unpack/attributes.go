//go:build linux

package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	xattrRecord = "SCHILY.xattr."
	opaqueXattr = "trusted.overlay.opaque"

	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..opq" // after one prefix
)

// attributes sets owner, mode and extended attributes, in the order in which the kernel doesn't undo
// them: a change of owner clears set-user-id bits and capabilities.
func (u *unpacker) attributes(fd int, h *tar.Header) error {
	if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
		return os.NewSyscallError("fchown", err)
	}
	if err := unix.Fchmod(fd, uint32(h.Mode)&0o7777); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	for _, k := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		name, ok := strings.CutPrefix(k, xattrRecord)
		if !ok {
			continue
		}
		if !keptXattr(name) {
			u.res.Skipped++
			continue
		}
		if err := setXattr(fd, name, h.PAXRecords[k]); err != nil {
			return err
		}
	}
	return nil
}

// keptXattr picks what a file's meaning in a container depends on. Everything under trusted. and the
// security labels are the machine's own.
func keptXattr(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

func setXattr(fd int, name, value string) error {
	err := unix.Fsetxattr(fd, name, []byte(value), 0)
	if errors.Is(err, unix.ENOTSUP) && name != "security.capability" {
		return nil // the file system has none: a plain file is what tar would give as well
	}
	if err != nil {
		return fmt.Errorf("set attribute %.100q: %w", name, err)
	}
	return nil
}

func setOpaque(fd int) error {
	if err := unix.Fsetxattr(fd, opaqueXattr, []byte("y"), 0); err != nil {
		return fmt.Errorf("mark folder opaque: %w", err)
	}
	return nil
}

// whiteout hides names of the layers below: rest is the entry's base name without its prefix.
func (u *unpacker) whiteout(p, rest string) error {
	if rest == opaqueName {
		return u.opaque(p)
	}
	if strings.HasPrefix(rest, whiteoutPrefix) {
		return nil // bookkeeping of aufs, which means nothing here
	}
	if rest == "" || rest == "." || rest == ".." {
		return fmt.Errorf("%w: whiteout of nothing", ErrInvalid)
	}
	dir, _, err := u.parent(p)
	if err != nil {
		return err
	}
	err = unix.Mknodat(dir, rest, unix.S_IFCHR, 0)
	if !errors.Is(err, unix.EEXIST) {
		return refine(os.NewSyscallError("mknod", err))
	}
	return u.hide(dir, rest)
}

// hide is a whiteout of what the layer itself has: a folder of its own then shows nothing from below;
// anything else does so already.
func (u *unpacker) hide(dir int, base string) error {
	st, err := lstat(dir, base)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return err
	}
	fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	defer unix.Close(fd)
	return setOpaque(fd)
}

func (u *unpacker) opaque(p string) error {
	dir, _, err := u.parent(p)
	if err != nil {
		return err
	}
	if dir == int(u.folders.root.Fd()) {
		u.res.OpaqueRoot = true // overlayfs doesn't read the attribute on a layer's root
		return nil
	}
	return u.hide(dir, ".")
}
