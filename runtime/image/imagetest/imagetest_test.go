//go:build linux

package imagetest_test

import (
	"os"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/bedplate/bedplate/runtime/image"
	"github.com/bedplate/bedplate/runtime/image/imagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestUse is how other packages use this one.
func TestUse(t *testing.T) {
	host := imagetest.Registry(t)
	ref := imagetest.Push(t, host, "demo:v1", map[string][]byte{
		"bin/run": []byte("#!/bin/sh\n"), "etc/conf": []byte("a=b"), "empty": nil,
	}, image.ContainerConfig{Cmd: []string{"/bin/run"}})
	store := imagetest.Store(t)
	img, err := store.Pull(t.Context(), ref, image.PullOptions{})
	require.NoError(t, err)
	root, err := store.Mount(t.Context(), "c1", img, image.MountOptions{})
	require.NoError(t, err)
	for name, mode := range map[string]os.FileMode{"bin/run": 0o755, "etc/conf": 0o644, "empty": 0o644} {
		fi, err := os.Stat(root + "/" + name)
		require.NoError(t, err)
		require.Equal(t, mode, fi.Mode())
	}
	again, err := store.Import(t.Context(), imagetest.Layout(t, "v1", imagetest.Image(t, nil, image.ContainerConfig{})), "other:v1")
	require.NoError(t, err)
	require.NotEqual(t, img.ID, again.ID)
}

func TestIndexNamesPlatforms(t *testing.T) {
	idx := imagetest.Index(map[string]v1.Image{"linux/arm64": imagetest.Image(t, nil, image.ContainerConfig{})})
	m, err := idx.IndexManifest()
	require.NoError(t, err)
	require.Equal(t, "arm64", m.Manifests[0].Platform.Architecture)
}
