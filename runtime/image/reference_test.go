//go:build linux

package image_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/runtime/image"
)

func TestNormalize(t *testing.T) {
	d := "sha256:" + strings.Repeat("a", 64)
	for in, want := range map[string]string{
		"busybox":                          "docker.io/library/busybox:latest",
		"busybox:1.36":                     "docker.io/library/busybox:1.36",
		"team/app":                         "docker.io/team/app:latest",
		"docker.io/busybox":                "docker.io/library/busybox:latest",
		"index.docker.io/library/busybox":  "docker.io/library/busybox:latest",
		"registry-1.docker.io/team/app:v1": "docker.io/team/app:v1",
		"localhost/app":                    "localhost/app:latest",
		"localhost:5000/a/b/c:T_1.x-2":     "localhost:5000/a/b/c:T_1.x-2",
		"[::1]:5000/app":                   "[::1]:5000/app:latest",
		"registry.k8s.io/pause@" + d:       "registry.k8s.io/pause@" + d,
		"registry.k8s.io/pause:3.9@" + d:   "registry.k8s.io/pause@" + d,
		"gcr.io/a__b/c-d--e/f.g_h":         "gcr.io/a__b/c-d--e/f.g_h:latest",
	} {
		got, err := image.Normalize(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got)
		again, err := image.Normalize(got)
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	for _, bad := range []string{
		"", " busybox", "busybox ", "Busybox", "a//b", "a/../b", "../a", "./a", "a/./b", "a/b/", "/a", "reg.io/../v2", "reg.io/..",
		"reg.io/a/..:v1", "a:", "a:b:c", "a:-x", "a:.x", "a:" + strings.Repeat("x", 129), "a@sha256:../../etc", "a@sha256:" + strings.Repeat("A", 64),
		"a@" + d + "@" + d, "a@md5:" + strings.Repeat("0", 32), "a:-bad@" + d, d, "http://reg.io/a", "reg.io:port/a", "reg.io:99999999/a", "user@reg.io/a", "reg.io?x/a",
		"reg.io#x/a", "a\x00b", "a\nb", "ａ", strings.Repeat("a/", 600) + "a", "a_-b", "-a", "a-", "sha256:abc/../x",
	} {
		_, err := image.Normalize(bad)
		require.ErrorIs(t, err, image.ErrInvalidName, "%q", bad)
	}
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"busybox", "reg.io:5000/a/b:v1", "a@sha256:" + strings.Repeat("a", 64), "../..", "[::1]/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := image.Normalize(s)
		if err != nil {
			require.ErrorIs(t, err, image.ErrInvalidName)
			return
		}
		require.NotContains(t, n, "..")
		again, err := image.Normalize(n)
		require.NoError(t, err)
		require.Equal(t, n, again)
	})
}
