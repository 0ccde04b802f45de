//go:build linux

package image_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/image"
	"github.com/bedplate/bedplate/runtime/image/imagetest"
)

func TestBuildIsRepeatable(t *testing.T) {
	files := map[string]image.File{"b/c": data("x"), "a": {Link: "b"}, "/b/d": {Dir: true, Mode: 0o700, UID: 5}}
	for _, c := range []image.Compression{image.Plain, image.Gzip, image.Zstd} {
		one, err := image.Build(files, image.BuildOptions{Compression: c})
		require.NoError(t, err)
		two, err := image.Build(files, image.BuildOptions{Compression: c})
		require.NoError(t, err)
		d1, err := one.Digest()
		require.NoError(t, err)
		d2, err := two.Digest()
		require.NoError(t, err)
		require.Equal(t, d1, d2)
	}
}

func TestBuildRefuses(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	for name, files := range map[string]map[string]image.File{
		"the root":        {"/": {Dir: true}},
		"the same twice":  {"a": data("x"), "/a": data("y")},
		"a file above":    {"a": data("x"), "a/b": data("y")},
		"two kinds":       {"a": {Data: []byte("x"), Link: "y"}},
		"missing source":  {"a": {Source: "/does/not/exist"}},
		"source a fifo":   {"a": {Source: fifo}},
		"source a folder": {"a": {Source: "/"}},
	} {
		_, err := image.Build(files, image.BuildOptions{})
		require.Error(t, err, name)
	}
	_, err := image.Build(nil, image.BuildOptions{Compression: "lzma"})
	require.ErrorIs(t, err, image.ErrUnsupported)
	_, err = image.FilesFrom(filepath.Dir(fifo))
	require.ErrorIs(t, err, image.ErrUnsupported)
}

func TestFilesFromAFolder(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(dir+"/sub/empty", 0o750))
	require.NoError(t, os.WriteFile(dir+"/sub/prog", []byte("#!"), 0o755))
	require.NoError(t, os.Chmod(dir+"/sub/prog", 0o755|os.ModeSetgid))
	require.NoError(t, os.Chown(dir+"/sub/empty", 3, 4))
	require.NoError(t, os.Symlink("prog", dir+"/sub/link"))
	files, err := image.FilesFrom(dir)
	require.NoError(t, err)
	img, err := image.Build(files, image.BuildOptions{})
	require.NoError(t, err)
	s := open(t)
	root := mount(t, s, "c", load(t, s, "x:v1", img), image.MountOptions{})
	require.Equal(t, treeHash(t, dir+"/sub"), treeHash(t, root+"/sub"))

	// A source that changed since is noticed.
	require.NoError(t, os.WriteFile(dir+"/sub/prog", []byte("?!"), 0o755))
	other := open(t)
	_, err = other.Load(t.Context(), "x:v1", img)
	require.ErrorIs(t, err, image.ErrDigest)
	require.NoError(t, os.Remove(dir+"/sub/prog"))
	_, err = other.Load(t.Context(), "x:v1", img)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestBusyboxRuns: the image that other packages test with holds a system that works.
func TestBusyboxRuns(t *testing.T) {
	s := imagetest.Store(t)
	img, err := s.Pull(t.Context(), imagetest.Busybox(t, imagetest.Registry(t)), image.PullOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"sh"}, img.Config.Cmd)
	root := mount(t, s, "c", img, image.MountOptions{})
	cmd := exec.Command("/bin/sh", "-c", "id -u; cat /etc/passwd | wc -l; test -d /tmp")
	cmd.SysProcAttr = &unix.SysProcAttr{Chroot: root}
	cmd.Dir = "/"
	cmd.Env = img.Config.Env
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "0\n3\n", string(out))
	u, err := image.LookupUser(root, "daemon")
	require.NoError(t, err)
	require.Equal(t, image.User{UID: 1, GID: 1, Groups: []uint32{50}, Name: "daemon", Home: "/usr/sbin"}, u)
}

func TestProgramImage(t *testing.T) {
	s := imagetest.Store(t)
	img, err := s.Pull(t.Context(), imagetest.Program(t, imagetest.Registry(t), "prog:v1", imagetest.BusyboxPath, "true"), image.PullOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"/bin/busybox", "true"}, img.Config.Entrypoint)
	cmd := exec.Command(img.Config.Entrypoint[0], img.Config.Entrypoint[1:]...)
	cmd.SysProcAttr = &unix.SysProcAttr{Chroot: mount(t, s, "c", img, image.MountOptions{})}
	cmd.Dir = "/"
	require.NoError(t, cmd.Run())
}
