package server_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
)

func TestPagesAgree(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		for i := range 10 {
			must[corev1.ConfigMap](t, d, create(configMaps, configMap(fmt.Sprintf("c%d", i), nil)))
		}
		first := must[metav1.PartialObjectMetadataList](t, d, list(configMaps, metav1.ListOptions{Limit: 4}))
		require.Equal(t, []string{"c0", "c1", "c2", "c3"}, names(first))
		require.EqualValues(t, 6, *first.RemainingItemCount)
		must[metav1.Status](t, d, remove(configMaps, "c5", nil))
		must[corev1.ConfigMap](t, d, create(configMaps, configMap("c4x", nil)))
		second := must[metav1.PartialObjectMetadataList](t, d, list(configMaps, metav1.ListOptions{Limit: 4, Continue: first.Continue}))
		require.Equal(t, []string{"c4", "c5", "c6", "c7"}, names(second))
		require.Equal(t, first.ResourceVersion, second.ResourceVersion)
		third := must[metav1.PartialObjectMetadataList](t, d, list(configMaps, metav1.ListOptions{Limit: 4, Continue: second.Continue}))
		require.Equal(t, []string{"c8", "c9"}, names(third))
		require.Empty(t, third.Continue)
		require.Nil(t, third.RemainingItemCount)

		exact := must[metav1.PartialObjectMetadataList](t, d, list(configMaps, metav1.ListOptions{ResourceVersion: first.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact}))
		require.Len(t, exact.Items, 10)
		now := must[metav1.PartialObjectMetadataList](t, d, list(configMaps, metav1.ListOptions{}))
		require.Equal(t, []string{"c0", "c1", "c2", "c3", "c4", "c4x", "c6", "c7", "c8", "c9"}, names(now))

		selected := must[metav1.PartialObjectMetadataList](t, d, list(configMaps, metav1.ListOptions{Limit: 1, LabelSelector: "!x"}))
		require.Nil(t, selected.RemainingItemCount, "not known where a selector is given")
		require.NotEmpty(t, selected.Continue)
	})
}

func TestListRefuses(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		match := metav1.ResourceVersionMatchExact
		yes := true
		for name, c := range map[string]struct {
			o    metav1.ListOptions
			is   func(error) bool
			says string
		}{
			"match alone":    {metav1.ListOptions{ResourceVersionMatch: match}, apierrors.IsInvalid, "resourceVersionMatch is forbidden unless resourceVersion is provided"},
			"exact zero":     {metav1.ListOptions{ResourceVersionMatch: match, ResourceVersion: "0"}, apierrors.IsInvalid, "forbidden for resourceVersion \"0\""},
			"unknown match":  {metav1.ListOptions{ResourceVersionMatch: "x", ResourceVersion: "1"}, apierrors.IsInvalid, "Unsupported value"},
			"initial events": {metav1.ListOptions{SendInitialEvents: &yes}, apierrors.IsInvalid, "sendInitialEvents is forbidden for list"},
			"bad version":    {metav1.ListOptions{ResourceVersion: "x"}, apierrors.IsBadRequest, "invalid resource version"},
			"bad token":      {metav1.ListOptions{Continue: "x"}, apierrors.IsBadRequest, "continue key is not valid"},
			"bad label":      {metav1.ListOptions{LabelSelector: "a=="}, nil, ""},
			"bad labels":     {metav1.ListOptions{LabelSelector: "a in b"}, apierrors.IsBadRequest, "unable to parse requirement"},
			"bad field":      {metav1.ListOptions{FieldSelector: "spec.x=1"}, apierrors.IsBadRequest, `"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"`},
		} {
			_, _, err := do(t, d, list(configMaps, c.o))
			if c.is == nil {
				require.NoError(t, err, name)
				continue
			}
			require.True(t, c.is(err), "%s: %v", name, err)
			require.ErrorContains(t, err, c.says)
		}
		ctx := t.Context()
		start := time.Now()
		_, err := d.Do(ctx, list(configMaps, metav1.ListOptions{ResourceVersion: "1000000"}))
		require.True(t, apierrors.IsTimeout(err), "%v", err)
		require.True(t, apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge))
		require.Less(t, time.Since(start), 10*time.Second)
	})
}

func TestExpiredToken(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		for i := range 3 {
			must[corev1.ConfigMap](t, d, create(configMaps, configMap(fmt.Sprintf("c%d", i), nil)))
		}
		first := must[metav1.PartialObjectMetadataList](t, d, list(configMaps, metav1.ListOptions{Limit: 1}))
		for i := range 1100 {
			must[corev1.ConfigMap](t, w.s.As(tester), update(configMaps, configMap("c1", map[string]string{"i": strconv.Itoa(i)})))
		}
		_, _, err := do(t, d, list(configMaps, metav1.ListOptions{Limit: 1, Continue: first.Continue}))
		require.True(t, apierrors.IsResourceExpired(err), "%v", err)
		var status apierrors.APIStatus
		require.ErrorAs(t, err, &status)
		rest := must[metav1.PartialObjectMetadataList](t, d, list(configMaps, metav1.ListOptions{Continue: status.Status().Continue}))
		require.Equal(t, []string{"c1", "c2"}, names(rest))

		old := watch(t, d, configMaps, metav1.ListOptions{ResourceVersion: first.ResourceVersion})
		e := old.next()
		require.Equal(t, "ERROR", e.Type)
		var s metav1.Status
		require.NoError(t, apimachinery.DecodeLoose(e.Object, &s))
		require.EqualValues(t, 410, s.Code)
		require.Equal(t, metav1.StatusReasonExpired, s.Reason)
		old.ended()
	})
}

func TestSelectors(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		for i, host := range []string{"n1", "n2", "n1", ""} {
			o := newDatabase(fmt.Sprintf("d%d", i))
			o.Labels = map[string]string{"i": strconv.Itoa(i)}
			o.Spec.Host = host
			must[database](t, d, create(databases, o))
		}
		for selector, want := range map[string][]string{
			"spec.host=n1":                    {"d0", "d2"},
			"spec.host=":                      {"d3"},
			"spec.host!=n1":                   {"d1", "d3"},
			"spec.host=n1,metadata.name=d2":   {"d2"},
			"metadata.name=d1":                {"d1"},
			"metadata.name!=d1,spec.host!=n1": {"d3"},
			"metadata.namespace=default":      {"d0", "d1", "d2", "d3"},
			"metadata.namespace=other":        nil,
			"spec.engine=pg,spec.host=n2":     {"d1"},
			"metadata.name=d":                 nil,
		} {
			l := must[metav1.PartialObjectMetadataList](t, d, list(databases, metav1.ListOptions{FieldSelector: selector}))
			require.Equal(t, want, names(l), selector)
			r := list(databases, metav1.ListOptions{FieldSelector: selector})
			r.Namespace = ""
			require.Equal(t, want, names(must[metav1.PartialObjectMetadataList](t, d, r)), selector)
		}
		both := must[metav1.PartialObjectMetadataList](t, d, list(databases, metav1.ListOptions{FieldSelector: "spec.host=n1", LabelSelector: "i in (1,2,3)"}))
		require.Equal(t, []string{"d2"}, names(both))
		paged := must[metav1.PartialObjectMetadataList](t, d, list(databases, metav1.ListOptions{FieldSelector: "spec.host=n1", Limit: 1}))
		require.Equal(t, []string{"d0"}, names(paged))
		paged = must[metav1.PartialObjectMetadataList](t, d, list(databases, metav1.ListOptions{FieldSelector: "spec.host=n1", Limit: 1, Continue: paged.Continue}))
		require.Equal(t, []string{"d2"}, names(paged))
	})
}

func TestForms(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		made := must[database](t, d, create(databases, newDatabase("a")))
		as := func(r *apimachinery.Request, accept string) *apimachinery.Request {
			r.Accept = accept
			return r
		}
		const table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
		tab := must[metav1.Table](t, d, as(list(databases, metav1.ListOptions{}), table))
		require.Equal(t, "Table", tab.Kind)
		require.Len(t, tab.Rows, 1)
		require.Equal(t, "a", tab.Rows[0].Cells[0])
		var m metav1.PartialObjectMetadata
		require.NoError(t, apimachinery.DecodeLoose(tab.Rows[0].Object.Raw, &m))
		require.Equal(t, made.UID, m.UID)
		require.Equal(t, made.ResourceVersion, m.ResourceVersion)
		one := must[metav1.Table](t, d, as(get(databases, "a"), table))
		require.Equal(t, made.ResourceVersion, one.ResourceVersion)

		meta := must[metav1.PartialObjectMetadata](t, d, as(get(databases, "a"), "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"))
		require.Equal(t, "PartialObjectMetadata", meta.Kind)
		require.Equal(t, made.ObjectMeta, meta.ObjectMeta)
		metas := must[metav1.PartialObjectMetadataList](t, d, as(list(databases, metav1.ListOptions{}), "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"))
		require.Equal(t, "PartialObjectMetadataList", metas.Kind)
		require.Equal(t, *meta, metas.Items[0])

		body, resp, err := do(t, d, as(get(databases, "a"), "application/yaml"))
		require.NoError(t, err)
		require.Equal(t, "application/yaml", resp.ContentType)
		require.Contains(t, string(body), "\nkind: Database\n")
		must[database](t, d, as(get(databases, "a"), "application/vnd.kubernetes.protobuf,application/json"))
		_, _, err = do(t, d, as(get(databases, "a"), "application/vnd.kubernetes.protobuf"))
		require.True(t, apierrors.IsNotAcceptable(err), "%v", err)
		r := create(configMaps, nil)
		r.Body, r.ContentType = []byte("x"), "application/cbor"
		_, _, err = do(t, d, r)
		require.True(t, apierrors.IsUnsupportedMediaType(err), "%v", err)
		r.Body, r.ContentType = []byte("x"), "application/vnd.kubernetes.protobuf"
		_, _, err = do(t, d, r)
		require.True(t, apierrors.IsBadRequest(err), "%v", err)
	})
}

func TestLongList(t *testing.T) {
	bothDoors(t, func(c *server.Config) { c.Limits.Buffer = 4 << 10 }, func(t *testing.T, d apimachinery.Doer, w *world) {
		for i := range 200 {
			must[corev1.ConfigMap](t, d, create(configMaps, configMap(fmt.Sprintf("c%03d", i), map[string]string{"k": "v"})))
		}
		l := must[corev1.ConfigMapList](t, d, list(configMaps, metav1.ListOptions{}))
		require.Len(t, l.Items, 200)
		require.Equal(t, "ConfigMapList", l.Kind)
		for i := range l.Items {
			require.Equal(t, fmt.Sprintf("c%03d", i), l.Items[i].Name)
			require.NotEmpty(t, l.Items[i].ResourceVersion)
		}
	})
}
