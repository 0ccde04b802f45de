//go:build linux

package image_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/bedplate/bedplate/runtime/image"
)

// An image is pulled from a registry, mounted for a container, and taken apart again. (The registry is one in this
// process; errors are left out for brevity.)
func Example() {
	srv := httptest.NewServer(registry.New(registry.Logger(quietLog())))
	defer srv.Close()
	ref := strings.TrimPrefix(srv.URL, "http://") + "/team/hello:v1"
	built, _ := image.Build(map[string]image.File{"etc/motd": {Data: []byte("hello")}},
		image.BuildOptions{Config: image.ContainerConfig{User: "1000"}, Compression: image.Zstd})
	tag, _ := name.ParseReference(ref)
	_ = remote.Write(tag, built)

	dir, _ := os.MkdirTemp("", "images-")
	defer os.RemoveAll(dir)
	store, err := image.Open(image.Config{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	ctx := context.Background()
	img, _ := store.Pull(ctx, ref, image.PullOptions{})
	root, _ := store.Mount(ctx, "container-1", img, image.MountOptions{ReadOnly: true})
	motd, _ := os.ReadFile(filepath.Join(root, "etc/motd"))
	user, _ := image.LookupUser(root, img.Config.User)
	fmt.Printf("%s, uid %d\n", motd, user.UID)

	fmt.Println(store.Unmount("container-1"))
	freed, _ := store.GC(nil)
	fmt.Println(freed, "bytes freed")
	// Output:
	// hello, uid 1000
	// <nil>
	// 5 bytes freed
}

// An image is made of a program of this machine, without a registry or a network.
func ExampleBuild() {
	self, _ := os.Executable()
	img, err := image.Build(map[string]image.File{
		"/bin/app": {Source: self, Mode: 0o755},
		"/tmp":     {Dir: true, Mode: 0o777 | os.ModeSticky},
	}, image.BuildOptions{Config: image.ContainerConfig{Entrypoint: []string{"/bin/app"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	dir, _ := os.MkdirTemp("", "images-")
	defer os.RemoveAll(dir)
	store, err := image.Open(image.Config{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	got, err := store.Load(context.Background(), "demo/app:v1", img)
	fmt.Println(got.Ref, got.Config.Entrypoint, err)
	// Output: docker.io/demo/app:v1 [/bin/app] <nil>
}

func ExampleNormalize() {
	for _, ref := range []string{"busybox", "team/app:v1", "localhost:5000/app", "a/../b"} {
		fmt.Println(image.Normalize(ref))
	}
	// Output:
	// docker.io/library/busybox:latest <nil>
	// docker.io/team/app:v1 <nil>
	// localhost:5000/app:latest <nil>
	//  invalid image name "a/../b": a repository is lower-case letters, digits and single separators
}

func ExampleParseUser() {
	for _, user := range []string{"1000:staff", "4294967296"} {
		spec, err := image.ParseUser(user)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(*spec.UID, spec.Group)
	}
	// Output:
	// 1000 staff
	// invalid user "4294967296": "4294967296" is no number from 0 to 2147483647
}
