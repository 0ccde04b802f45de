package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// PID 1 of the machine.
//
//go:embed init.sh
var initScript []byte

const (
	busybox  = "/bin/busybox" // of the Debian package busybox-static
	diskSize = "4G"           // sparse
)

// makeDisk makes the machine's disk and returns its path. Everything is in dir.
func makeDisk(ctx context.Context, dir, kernel string, o options) (string, error) {
	root := filepath.Join(dir, "root")
	for _, d := range []string{"bin", "sbin", "dev", "etc", "lib", "proc", "root", "run", "src", "sys", "tmp", "var"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return "", err
		}
	}
	err := errors.Join(
		os.WriteFile(filepath.Join(root, "init"), initScript, 0o755),
		os.WriteFile(filepath.Join(root, "src/args"), []byte(o.args+"\n"), 0o644),
		os.WriteFile(filepath.Join(root, "src/list"), nil, 0o644),
		os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644),
		os.WriteFile(filepath.Join(root, "etc/group"), []byte("root:x:0:\n"), 0o644),
		os.WriteFile(filepath.Join(root, "etc/hosts"), []byte("127.0.0.1 localhost\n"), 0o644),
		os.WriteFile(filepath.Join(root, "etc/resolv.conf"), []byte("nameserver 127.0.0.1\n"), 0o644),
		copyInto(ctx, root, busybox),
	)
	if err != nil {
		return "", err
	}
	if _, err := command(ctx, "", "cp", "-a", filepath.Join(kernel, "lib/modules"), filepath.Join(root, "lib")); err != nil {
		return "", err
	}
	for _, p := range o.packages {
		if err := addTest(ctx, root, p, o.tags); err != nil {
			return "", err
		}
	}
	if o.cluster {
		to := filepath.Join(root, "bin/cluster")
		if _, err := command(ctx, "", "go", "build", "-tags", o.tags, "-o", to, "./examples/cluster"); err != nil {
			return "", err
		}
		if err := addLibraries(ctx, root, to); err != nil {
			return "", err
		}
	}
	disk := filepath.Join(dir, "disk")
	_, err = command(ctx, "", "/sbin/mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-d", root, disk, diskSize)
	return disk, err
}

// addTest builds a package's tests into the folder of /src that stands for the package's own, with what tests read.
func addTest(ctx context.Context, root, pkg, tags string) error {
	list, err := command(ctx, "", "go", "list", "-f", "{{.Module.Dir}} {{.Dir}}", pkg)
	if err != nil {
		return err
	}
	module, source, _ := strings.Cut(strings.TrimSpace(list), " ")
	rel, err := filepath.Rel(module, source)
	if err != nil {
		return err
	}
	to := filepath.Join(root, "src", rel)
	binary := filepath.Join(to, "tests")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	if _, err := command(ctx, "", "go", "test", "-c", "-tags", tags, "-o", binary, pkg); err != nil {
		return err
	}
	for _, f := range []string{filepath.Join(module, "go.mod"), filepath.Join(source, "testdata")} {
		if _, err := os.Stat(f); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		under, err := filepath.Rel(module, f)
		if err != nil {
			return err
		}
		if _, err := command(ctx, "", "cp", "-rT", f, filepath.Join(root, "src", under)); err != nil {
			return err
		}
	}
	return errors.Join(addLibraries(ctx, root, binary), appendLine(filepath.Join(root, "src", "list"), rel))
}

func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}

var library = regexp.MustCompile(`(/\S+) \(0x`)

// addLibraries copies what a binary is linked with to where it looks for it.
func addLibraries(ctx context.Context, root, binary string) error {
	list, err := command(ctx, "", "ldd", binary)
	if err != nil {
		return fmt.Errorf("%s: %w", list, err)
	}
	for _, m := range library.FindAllStringSubmatch(list, -1) {
		if err := copyInto(ctx, root, m[1]); err != nil {
			return err
		}
	}
	return nil
}

// copyInto copies a file to the same path below root, unless it is there.
func copyInto(ctx context.Context, root, path string) error {
	to := filepath.Join(root, path)
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	_, err := command(ctx, "", "cp", "-L", path, to)
	return err
}
