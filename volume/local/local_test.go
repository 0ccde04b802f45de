//go:build linux

package local_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/volume/local"
)

type bench struct {
	*local.Volumes
	dir    string
	client *client.Client
}

// open starts an API and makes volumes in a folder; what is left of them at the end fails the test.
func open(t *testing.T) *bench {
	t.Helper()
	p, err := bedplate.Start(t.Context(), bedplate.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Stop()) })
	dir := t.TempDir()
	v, err := local.New(local.Config{Dir: dir, Client: p.Client()})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, v.Keep(context.Background(), nil))
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	})
	return &bench{v, dir, p.Client()}
}

func pod(volumes ...corev1.Volume) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "u-1", Labels: map[string]string{"app": "x"}},
		Spec:       corev1.PodSpec{Volumes: volumes, Containers: []corev1.Container{{Name: "c"}}},
	}
	for _, v := range volumes {
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
	}
	return p
}

func volume(name string, source corev1.VolumeSource) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: source}
}

func (b *bench) mount(t *testing.T, p *corev1.Pod) []specs.Mount {
	t.Helper()
	m, err := b.Mount(t.Context(), p)
	require.NoError(t, err)
	return m["c"]
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	require.NoError(t, err)
	return string(b)
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: data}
}

func TestConfigMapIsRefreshedAtomically(t *testing.T) {
	b := open(t)
	maps := client.For[*corev1.ConfigMap](b.client)
	_, err := maps.Create(t.Context(), configMap("m", map[string]string{"a": "1", "b": "1"}))
	require.NoError(t, err)
	p := pod(volume("v", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: "m"}, DefaultMode: ptr.To(int32(0o640)),
	}}))
	dir := b.mount(t, p)[0].Source
	require.Equal(t, "1", read(t, dir, "a"))
	st, err := os.Stat(filepath.Join(dir, "a"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o640), st.Mode())

	// A reader that opens the folder of the data once sees one state.
	stop, done := make(chan struct{}), sync.WaitGroup{}
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			d, err := os.Readlink(filepath.Join(dir, "..data"))
			if err != nil {
				t.Errorf("the data went away: %v", err)
				return
			}
			d = filepath.Join(dir, d)
			x, errA := os.ReadFile(filepath.Join(d, "a"))
			y, errB := os.ReadFile(filepath.Join(d, "b"))
			if errA == nil && errB == nil && string(x) != string(y) {
				t.Errorf("torn: %s and %s", x, y)
			}
		}
	})
	for i := range 50 {
		n := fmt.Sprint(i + 2)
		_, err := maps.Update(t.Context(), configMap("m", map[string]string{"a": n, "b": n}))
		require.NoError(t, err)
		require.NoError(t, b.Refresh(t.Context(), p))
		require.Equal(t, n, read(t, dir, "a"))
	}
	close(stop)
	done.Wait()

	_, err = maps.Update(t.Context(), configMap("m", map[string]string{"c": "1"}))
	require.NoError(t, err)
	require.NoError(t, b.Refresh(t.Context(), p))
	require.NoFileExists(t, filepath.Join(dir, "a"))
	require.Equal(t, "1", read(t, dir, "c"))
}

func TestSecretLiesInMemory(t *testing.T) {
	b := open(t)
	_, err := client.For[*corev1.Secret](b.client).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}, Data: map[string][]byte{"k": []byte("hunter2")},
	})
	require.NoError(t, err)
	p := pod(volume("v", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
		SecretName: "s", Items: []corev1.KeyToPath{{Key: "k", Path: "deep/er/k", Mode: ptr.To(int32(0o400))}},
	}}))
	p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To(int64(1234))}
	dir := b.mount(t, p)[0].Source
	require.Equal(t, "hunter2", read(t, dir, "deep/er/k"))
	var st unix.Stat_t
	require.NoError(t, unix.Stat(filepath.Join(dir, "deep/er/k"), &st))
	require.EqualValues(t, 1234, st.Gid)
	require.EqualValues(t, 0o440, st.Mode&0o777)
	var f unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &f))
	require.EqualValues(t, unix.TMPFS_MAGIC, f.Type)
}

func TestMissing(t *testing.T) {
	b := open(t)
	source := &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}}
	_, err := b.Mount(t.Context(), pod(volume("v", corev1.VolumeSource{ConfigMap: source})))
	require.ErrorContains(t, err, `configmap "none"`)
	source.Optional = ptr.To(true)
	require.Len(t, b.mount(t, pod(volume("v", corev1.VolumeSource{ConfigMap: source}))), 1)
	_, err = b.Mount(t.Context(), pod(volume("v", corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}})))
	require.ErrorContains(t, err, "this type")
}

func TestProjected(t *testing.T) {
	b := open(t)
	_, err := client.For[*corev1.ConfigMap](b.client).Create(t.Context(), configMap("m", map[string]string{"ca.crt": "CA"}))
	require.NoError(t, err)
	p := pod(volume("v", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "m"}}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}},
			{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
		}}},
	}}}))
	dir := b.mount(t, p)[0].Source
	require.Equal(t, "CA", read(t, dir, "ca.crt"))
	require.Equal(t, "default", read(t, dir, "namespace"))
	require.Equal(t, `app="x"`, read(t, dir, "labels"))
}

func TestEmptyDir(t *testing.T) {
	b := open(t)
	limit := resource.MustParse("1Mi")
	p := pod(volume("disk", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}),
		volume("memory", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &limit}}))
	m := b.mount(t, p)
	for _, one := range m {
		st, err := os.Stat(one.Source)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o777), st.Mode().Perm())
		require.NoError(t, os.WriteFile(filepath.Join(one.Source, "f"), []byte("x"), 0o600))
	}
	require.ErrorIs(t, os.WriteFile(filepath.Join(m[1].Source, "big"), make([]byte, 2<<20), 0o600), unix.ENOSPC)
	require.Equal(t, m, b.mount(t, p), "again is the same")
	require.Equal(t, "x", read(t, m[0].Source, "f"))
	require.NoError(t, b.Unmount(t.Context(), "u-1"))
	require.NoError(t, b.Unmount(t.Context(), "u-1"), "what is gone is no error")
	require.NoDirExists(t, m[0].Source)
	require.Error(t, b.Unmount(t.Context(), "../etc"))
}

func TestHostPath(t *testing.T) {
	b := open(t)
	dir := t.TempDir()
	mount := func(path string, typ corev1.HostPathType) error {
		_, err := b.Mount(t.Context(), pod(volume("v", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &typ}})))
		return err
	}
	require.NoError(t, mount(dir, corev1.HostPathDirectory))
	require.ErrorContains(t, mount(dir, corev1.HostPathFile), "type check")
	require.ErrorIs(t, mount(dir+"/no", corev1.HostPathDirectory), fs.ErrNotExist)
	require.NoError(t, mount(dir+"/yes", corev1.HostPathDirectoryOrCreate))
	require.NoError(t, mount(dir+"/file", corev1.HostPathFileOrCreate))
	require.NoError(t, os.WriteFile(dir+"/canary", nil, 0o600))
	require.NoError(t, b.Unmount(t.Context(), "u-1"))
	require.FileExists(t, dir+"/canary", "what a hostPath shows stays")
}

// TestSubPathRace exchanges a folder of a volume with a link to the host while subPaths in it are mounted: what is
// mounted is never the host's (CVE-2017-1002101, CVE-2021-25741).
func TestSubPathRace(t *testing.T) {
	b := open(t)
	host := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(host, "canary"), []byte("host"), 0o600))
	before := hash(t, host)
	p := pod(volume("v", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}))
	vol := b.mount(t, p)[0].Source
	require.NoError(t, os.Mkdir(filepath.Join(vol, "sub"), 0o755))
	require.NoError(t, os.Symlink(host, filepath.Join(vol, "evil")))
	p.Spec.Containers[0].VolumeMounts[0].SubPath = "sub/made"

	stop, done := make(chan struct{}), sync.WaitGroup{}
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(vol, "sub"), unix.AT_FDCWD, filepath.Join(vol, "evil"), unix.RENAME_EXCHANGE)
			}
		}
	})
	for range 2000 {
		m, err := b.Mount(t.Context(), p)
		if err != nil {
			continue // refused is fine
		}
		require.NoFileExists(t, filepath.Join(m["c"][0].Source, "canary"))
		require.NoError(t, unix.Unmount(m["c"][0].Source, unix.MNT_DETACH))
	}
	close(stop)
	done.Wait()
	require.NoError(t, b.Unmount(t.Context(), "u-1"))
	require.Equal(t, before, hash(t, host))
}

func hash(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		fmt.Fprintln(h, p, st.Mode(), st.Size())
		return err
	}))
	return fmt.Sprintf("%x", h.Sum(nil))
}

// TestContentIsReadOnly: containers don't change what comes from the API, so that no link of theirs is ever followed.
func TestContentIsReadOnly(t *testing.T) {
	b := open(t)
	_, err := client.For[*corev1.ConfigMap](b.client).Create(t.Context(), configMap("m", map[string]string{"a": "1"}))
	require.NoError(t, err)
	p := pod(volume("v", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "m"}}}),
		volume("e", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}))
	m := b.mount(t, p)
	require.Contains(t, m[0].Options, "ro")
	require.Contains(t, m[1].Options, "rw")
}

// TestUnfinished: what a crash left undone of a volume is done when the pod is set up again.
func TestUnfinished(t *testing.T) {
	b := open(t)
	_, err := client.For[*corev1.ConfigMap](b.client).Create(t.Context(), configMap("m", map[string]string{"a": "1", "b": "2"}))
	require.NoError(t, err)
	p := pod(volume("v", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "m"}}}))
	dir := b.mount(t, p)[0].Source
	require.NoError(t, os.Remove(filepath.Join(dir, "a")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "..v_old"), 0o700))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "..data_new")))
	b.mount(t, p)
	require.Equal(t, "1", read(t, dir, "a"))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 4, "..data, what it leads to, a and b")
}

func TestSubPathExpr(t *testing.T) {
	b := open(t)
	p := pod(volume("v", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}))
	c := &p.Spec.Containers[0]
	c.Env = []corev1.EnvVar{{Name: "A", Value: "x"}, {Name: "UP", Value: ".."}, {Name: "N", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}
	vol := filepath.Join(b.dir, "u-1", "disk", "v")
	for expr, want := range map[string]string{"$(A)/$(N)": "x/p", "a)$x": "a)$x", "$$(A)": "$(A)"} {
		c.VolumeMounts[0].SubPathExpr = expr
		b.mount(t, p)
		require.DirExists(t, filepath.Join(vol, want), expr)
		require.NoError(t, b.Unmount(t.Context(), "u-1"))
	}
	for expr, words := range map[string]string{"$(NO)": `no variable "NO"`, "$(UP)/$(UP)": "no path inside", "/$(A)": "no path inside"} {
		c.VolumeMounts[0].SubPathExpr = expr
		_, err := b.Mount(t.Context(), p)
		require.ErrorContains(t, err, words, expr)
	}
}

// TestRemovalStopsAtMounts: removing a pod's volumes never deletes what is behind a subPath or a link, also where the
// folder is reached through a link itself.
func TestRemovalStopsAtMounts(t *testing.T) {
	b := open(t)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(b.dir, link))
	v, err := local.New(local.Config{Dir: link, Client: b.client})
	require.NoError(t, err)
	host := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(host, "sub"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(host, "sub", "canary"), nil, 0o600))
	before := hash(t, host)
	p := pod(volume("h", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host}}), volume("e", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}))
	p.Spec.Containers[0].VolumeMounts[0].SubPath = "sub"
	m, err := v.Mount(t.Context(), p)
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(m["c"][0].Source, "canary"))
	require.NoError(t, os.Symlink(host, filepath.Join(m["c"][1].Source, "link")))
	again, err := v.Mount(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, m, again)
	require.NoError(t, v.Unmount(t.Context(), "u-1"))
	require.Equal(t, before, hash(t, host))

	// The sweep after a crash keeps to that too.
	_, err = v.Mount(t.Context(), p)
	require.NoError(t, err)
	require.NoError(t, v.Keep(t.Context(), []string{"other"}))
	require.Equal(t, before, hash(t, host))
}

// TestPaths: no path of an item leads out of its volume, even if the API let it through.
func TestPaths(t *testing.T) {
	b := open(t)
	_, err := client.For[*corev1.ConfigMap](b.client).Create(t.Context(), configMap("m", map[string]string{"a": "1"}))
	require.NoError(t, err)
	for _, path := range []string{"../x", "a/../../x", "/etc/x", "..", "..data", "..data/a", ".", "..v_1/x"} {
		p := pod(volume("v", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "m"}, Items: []corev1.KeyToPath{{Key: "a", Path: path}},
		}}))
		_, err := b.Mount(t.Context(), p)
		require.Error(t, err, path)
		require.NoError(t, b.Unmount(t.Context(), "u-1"))
	}
	for _, uid := range []string{"", ".", "..", "a/b", "../etc"} {
		require.Error(t, b.Unmount(t.Context(), uid), uid)
	}
}
