package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// kernel finds the folder of an unpacked kernel package in the cache, or fetches it.
func kernel(ctx context.Context, name string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "bedplate-vm", name)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "new-")
	if err != nil {
		return "", err
	}
	if err := fetch(ctx, tmp, name); err != nil {
		return "", errors.Join(err, os.RemoveAll(tmp))
	}
	return dir, os.Rename(tmp, dir)
}

// fetch unpacks a kernel package into dir, following one that only depends on the newest.
func fetch(ctx context.Context, dir, name string) error {
	deps, err := command(ctx, dir, "apt-cache", "depends", "--important", name)
	if err != nil {
		return fmt.Errorf("%w: apt-get update may help", err)
	}
	for line := range strings.Lines(deps) {
		if _, dep, ok := strings.Cut(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			name = "linux-image-" + dep
		}
	}
	if _, err := command(ctx, dir, "apt-get", "download", "-qq", "-o", "APT::Sandbox::User=", name); err != nil {
		return fmt.Errorf("%w: apt-get update may help", err)
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		return errors.Join(fmt.Errorf("%s: found %d packages", name, len(debs)), err)
	}
	if _, err := command(ctx, dir, "dpkg-deb", "-x", debs[0], "."); err != nil {
		return err
	}
	modules, err := one(dir, "lib/modules/*")
	if err != nil {
		return err
	}
	if _, err := command(ctx, dir, busybox, "depmod", "-b", dir, filepath.Base(modules)); err != nil {
		return err
	}
	return os.Remove(debs[0])
}

// one is the one file in dir that matches.
func one(dir, pattern string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		return "", errors.Join(fmt.Errorf("%s has %d files %s", dir, len(found), pattern), err)
	}
	return found[0], nil
}
