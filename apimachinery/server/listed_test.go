package server_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
)

// TestListed: a resource whose objects are made for the request is read like any other, and not written.
func TestListed(t *testing.T) {
	statuses := corev1.SchemeGroupVersion.WithResource("componentstatuses")
	res := apimachinery.Resource{
		Name: statuses.GroupResource(), New: func() apimachinery.Object { return &corev1.ComponentStatus{} },
		Views: []apimachinery.View{{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ComponentStatus"), Plural: "componentstatuses"}},
		Verbs: []string{"get", "list"},
		Listed: func(context.Context) ([]apimachinery.Object, error) {
			return []apimachinery.Object{
				&corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{"a": "b"}}}, &corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: "a"}},
			}, nil
		},
	}
	w := start(t, func(c *server.Config) {
		kinds, err := apimachinery.NewRegistry(append(resources(), res)...)
		require.NoError(t, err)
		c.Registry = kinds
	})
	ask := func(r apimachinery.Request) ([]byte, error) {
		r.Resource = statuses
		body, _, err := do(t, w.conn, &r)
		return body, err
	}
	names := func(o *metav1.ListOptions) (out []string) {
		resp, err := ask(apimachinery.Request{Verb: "list", Options: o})
		require.NoError(t, err)
		var list corev1.ComponentStatusList
		require.NoError(t, json.Unmarshal(resp, &list))
		require.Equal(t, "ComponentStatusList", list.Kind)
		for _, s := range list.Items {
			out = append(out, s.Name)
		}
		return out
	}
	require.Equal(t, []string{"a", "b"}, names(&metav1.ListOptions{}))
	require.Equal(t, []string{"b"}, names(&metav1.ListOptions{LabelSelector: "a=b"}))
	require.Equal(t, []string{"a"}, names(&metav1.ListOptions{FieldSelector: "metadata.name=a"}))
	_, err := ask(apimachinery.Request{Verb: "get", Name: "c"})
	require.True(t, apierrors.IsNotFound(err), "%v", err)
	resp, err := ask(apimachinery.Request{Verb: "get", Name: "a", Accept: "application/json;as=Table;v=v1;g=meta.k8s.io"})
	require.NoError(t, err)
	require.Contains(t, string(resp), `"kind":"Table"`)
	for _, verb := range []string{"delete", "update", "patch"} {
		_, err := ask(apimachinery.Request{Verb: verb, Name: "a", Body: []byte("{}"), ContentType: "application/json"})
		require.True(t, apierrors.IsMethodNotSupported(err), "%s: %v", verb, err)
	}
}

// TestDeletionSays: what becomes of dependents if nobody says so, and what a deletion answers, are the resource's.
func TestDeletionSays(t *testing.T) {
	w := start(t, func(c *server.Config) {
		all := resources()
		all[0].Orphans = true
		all[1].Echo = true
		kinds, err := apimachinery.NewRegistry(all...)
		require.NoError(t, err)
		c.Registry = kinds
	})
	create := func(r apimachinery.Request, o apimachinery.Object) {
		r.Verb, r.Object = "create", o
		_, err := w.conn.Do(t.Context(), &r)
		require.NoError(t, err)
	}
	remove := func(r apimachinery.Request, into any) {
		r.Verb = "delete"
		body, _, err := do(t, w.conn, &r)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(body, into))
	}
	create(apimachinery.Request{Resource: configMaps, Namespace: "default"}, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m"}})
	var m corev1.ConfigMap
	remove(apimachinery.Request{Resource: configMaps, Namespace: "default", Name: "m"}, &m)
	require.Equal(t, []string{metav1.FinalizerOrphanDependents}, m.Finalizers)
	create(apimachinery.Request{Resource: namespaces}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
	var n corev1.Namespace
	remove(apimachinery.Request{Resource: namespaces, Name: "n"}, &n)
	require.Equal(t, "Namespace n", n.Kind+" "+n.Name)
}
