//go:build linux

package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// overlayDirs makes n lower folders, topmost first, an upper, a work and a target folder.
func overlayDirs(t *testing.T, n int) (lowers []string, upper, work, target string) {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		l := filepath.Join(dir, fmt.Sprintf("a-folder-with-a-name-as-long-as-a-digest-is-%032d", i))
		require.NoError(t, os.Mkdir(l, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(l, "top"), []byte(fmt.Sprint(i)), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(l, fmt.Sprint(i)), nil, 0o644))
		lowers = append(lowers, l)
	}
	for _, p := range []*string{&upper, &work, &target} {
		d, err := os.MkdirTemp(dir, "d")
		require.NoError(t, err)
		*p = d
	}
	t.Cleanup(func() { require.NoError(t, unmount(target)) })
	return lowers, upper, work, target
}

// TestBothWaysToMount: the options of old kernels give the same root, with as many layers as an image may have.
func TestBothWaysToMount(t *testing.T) {
	for name, mount := range map[string]func(string, []string, string, string) error{"fsopen": mountByFsopen, "classic": mountClassic} {
		t.Run(name, func(t *testing.T) {
			lowers, upper, work, target := overlayDirs(t, maxLayers)
			require.False(t, mounted(target))
			err := mount(target, lowers, upper, work)
			if name == "fsopen" && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)) {
				t.Skip("kernel before 6.5 has no lowerdir+")
			}
			require.NoError(t, err)
			require.True(t, mounted(target))
			top, err := os.ReadFile(target + "/top")
			require.NoError(t, err)
			require.Equal(t, "0", string(top))
			for i := range maxLayers {
				require.FileExists(t, filepath.Join(target, fmt.Sprint(i)))
			}
			require.False(t, isReadOnly(target))
			require.NoError(t, finishRoot(target, MountOptions{ReadOnly: true}))
			require.True(t, isReadOnly(target))
			require.DirExists(t, target+"/proc")
			require.NoError(t, unmount(target))
			require.False(t, mounted(target))
			require.NoError(t, unmount(target))
		})
	}
}

// TestOverlayOnOverlay: a file system that can't hold an upper layer is named as the reason.
func TestOverlayOnOverlay(t *testing.T) {
	lowers, upper, work, target := overlayDirs(t, 1)
	require.NoError(t, mountOverlay(target, lowers, upper, work))
	var dirs []string
	for _, d := range []string{"l", "u", "w", "t"} {
		require.NoError(t, os.Mkdir(filepath.Join(target, d), 0o755))
		dirs = append(dirs, filepath.Join(target, d))
	}
	err := mountOverlay(dirs[3], dirs[:1], dirs[1], dirs[2])
	require.ErrorIs(t, err, ErrUnsupported)
	require.ErrorContains(t, err, dirs[3])
}
