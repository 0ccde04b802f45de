//go:build linux

package image_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/runtime/image"
	"github.com/bedplate/bedplate/runtime/image/imagetest"
)

func TestPullDescribesTheImage(t *testing.T) {
	host := imagetest.Registry(t)
	cfg := image.ContainerConfig{
		User: "7:8", Env: []string{"A=b"}, Entrypoint: []string{"/bin/x"}, Cmd: []string{"y"}, WorkingDir: "../../w",
		Volumes: []string{"/data", "rel/../../vol"}, StopSignal: "SIGQUIT", ExposedPorts: []string{"80/tcp"},
	}
	ref := imagetest.Push(t, host, "team/demo:v1", map[string][]byte{"bin/x": []byte("#!x")}, cfg)
	s := open(t)
	_, ok := s.Present(ref)
	require.False(t, ok)
	var last image.Progress
	img, err := s.Pull(t.Context(), ref, image.PullOptions{Progress: func(p image.Progress) { last = p }})
	require.NoError(t, err)
	require.Equal(t, ref, img.Ref)
	cfg.WorkingDir, cfg.Volumes = "/w", []string{"/data", "/vol"}
	require.Equal(t, cfg, img.Config)
	require.Equal(t, image.Platform{OS: "linux", Architecture: goarch}, img.Platform)
	require.Equal(t, img.Digest, img.Manifest)
	require.Equal(t, host+"/team/demo@"+img.Digest, img.RepoDigest())
	require.Equal(t, []string{img.RepoDigest()}, img.Digests)
	require.EqualValues(t, 3, img.Size)
	require.Equal(t, 1, last.LayersDone)
	require.Equal(t, last.BytesTotal, last.Bytes)

	for _, by := range []string{ref, img.Digest, img.ID, img.RepoDigest(), host + "/team/demo:other@" + img.Digest} {
		got, err := s.Get(by)
		require.NoError(t, err, by)
		require.Equal(t, img.Manifest, got.Manifest)
		require.Equal(t, img.Digest, got.Digest)
	}
	require.Len(t, s.List(), 1)
	require.Equal(t, ref, s.List()[0].Ref)
	require.Equal(t, image.Usage{Bytes: 3, Entries: 2, Images: 1, Layers: 1}, s.Usage())
	for _, by := range []string{host + "/team/demo:v2", "demo", "sha256:" + strings.Repeat("0", 64)} {
		_, err := s.Get(by)
		require.ErrorIs(t, err, image.ErrNotFound, by)
	}
}

func TestEveryCompressionGivesTheSameTree(t *testing.T) {
	host := imagetest.Registry(t)
	files := map[string]image.File{
		"bin/su": {Data: bytes.Repeat([]byte("abcdefgh"), 100_000), Mode: 0o755 | os.ModeSetuid, UID: 3}, "etc/link": {Link: "../bin/su"},
		"tmp": {Dir: true, Mode: 0o777 | os.ModeSticky}, "empty": {},
	}
	var hashes []string
	for _, c := range []image.Compression{image.Plain, image.Gzip, image.Zstd} {
		img, err := image.Build(files, image.BuildOptions{Compression: c})
		require.NoError(t, err)
		s := open(t)
		got, err := s.Pull(t.Context(), imagetest.PushImage(t, host, "c"+string(c)+":v1", img), image.PullOptions{})
		require.NoError(t, err, c)
		root, err := s.Mount(t.Context(), "c1", got, image.MountOptions{})
		require.NoError(t, err)
		hashes = append(hashes, treeHash(t, root))
		fi, err := os.Stat(filepath.Join(root, "bin/su"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o755)|os.ModeSetuid, fi.Mode())
	}
	require.Equal(t, hashes[0], hashes[1])
	require.Equal(t, hashes[0], hashes[2])
}

func TestImportAndLoad(t *testing.T) {
	img := imagetest.Image(t, map[string][]byte{"f": []byte("x")}, image.ContainerConfig{Cmd: []string{"f"}})
	d, err := img.Digest()
	require.NoError(t, err)
	s := open(t)
	got, err := s.Load(t.Context(), "demo:v1", img)
	require.NoError(t, err)
	require.Equal(t, "docker.io/library/demo:v1", got.Ref)
	require.Equal(t, d.String(), got.Digest)
	dir := imagetest.Layout(t, "v2", img)
	got, err = s.Import(t.Context(), dir, "demo:v2")
	require.NoError(t, err)
	require.Equal(t, []string{"docker.io/library/demo:v1", "docker.io/library/demo:v2"}, got.Tags)
	_, err = s.Import(t.Context(), dir, "demo@"+d.String())
	require.NoError(t, err)
	_, err = s.Import(t.Context(), t.TempDir(), "demo:v3")
	require.ErrorIs(t, err, image.ErrNotFound)
	_, err = s.Import(t.Context(), dir, "demo@sha256:"+strings.Repeat("1", 64))
	require.ErrorIs(t, err, image.ErrNotFound)
	_, err = s.Load(t.Context(), "demo@sha256:"+strings.Repeat("1", 64), img)
	require.ErrorIs(t, err, image.ErrDigest)
}

func TestMovedTag(t *testing.T) {
	host := imagetest.Registry(t)
	s := open(t)
	ref := imagetest.Push(t, host, "demo:latest", map[string][]byte{"f": []byte("1")}, image.ContainerConfig{})
	first, err := s.Pull(t.Context(), ref, image.PullOptions{})
	require.NoError(t, err)
	imagetest.Push(t, host, "demo:latest", map[string][]byte{"f": []byte("2")}, image.ContainerConfig{})
	second, err := s.Pull(t.Context(), host+"/demo", image.PullOptions{})
	require.NoError(t, err)
	require.NotEqual(t, first.Digest, second.Digest)
	old, err := s.Get(first.Digest)
	require.NoError(t, err)
	require.Empty(t, old.Tags)
	require.Equal(t, []string{first.RepoDigest()}, old.Digests)
	got, err := s.Get(ref)
	require.NoError(t, err)
	require.Equal(t, second.Digest, got.Digest)
}

func TestIndexes(t *testing.T) {
	host := imagetest.Registry(t)
	make := func(content, arch, variant string) v1.Image {
		img, err := image.Build(map[string]image.File{"f": data(content)},
			image.BuildOptions{Platform: image.Platform{Architecture: arch, Variant: variant}, Compression: image.Gzip})
		require.NoError(t, err)
		return img
	}
	push := func(tag string, idx v1.ImageIndex) string {
		ref, err := name.ParseReference(host+"/"+tag, name.Insecure)
		require.NoError(t, err)
		require.NoError(t, remote.WriteIndex(ref, idx))
		return host + "/" + tag
	}
	ref := push("multi:v1", imagetest.Index(map[string]v1.Image{
		"linux/amd64": make("amd64", "amd64", ""), "linux/arm64/v8": make("arm64", "arm64", "v8"),
		"linux/arm/v6": make("armv6", "arm", "v6"), "linux/arm/v7": make("armv7", "arm", "v7"),
	}))
	for platform, want := range map[image.Platform]string{
		{Architecture: "amd64"}: "amd64", {Architecture: "arm64"}: "arm64", {Architecture: "arm", Variant: "v6"}: "armv6",
		{Architecture: "arm", Variant: "v7"}: "armv7", {Architecture: "arm", Variant: "v8"}: "armv7",
	} {
		s := open(t, func(c *image.Config) { c.Platform = platform })
		img, err := s.Pull(t.Context(), ref, image.PullOptions{})
		require.NoError(t, err, platform)
		require.NotEqual(t, img.Manifest, img.Digest)
		root, err := s.Mount(t.Context(), "x", img, image.MountOptions{})
		require.NoError(t, err)
		require.Equal(t, want, read(t, root+"/f"))
		byIndex, err := s.Get(img.RepoDigest())
		require.NoError(t, err)
		require.Equal(t, img.Manifest, byIndex.Manifest)
	}
	s := open(t, func(c *image.Config) { c.Platform.Architecture = "riscv64" })
	_, err := s.Pull(t.Context(), ref, image.PullOptions{})
	require.ErrorIs(t, err, image.ErrPlatform)
	_, err = s.Pull(t.Context(), imagetest.PushImage(t, host, "arm:v1", make("x", "arm64", "")), image.PullOptions{})
	require.ErrorIs(t, err, image.ErrPlatform)
	require.ErrorContains(t, err, "arm64")
}

func TestErrorsHaveTheirKind(t *testing.T) {
	f := newFront()
	host := serve(t, f)
	ref := imagetest.Push(t, host, "demo:v1", map[string][]byte{"f": []byte("x")}, image.ContainerConfig{})
	answer := func(code int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.WriteHeader(code)
			fmt.Fprint(w, body)
			return true
		}
	}
	closed := serve(t, http.NotFoundHandler())
	for name, c := range map[string]struct {
		ref    string
		before func(http.ResponseWriter, *http.Request) bool
		want   error
		says   string
	}{
		"no tag":        {ref: host + "/demo:v2", want: image.ErrNotFound, says: "MANIFEST_UNKNOWN"},
		"no repository": {ref: host + "/none:v2", want: image.ErrNotFound},
		"no registry":   {ref: closed + "/demo:v1", want: image.ErrNotFound},
		"nobody there":  {ref: "127.0.0.1:1/demo:v1", want: image.ErrUnavailable, says: "connection refused"},
		"401":           {ref: ref, before: answer(401, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`), want: image.ErrUnauthorized, says: "who are you"},
		"403":           {ref: ref, before: answer(403, "no"), want: image.ErrUnauthorized},
		"429":           {ref: ref, before: answer(429, "later"), want: image.ErrUnavailable, says: "Too Many"},
		"500":           {ref: ref, before: answer(500, strings.Repeat("\x1b[31mboo", 10_000)), want: image.ErrUnavailable},
		"not JSON":      {ref: ref, before: answer(200, "<html>"), want: image.ErrInvalid},
		"empty":         {ref: ref, before: answer(200, ""), want: image.ErrInvalid},
		"huge":          {ref: ref, before: answer(200, strings.Repeat(" ", 5<<20)), want: image.ErrTooLarge},
		"bad name":      {ref: host + "/Demo", want: image.ErrInvalidName},
	} {
		t.Run(name, func(t *testing.T) {
			f.before = c.before
			s := open(t)
			_, err := s.Pull(t.Context(), c.ref, image.PullOptions{})
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.says)
			require.Less(t, len(err.Error()), 800)
			require.NotContains(t, err.Error(), "\x1b")
			require.Empty(t, s.List())
		})
	}
}

func TestPullsAreShared(t *testing.T) {
	f := newFront()
	host := serve(t, f)
	big := image.File{Data: bytes.Repeat([]byte("0123456789abcdef"), 1<<15)}
	img := layered(t, image.Plain, map[string]image.File{"a": data("a")}, map[string]image.File{"b": big}, map[string]image.File{"c": data("c")})
	ref := imagetest.PushImage(t, host, "demo:v1", img)
	var mu sync.Mutex
	gets := map[string]int{}
	hold := make(chan struct{})
	reached := make(chan struct{}, 100)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		gets[r.Method+" "+r.URL.Path]++
		mu.Unlock()
		if strings.Contains(r.URL.Path, "/manifests/") {
			reached <- struct{}{}
			<-hold
		}
		return false
	}
	s := open(t)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	gone, leave := context.WithCancel(t.Context())
	for i := range errs {
		ctx := t.Context()
		if i%2 == 1 {
			ctx = gone
		}
		started := make(chan struct{})
		wg.Go(func() {
			close(started)
			_, errs[i] = s.Pull(ctx, ref, image.PullOptions{})
		})
		<-started
		if i == 0 {
			<-reached
		}
	}
	leave() // four give up: the others' pull goes on
	close(hold)
	wg.Wait()
	for i, err := range errs {
		if i%2 == 0 {
			require.NoError(t, err)
		} else if err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for k, n := range gets {
		if strings.Contains(k, "/blobs/") {
			require.Equal(t, 1, n, k)
		}
	}
}

func TestLastCallerToLeaveEndsThePull(t *testing.T) {
	f := newFront()
	host := serve(t, f)
	ref := imagetest.Push(t, host, "demo:v1", map[string][]byte{"f": []byte("x")}, image.ContainerConfig{})
	reached, ended := make(chan struct{}), make(chan struct{})
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			close(reached)
			<-r.Context().Done()
			close(ended)
			return true
		}
		return false
	}
	s := open(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-reached
		cancel(errors.New("pod deleted"))
	}()
	_, err := s.Pull(ctx, ref, image.PullOptions{})
	require.ErrorContains(t, err, "pod deleted")
	<-ended // the registry's side saw the end
	f.before = nil
	_, err = s.Pull(t.Context(), ref, image.PullOptions{})
	require.NoError(t, err)
}

func TestLayersAreFetchedOnce(t *testing.T) {
	f := newFront()
	host := serve(t, f)
	base := map[string]image.File{"base": {Data: bytes.Repeat([]byte("x"), 1<<20)}}
	one := imagetest.PushImage(t, host, "one:v1", layered(t, image.Gzip, base, map[string]image.File{"f": data("1")}))
	two := imagetest.PushImage(t, host, "two:v1", layered(t, image.Gzip, base, map[string]image.File{"f": data("2")}))
	var blobs atomic.Int64
	f.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			blobs.Add(1)
		}
		return false
	}
	s := open(t)
	_, err := s.Pull(t.Context(), one, image.PullOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 3, blobs.Load()) // two layers and a configuration
	_, err = s.Pull(t.Context(), two, image.PullOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 5, blobs.Load())
	_, err = s.Pull(t.Context(), two, image.PullOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 5, blobs.Load(), "a manifest that is known needs no more")
	require.Equal(t, 3, s.Usage().Layers)
}

func TestCloseEndsPulls(t *testing.T) {
	f := newFront()
	host := serve(t, f)
	ref := imagetest.Push(t, host, "demo:v1", map[string][]byte{"f": []byte("x")}, image.ContainerConfig{})
	reached := make(chan struct{})
	f.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			close(reached)
			<-r.Context().Done()
			return true
		}
		return false
	}
	s := open(t)
	done := make(chan error)
	go func() {
		_, err := s.Pull(t.Context(), ref, image.PullOptions{})
		done <- err
	}()
	<-reached
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-done, image.ErrClosed)
	_, err := s.Pull(t.Context(), ref, image.PullOptions{})
	require.ErrorIs(t, err, image.ErrClosed)
	_, err = s.Mount(t.Context(), "x", image.Image{}, image.MountOptions{})
	require.ErrorIs(t, err, image.ErrClosed)
	_, err = s.Get(ref)
	require.ErrorIs(t, err, image.ErrClosed)
	require.NoError(t, s.Close())
}

// TestSlowRegistries: neither one that says nothing nor one that takes too long holds a pull for ever.
func TestSlowRegistries(t *testing.T) {
	f := newFront()
	host := serve(t, f)
	ref := imagetest.Push(t, host, "demo:v1", map[string][]byte{"f": []byte("x")}, image.ContainerConfig{})
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}
		return false
	}
	for name, l := range map[string]image.Limits{"nothing": {Stall: 20 * time.Millisecond}, "too long": {Time: 50 * time.Millisecond}} {
		s := open(t, func(c *image.Config) { c.Limits = l })
		_, err := s.Pull(t.Context(), ref, image.PullOptions{})
		require.ErrorIs(t, err, image.ErrUnavailable, name)
		require.NotErrorIs(t, err, context.DeadlineExceeded, name)
	}
}
