//go:build linux

// Package imagetest gives tests images without a network: an in-process registry on loopback, images made from
// files or from a static program, and OCI layout folders.
package imagetest

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/image"
)

// BusyboxPath is where the Debian package busybox-static puts its program.
const BusyboxPath = "/bin/busybox"

// Registry starts an OCI registry on loopback that ends with the test, and returns its "host:port". It speaks plain
// HTTP, holds what it is given in memory and logs nothing.
func Registry(t testing.TB) string {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// Push makes an image of files and pushes it as name ("demo:v1") to the registry at host. It returns the full
// reference. A file whose content starts with an ELF or "#!" mark is executable.
func Push(t testing.TB, host, name string, files map[string][]byte, cfg image.ContainerConfig) string {
	t.Helper()
	return PushImage(t, host, name, Image(t, files, cfg))
}

// Image makes an image of files as Push does.
func Image(t testing.TB, files map[string][]byte, cfg image.ContainerConfig) v1.Image {
	t.Helper()
	all := map[string]image.File{}
	for p, data := range files {
		f := image.File{Data: data, Mode: 0o644}
		if data == nil {
			f.Data = []byte{}
		}
		if s := string(data[:min(len(data), 4)]); strings.HasPrefix(s, "#!") || s == "\x7fELF" {
			f.Mode = 0o755
		}
		all[p] = f
	}
	return build(t, all, cfg)
}

func build(t testing.TB, files map[string]image.File, cfg image.ContainerConfig) v1.Image {
	t.Helper()
	img, err := image.Build(files, image.BuildOptions{Config: cfg, Compression: image.Gzip})
	if err != nil {
		t.Fatalf("build test image: %v", err)
	}
	return img
}

// PushImage pushes any image as name to the registry at host, and returns the full reference.
func PushImage(t testing.TB, host, ref string, img v1.Image) string {
	t.Helper()
	full := host + "/" + ref
	r, err := name.ParseReference(full, name.Insecure)
	if err != nil {
		t.Fatalf("parse reference of test image: %v", err)
	}
	if err := remote.Write(r, img, remote.WithContext(t.Context())); err != nil {
		t.Fatalf("push test image %s: %v", full, err)
	}
	return full
}

// Program makes an image of one static program (a Go binary built with CGO_ENABLED=0, say) at /bin/<its name>,
// which is its entrypoint, and pushes it. It returns the full reference.
func Program(t testing.TB, host, ref, path string, args ...string) string {
	t.Helper()
	in := "/bin/" + filepath.Base(path)
	img := build(t, map[string]image.File{in: {Source: path, Mode: 0o755}, "tmp": {Dir: true, Mode: 0o777 | os.ModeSticky}},
		image.ContainerConfig{Entrypoint: append([]string{in}, args...), Env: []string{defaultPath}})
	return PushImage(t, host, ref, img)
}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Busybox pushes BusyboxImage as "busybox:latest" and returns the full reference.
func Busybox(t testing.TB, host string) string {
	t.Helper()
	return PushImage(t, host, "busybox:latest", BusyboxImage(t))
}

// BusyboxImage makes an image with a shell and the usual commands from the machine's busybox, with users root, daemon
// (1) and nobody (65534), /tmp and /etc/passwd. Its command is "sh". The Debian package busybox-static must be
// installed: its absence fails the test and says so.
func BusyboxImage(t testing.TB) v1.Image {
	t.Helper()
	if _, err := os.Stat(BusyboxPath); err != nil {
		t.Fatalf("tests need a static busybox at %s (Debian package busybox-static): %v", BusyboxPath, err)
	}
	files := map[string]image.File{
		"bin/busybox": {Source: BusyboxPath, Mode: 0o755},
		"etc/passwd": {Data: []byte("root:x:0:0:root:/root:/bin/sh\n" +
			"daemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n")},
		"etc/group": {Data: []byte("root:x:0:\ndaemon:x:1:\nstaff:x:50:daemon\nnogroup:x:65534:\n")},
		"root":      {Dir: true, Mode: 0o700},
		"tmp":       {Dir: true, Mode: 0o777 | os.ModeSticky},
		"var/tmp":   {Dir: true, Mode: 0o777 | os.ModeSticky},
	}
	for _, c := range strings.Fields(applets) {
		files["bin/"+c] = image.File{Link: "busybox"}
	}
	return build(t, files, image.ContainerConfig{Cmd: []string{"sh"}, Env: []string{defaultPath}})
}

const applets = `sh ash cat cp mv rm ls ln mkdir rmdir mknod mkfifo mount umount chmod chown touch stat readlink echo printf
	test true false sleep date env id whoami hostname uname ps kill killall top nc wget ping ip ifconfig route netstat
	nslookup httpd grep egrep sed awk cut head tail sort uniq wc tr tee xargs find du df dd hexdump od md5sum sha256sum
	base64 tar gzip gunzip zcat vi less more seq yes timeout time watch nohup setsid stty tty free uptime dmesg sync
	sysctl su chroot nice renice basename dirname realpath expr which clear reset truncate mktemp diff cmp`

// Layout writes an image to an OCI layout folder in the test's temporary folder, under the tag ref ("v1"), and returns
// the folder.
func Layout(t testing.TB, ref string, img v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": ref}))
	}
	if err != nil {
		t.Fatalf("write OCI layout: %v", err)
	}
	return dir
}

// Store opens a store in a folder of its own, without flushing to disk, which ends with the test together with every
// root mounted from it.
func Store(t testing.TB) *image.Store {
	t.Helper()
	s, err := image.Open(image.Config{Dir: Dir(t), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Keep(nil); err != nil {
			t.Errorf("unmount test roots: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close test store: %v", err)
		}
	})
	return s
}

// Dir is a temporary folder whose name no mount option minds. A mount left in it when the test ends fails the test,
// and is taken away.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "imagetest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, m := range mountsBelow(t, dir) {
			t.Errorf("mount left behind: %s", m)
			if err := unix.Unmount(m, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
				t.Errorf("unmount %s: %v", m, err)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove test folder: %v", err)
		}
	})
	return dir
}

// mountsBelow lists mount points in dir, the last made first.
func mountsBelow(t testing.TB, dir string) []string {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			out = append(out, f[4])
		}
	}
	slices.Reverse(out)
	return out
}

// Index makes an index of images by platform, for tests of multi-platform images.
func Index(images map[string]v1.Image) v1.ImageIndex {
	idx := v1.ImageIndex(empty.Index)
	for p, img := range images {
		platform, err := v1.ParsePlatform(p)
		if err != nil {
			platform = &v1.Platform{Architecture: p}
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: platform}})
	}
	return idx
}
