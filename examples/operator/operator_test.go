package main

import (
	"bufio"
	"context"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/client/kubeconfig"
	"github.com/bedplate/bedplate/apimachinery/kinds/apps"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// asMain makes the test binary the example itself.
const asMain = "OPERATOR_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestAlone(t *testing.T) {
	sample, err := os.ReadFile("database.yaml")
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	begin(t, "Ready", alone)
	use(t, connect(t, "operator.kubeconfig"), sample)
}

func TestJoined(t *testing.T) {
	sample, err := os.ReadFile("database.yaml")
	require.NoError(t, err)
	plane, err := bedplate.Start(t.Context(), bedplate.Config{Resources: []apimachinery.Resource{Databases()}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, plane.Stop()) })
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, plane.WriteKubeconfig(file, "admin", "system:masters"))
	begin(t, "At work", func(ctx context.Context, out io.Writer) error { return joined(ctx, out, file) })
	use(t, plane.Client(), sample)
}

// use does with the example what a user would.
func use(t *testing.T, c *client.Client, sample []byte) {
	ctx, databases := t.Context(), client.For[*Database](c)
	db, err := databases.ApplyBytes(ctx, "default", "cache", sample, "user")
	require.NoError(t, err)
	require.Equal(t, DatabaseSpec{Version: "8.1", MemoryMB: 64}, db.Spec, "defaults")
	config := wait(t, c, made("--maxmemory 64mb"))
	requireOwned(t, db, config)
	deployment := wait(t, c, runs("--maxmemory 64mb"))
	requireOwned(t, db, deployment)
	require.Equal(t, "valkey/valkey:8.1", deployment.Spec.Template.Spec.Containers[0].Image)
	wait(t, c, stands(DatabaseStatus{ObservedGeneration: 1}))

	pod := wait(t, c, func(p *corev1.Pod) bool { return true })
	_, err = client.For[*corev1.Pod](c).ModifyStatus(ctx, pod.Namespace, pod.Name, func(p *corev1.Pod) error {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
		return nil
	})
	require.NoError(t, err)
	wait(t, c, stands(DatabaseStatus{ObservedGeneration: 1, Ready: true}))
	still := wait(t, c, made("--maxmemory 64mb"))
	require.Equal(t, config.ResourceVersion, still.ResourceVersion, "what is as it should be is not written")

	_, err = databases.Modify(ctx, "default", "cache", func(db *Database) error { db.Spec.MemoryMB = 128; return nil })
	require.NoError(t, err)
	wait(t, c, made("--maxmemory 128mb"))
	wait(t, c, runs("--maxmemory 128mb"))
	wait(t, c, stands(DatabaseStatus{ObservedGeneration: 2, Ready: true}))

	_, err = databases.Modify(ctx, "default", "cache", func(db *Database) error { db.Spec.MemoryMB = 1; return nil })
	requireInvalid(t, err)
	_, err = databases.Create(ctx, &Database{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "small"}, Spec: DatabaseSpec{MemoryMB: 1}})
	requireInvalid(t, err)

	require.NoError(t, client.For[*corev1.ConfigMap](c).Delete(ctx, "default", "cache"))
	again := wait(t, c, func(m *corev1.ConfigMap) bool { return made("--maxmemory 128mb")(m) && m.UID != config.UID })
	requireOwned(t, db, again)

	require.NoError(t, databases.Delete(ctx, "default", "cache"))
	waitGone[*Database](t, c)
	waitGone[*corev1.ConfigMap](t, c)
	waitGone[*appsv1.Deployment](t, c)
}

func made(flags string) func(*corev1.ConfigMap) bool {
	return func(m *corev1.ConfigMap) bool { return m.Name == "cache" && m.Data["VALKEY_EXTRA_FLAGS"] == flags }
}

func runs(flags string) func(*appsv1.Deployment) bool {
	return func(d *appsv1.Deployment) bool { return d.Spec.Template.Annotations["example.com/flags"] == flags }
}

func stands(s DatabaseStatus) func(*Database) bool {
	return func(db *Database) bool { return db.Status == s }
}

func requireOwned(t *testing.T, db *Database, child metav1.Object) {
	t.Helper()
	ref := metav1.GetControllerOf(child)
	require.NotNil(t, ref)
	require.Equal(t, "example.com/v1 Database "+string(db.UID), ref.APIVersion+" "+ref.Kind+" "+string(ref.UID))
}

func requireInvalid(t *testing.T, err error) {
	t.Helper()
	require.True(t, apierrors.IsInvalid(err), "%v", err)
	require.ErrorContains(t, err, "spec.memoryMB: Invalid value: 1: must be between 16 and 65536")
}

// begin runs a part of the example until the test ends, and returns when it says word.
func begin(t *testing.T, word string, run func(context.Context, io.Writer) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, in)
		in.Close()
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), word) {
	}
	go io.Copy(io.Discard, out)
}

// connect is a client over HTTPS, of whom a kubeconfig file names.
func connect(t *testing.T, file string) *client.Client {
	t.Helper()
	conn, _, err := kubeconfig.Load(file, "")
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	kinds, err := apimachinery.NewRegistry(slices.Concat(core.Resources(), apps.Resources(), []apimachinery.Resource{Databases()})...)
	require.NoError(t, err)
	return client.New(conn, kinds)
}

// wait watches the objects in the namespace default until one is as wished.
func wait[T apimachinery.Object](t *testing.T, c *client.Client, wish func(T) bool) (found T) {
	t.Helper()
	until(t, c, func(there map[string]T) bool {
		for o := range maps.Values(there) {
			if wish(o) {
				found = o
				return true
			}
		}
		return false
	})
	return found
}

// waitGone watches until no part of the Database of this type is there.
func waitGone[T apimachinery.Object](t *testing.T, c *client.Client) {
	t.Helper()
	until(t, c, func(there map[string]T) bool { _, ok := there["cache"]; return !ok })
}

// until watches the objects in the namespace default, by name, until they are as wished.
func until[T apimachinery.Object](t *testing.T, c *client.Client, wish func(there map[string]T) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, there := client.For[T](c), map[string]T{}
	list, err := r.List(ctx, client.InNamespace("default"))
	require.NoError(t, err)
	for _, o := range list.Items {
		there[o.GetName()] = o
	}
	w, err := r.Watch(ctx, client.InNamespace("default"), client.Since(list.ResourceVersion))
	require.NoError(t, err)
	defer w.Close()
	for !wish(there) {
		e, err := w.Next(ctx)
		require.NoError(t, err, "it never came to what was wished; now: %v", there)
		switch e.Type {
		case client.Added, client.Modified:
			there[e.Object.GetName()] = e.Object
		case client.Deleted:
			delete(there, e.Object.GetName())
		}
	}
}

func TestInterrupt(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), asMain+"=1"), t.Output()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), "Ready")
	require.FileExists(t, filepath.Join(dir, "operator.kubeconfig"))
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	for lines.Scan() {
	}
	require.NoError(t, cmd.Wait(), "it must exit with 0")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestNoSuchKubeconfig(t *testing.T) {
	err := joined(t.Context(), io.Discard, filepath.Join(t.TempDir(), "none"))
	require.ErrorContains(t, err, "load the kubeconfig")
}

func TestNoSuchKind(t *testing.T) {
	plane, err := bedplate.Start(t.Context(), bedplate.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, plane.Stop()) })
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, plane.WriteKubeconfig(file, "admin", "system:masters"))
	require.ErrorContains(t, joined(t.Context(), io.Discard, file), "apply examples/operator/crd.yaml")
}

// The kind in crd.yaml is the one in database.go.
func TestCRD(t *testing.T) {
	var crd struct {
		Metadata metav1.ObjectMeta
		Spec     struct {
			Group, Scope string
			Names        struct{ Kind, Plural string }
			Versions     []struct {
				Name   string
				Schema struct {
					OpenAPIV3Schema struct {
						Properties struct {
							Spec, Status struct {
								Properties map[string]struct {
									Default          any
									Minimum, Maximum *float64
								}
							}
						}
					}
				}
			}
		}
	}
	data, err := os.ReadFile("crd.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(data, &crd))
	view := Databases().Views[0]
	require.Equal(t, view.Plural+"."+view.Group, crd.Metadata.Name)
	require.Equal(t, []string{view.Group, view.Version, view.Kind, view.Plural, "Namespaced"},
		[]string{crd.Spec.Group, crd.Spec.Versions[0].Name, crd.Spec.Names.Kind, crd.Spec.Names.Plural, crd.Spec.Scope})
	properties := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties
	var defaults DatabaseSpec
	defaults.Default()
	require.Equal(t, defaults.Version, properties.Spec.Properties["version"].Default)
	memory := properties.Spec.Properties["memoryMB"]
	require.EqualValues(t, defaults.MemoryMB, memory.Default)
	for size, valid := range map[float64]bool{*memory.Minimum: true, *memory.Maximum: true, *memory.Minimum - 1: false, *memory.Maximum + 1: false} {
		require.Equal(t, valid, len((&DatabaseSpec{MemoryMB: int32(size)}).Validate(nil)) == 0, size)
	}
	require.Len(t, properties.Spec.Properties, reflect.TypeFor[DatabaseSpec]().NumField())
	require.Len(t, properties.Status.Properties, reflect.TypeFor[DatabaseStatus]().NumField())
}
