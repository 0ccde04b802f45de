//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery/client"
)

// Config says where volumes lie and where their content comes from. Dir and Client are needed.
type Config struct {
	// Dir is a folder for volumes, absolute; made with mode 0711 if it is missing.
	Dir string
	// Client reads configMaps and secrets and asks for tokens, as the node.
	Client *client.Client
	// Log hears of what is repaired; nil: off.
	Log *slog.Logger
}

// Volumes makes volumes. Its methods may be called concurrently; those for one pod wait for each other.
type Volumes struct {
	c       Config
	content content

	mu   sync.Mutex
	pods map[string]*sync.Mutex
}

func (c *Config) validate() error {
	switch {
	case c.Client == nil:
		return errors.New("Client must be set")
	case !filepath.IsAbs(c.Dir):
		return fmt.Errorf("folder %q is not absolute", c.Dir)
	}
	return nil
}

// New checks the configuration and makes the folder.
func New(c Config) (*Volumes, error) {
	err := c.validate()
	if err == nil {
		err = os.MkdirAll(c.Dir, 0o711)
	}
	if err == nil {
		// The kernel lists mounts by their real paths.
		c.Dir, err = filepath.EvalSymlinks(c.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("configure local volumes: %w", err)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Volumes{c: c, content: newContent(c.Client), pods: map[string]*sync.Mutex{}}, nil
}

// lock makes calls for a pod wait for each other.
func (v *Volumes) lock(uid string) func() {
	v.mu.Lock()
	m := v.pods[uid]
	if m == nil {
		m = &sync.Mutex{}
		v.pods[uid] = m
	}
	v.mu.Unlock()
	m.Lock()
	return m.Unlock
}

func (v *Volumes) pod(uid string) string { return filepath.Join(v.c.Dir, uid) }

// checkUID refuses what would lead out of the folder.
func checkUID(uid string) error {
	if uid == "" || uid == "." || uid == ".." || uid != filepath.Base(uid) {
		return fmt.Errorf("%q is no pod's uid", uid)
	}
	return nil
}

// The folders of a pod's folder: volumes on disk, volumes in memory, pinned subPaths.
const (
	onDisk   = "disk"
	inMemory = "memory"
	subPaths = "sub"
)

// Mount makes the volumes of a pod and returns what to mount into each of its containers. It may be called again:
// what is there stays, with its content.
func (v *Volumes) Mount(ctx context.Context, pod *corev1.Pod) (map[string][]specs.Mount, error) {
	if err := checkUID(string(pod.UID)); err != nil {
		return nil, err
	}
	defer v.lock(string(pod.UID))()
	paths := map[string]string{}
	for i := range pod.Spec.Volumes {
		vol := &pod.Spec.Volumes[i]
		path, err := v.make(ctx, pod, vol)
		if err != nil {
			return nil, fmt.Errorf("volume %q: %w", vol.Name, err)
		}
		paths[vol.Name] = path
	}
	mounts := map[string][]specs.Mount{}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			m, err := v.mountsOf(pod, &list[i], paths)
			if err != nil {
				return nil, err
			}
			mounts[list[i].Name] = m
		}
	}
	return mounts, nil
}

func (v *Volumes) make(ctx context.Context, pod *corev1.Pod, vol *corev1.Volume) (string, error) {
	switch {
	case vol.EmptyDir != nil:
		return v.emptyDir(pod, vol)
	case vol.HostPath != nil:
		return hostPath(vol.HostPath)
	case isContent(vol):
		dir, err := v.contentDir(pod, vol)
		if err != nil {
			return "", err
		}
		if shown, err := relink(dir); shown || err != nil {
			return dir, err // Refresh keeps it current
		}
		return dir, v.write(ctx, pod, vol, dir)
	}
	return "", errors.New("this node can't make volumes of this type")
}

// isContent says whether a volume's files come from the API.
func isContent(vol *corev1.Volume) bool {
	return vol.ConfigMap != nil || vol.Secret != nil || vol.DownwardAPI != nil || vol.Projected != nil
}

// secret says whether a volume's files must not touch a disk.
func secret(vol *corev1.Volume) bool { return vol.Secret != nil || vol.Projected != nil }

func (v *Volumes) emptyDir(pod *corev1.Pod, vol *corev1.Volume) (string, error) {
	e := vol.EmptyDir
	switch e.Medium {
	case corev1.StorageMediumDefault:
		dir := filepath.Join(v.pod(string(pod.UID)), onDisk, vol.Name)
		return dir, makeDir(dir, 0o777, pod)
	case corev1.StorageMediumMemory:
		dir := filepath.Join(v.pod(string(pod.UID)), inMemory, vol.Name)
		options := "mode=0777"
		if e.SizeLimit != nil && !e.SizeLimit.IsZero() {
			options += fmt.Sprintf(",size=%d", e.SizeLimit.Value())
		}
		if err := tmpfs(dir, options); err != nil {
			return "", err
		}
		return dir, owned(dir, 0o777, pod)
	}
	return "", fmt.Errorf("this node has no medium %q for an emptyDir", e.Medium)
}

// makeDir makes a folder with exactly this mode, for the pod's group if it has one.
func makeDir(dir string, mode fs.FileMode, pod *corev1.Pod) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		return err
	}
	err := os.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return owned(dir, mode, pod)
}

func owned(dir string, mode fs.FileMode, pod *corev1.Pod) error {
	if g := fsGroup(pod); g >= 0 {
		if err := os.Chown(dir, 0, g); err != nil {
			return err
		}
		mode |= fs.ModeSetgid | 0o070
	}
	return os.Chmod(dir, mode)
}

func fsGroup(pod *corev1.Pod) int {
	if s := pod.Spec.SecurityContext; s != nil && s.FSGroup != nil {
		return int(*s.FSGroup)
	}
	return -1
}

// tmpfs mounts memory at a folder, once.
func tmpfs(dir, options string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	if mounted, err := isMount(dir); err != nil || mounted {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount tmpfs at %s: %w", dir, err)
	}
	return nil
}

func isMount(dir string) (bool, error) {
	var here, parent unix.Stat_t
	if err := errors.Join(unix.Lstat(dir, &here), unix.Lstat(filepath.Dir(dir), &parent)); err != nil {
		return false, err
	}
	return here.Dev != parent.Dev, nil
}

// contentDir is the folder of a volume whose files come from the API.
func (v *Volumes) contentDir(pod *corev1.Pod, vol *corev1.Volume) (string, error) {
	if !secret(vol) {
		dir := filepath.Join(v.pod(string(pod.UID)), onDisk, vol.Name)
		return dir, makeDir(dir, 0o777, pod)
	}
	dir := filepath.Join(v.pod(string(pod.UID)), inMemory, vol.Name)
	if err := tmpfs(dir, "mode=0777"); err != nil {
		return "", err
	}
	return dir, owned(dir, 0o777, pod)
}

// Refresh brings the files that come from the API up to date, each volume atomically.
func (v *Volumes) Refresh(ctx context.Context, pod *corev1.Pod) error {
	defer v.lock(string(pod.UID))()
	var errs []error
	for i := range pod.Spec.Volumes {
		vol := &pod.Spec.Volumes[i]
		if !isContent(vol) {
			continue
		}
		dir, err := v.contentDir(pod, vol)
		if err == nil {
			err = v.write(ctx, pod, vol, dir)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("volume %q: %w", vol.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Unmount removes the volumes of a pod; of none it is a no-op. What hostPath volumes show stays.
func (v *Volumes) Unmount(_ context.Context, podUID string) error {
	if err := checkUID(podUID); err != nil {
		return fmt.Errorf("remove volumes: %w", err)
	}
	defer v.lock(podUID)()
	if err := v.remove(podUID); err != nil {
		return fmt.Errorf("remove the volumes of pod %s: %w", podUID, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.pods, podUID)
	return nil
}

// remove unmounts before it deletes, so that nothing behind a mount is deleted. The pins of subPaths, behind which
// lies what is not ours, are removed one by one: one that is still a mount refuses to go.
func (v *Volumes) remove(uid string) error {
	root := v.pod(uid)
	mounts, err := mountsBelow(root)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(mounts) {
		if err := unmount(m); err != nil {
			return err
		}
	}
	if left, err := mountsBelow(root); err != nil || len(left) > 0 {
		return errors.Join(err, fmt.Errorf("%d mounts are left below %s", len(left), root))
	}
	pins, err := filepath.Glob(filepath.Join(root, subPaths, "*", "*"))
	if err != nil {
		return err
	}
	for _, pin := range pins {
		if err := os.Remove(pin); err != nil {
			return err
		}
	}
	return os.RemoveAll(root)
}

// unmount takes a mount out of sight; what still uses it keeps it alive for as long.
func unmount(path string) error {
	err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}

// Keep removes the volumes of every pod that isn't listed: the sweep after a crash.
func (v *Volumes) Keep(ctx context.Context, podUIDs []string) error {
	entries, err := os.ReadDir(v.c.Dir)
	if err != nil {
		return fmt.Errorf("sweep volumes: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !slices.Contains(podUIDs, e.Name()) {
			errs = append(errs, v.Unmount(ctx, e.Name()))
		}
	}
	return errors.Join(errs...)
}
