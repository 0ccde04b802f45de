//go:build linux

package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"golang.org/x/sys/unix"
)

// MountOptions vary from root to root. The zero value is a writable root.
type MountOptions struct {
	// ReadOnly makes the root read-only. Whatever is to be mounted on it needs its mount point to be there, and the
	// image may not have it: DefaultMountPoints and those below are made in the upper layer before the root is closed.
	ReadOnly bool
	// Dirs and Files are mount points to make, absolute in the container, as empty folders and files. One that
	// exists in any form is left as it is; symbolic links on the way are followed inside the root.
	Dirs, Files []string
}

// DefaultMountPoints are the mount points that every read-only root is given.
func DefaultMountPoints() MountOptions {
	return MountOptions{
		Dirs:  []string{"/proc", "/sys", "/dev"},
		Files: []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"},
	}
}

// Root is a root file system that Mount made.
type Root struct {
	// ID is the container's.
	ID string
	// Path is where it is mounted.
	Path string
	// Manifest is the digest of its image's manifest.
	Manifest string
	// Mounted is false for one that a crash or a reboot interrupted: Mount it again, or Unmount it.
	Mounted bool
}

// rootEntry is a root as stored: containers/<id>/root.json.
type rootEntry struct {
	Manifest string   `json:"manifest"`
	Layers   []string `json:"layers"`
	ReadOnly bool     `json:"readOnly,omitempty"`
}

var idRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)

// Mount makes the root file system of container id from an image of this store, and returns its path. All layers are
// read-only; what the container writes goes to a folder of its own, lost with Unmount and with a reboot.
//
// A second Mount for the same container and image gives the same path and keeps what was written. ErrInUse
// if the id has a root of another image or mode; ErrNotFound if the image isn't in the store; ErrUnsupported
// if the kernel or the file system of Config.Dir can't do it.
func (s *Store) Mount(ctx context.Context, id string, img Image, opt MountOptions) (string, error) {
	path, err := s.mountRoot(ctx, id, img.Manifest, opt)
	if err != nil {
		return "", fmt.Errorf("mount root of container %.200q: %w", id, err)
	}
	return path, nil
}

func (s *Store) mountRoot(ctx context.Context, id, manifest string, opt MountOptions) (string, error) {
	if !idRE.MatchString(id) {
		return "", fmt.Errorf("%w container id", ErrInvalid)
	}
	unlock, err := s.busy.lock(id)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := ctx.Err(); err != nil {
		return "", context.Cause(ctx)
	}
	entry, existed, err := s.reserve(id, manifest, opt.ReadOnly)
	if err != nil {
		return "", err
	}
	path := s.path("containers", id, "root")
	if existed && mounted(path) {
		// A container may be running in it: whatever goes wrong, it stays.
		if opt.ReadOnly && isReadOnly(path) {
			return path, nil
		}
		return path, finishRoot(path, opt)
	}
	if err = s.freshRoot(id, path, entry); err == nil {
		err = finishRoot(path, opt)
	}
	if err != nil {
		return "", errors.Join(err, s.dropRoot(id))
	}
	return path, nil
}

// reserve finds the container's entry or makes one, from when on the image's layers stay.
func (s *Store) reserve(id, manifest string, readOnly bool) (e *rootEntry, existed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e = s.roots[id]; e != nil {
		if e.Manifest != manifest || e.ReadOnly != readOnly {
			return nil, true, fmt.Errorf("%w: it has another root", ErrInUse)
		}
		return e, true, nil
	}
	rec := s.images[manifest]
	if rec == nil {
		return nil, false, fmt.Errorf("image %.100q: %w", manifest, ErrNotFound)
	}
	e = &rootEntry{Manifest: manifest, Layers: rec.Layers, ReadOnly: readOnly}
	s.roots[id] = e
	return e, false, nil
}

// freshRoot makes the container's folder and mounts the overlay. A folder that is there without its mount is from
// before a crash or a reboot; nothing runs in it, and its upper layer may be damaged.
func (s *Store) freshRoot(id, path string, e *rootEntry) error {
	if err := s.discard(s.path("containers", id)); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(s.path("tmp"), "root-")
	if err != nil {
		return err
	}
	lowers := s.lowers(e.Layers)
	if err := fillRoot(tmp, lowers[0], e); err != nil {
		return errors.Join(err, s.removeTree(tmp))
	}
	if err := os.Rename(tmp, s.path("containers", id)); err != nil {
		return errors.Join(err, s.removeTree(tmp))
	}
	return mountOverlay(path, lowers, s.path("containers", id, "upper"), s.path("containers", id, "work"))
}

func fillRoot(dir, top string, e *rootEntry) error {
	for _, d := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	// The upper folder is what the container sees as "/": it looks like the top layer's.
	var st unix.Stat_t
	if err := unix.Stat(top, &st); err != nil {
		return &os.PathError{Op: "stat", Path: top, Err: err}
	}
	upper := filepath.Join(dir, "upper")
	if err := os.Chown(upper, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(upper, st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: upper, Err: err}
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "root.json"), raw, 0o600)
}

// lowers gives the layers' folders, topmost first, at least one.
func (s *Store) lowers(layers []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, id := range slices.Backward(layers) {
		if seen[id] {
			continue // overlayfs takes no folder twice; what shows of it shows at its highest place
		}
		seen[id] = true
		out = append(out, s.path("layers", fileName(id), "fs"))
		if l := s.layer(id); l != nil && l.OpaqueRoot {
			break
		}
	}
	if len(out) == 0 {
		return []string{s.path("empty")}
	}
	return out
}

// Unmount removes a container's root file system and all that was written to it. The container must have ended. A
// container without one is no error.
func (s *Store) Unmount(id string) error {
	if !idRE.MatchString(id) {
		return fmt.Errorf("unmount root of container %.200q: %w container id", id, ErrInvalid)
	}
	unlock, err := s.busy.lock(id)
	if err == nil {
		defer unlock()
		err = s.dropRoot(id)
	}
	if err != nil {
		return fmt.Errorf("unmount root of container %s: %w", id, err)
	}
	return nil
}

// dropRoot is Unmount with the container's lock held.
func (s *Store) dropRoot(id string) error {
	dir := s.path("containers", id)
	if err := unmount(filepath.Join(dir, "root")); err != nil {
		return err
	}
	tmp, err := s.setAside(dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.roots, id)
	s.mu.Unlock()
	if tmp == "" {
		return nil
	}
	return s.removeTree(tmp)
}

// Mounts lists the root file systems that exist, ordered by ID, also those that another process made before this one.
func (s *Store) Mounts() []Root {
	s.mu.Lock()
	roots := maps.Clone(s.roots)
	s.mu.Unlock()
	var out []Root
	for _, id := range slices.Sorted(maps.Keys(roots)) {
		path := s.path("containers", id, "root")
		out = append(out, Root{ID: id, Path: path, Manifest: roots[id].Manifest, Mounted: mounted(path)})
	}
	return out
}

// Keep unmounts every root file system whose container isn't listed: the sweep after a crash.
func (s *Store) Keep(ids []string) error {
	var errs []error
	for _, r := range s.Mounts() {
		if !slices.Contains(ids, r.ID) {
			errs = append(errs, s.Unmount(r.ID))
		}
	}
	return errors.Join(errs...)
}

// RootUsage is the disk space that a container's own writing takes, in bytes, and its files and folders. It
// walks them. ErrNotFound when the container has no root; ErrTooLarge when its folders are nested deeper than
// 256, as nothing but an attempt to hide does that.
func (s *Store) RootUsage(ctx context.Context, id string) (bytes, entries int64, err error) {
	s.mu.Lock()
	_, ok := s.roots[id]
	s.mu.Unlock()
	if !ok {
		return 0, 0, fmt.Errorf("usage of container %.200q: %w", id, ErrNotFound)
	}
	upper, err := os.OpenFile(s.path("containers", id, "upper"), unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("usage of container %s: %w", id, err)
	}
	var sum treeSum
	if err := sum.add(ctx, upper, 0); err != nil {
		return 0, 0, fmt.Errorf("usage of container %s: %w", id, err)
	}
	return sum.bytes, sum.entries, nil
}

// loadRoots finds the roots of an earlier process.
func (s *Store) loadRoots() error {
	dirs, err := os.ReadDir(s.path("containers"))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		var e rootEntry
		err := readJSON(s.path("containers", d.Name(), "root.json"), &e)
		if err == nil && idRE.MatchString(d.Name()) {
			s.roots[d.Name()] = &e
			continue
		}
		s.log.Warn("removing a damaged root file system", "container", d.Name(), "err", err)
		if err := s.dropRoot(d.Name()); err != nil {
			return err
		}
	}
	return nil
}
