//go:build linux

package local

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery/downward"
)

// mountsOf are the mounts of one container.
func (v *Volumes) mountsOf(pod *corev1.Pod, c *corev1.Container, paths map[string]string) ([]specs.Mount, error) {
	var mounts []specs.Mount
	readOnly := map[string]bool{} // what comes from the API is the API's to change
	for i := range pod.Spec.Volumes {
		readOnly[pod.Spec.Volumes[i].Name] = isContent(&pod.Spec.Volumes[i])
	}
	for i, m := range c.VolumeMounts {
		source, ok := paths[m.Name]
		if !ok {
			return nil, fmt.Errorf("container %q mounts %q, which is no volume of the pod", c.Name, m.Name)
		}
		sub, err := subPath(pod, c, m)
		if err != nil {
			return nil, err
		}
		if sub != "" {
			pin := filepath.Join(v.pod(string(pod.UID)), subPaths, c.Name, strconv.Itoa(i))
			if err := pinSubPath(source, sub, pin); err != nil {
				return nil, fmt.Errorf("container %q: subPath %q of volume %q: %w", c.Name, sub, m.Name, err)
			}
			source = pin
		}
		if readOnly[m.Name] {
			m.ReadOnly = true
		}
		mounts = append(mounts, specs.Mount{Source: source, Destination: m.MountPath, Type: "bind", Options: options(m)})
	}
	return mounts, nil
}

func options(m corev1.VolumeMount) []string {
	out := []string{"rbind", "rprivate"}
	if p := m.MountPropagation; p != nil {
		switch *p {
		case corev1.MountPropagationHostToContainer:
			out[1] = "rslave"
		case corev1.MountPropagationBidirectional:
			out[1] = "rshared"
		}
	}
	switch {
	case m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled:
		return append(out, "rro")
	case m.ReadOnly:
		return append(out, "ro")
	}
	return append(out, "rw")
}

// subPath is the path inside the volume; a subPathExpr is made from the container's plain variables.
func subPath(pod *corev1.Pod, c *corev1.Container, m corev1.VolumeMount) (string, error) {
	if m.SubPathExpr == "" {
		return m.SubPath, nil
	}
	var missing error
	path := references.ReplaceAllStringFunc(m.SubPathExpr, func(ref string) string {
		if escaped, ok := strings.CutPrefix(ref, "$$"); ok {
			return "$" + escaped
		}
		value, err := variable(pod, c, ref[2:len(ref)-1])
		missing = errors.Join(missing, err)
		return value
	})
	switch {
	case missing != nil:
		return "", fmt.Errorf("container %q: subPathExpr %q: %w", c.Name, m.SubPathExpr, missing)
	case !filepath.IsLocal(path):
		return "", fmt.Errorf("container %q: subPathExpr %q becomes %q, which is no path inside the volume", c.Name, m.SubPathExpr, path)
	}
	return path, nil
}

// references are $(NAME), and $$(NAME) which is none.
var references = regexp.MustCompile(`\$?\$\([^()]*\)`)

func variable(pod *corev1.Pod, c *corev1.Container, name string) (string, error) {
	for _, e := range c.Env {
		switch {
		case e.Name != name:
		case e.ValueFrom == nil:
			return e.Value, nil
		case e.ValueFrom.FieldRef != nil:
			return downward.Field(pod, e.ValueFrom.FieldRef.FieldPath)
		}
	}
	return "", fmt.Errorf("the container has no variable %q with a value or a fieldRef", name)
}

// pinSubPath resolves a path inside a volume, makes it as a folder if it is missing, and binds what it found onto
// pin: what the container changes afterwards makes no difference.
func pinSubPath(volume, sub, pin string) error {
	if mounted, err := pinned(pin); err != nil || mounted {
		return err
	}
	root, err := os.OpenFile(volume, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	found, err := pathrs.OpenatInRoot(root, sub)
	if errors.Is(err, fs.ErrNotExist) {
		found, err = pathrs.MkdirAllHandle(root, sub, 0o750)
	}
	if err != nil {
		return err
	}
	defer found.Close()
	st, err := found.Stat()
	if err != nil {
		return err
	}
	if err := mountPoint(pin, st.IsDir()); err != nil {
		return err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", found.Fd()), pin, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

func mountPoint(path string, dir bool) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return err
	}
	if dir {
		return os.MkdirAll(path, 0o711)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// pinned says whether something is mounted at a path.
func pinned(path string) (bool, error) {
	mounts, err := mountsBelow(path)
	return len(mounts) > 0, err
}

// mountsBelow lists the mount points at and below a path, in the order in which they were made.
func mountsBelow(root string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) < 5 {
			continue
		}
		if p := unescape(fields[4]); p == root || strings.HasPrefix(p, root+"/") {
			out = append(out, p)
		}
	}
	return out, s.Err()
}

// unescape undoes the kernel's octal escapes of blanks.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// hostPath checks that the path is what the volume says it is, and makes it where it says so.
func hostPath(h *corev1.HostPathVolumeSource) (string, error) {
	typ := corev1.HostPathUnset
	if h.Type != nil {
		typ = *h.Type
	}
	switch typ {
	case corev1.HostPathUnset:
		// As with containers elsewhere, a missing path becomes a folder.
		if _, err := os.Stat(h.Path); errors.Is(err, fs.ErrNotExist) {
			return h.Path, os.MkdirAll(h.Path, 0o755)
		}
		return h.Path, nil
	case corev1.HostPathDirectoryOrCreate:
		if err := os.MkdirAll(h.Path, 0o755); err != nil {
			return "", err
		}
	case corev1.HostPathFileOrCreate:
		f, err := os.OpenFile(h.Path, os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil {
			return "", err
		}
		if err := f.Close(); err != nil {
			return "", err
		}
	}
	st, err := os.Stat(h.Path)
	if err != nil {
		return "", err
	}
	if !isType(st.Mode(), typ) {
		return "", fmt.Errorf("hostPath type check failed: %s is not a %s", h.Path, typ)
	}
	return h.Path, nil
}

func isType(mode fs.FileMode, typ corev1.HostPathType) bool {
	switch typ {
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		return mode.IsDir()
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		return mode.IsRegular()
	case corev1.HostPathSocket:
		return mode&fs.ModeSocket != 0
	case corev1.HostPathCharDev:
		return mode&fs.ModeCharDevice != 0
	case corev1.HostPathBlockDev:
		return mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0
	}
	return false
}
