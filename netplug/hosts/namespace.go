//go:build linux

package hosts

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ensureNamespace makes a named network namespace, or finds it. A name without a namespace behind it is what a crash
// left: it is made anew.
func ensureNamespace(path, name string) (netns.NsHandle, error) {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	switch {
	case err == nil && st.Type == unix.NSFS_MAGIC:
		return netns.GetFromPath(path)
	case err == nil:
		if err := os.Remove(path); err != nil {
			return netns.None(), err
		}
	case !errors.Is(err, unix.ENOENT):
		return netns.None(), fmt.Errorf("look at %s: %w", path, err)
	}
	done := make(chan error)
	go func() { done <- newNamespace(name) }()
	if err := <-done; err != nil {
		return netns.None(), fmt.Errorf("make network namespace %s: %w", name, err)
	}
	return netns.GetFromPath(path)
}

// newNamespace needs a goroutine of its own: its thread goes into the new namespace, and is thrown away unless it
// comes back.
func newNamespace(name string) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		return err
	}
	defer home.Close()
	made, err := netns.NewNamed(name)
	if err == nil {
		made.Close()
	}
	if netns.Set(home) == nil {
		runtime.UnlockOSThread()
	}
	return err
}
