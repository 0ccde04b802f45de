package clienttest

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
)

// Run proves that a way of talking to an API is one. connect returns a client of an empty API that serves the
// kinds of [Kinds]; it is called once for each test.
func Run(t *testing.T, connect func(t *testing.T) *client.Client) {
	tests := []struct {
		name string
		run  func(t *testing.T, c *client.Client)
	}{
		{"create, get, update, delete", lifecycle},
		{"list in pages", pages},
		{"selectors", selectors},
		{"patch and apply", patches},
		{"status", statuses},
		{"options", options},
		{"unknown kind", unknown},
		{"watch", watch},
		{"watch from the beginning", watchInitial},
		{"watch ends with its context", watchCancelled},
		{"metadata", metadata},
		{"delete many", deleteMany},
		{"modify under conflicts", modify},
		{"scope", scope},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, connect(t)) })
	}
}

// WidgetSpec and WidgetStatus make a kind of the suite's own.
type (
	WidgetSpec struct {
		Size int `json:"size,omitempty"`
	}
	WidgetStatus struct {
		Ready bool `json:"ready,omitempty"`
	}
	Widget = apimachinery.Typed[WidgetSpec, WidgetStatus]
)

// Widgets declares Widget.
func Widgets() apimachinery.Resource {
	return apimachinery.Define[WidgetSpec, WidgetStatus](schema.GroupVersionKind{Group: "test.example.org", Version: "v1", Kind: "Widget"}, "widgets")
}

func configMap(name string, labels map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: labels}, Data: map[string]string{"a": "1"}}
}

func lifecycle(t *testing.T, c *client.Client) {
	ctx, maps := t.Context(), client.For[*corev1.ConfigMap](c)
	in := configMap("one", nil)
	before := in.DeepCopy()
	made, err := maps.Create(ctx, in)
	require.NoError(t, err)
	require.Equal(t, before, in, "the caller's object was changed")
	require.NotEmpty(t, made.UID)
	require.NotEmpty(t, made.ResourceVersion)
	require.Equal(t, corev1.SchemeGroupVersion.WithKind("ConfigMap"), made.GroupVersionKind())

	_, err = maps.Create(ctx, in)
	require.True(t, apierrors.IsAlreadyExists(err), "%v", err)

	got, err := maps.Get(ctx, "default", "one")
	require.NoError(t, err)
	require.Equal(t, made, got)

	got.Data["a"] = "2"
	updated, err := maps.Update(ctx, got)
	require.NoError(t, err)
	require.Equal(t, "2", updated.Data["a"])
	_, err = maps.Update(ctx, got)
	require.True(t, apierrors.IsConflict(err), "%v", err)

	err = maps.Delete(ctx, "default", "one", client.IfUID("another"))
	require.True(t, apierrors.IsConflict(err), "%v", err)
	require.NoError(t, maps.Delete(ctx, "default", "one", client.IfUID(made.UID)))
	_, err = maps.Get(ctx, "default", "one")
	require.True(t, apierrors.IsNotFound(err), "%v", err)
	require.ErrorContains(t, err, "get configmaps default/one")

	named := configMap("", nil)
	named.GenerateName = "gen-"
	made, err = maps.Create(ctx, named)
	require.NoError(t, err)
	require.Regexp(t, "^gen-.", made.Name)
}

func pages(t *testing.T, c *client.Client) {
	ctx, maps := t.Context(), client.For[*corev1.ConfigMap](c)
	for n := range 7 {
		_, err := maps.Create(ctx, configMap(string(rune('a'+n)), nil))
		require.NoError(t, err)
	}
	first, err := maps.List(ctx, client.InNamespace("default"), client.Limit(3))
	require.NoError(t, err)
	require.Len(t, first.Items, 3)
	require.NotEmpty(t, first.Continue)
	require.EqualValues(t, 4, *first.Remaining)
	require.Equal(t, "ConfigMap", first.Items[0].Kind)

	require.NoError(t, maps.Delete(ctx, "default", "g"))
	var names, versions []string
	for page, err := range maps.Pages(ctx, client.InNamespace("default"), client.Limit(3), client.At(first.ResourceVersion)) {
		require.NoError(t, err)
		versions = append(versions, page.ResourceVersion)
		for _, o := range page.Items {
			names = append(names, o.Name)
		}
	}
	require.Equal(t, []string{"a", "b", "c", "d", "e", "f", "g"}, names)
	require.Equal(t, []string{first.ResourceVersion, first.ResourceVersion, first.ResourceVersion}, versions)

	count := 0
	for _, err := range maps.All(ctx) {
		require.NoError(t, err)
		count++
	}
	require.Equal(t, 6, count)
}

func selectors(t *testing.T, c *client.Client) {
	ctx, maps := t.Context(), client.For[*corev1.ConfigMap](c)
	for name, app := range map[string]string{"a": "web", "b": "db", "c": "web"} {
		_, err := maps.Create(ctx, configMap(name, map[string]string{"app": app}))
		require.NoError(t, err)
	}
	l, err := maps.List(ctx, client.Labels("app=web"))
	require.NoError(t, err)
	require.Len(t, l.Items, 2)
	l, err = maps.List(ctx, client.Fields("metadata.name=b"))
	require.NoError(t, err)
	require.Len(t, l.Items, 1)
	l, err = maps.List(ctx, client.InNamespace("other"))
	require.NoError(t, err)
	require.Empty(t, l.Items)
	_, err = maps.List(ctx, client.Fields("spec.size=3"))
	require.True(t, apierrors.IsBadRequest(err), "%v", err)
}

func patches(t *testing.T, c *client.Client) {
	ctx, maps := t.Context(), client.For[*corev1.ConfigMap](c)
	_, err := maps.Create(ctx, configMap("one", nil))
	require.NoError(t, err)
	got, err := maps.Patch(ctx, "default", "one", types.MergePatchType, []byte(`{"data":{"b":"2"}}`))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "1", "b": "2"}, got.Data)
	got, err = maps.Patch(ctx, "default", "one", types.JSONPatchType, []byte(`[{"op":"remove","path":"/data/a"}]`))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"b": "2"}, got.Data)

	applied, err := maps.Apply(ctx, configMap("two", nil), "one")
	require.NoError(t, err)
	require.Equal(t, "1", applied.Data["a"])
	other := configMap("two", nil)
	other.Data["a"] = "3"
	_, err = maps.Apply(ctx, other, "another")
	require.True(t, apierrors.IsConflict(err), "%v", err)
	applied, err = maps.Apply(ctx, other, "another", client.Force())
	require.NoError(t, err)
	require.Equal(t, "3", applied.Data["a"])
	applied, err = maps.Apply(ctx, applied, "another", client.Force())
	require.NoError(t, err, "what came from the server can be applied")
	require.Equal(t, "3", applied.Data["a"])
}

func statuses(t *testing.T, c *client.Client) {
	ctx, widgets := t.Context(), client.For[*Widget](c)
	w := &Widget{Spec: WidgetSpec{Size: 1}, Status: WidgetStatus{Ready: true}}
	w.Namespace, w.Name = "default", "one"
	w, err := widgets.Create(ctx, w)
	require.NoError(t, err)
	require.False(t, w.Status.Ready)
	w.Status.Ready, w.Spec.Size = true, 5
	w, err = widgets.UpdateStatus(ctx, w)
	require.NoError(t, err)
	require.True(t, w.Status.Ready)
	require.Equal(t, 1, w.Spec.Size)
	w, err = widgets.PatchStatus(ctx, "default", "one", types.MergePatchType, []byte(`{"status":{"ready":false}}`))
	require.NoError(t, err)
	require.False(t, w.Status.Ready)
	w, err = widgets.ModifyStatus(ctx, "default", "one", func(w *Widget) error {
		w.Status.Ready = true
		return nil
	})
	require.NoError(t, err)
	require.True(t, w.Status.Ready)
}

func options(t *testing.T, c *client.Client) {
	ctx, maps := t.Context(), client.For[*corev1.ConfigMap](c)
	made, err := maps.Create(ctx, configMap("one", nil), client.DryRun())
	require.NoError(t, err)
	require.Equal(t, "one", made.Name)
	_, err = maps.Get(ctx, "default", "one")
	require.True(t, apierrors.IsNotFound(err), "%v", err)

	_, err = maps.Get(ctx, "default", "one", client.DryRun())
	require.ErrorContains(t, err, "get configmaps default/one: option DryRun does not apply")

	made, err = maps.Create(ctx, configMap("one", nil), client.FieldManager("me"))
	require.NoError(t, err)
	require.Equal(t, "me", made.ManagedFields[0].Manager)
	named := client.For[*corev1.ConfigMap](c.WithFieldManager("my-program"))
	made, err = named.Create(ctx, configMap("two", nil))
	require.NoError(t, err)
	require.Equal(t, "my-program", made.ManagedFields[0].Manager)
	made, err = named.Create(ctx, configMap("three", nil), client.FieldManager("me"))
	require.NoError(t, err)
	require.Equal(t, "me", made.ManagedFields[0].Manager)
	made, err = named.Patch(ctx, "default", "three", types.MergePatchType, []byte(`{"data":{"p":"1"}}`))
	require.NoError(t, err)
	require.Equal(t, "my-program", made.ManagedFields[len(made.ManagedFields)-1].Manager)
	_, err = named.Patch(ctx, "default", "three", types.ApplyYAMLPatchType, []byte(`{"apiVersion":"v1","kind":"ConfigMap"}`))
	require.Error(t, err, "an apply names its own manager")

	var warnings []string
	patch := []byte(`{"datum":{"b":"2"}}`)
	_, err = maps.Patch(ctx, "default", "one", types.MergePatchType, patch, client.FieldValidation(metav1.FieldValidationStrict))
	require.Error(t, err)
	_, err = maps.Patch(ctx, "default", "one", types.MergePatchType, patch, client.Warnings(func(s string) { warnings = append(warnings, s) }))
	require.NoError(t, err)
	require.Equal(t, []string{`unknown field "datum"`}, warnings)
}

func unknown(t *testing.T, c *client.Client) {
	nodes := client.For[*corev1.Service](c)
	_, err := nodes.Get(t.Context(), "", "a")
	require.ErrorContains(t, err, "*v1.Service is not a kind of this client: add its Resource to the registry "+
		"(the packages below apimachinery/kinds have the built-in ones, kinds.All has them all)")
	_, err = nodes.List(t.Context())
	require.Error(t, err)
	_, err = nodes.Create(t.Context(), &corev1.Service{})
	require.Error(t, err)
	_, err = nodes.Apply(t.Context(), &corev1.Service{}, "me")
	require.Error(t, err)
	require.Error(t, nodes.Delete(t.Context(), "", "a"))
	require.Error(t, nodes.DeleteCollection(t.Context()))
	_, err = nodes.Watch(t.Context())
	require.Error(t, err)
	require.Nil(t, nodes.New())
}

func next[T apimachinery.Object](t *testing.T, w *client.Watcher[T]) client.Event[T] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	e, err := w.Next(ctx)
	require.NoError(t, err)
	return e
}

func watch(t *testing.T, c *client.Client) {
	ctx, maps := t.Context(), client.For[*corev1.ConfigMap](c)
	one, err := maps.Create(ctx, configMap("one", nil))
	require.NoError(t, err)
	w, err := maps.Watch(ctx, client.Since(one.ResourceVersion), client.InNamespace("default"), client.Bookmarks())
	require.NoError(t, err)
	defer w.Close()
	two, err := maps.Create(ctx, configMap("two", nil))
	require.NoError(t, err)
	two.Data["a"] = "<&>"
	changed, err := maps.Update(ctx, two)
	require.NoError(t, err)
	require.NoError(t, maps.Delete(ctx, "default", "one"))

	e := next(t, w)
	require.Equal(t, client.Added, e.Type)
	require.Equal(t, two.ResourceVersion, e.Object.ResourceVersion)
	e = next(t, w)
	require.Equal(t, client.Modified, e.Type)
	require.Equal(t, changed, e.Object)
	e = next(t, w)
	require.Equal(t, client.Deleted, e.Type)
	require.Equal(t, "one", e.Object.Name)
	require.NotEqual(t, one.ResourceVersion, e.Object.ResourceVersion)
}

func watchInitial(t *testing.T, c *client.Client) {
	ctx, maps := t.Context(), client.For[*corev1.ConfigMap](c)
	_, err := maps.Create(ctx, configMap("one", nil))
	require.NoError(t, err)
	w, err := maps.Watch(ctx, client.InitialEvents())
	require.NoError(t, err)
	defer w.Close()
	require.Equal(t, "one", next(t, w).Object.Name)
	mark := next(t, w)
	require.Equal(t, client.Bookmark, mark.Type)
	require.Equal(t, "true", mark.Object.Annotations[metav1.InitialEventsAnnotationKey])
}

func watchCancelled(t *testing.T, c *client.Client) {
	maps := client.For[*corev1.ConfigMap](c)
	w, err := maps.Watch(t.Context())
	require.NoError(t, err)
	defer w.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	go cancel(stop)
	_, err = w.Next(ctx)
	require.ErrorIs(t, err, stop)
	_, err = w.Next(t.Context())
	require.Error(t, err)

	w, err = maps.Watch(t.Context(), client.Timeout(time.Second))
	require.NoError(t, err)
	_, err = w.Next(t.Context())
	require.ErrorIs(t, err, io.EOF)
}

func metadata(t *testing.T, c *client.Client) {
	ctx, maps := t.Context(), client.For[*corev1.ConfigMap](c)
	made, err := maps.Create(ctx, configMap("one", map[string]string{"app": "web"}))
	require.NoError(t, err)
	meta := client.Metadata(c, corev1.SchemeGroupVersion.WithResource("configmaps"), true)
	l, err := meta.List(ctx, client.Labels("app=web"))
	require.NoError(t, err)
	require.Len(t, l.Items, 1)
	require.Equal(t, made.ObjectMeta, l.Items[0].ObjectMeta)
	got, err := meta.Get(ctx, "default", "one")
	require.NoError(t, err)
	require.Equal(t, made.ObjectMeta, got.ObjectMeta)
	require.Equal(t, "PartialObjectMetadata", got.Kind)

	w, err := meta.Watch(ctx, client.Since(l.ResourceVersion))
	require.NoError(t, err)
	defer w.Close()
	got, err = meta.Patch(ctx, "default", "one", types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"db"}}}`))
	require.NoError(t, err)
	require.Equal(t, "db", got.Labels["app"])
	require.Equal(t, "db", next(t, w).Object.Labels["app"])

	_, err = meta.Create(ctx, got)
	require.ErrorContains(t, err, "metadata alone is no object")
	require.NoError(t, meta.Delete(ctx, "default", "one"))
}

func deleteMany(t *testing.T, c *client.Client) {
	ctx, maps := t.Context(), client.For[*corev1.ConfigMap](c)
	for name, app := range map[string]string{"a": "web", "b": "db", "c": "web"} {
		_, err := maps.Create(ctx, configMap(name, map[string]string{"app": app}))
		require.NoError(t, err)
	}
	require.NoError(t, maps.DeleteCollection(ctx, client.InNamespace("default"), client.Labels("app=web"), client.Propagation(metav1.DeletePropagationBackground)))
	l, err := maps.List(ctx)
	require.NoError(t, err)
	require.Len(t, l.Items, 1)
	require.Equal(t, "b", l.Items[0].Name)
}

func modify(t *testing.T, c *client.Client) {
	ctx, maps := t.Context(), client.For[*corev1.ConfigMap](c)
	_, err := maps.Create(ctx, configMap("one", nil))
	require.NoError(t, err)
	tries := 0
	got, err := maps.Modify(ctx, "default", "one", func(o *corev1.ConfigMap) error {
		if tries++; tries < 3 {
			_, err := maps.Patch(ctx, "default", "one", types.MergePatchType, []byte(`{"data":{"try":"`+string(rune('0'+tries))+`"}}`))
			require.NoError(t, err)
		}
		o.Data["mine"] = "yes"
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 3, tries)
	require.Equal(t, map[string]string{"a": "1", "try": "2", "mine": "yes"}, got.Data)
}

func scope(t *testing.T, c *client.Client) {
	maps := client.For[*corev1.ConfigMap](c)
	var wrote []client.Written
	ctx := client.WithScope(t.Context(), client.Scope{Wrote: func(w client.Written) { wrote = append(wrote, w) }})
	made, err := maps.Create(ctx, configMap("one", nil))
	require.NoError(t, err)
	_, err = maps.Create(ctx, configMap("two", nil), client.DryRun())
	require.NoError(t, err)
	_, err = maps.Get(ctx, "default", "one")
	require.NoError(t, err)
	require.NoError(t, maps.Delete(ctx, "default", "one"))
	require.Len(t, wrote, 2)
	name := schema.GroupResource{Resource: "configmaps"}
	require.Equal(t, client.Written{Resource: name, Key: "default/one", UID: made.UID, ResourceVersion: made.ResourceVersion}, wrote[0])
	require.True(t, wrote[1].Deleted)
	require.Equal(t, made.UID, wrote[1].UID)
}
