//go:build linux

package image_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/bedplate/bedplate/runtime/image"
	"github.com/bedplate/bedplate/runtime/image/imagetest"
)

func load(t testing.TB, s *image.Store, name string, img v1.Image) image.Image {
	t.Helper()
	got, err := s.Load(t.Context(), name, img)
	require.NoError(t, err)
	return got
}

func mount(t testing.TB, s *image.Store, id string, img image.Image, opt image.MountOptions) string {
	t.Helper()
	p, err := s.Mount(t.Context(), id, img, opt)
	require.NoError(t, err)
	return p
}

// mounts counts mount points below a folder.
func mounts(t testing.TB, dir string) (n int) {
	t.Helper()
	for line := range strings.Lines(read(t, "/proc/self/mountinfo")) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir) {
			n++
		}
	}
	return n
}

func TestRootShowsTheLayersTogether(t *testing.T) {
	s := open(t)
	img := load(t, s, "demo:v1", layered(t, image.Gzip,
		map[string]image.File{"a": data("1"), "gone": data("1"), "dir/x": data("1"), "dir/y": data("1"), "cut/old": data("1")},
		map[string]image.File{"a": data("2"), ".wh.gone": {}, "dir/.wh.x": {}, "cut/.wh..wh..opq": {}, "cut/new": data("2")},
		map[string]image.File{"b": data("3")},
	))
	root := mount(t, s, "c1", img, image.MountOptions{})
	require.Equal(t, "2", read(t, root+"/a"))
	require.Equal(t, "3", read(t, root+"/b"))
	for _, gone := range []string{"/gone", "/dir/x", "/cut/old"} {
		require.NoFileExists(t, root+gone)
	}
	require.Equal(t, "1", read(t, root+"/dir/y"))
	require.Equal(t, "2", read(t, root+"/cut/new"))

	// Two containers of one image don't see each other, and a second Mount keeps what was written.
	other := mount(t, s, "c2", img, image.MountOptions{})
	require.NoError(t, os.WriteFile(root+"/a", []byte("mine"), 0o644))
	require.Equal(t, "2", read(t, other+"/a"))
	require.Equal(t, root, mount(t, s, "c1", img, image.MountOptions{}))
	require.Equal(t, "mine", read(t, root+"/a"))
	bytes, entries, err := s.RootUsage(t.Context(), "c1")
	require.NoError(t, err)
	require.Positive(t, bytes)
	require.EqualValues(t, 2, entries)
	_, err = s.Mount(t.Context(), "c1", img, image.MountOptions{ReadOnly: true})
	require.ErrorIs(t, err, image.ErrInUse)
	require.NoError(t, s.Unmount("c1"))
	require.NoError(t, s.Unmount("c1"))
	require.Equal(t, "2", read(t, mount(t, s, "c1", img, image.MountOptions{})+"/a"), "a new root is as the image")
	_, _, err = s.RootUsage(t.Context(), "c9")
	require.ErrorIs(t, err, image.ErrNotFound)
}

func TestLayerStacks(t *testing.T) {
	s := open(t)
	t.Run("none", func(t *testing.T) {
		root := mount(t, s, "none", load(t, s, "none:v1", layered(t, image.Plain)), image.MountOptions{})
		fi, err := os.Stat(root)
		require.NoError(t, err)
		require.Equal(t, os.ModeDir|0o755, fi.Mode())
		require.NoError(t, os.WriteFile(root+"/x", nil, 0o644))
	})
	t.Run("the same twice", func(t *testing.T) {
		same := map[string]image.File{"f": data("same")}
		img := load(t, s, "twice:v1", layered(t, image.Plain, same, map[string]image.File{"f": data("between"), "g": data("g")}, same))
		root := mount(t, s, "twice", img, image.MountOptions{})
		require.Equal(t, "same", read(t, root+"/f"))
		require.Equal(t, "g", read(t, root+"/g"))
	})
	t.Run("opaque root", func(t *testing.T) {
		img := load(t, s, "opaque:v1", layered(t, image.Plain, map[string]image.File{"low": data("x")},
			map[string]image.File{".wh..wh..opq": {}, "high": data("x")}, map[string]image.File{"top": data("x")}))
		root := mount(t, s, "opaque", img, image.MountOptions{})
		require.NoFileExists(t, root+"/low")
		require.FileExists(t, root+"/high")
		require.FileExists(t, root+"/top")
	})
	t.Run("many", func(t *testing.T) {
		var layers []map[string]image.File
		for i := range 120 {
			layers = append(layers, map[string]image.File{fmt.Sprintf("f%d", i): data("x")})
		}
		root := mount(t, s, "many", load(t, s, "many:v1", layered(t, image.Plain, layers...)), image.MountOptions{})
		for i := range layers {
			require.FileExists(t, fmt.Sprintf("%s/f%d", root, i))
		}
	})
	t.Run("root folder's mode", func(t *testing.T) {
		img := load(t, s, "mode:v1", layered(t, image.Plain, map[string]image.File{"x": data("x")}))
		fi, err := os.Stat(mount(t, s, "mode", img, image.MountOptions{}))
		require.NoError(t, err)
		require.Equal(t, os.ModeDir|0o755, fi.Mode())
	})
}

func TestReadOnlyRootHasItsMountPoints(t *testing.T) {
	s := open(t)
	img := load(t, s, "demo:v1", layered(t, image.Plain, map[string]image.File{
		"etc/hosts": data("image's"), "sys": {Link: "/elsewhere"}, "elsewhere": {Dir: true}, "tmp": {Dir: true}, "esc": {Link: "/../../../../../../tmp"},
	}))
	opt := image.MountOptions{ReadOnly: true, Dirs: []string{"/data/vol", "esc/made-by-mount", "/../../up"}, Files: []string{"/run/secret", "/etc/hosts"}}
	root := mount(t, s, "ro", img, opt)
	for _, d := range []string{"/proc", "/dev", "/data/vol", "/up", "/tmp/made-by-mount"} {
		require.DirExists(t, root+d)
	}
	require.NoDirExists(t, "/tmp/made-by-mount")
	for _, f := range []string{"/etc/hostname", "/etc/resolv.conf", "/run/secret"} {
		require.FileExists(t, root+f)
	}
	require.Equal(t, "image's", read(t, root+"/etc/hosts"))
	require.ErrorIs(t, os.WriteFile(root+"/x", nil, 0o644), unix.EROFS)
	require.Equal(t, root, mount(t, s, "ro", img, opt))

	// A mount point that can't be: nothing is left.
	bad := load(t, s, "bad:v1", layered(t, image.Plain, map[string]image.File{"etc": data("a file")}))
	_, err := s.Mount(t.Context(), "bad", bad, image.MountOptions{ReadOnly: true})
	require.Error(t, err)
	require.Len(t, s.Mounts(), 1)
	rw := mount(t, s, "rw", img, image.MountOptions{Dirs: []string{"/vol"}})
	require.DirExists(t, rw+"/vol")
	require.NoDirExists(t, rw+"/proc")
}

func TestContainerIDs(t *testing.T) {
	s := open(t)
	img := load(t, s, "demo:v1", layered(t, image.Plain, map[string]image.File{"f": data("x")}))
	for _, id := range []string{"", ".", "..", "../x", "a/b", ".hidden", "-x", "a\x00", strings.Repeat("a", 129), "ä"} {
		_, err := s.Mount(t.Context(), id, img, image.MountOptions{})
		require.ErrorIs(t, err, image.ErrInvalid, "%q", id)
		require.ErrorIs(t, s.Unmount(id), image.ErrInvalid, "%q", id)
	}
	_, err := s.Mount(t.Context(), "x", image.Image{Manifest: "sha256:../.."}, image.MountOptions{})
	require.ErrorIs(t, err, image.ErrNotFound)
	require.Empty(t, s.Mounts())
}

func TestMountsOutliveTheProcess(t *testing.T) {
	dir := imagetest.Dir(t)
	cfg := image.Config{Dir: dir, NoSync: true}
	s, err := image.Open(cfg)
	require.NoError(t, err)
	img := load(t, s, "demo:v1", layered(t, image.Plain, map[string]image.File{"f": data("x")}))
	for _, id := range []string{"a", "b", "c"} {
		require.NoError(t, os.WriteFile(mount(t, s, id, img, image.MountOptions{})+"/mine", []byte(id), 0o644))
	}
	require.NoError(t, s.Close())
	require.Equal(t, 3, mounts(t, dir))

	s, err = image.Open(cfg)
	require.NoError(t, err)
	defer s.Close()
	require.Len(t, s.Mounts(), 3)
	require.Equal(t, "a", read(t, mount(t, s, "a", img, image.MountOptions{})+"/mine"))
	require.ErrorIs(t, s.Remove("demo:v1"), image.ErrInUse)
	freed, err := s.GC(nil)
	require.NoError(t, err)
	require.Zero(t, freed)
	require.NoError(t, s.Keep([]string{"b", "never"}))
	require.Equal(t, 1, mounts(t, dir))
	require.Equal(t, []image.Root{{ID: "b", Path: s.Mounts()[0].Path, Manifest: img.Manifest, Mounted: true}}, s.Mounts())

	// As after a reboot: the mount is gone, what was written may be damaged. Mount begins anew.
	require.NoError(t, unix.Unmount(s.Mounts()[0].Path, 0))
	require.False(t, s.Mounts()[0].Mounted)
	require.NoFileExists(t, mount(t, s, "b", img, image.MountOptions{})+"/mine")
	require.NoError(t, s.Keep(nil))
	require.Zero(t, mounts(t, dir))
	require.Empty(t, left(t, dir))
}

func TestBusyRootIsDetached(t *testing.T) {
	s := open(t)
	img := load(t, s, "demo:v1", layered(t, image.Plain, map[string]image.File{"f": data("x")}))
	f, err := os.Open(mount(t, s, "a", img, image.MountOptions{}) + "/f")
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, s.Unmount("a"))
	require.Empty(t, s.Mounts())
	b := make([]byte, 1)
	_, err = f.Read(b)
	require.NoError(t, err)
}

func TestMountsInParallel(t *testing.T) {
	dir := imagetest.Dir(t)
	s, err := image.Open(image.Config{Dir: dir, NoSync: true})
	require.NoError(t, err)
	defer s.Close()
	img := load(t, s, "demo:v1", layered(t, image.Plain, map[string]image.File{"f": data("x")}))
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			id := fmt.Sprintf("c%d", i%8)
			for range 3 {
				if _, err := s.Mount(t.Context(), id, img, image.MountOptions{}); err != nil {
					t.Error(err)
				}
				if err := s.Unmount(id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Empty(t, s.Mounts())
	require.Zero(t, mounts(t, dir))
}

// TestUnmountStopsAtMounts: what an agent mounted inside a root is somebody else's data.
func TestUnmountStopsAtMounts(t *testing.T) {
	s := open(t)
	precious := filepath.Join(t.TempDir(), "volume")
	require.NoError(t, os.MkdirAll(precious+"/d", 0o755))
	require.NoError(t, os.WriteFile(precious+"/d/f", []byte("keep"), 0o644))
	img := load(t, s, "demo:v1", layered(t, image.Plain, map[string]image.File{"vol": {Dir: true}, "l": {Link: precious}}))
	root := mount(t, s, "a", img, image.MountOptions{})
	require.NoError(t, unix.Mount(precious, root+"/vol", "", unix.MS_BIND, ""))
	require.NoError(t, os.Symlink(precious, root+"/link"))
	require.NoError(t, s.Unmount("a"))
	require.Equal(t, "keep", read(t, precious+"/d/f"))
}

// TestDeepTreesAreRemoved: a container can nest folders deeper than a process may open files.
func TestDeepTreesAreRemoved(t *testing.T) {
	dir := imagetest.Dir(t)
	s, err := image.Open(image.Config{Dir: dir, NoSync: true})
	require.NoError(t, err)
	defer s.Close()
	img := load(t, s, "demo:v1", layered(t, image.Plain, map[string]image.File{"f": data("x")}))
	mount(t, s, "a", img, image.MountOptions{})
	fd, err := unix.Open(filepath.Join(dir, "containers/a/upper"), unix.O_PATH, 0)
	require.NoError(t, err)
	for range 700 {
		require.NoError(t, unix.Mkdirat(fd, "d", 0o755))
		next, err := unix.Openat(fd, "d", unix.O_PATH, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Symlinkat("/etc", next, "l"))
		require.NoError(t, unix.Close(fd))
		fd = next
	}
	require.NoError(t, unix.Close(fd))
	_, _, err = s.RootUsage(t.Context(), "a")
	require.ErrorIs(t, err, image.ErrTooLarge)
	require.NoError(t, s.Unmount("a"))
	require.Empty(t, left(t, dir))
	require.FileExists(t, "/etc/passwd")
}

func TestMountPointsWhateverTheUmask(t *testing.T) {
	s := open(t)
	img := load(t, s, "demo:v1", layered(t, image.Plain, map[string]image.File{"f": data("x")}))
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	root, err := s.Mount(t.Context(), "a", img, image.MountOptions{ReadOnly: true, Dirs: []string{"/deep/vol"}})
	require.NoError(t, err)
	for p, mode := range map[string]os.FileMode{"": 0o755, "/etc": 0o755, "/etc/hosts": 0o644, "/deep": 0o755, "/deep/vol": 0o755, "/proc": 0o755} {
		fi, err := os.Stat(root + p)
		require.NoError(t, err)
		require.Equal(t, mode, fi.Mode().Perm(), p)
	}
}
