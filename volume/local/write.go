//go:build linux

package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A volume whose files come from the API is a folder with a link dataLink to the folder of the files as they are,
// and a link beside it for each of their topmost names. Swapping dataLink shows a whole change at once.
const dataLink = "..data"

// write brings a volume up to date.
func (v *Volumes) write(ctx context.Context, pod *corev1.Pod, vol *corev1.Volume, dir string) error {
	old := tokens{read: func(path string) ([]byte, time.Time) {
		at := filepath.Join(dir, dataLink, path)
		st, err := os.Stat(at)
		if err != nil {
			return nil, time.Time{}
		}
		b, err := os.ReadFile(at)
		if err != nil {
			return nil, time.Time{}
		}
		return b, st.ModTime()
	}}
	files, err := v.content.files(ctx, pod, vol, old)
	if err != nil {
		return err
	}
	for path := range files {
		if !filepath.IsLocal(path) || strings.HasPrefix(path, "..") {
			return fmt.Errorf("file path %q leads out of the volume", path)
		}
	}
	if same(filepath.Join(dir, dataLink), files) {
		_, err := relink(dir)
		return err
	}
	return publish(dir, files, fsGroup(pod))
}

// same says whether a folder shows exactly these files.
func same(dir string, files map[string]file) bool {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	count := 0
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		have, err := os.ReadFile(p)
		if want, ok := files[rel]; err != nil || !ok || !bytes.Equal(have, want.data) {
			return errors.Join(err, fs.ErrNotExist)
		}
		count++
		return nil
	})
	return err == nil && count == len(files)
}

// publish writes the files to a new folder, shows it, and removes the old one. A crash on the way leaves the old
// files, or the new ones, and a folder that the next publish removes.
func publish(dir string, files map[string]file, group int) error {
	fresh, err := os.MkdirTemp(dir, "..v_")
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o755)
	if err := os.Chmod(fresh, mode); err != nil {
		return err
	}
	for path, f := range files {
		if err := writeFile(filepath.Join(fresh, path), f, group); err != nil {
			return errors.Join(err, os.RemoveAll(fresh))
		}
	}
	link := filepath.Join(dir, dataLink+"_new")
	if err := errors.Join(removeIfThere(link), os.Symlink(filepath.Base(fresh), link)); err != nil {
		return err
	}
	if err := os.Rename(link, filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	_, err = relink(dir)
	return err
}

func writeFile(path string, f file, group int) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, f.data, 0o600); err != nil {
		return err
	}
	mode := f.mode
	if group >= 0 {
		if err := os.Chown(path, 0, group); err != nil {
			return err
		}
		mode |= 0o040
	}
	return os.Chmod(path, mode)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// relink makes the links to what is shown, and removes those to what no longer is, and old folders. shown says
// whether anything is. A crash may have left it undone.
func relink(dir string) (shown bool, err error) {
	current, err := os.Readlink(filepath.Join(dir, dataLink))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	files, err := os.ReadDir(filepath.Join(dir, current))
	if err != nil {
		return false, err
	}
	missing := map[string]bool{}
	for _, f := range files {
		missing[f.Name()] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case name == dataLink || name == current:
		case missing[name]:
			delete(missing, name)
		default:
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		err = errors.Join(err, os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name)))
	}
	return true, err
}
