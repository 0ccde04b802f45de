//go:build linux

package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxDepth is how deep into a tree we go with a descriptor for each level. Containers and layers can
// nest folders without end.
const maxDepth = 256

// removeTree removes a file or folder of the store's tmp folder, like os.RemoveAll, but takes trees of any depth with few
// descriptors: what lies deeper than maxDepth moves up into tmp first.
func (s *Store) removeTree(path string) error {
	tmp, err := os.Open(s.path("tmp"))
	if err != nil {
		return err
	}
	defer tmp.Close()
	name := filepath.Base(path)
	if path != s.path("tmp", name) {
		return fmt.Errorf("remove %s: %w: not a temporary file", path, ErrInvalid)
	}
	r := remover{store: s, tmp: int(tmp.Fd()), queue: []string{name}}
	for len(r.queue) > 0 {
		name := r.queue[len(r.queue)-1]
		r.queue = r.queue[:len(r.queue)-1]
		if err := r.remove(r.tmp, name, 0); err != nil {
			return fmt.Errorf("remove %s: %w", path, err)
		}
	}
	return nil
}

type remover struct {
	store *Store
	tmp   int
	queue []string // names in tmp
}

func (r *remover) remove(dir int, name string, depth int) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) {
		return &os.PathError{Op: "unlink", Path: name, Err: err}
	}
	if depth == maxDepth {
		return r.spill(dir, name)
	}
	if err := r.empty(dir, name, depth); err != nil {
		return err
	}
	if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err != nil {
		return &os.PathError{Op: "rmdir", Path: name, Err: err}
	}
	return nil
}

func (r *remover) empty(dir int, name string, depth int) error {
	f, err := openDirAt(dir, name)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		names, err := f.Readdirnames(1024)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := r.remove(int(f.Fd()), n, depth+1); err != nil {
				return err
			}
		}
	}
}

func (r *remover) spill(dir int, name string) error {
	up := fmt.Sprintf("deep-%d", r.store.serial.Add(1))
	if err := unix.Renameat2(dir, name, r.tmp, up, unix.RENAME_NOREPLACE); err != nil {
		return &os.PathError{Op: "rename", Path: name, Err: err}
	}
	r.queue = append(r.queue, up)
	return nil
}

func openDirAt(dir int, name string) (*os.File, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// treeSum adds up a tree that somebody may be changing.
type treeSum struct{ bytes, entries int64 }

// add takes the folder d and what is in it, and closes d.
func (t *treeSum) add(ctx context.Context, d *os.File, depth int) error {
	defer d.Close()
	if depth > maxDepth {
		return fmt.Errorf("%w: folders nested deeper than %d", ErrTooLarge, maxDepth)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	t.count(&st)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		names, err := d.Readdirnames(1024)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := t.addEntry(ctx, d, n, depth); err != nil {
				return err
			}
		}
	}
}

func (t *treeSum) addEntry(ctx context.Context, d *os.File, name string, depth int) error {
	var st unix.Stat_t
	err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		t.count(&st)
		return nil
	}
	sub, err := openDirAt(int(d.Fd()), name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // it was, when we looked
	}
	if err != nil {
		return err
	}
	return t.add(ctx, sub, depth+1)
}

// count shares a file out over its names, so that hard links don't count twice.
func (t *treeSum) count(st *unix.Stat_t) {
	links := int64(1)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		links = max(int64(st.Nlink), 1)
	}
	t.bytes += st.Blocks * 512 / links
	t.entries++
}
