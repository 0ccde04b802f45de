package clientgo

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/internal/interop/plane"
)

// kind is one that discovery tells of.
type kind struct {
	metav1.APIResource
	schema.GroupVersion
}

func (k kind) gvr() schema.GroupVersionResource { return k.WithResource(k.Name) }

// discovered are all kinds that are served, without subresources.
func discovered(t *testing.T, d discovery.DiscoveryInterface) []kind {
	t.Helper()
	_, lists, err := d.ServerGroupsAndResources()
	require.NoError(t, err)
	var out []kind
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		require.NoError(t, err)
		for _, r := range l.APIResources {
			if !strings.Contains(r.Name, "/") {
				out = append(out, kind{r, gv})
			}
		}
	}
	return out
}

// TestVerbs goes through all verbs of all kinds that discovery tells of.
func TestVerbs(t *testing.T) {
	_, config := plane.Start(t, bedplate.Config{})
	d, err := discovery.NewDiscoveryClientForConfig(config)
	require.NoError(t, err)
	dyn, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	meta, err := metadata.NewForConfig(config)
	require.NoError(t, err)
	kinds, gone := discovered(t, d), 0
	require.Greater(t, len(kinds), 60)
	for _, k := range kinds {
		t.Run(k.GroupVersion.String()+" "+k.Kind, func(t *testing.T) {
			if !slices.Contains(k.Verbs, "watch") || !slices.Contains(k.Verbs, "create") {
				return // reviews, bindings and what is computed
			}
			corpus := plane.Corpus(t, k.WithKind(k.Kind), k.Namespaced)
			if len(corpus) == 0 {
				require.Equal(t, "PodCertificateRequest", k.Kind, "no object to try it with")
				return // needs a node that asks
			}
			v := &verbs{T: t, kind: k, all: dyn.Resource(k.gvr()), meta: meta.Resource(k.gvr())}
			v.run(corpus)
			gone++
		})
	}
	require.Greater(t, gone, 50)
}

// verbs are those of one kind.
type verbs struct {
	*testing.T
	kind
	all  dynamic.NamespaceableResourceInterface
	meta metadata.Getter
}

func (v *verbs) at() dynamic.ResourceInterface {
	if v.Namespaced {
		return v.all.Namespace("default")
	}
	return v.all
}

const label = "interop"

func (v *verbs) run(corpus []*unstructured.Unstructured) {
	ctx, cancel := context.WithTimeout(v.Context(), time.Minute)
	defer cancel()
	u := v.sample(ctx, corpus)
	name := u.GetName()

	list, err := v.at().List(ctx, metav1.ListOptions{})
	require.NoError(v, err)
	w, err := v.at().Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion(), FieldSelector: "metadata.name=" + name, AllowWatchBookmarks: true})
	require.NoError(v, err)
	defer w.Stop()

	made, err := v.at().Create(ctx, u, metav1.CreateOptions{FieldManager: "creator"})
	require.NoError(v, err)
	require.NotEmpty(v, made.GetUID())
	require.Equal(v, "creator", made.GetManagedFields()[0].Manager)
	require.Equal(v, watch.Added, v.next(w).Type)
	_, err = v.at().Create(ctx, u, metav1.CreateOptions{})
	require.True(v, apierrors.IsAlreadyExists(err) || apierrors.IsInvalid(err) || apierrors.IsForbidden(err), "%v", err) // what it claims is taken, too

	v.update(ctx, name)
	v.patches(ctx, name)
	v.apply(ctx, made)
	v.lists(ctx, name)
	v.delete(ctx, name)
	for e := v.next(w); e.Type != watch.Deleted; e = v.next(w) {
		require.Equal(v, watch.Modified, e.Type)
	}
}

// sample is the first object of the corpus that can be made at this moment, under the name that it needs.
func (v *verbs) sample(ctx context.Context, corpus []*unstructured.Unstructured) *unstructured.Unstructured {
	var last error
	for _, u := range corpus {
		u.SetOwnerReferences(nil)
		u.SetFinalizers(nil)
		u.SetLabels(map[string]string{label: "made"})
		_, err := v.at().Create(ctx, u, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil {
			_, err = v.at().Get(ctx, u.GetName(), metav1.GetOptions{})
			require.True(v, apierrors.IsNotFound(err), "a dry run has stored: %v", err)
			return u
		}
		last = err
	}
	require.NoError(v, last)
	return nil
}

func (v *verbs) next(w watch.Interface) watch.Event {
	v.Helper()
	for {
		select {
		case e, ok := <-w.ResultChan():
			require.True(v, ok, "the watch has ended")
			if e.Type == watch.Error {
				require.NoError(v, apierrors.FromObject(e.Object))
			}
			if e.Type != watch.Bookmark {
				return e
			}
		case <-time.After(30 * time.Second):
			require.Fail(v, "no event")
		}
	}
}

// update writes what was read, and is refused with what was read before.
func (v *verbs) update(ctx context.Context, name string) {
	if !slices.Contains(v.Verbs, "update") {
		return
	}
	for {
		got, err := v.at().Get(ctx, name, metav1.GetOptions{})
		require.NoError(v, err)
		changed := got.DeepCopy()
		changed.SetLabels(map[string]string{label: "updated"})
		changed, err = v.at().Update(ctx, changed, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			continue // a controller was faster
		}
		require.NoError(v, err)
		require.Equal(v, "updated", changed.GetLabels()[label])
		require.NotEqual(v, got.GetResourceVersion(), changed.GetResourceVersion())
		if v.Kind != "EndpointSlice" { // whose labels count
			require.Equal(v, got.GetGeneration(), changed.GetGeneration(), "labels are no change of the wish")
		}
		_, err = v.at().Update(ctx, got, metav1.UpdateOptions{})
		require.True(v, apierrors.IsConflict(err), "%v", err)
		return
	}
}

func (v *verbs) patches(ctx context.Context, name string) {
	for typ, patch := range map[types.PatchType]string{
		types.MergePatchType:          `{"metadata":{"annotations":{"patched":"merge"}}}`,
		types.JSONPatchType:           `[{"op":"add","path":"/metadata/annotations","value":{"patched":"json"}}]`,
		types.StrategicMergePatchType: `{"metadata":{"annotations":{"patched":"strategic"}}}`,
	} {
		got, err := v.at().Patch(ctx, name, typ, []byte(patch), metav1.PatchOptions{})
		require.NoError(v, err, typ)
		require.NotEmpty(v, got.GetAnnotations()["patched"])
	}
	_, err := v.at().Patch(ctx, name, types.MergePatchType, []byte(`{"unheardOf":1}`), metav1.PatchOptions{FieldValidation: metav1.FieldValidationStrict})
	require.True(v, apierrors.IsBadRequest(err) || apierrors.IsInvalid(err), "%v", err)
	require.ErrorContains(v, err, "unheardOf")
	got, err := v.meta.Namespace(v.namespace()).Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"labels":{"interop":"patched"}}}`), metav1.PatchOptions{})
	require.NoError(v, err)
	require.Equal(v, "patched", got.Labels[label])
}

func (v *verbs) namespace() string {
	if v.Namespaced {
		return "default"
	}
	return ""
}

// apply owns what it applies, and is told whose the rest is.
func (v *verbs) apply(ctx context.Context, made *unstructured.Unstructured) {
	wish := func(value string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(v.WithKind(v.Kind))
		u.SetName(made.GetName())
		u.SetNamespace(v.namespace())
		u.SetLabels(map[string]string{label: value})
		return u
	}
	_, err := v.at().Apply(ctx, made.GetName(), wish("applied"), metav1.ApplyOptions{FieldManager: "applier"})
	require.True(v, apierrors.IsConflict(err), "%v", err)
	var causes []string
	for _, c := range err.(apierrors.APIStatus).Status().Details.Causes {
		causes = append(causes, c.Field)
	}
	require.Equal(v, []string{".metadata.labels." + label}, causes)
	got, err := v.at().Apply(ctx, made.GetName(), wish("applied"), metav1.ApplyOptions{FieldManager: "applier", Force: true})
	require.NoError(v, err)
	require.Equal(v, "applied", got.GetLabels()[label])
	again, err := v.at().Apply(ctx, made.GetName(), wish("applied"), metav1.ApplyOptions{FieldManager: "applier"})
	require.NoError(v, err)
	if again.GetResourceVersion() != got.GetResourceVersion() {
		require.NotEqual(v, body(v, got), body(v, again), "an apply that changes nothing was stored")
	}
}

// body is all but the resourceVersion and who manages what.
func body(t require.TestingT, u *unstructured.Unstructured) string {
	u = u.DeepCopy()
	u.SetResourceVersion("")
	u.SetManagedFields(nil)
	raw, err := json.Marshal(u)
	require.NoError(t, err)
	return string(raw)
}

func (v *verbs) lists(ctx context.Context, name string) {
	for what, o := range map[string]metav1.ListOptions{
		"label":    {LabelSelector: label + "=applied"},
		"name":     {FieldSelector: "metadata.name=" + name},
		"pages":    {Limit: 1, LabelSelector: label + "=applied"},
		"any":      {LabelSelector: label + "=applied", ResourceVersion: "0"},
		"negative": {LabelSelector: label + "!=other," + label},
	} {
		got, err := v.all.List(ctx, o)
		require.NoError(v, err, what)
		require.Len(v, got.Items, 1, what)
		require.Equal(v, name, got.Items[0].GetName(), what)
		require.Equal(v, v.Kind, got.Items[0].GetKind(), what)
	}
	metas, err := v.meta.List(ctx, metav1.ListOptions{LabelSelector: label})
	require.NoError(v, err)
	require.Len(v, metas.Items, 1)
	one, err := v.meta.Namespace(v.namespace()).Get(ctx, name, metav1.GetOptions{})
	require.NoError(v, err)
	require.Equal(v, "applied", one.Labels[label])
}

func (v *verbs) delete(ctx context.Context, name string) {
	now, background := int64(0), metav1.DeletePropagationBackground
	err := v.at().Delete(ctx, name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions("another")})
	require.True(v, apierrors.IsConflict(err), "%v", err)
	require.NoError(v, v.at().Delete(ctx, name, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}))
	_, err = v.at().Get(ctx, name, metav1.GetOptions{})
	require.NoError(v, err, "a dry run has deleted")
	if v.kind.Name == "namespaces" || !slices.Contains(v.Verbs, "deletecollection") {
		require.NoError(v, v.at().Delete(ctx, name, metav1.DeleteOptions{}))
	} else {
		require.NoError(v, v.at().DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now, PropagationPolicy: &background}, metav1.ListOptions{LabelSelector: label + "=applied"}))
	}
	v.unprotect(ctx, name)
}

// unprotect takes the finalizers of what is protected while it may be in use, as no controller here does.
func (v *verbs) unprotect(ctx context.Context, name string) {
	_, err := v.at().Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	if !apierrors.IsNotFound(err) {
		require.NoError(v, err)
	}
}
