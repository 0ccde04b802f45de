//go:build linux

// Package testroot makes small root file systems for tests of containers: busybox under all
// of its names, the usual folders, a few users.
package testroot

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// busybox is where Debian's package busybox-static puts it.
const busybox = "/bin/busybox"

// New makes a root file system of its own for the test, which goes with it.
func New(t testing.TB) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if err := Make(root); err != nil {
		t.Fatal(err)
	}
	return root
}

// Make makes a root file system at path, which must not exist.
func Make(path string) error {
	for _, d := range []string{"bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "var", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(path, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(path, "tmp"), 0o1777); err != nil {
		return err
	}
	files := map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"etc/group":  "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return install(path)
}

func install(path string) error {
	names, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("test root file system: %w: install the package busybox-static", err)
	}
	// A hard link would let a container change the host's file.
	if err := copyFile(filepath.Join(path, "bin/busybox"), busybox); err != nil {
		return fmt.Errorf("test root file system: %w", err)
	}
	for _, n := range strings.Fields(string(names)) {
		if n == "busybox" {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(path, "bin", n)); err != nil {
			return fmt.Errorf("test root file system: %w", err)
		}
	}
	return nil
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		_ = dst.Close()
		return err
	}
	return dst.Close()
}
