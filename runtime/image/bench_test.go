//go:build linux

package image_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/image"
	"github.com/bedplate/bedplate/runtime/image/imagetest"
)

// program is size bytes that compress like a program, as they are from one.
func program(b *testing.B, size int) []byte {
	b.Helper()
	self, err := os.Executable()
	require.NoError(b, err)
	raw, err := os.ReadFile(self)
	require.NoError(b, err)
	for len(raw) < size {
		raw = append(raw, raw...)
	}
	return raw[:size]
}

// mbps reports megabytes of files per second.
func mbps(b *testing.B, name string, size int64, d time.Duration) {
	b.ReportMetric(float64(size)/1e6/d.Seconds(), name)
}

// BenchmarkUnpack unpacks one layer of 60 MB in 24 files. Its floor is decompressing and hashing the same stream, both
// of its digests, without writing a file.
func BenchmarkUnpack(b *testing.B) {
	const size = 60 << 20
	content := program(b, size)
	files := map[string]image.File{}
	for i := range 24 {
		files[fmt.Sprintf("usr/bin/p%d", i)] = image.File{Data: content[i*size/24 : (i+1)*size/24], Mode: 0o755}
	}
	for _, c := range []image.Compression{image.Plain, image.Gzip, image.Zstd} {
		name := string(c)
		if name == "" {
			name = "plain"
		}
		b.Run(name, func(b *testing.B) {
			img := layered(b, c, files)
			doc, err := img.RawManifest()
			require.NoError(b, err)
			_, blobs := unpacked(b, img)
			held := loose{doc: doc, blobs: blobs}
			s := open(b)
			for b.Loop() {
				load(b, s, "demo:v1", held)
				b.StopTimer()
				_, err := s.GC(nil)
				require.NoError(b, err)
				b.StartTimer()
			}
			mbps(b, "MB/s", size, b.Elapsed()/time.Duration(b.N))
			mbps(b, "floor-MB/s", size, unpackFloor(b, img, blobs))
			b.ReportMetric(0, "ns/op")
		})
	}
}

func unpackFloor(b *testing.B, img v1.Image, blobs map[string][]byte) time.Duration {
	b.Helper()
	ls, err := img.Layers()
	require.NoError(b, err)
	d, err := ls[0].Digest()
	require.NoError(b, err)
	blob := blobs[d.String()]
	best := time.Hour
	for range 5 {
		start := time.Now()
		in := io.TeeReader(bytes.NewReader(blob), sha256.New())
		var plain io.Reader = in
		switch {
		case bytes.HasPrefix(blob, []byte{0x1f, 0x8b}):
			plain, err = gzip.NewReader(in)
		case bytes.HasPrefix(blob, []byte{0x28, 0xb5}):
			plain, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(2))
		}
		require.NoError(b, err)
		_, err = io.CopyBuffer(struct{ io.Writer }{sha256.New()}, struct{ io.Reader }{plain}, make([]byte, 256<<10))
		require.NoError(b, err)
		if z, ok := plain.(*zstd.Decoder); ok {
			z.Close()
		}
		best = min(best, time.Since(start))
	}
	return best
}

// BenchmarkMount makes and removes a root of 5 layers. Its floor is the kernel's part alone: mount and unmount an
// overlay of 5 folders that are there.
func BenchmarkMount(b *testing.B) {
	s := open(b)
	var layers []map[string]image.File
	for i := range 5 {
		layers = append(layers, map[string]image.File{fmt.Sprintf("f%d", i): data("x")})
	}
	img := load(b, s, "demo:v1", layered(b, image.Plain, layers...))
	for _, ro := range []bool{false, true} {
		b.Run(map[bool]string{false: "writable", true: "readonly"}[ro], func(b *testing.B) {
			var in, out time.Duration
			for b.Loop() {
				start := time.Now()
				mount(b, s, "c", img, image.MountOptions{ReadOnly: ro})
				in += time.Since(start)
				start = time.Now()
				require.NoError(b, s.Unmount("c"))
				out += time.Since(start)
			}
			b.ReportMetric(float64(in.Microseconds())/float64(b.N), "mount-µs")
			b.ReportMetric(float64(out.Microseconds())/float64(b.N), "unmount-µs")
			b.ReportMetric(float64(mountFloor(b).Microseconds()), "floor-µs")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func mountFloor(b *testing.B) time.Duration {
	b.Helper()
	dir := imagetest.Dir(b)
	var dirs []string
	for i := range 8 {
		d := filepath.Join(dir, fmt.Sprint(i))
		require.NoError(b, os.Mkdir(d, 0o755))
		dirs = append(dirs, d)
	}
	const n = 50
	start := time.Now()
	for range n {
		fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
		require.NoError(b, err)
		for _, l := range dirs[:5] {
			require.NoError(b, unix.FsconfigSetString(fd, "lowerdir+", l))
		}
		require.NoError(b, unix.FsconfigSetString(fd, "upperdir", dirs[5]))
		require.NoError(b, unix.FsconfigSetString(fd, "workdir", dirs[6]))
		require.NoError(b, unix.FsconfigCreate(fd))
		m, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
		require.NoError(b, err)
		require.NoError(b, unix.MoveMount(m, "", unix.AT_FDCWD, dirs[7], unix.MOVE_MOUNT_F_EMPTY_PATH))
		unix.Close(m)
		unix.Close(fd)
		require.NoError(b, unix.Unmount(dirs[7], 0))
	}
	return time.Since(start) / n
}

// BenchmarkPull pulls an image of 20 MB of program in 4 gzip layers from a registry on loopback, with and without
// flushing to disk. Its floor is fetching the same blobs over HTTP, one after another, decompressing and hashing
// them, without writing a file.
func BenchmarkPull(b *testing.B) {
	const size = 20 << 20
	content := program(b, size)
	var layers []map[string]image.File
	for i := range 4 {
		layers = append(layers, map[string]image.File{fmt.Sprintf("p%d", i): {Data: content[i*size/4 : (i+1)*size/4], Mode: 0o755}})
	}
	host := imagetest.Registry(b)
	img := layered(b, image.Gzip, layers...)
	ref := imagetest.PushImage(b, host, "demo:v1", img)
	for _, sync := range []bool{false, true} {
		b.Run(map[bool]string{false: "nosync", true: "sync"}[sync], func(b *testing.B) {
			s := open(b, func(c *image.Config) { c.NoSync = !sync })
			for b.Loop() {
				_, err := s.Pull(b.Context(), ref, image.PullOptions{})
				require.NoError(b, err)
				b.StopTimer()
				_, err = s.GC(nil)
				require.NoError(b, err)
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms")
			b.ReportMetric(float64(pullFloor(b, host, img).Microseconds())/1000, "floor-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
	b.Run("present", func(b *testing.B) {
		s := open(b)
		_, err := s.Pull(b.Context(), ref, image.PullOptions{})
		require.NoError(b, err)
		for b.Loop() {
			_, err := s.Pull(b.Context(), ref, image.PullOptions{})
			require.NoError(b, err)
		}
	})
}

func pullFloor(b *testing.B, host string, img v1.Image) time.Duration {
	b.Helper()
	m, err := img.Manifest()
	require.NoError(b, err)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	best := time.Hour
	for range 5 {
		start := time.Now()
		for _, l := range m.Layers {
			res, err := (&http.Client{Transport: tr}).Get("http://" + host + "/v2/demo/blobs/" + l.Digest.String())
			require.NoError(b, err)
			sum := sha256.New()
			plain, err := gzip.NewReader(io.TeeReader(res.Body, sum))
			require.NoError(b, err)
			_, err = io.Copy(sha256.New(), plain)
			require.NoError(b, err)
			require.NoError(b, res.Body.Close())
			require.True(b, strings.HasSuffix(l.Digest.String(), fmt.Sprintf("%x", sum.Sum(nil))))
		}
		best = min(best, time.Since(start))
	}
	return best
}
