//go:build linux

package image_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/image"
	"github.com/bedplate/bedplate/runtime/image/imagetest"
)

func TestOneProcessAtATime(t *testing.T) {
	dir := imagetest.Dir(t)
	s, err := image.Open(image.Config{Dir: dir})
	require.NoError(t, err)
	_, err = image.Open(image.Config{Dir: dir})
	require.ErrorIs(t, err, image.ErrLocked)
	require.ErrorContains(t, err, dir)
	require.NoError(t, s.Close())
	s, err = image.Open(image.Config{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestConfigIsChecked(t *testing.T) {
	for name, cfg := range map[string]image.Config{
		"relative":  {Dir: "x"},
		"empty":     {},
		"colon":     {Dir: "/tmp/a:b"},
		"negative":  {Dir: "/tmp/x", Limits: image.Limits{LayerBytes: -1}},
		"layers":    {Dir: "/tmp/x", Limits: image.Limits{Layers: 1000}},
		"not a dir": {Dir: "/dev/null"},
	} {
		_, err := image.Open(cfg)
		require.Error(t, err, name)
	}
	dir := imagetest.Dir(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "format"), []byte("2\n"), 0o600))
	_, err := image.Open(image.Config{Dir: dir})
	require.ErrorIs(t, err, image.ErrUnsupported)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "format"), []byte("?"), 0o600))
	_, err = image.Open(image.Config{Dir: dir})
	require.ErrorIs(t, err, image.ErrInvalid)
}

func TestFolderIsRootsAlone(t *testing.T) {
	dir := filepath.Join(imagetest.Dir(t), "a", "b")
	s, err := image.Open(image.Config{Dir: dir})
	require.NoError(t, err)
	defer s.Close()
	fi, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.ModeDir|0o700, fi.Mode())
}

func TestImagesOutliveTheProcess(t *testing.T) {
	cfg := image.Config{Dir: imagetest.Dir(t)}
	s, err := image.Open(cfg)
	require.NoError(t, err)
	host := imagetest.Registry(t)
	ref := imagetest.Push(t, host, "demo:v1", map[string][]byte{"f": []byte("x")}, image.ContainerConfig{Env: []string{"A=b"}})
	img, err := s.Pull(t.Context(), ref, image.PullOptions{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(filepath.Join(cfg.Dir, "tmp", "left"), nil, 0o600))
	s, err = image.Open(cfg)
	require.NoError(t, err)
	defer s.Close()
	got, err := s.Get(ref)
	require.NoError(t, err)
	require.Equal(t, img, got)
	require.Empty(t, left(t, cfg.Dir))
}

// TestDamagedRecordsAreForgotten: what can't be read is as if it had never been pulled, and can be pulled again.
func TestDamagedRecordsAreForgotten(t *testing.T) {
	host := imagetest.Registry(t)
	ref := imagetest.Push(t, host, "demo:v1", map[string][]byte{"f": []byte("x")}, image.ContainerConfig{})
	for _, victim := range []string{"layers/*/layer.json", "images/*.json", "refs.json"} {
		for _, damage := range []string{"", "{", "null", `{"digest":"sha256:../.."}`, `[]`} {
			cfg := image.Config{Dir: imagetest.Dir(t), NoSync: true}
			s, err := image.Open(cfg)
			require.NoError(t, err)
			img, err := s.Pull(t.Context(), ref, image.PullOptions{})
			require.NoError(t, err)
			require.NoError(t, s.Close())
			files, err := filepath.Glob(filepath.Join(cfg.Dir, victim))
			require.NoError(t, err)
			require.Len(t, files, 1)
			require.NoError(t, os.WriteFile(files[0], []byte(damage), 0o600))
			s, err = image.Open(cfg)
			require.NoError(t, err, "%s %q", victim, damage)
			_, ok := s.Present(ref)
			require.False(t, ok, "%s %q", victim, damage)
			again, err := s.Pull(t.Context(), ref, image.PullOptions{})
			require.NoError(t, err)
			require.Equal(t, img.Digest, again.Digest)
			require.Equal(t, "x", read(t, mount(t, s, "c", again, image.MountOptions{})+"/f"))
			require.NoError(t, s.Keep(nil))
			require.NoError(t, s.Close())
		}
	}
}

func TestRemoveAndCollect(t *testing.T) {
	dir := imagetest.Dir(t)
	s, err := image.Open(image.Config{Dir: dir})
	require.NoError(t, err)
	defer s.Close()
	base := map[string]image.File{"base": data("base")}
	one := load(t, s, "one:v1", layered(t, image.Plain, base, map[string]image.File{"one": data("1")}))
	two := load(t, s, "two:v1", layered(t, image.Plain, base, map[string]image.File{"two": data("22")}))
	load(t, s, "one:v2", layered(t, image.Plain, base, map[string]image.File{"one": data("1")}))
	require.Equal(t, 3, s.Usage().Layers)

	require.NoError(t, s.Remove("one:v2")) // a tag of two
	_, err = s.Get("one:v2")
	require.ErrorIs(t, err, image.ErrNotFound)
	_, err = s.Get("one:v1")
	require.NoError(t, err)
	require.ErrorIs(t, s.Remove("one:v2"), image.ErrNotFound)
	require.ErrorIs(t, s.Remove("One"), image.ErrInvalidName)

	mount(t, s, "c", two, image.MountOptions{})
	freed, err := s.GC([]string{one.ID, "never-heard-of", "No/Name"})
	require.NoError(t, err)
	require.Zero(t, freed)
	require.ErrorIs(t, s.Remove(two.Digest), image.ErrInUse)
	require.NoError(t, s.Remove("one:v1"))
	require.Equal(t, 2, s.Usage().Layers, "the base is still needed")
	require.NoError(t, s.Unmount("c"))
	freed, err = s.GC(nil)
	require.NoError(t, err)
	require.EqualValues(t, 6, freed)
	require.Equal(t, image.Usage{}, s.Usage())
	require.Empty(t, s.List())
	for _, d := range []string{"tmp", "layers", "images", "containers"} {
		entries, err := os.ReadDir(filepath.Join(dir, d))
		require.NoError(t, err)
		require.Empty(t, entries, d)
	}
	require.Equal(t, "{}", read(t, dir+"/refs.json"))
}

// TestPullsAndCollections run against each other: an image that Pull gave can be mounted, or is cleanly gone.
func TestPullsAndCollections(t *testing.T) {
	host := imagetest.Registry(t)
	s := open(t)
	base := map[string]image.File{"base": data("base")}
	var refs []string
	for i := range 4 {
		refs = append(refs, imagetest.PushImage(t, host, fmt.Sprintf("i%d:v1", i), layered(t, image.Plain, base, map[string]image.File{"f": data(fmt.Sprint(i))})))
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := s.GC(refs[:1]); err != nil {
					t.Error(err)
				}
			}
		}
	})
	var pullers sync.WaitGroup
	for i, ref := range refs {
		pullers.Go(func() {
			for range 15 {
				img, err := s.Pull(t.Context(), ref, image.PullOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				root, err := s.Mount(t.Context(), fmt.Sprint("c", i), img, image.MountOptions{})
				if isKind(err, image.ErrNotFound) {
					continue // collected in between
				}
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := os.ReadFile(root + "/base"); err != nil || string(b) != "base" {
					t.Errorf("%q %v", b, err)
				}
				if err := s.Unmount(fmt.Sprint("c", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	pullers.Wait()
	close(stop)
	wg.Wait()
}

// TestKilledAtAnyInstant kills a process that pulls, mounts, unmounts and removes, and looks at what it left.
func TestKilledAtAnyInstant(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 4))
	host := imagetest.Registry(t)
	var layers []map[string]image.File
	for i := range 6 {
		l := map[string]image.File{}
		for j := range 10 {
			l[fmt.Sprintf("d%d/f%d", i, j)] = image.File{Data: bytes.Repeat([]byte{byte(i)}, 20_000)}
		}
		layers = append(layers, l)
	}
	ref := imagetest.PushImage(t, host, "demo:v1", layered(t, image.Gzip, layers...))
	want := ""
	dir := imagetest.Dir(t)
	for range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "IMAGE_TEST_VICTIM="+dir+" "+ref)
		cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || line != "ready\n" {
			cmd.Wait()
			t.Fatalf("victim: %q %v %s", line, err, stderr.String())
		}
		timer := time.NewTimer(time.Duration(r.IntN(60_000)) * time.Microsecond)
		<-timer.C
		require.NoError(t, cmd.Process.Kill())
		cmd.Wait()
		require.Empty(t, stderr.String())

		s, err := image.Open(image.Config{Dir: dir, NoSync: true})
		require.NoError(t, err)
		require.Empty(t, left(t, dir))
		for _, root := range s.Mounts() {
			require.Contains(t, []string{"one", "two"}, root.ID)
		}
		for _, img := range s.List() {
			require.Len(t, img.Layers, 6)
		}
		require.NoError(t, s.Keep(nil))
		require.Zero(t, mounts(t, dir))
		img, err := s.Pull(t.Context(), ref, image.PullOptions{})
		require.NoError(t, err)
		got := treeHash(t, mount(t, s, "check", img, image.MountOptions{}))
		if want == "" {
			want = got
		}
		require.Equal(t, want, got)
		require.NoError(t, s.Keep(nil))
		if r.IntN(2) == 0 {
			_, err = s.GC(nil)
			require.NoError(t, err)
			require.Equal(t, image.Usage{}, s.Usage())
		}
		require.NoError(t, s.Close())
	}
}

func TestRecordsAreSmall(t *testing.T) {
	s := open(t)
	img := load(t, s, "demo:v1", layered(t, image.Plain, map[string]image.File{"f": data("x")}))
	raw, err := json.Marshal(img)
	require.NoError(t, err)
	require.Less(t, len(raw), 4096)
}
