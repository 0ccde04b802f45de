package server_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
)

func TestWatch(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		made := must[corev1.ConfigMap](t, d, create(configMaps, configMap("a", nil)))
		all := watch(t, d, configMaps, metav1.ListOptions{})
		all.expect("ADDED a")
		any := watch(t, d, configMaps, metav1.ListOptions{ResourceVersion: "0"})
		any.expect("ADDED a")
		since := watch(t, d, configMaps, metav1.ListOptions{ResourceVersion: made.ResourceVersion})
		must[corev1.ConfigMap](t, d, create(configMaps, configMap("b", nil)))
		changed := must[corev1.ConfigMap](t, d, update(configMaps, configMap("a", map[string]string{"k": "v"})))
		must[metav1.Status](t, d, remove(configMaps, "a", nil))
		for _, x := range []*watching{all, any, since} {
			x.expect("ADDED b")
			e := x.next()
			require.Equal(t, "MODIFIED", e.Type)
			var got corev1.ConfigMap
			require.NoError(t, apimachinery.DecodeLoose(e.Object, &got))
			require.Equal(t, *changed, got, "the event carries what the write returned")
			e = x.next()
			require.Equal(t, "DELETED a", e.String())
			gone, err := strconv.Atoi(e.meta().ResourceVersion)
			require.NoError(t, err)
			before, err := strconv.Atoi(changed.ResourceVersion)
			require.NoError(t, err)
			require.Greater(t, gone, before, "a deletion has a revision of its own")
		}
	})
}

func TestWatchSelected(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		place := func(name, host string) {
			o := newDatabase(name)
			o.Spec.Host = host
			must[database](t, d, update(databases, o))
		}
		for _, name := range []string{"a", "b"} {
			must[database](t, d, create(databases, newDatabase(name)))
		}
		n1 := watch(t, d, databases, metav1.ListOptions{FieldSelector: "spec.host=n1"})
		onlyA := watch(t, d, databases, metav1.ListOptions{FieldSelector: "metadata.name=a"})
		onlyA.expect("ADDED a")
		place("a", "n1")
		place("b", "n2")
		place("b", "n1")
		place("a", "n2")
		n1.expect("ADDED a", "ADDED b", "DELETED a")
		onlyA.expect("MODIFIED a", "MODIFIED a")
	})
}

func TestInitialEventsAndBookmarks(t *testing.T) {
	short := func(c *server.Config) { c.Limits.Bookmark = 20 * time.Millisecond }
	bothDoors(t, short, func(t *testing.T, d apimachinery.Doer, w *world) {
		yes := true
		for i := range 3 {
			must[corev1.ConfigMap](t, d, create(configMaps, configMap(fmt.Sprintf("c%d", i), nil)))
		}
		x := watch(t, d, configMaps, metav1.ListOptions{
			SendInitialEvents: &yes, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true,
		})
		x.expect("ADDED c0", "ADDED c1", "ADDED c2")
		e := x.next()
		require.Equal(t, "BOOKMARK", e.Type)
		require.Equal(t, "true", e.meta().Annotations[metav1.InitialEventsAnnotationKey])
		require.Equal(t, "ConfigMap", e.meta().Kind)
		other := must[database](t, d, create(databases, newDatabase("other")))
		e = x.next()
		require.Equal(t, "BOOKMARK", e.Type, "other tables move the revision too")
		require.Equal(t, other.ResourceVersion, e.meta().ResourceVersion)

		_, _, err := do(t, d, &apimachinery.Request{Verb: "watch", Resource: configMaps, Options: &metav1.ListOptions{SendInitialEvents: &yes}})
		require.True(t, apierrors.IsInvalid(err), "%v", err)
		require.ErrorContains(t, err, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
	})
}

func TestWatchEnds(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		one := int64(1)
		must[corev1.ConfigMap](t, d, create(configMaps, configMap("a", nil)))
		x := watch(t, d, configMaps, metav1.ListOptions{TimeoutSeconds: &one})
		x.expect("ADDED a")
		x.ended()
	})
}

func TestWatchTable(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		must[corev1.ConfigMap](t, d, create(configMaps, configMap("a", nil)))
		resp, err := d.Do(t.Context(), &apimachinery.Request{
			Verb: "watch", Resource: configMaps, Accept: "application/json;as=Table;v=v1;g=meta.k8s.io", Options: &metav1.ListOptions{},
		})
		require.NoError(t, err)
		defer resp.Stream.Close()
		buf := make([]byte, 64<<10)
		n, err := resp.Stream.Read(buf)
		require.NoError(t, err)
		require.Contains(t, string(buf[:n]), `{"type":"ADDED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1"`)
		require.Contains(t, string(buf[:n]), `"columnDefinitions":[{"name":"Name"`)
	})
}

// TestWritersAgree lets many writers count in one object, each by patches that the server retries.
func TestWritersAgree(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		must[corev1.ConfigMap](t, d, create(configMaps, configMap("sum", nil)))
		const writers, each = 16, 10
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				for j := range each {
					_, err := d.Do(t.Context(), patch(configMaps, "sum", "application/merge-patch+json", fmt.Sprintf(`{"data":{"k%d-%d":"x"}}`, i, j)))
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		require.Len(t, must[corev1.ConfigMap](t, d, get(configMaps, "sum")).Data, writers*each)
	})
}

// TestInitialEventsByDefault: a watch from nowhere, or from "0", sends what is there, and with bookmarks says where
// that ends, as if it had asked for it.
func TestInitialEventsByDefault(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		must[corev1.ConfigMap](t, d, create(configMaps, configMap("a", nil)))
		for _, version := range []string{"", "0"} {
			x := watch(t, d, configMaps, metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true})
			x.expect("ADDED a")
			e := x.next()
			require.Equal(t, "BOOKMARK", e.Type)
			require.Equal(t, "true", e.meta().Annotations[metav1.InitialEventsAnnotationKey])
		}
		no := false
		x := watch(t, d, configMaps, metav1.ListOptions{
			SendInitialEvents: &no, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true,
		})
		must[corev1.ConfigMap](t, d, create(configMaps, configMap("b", nil)))
		x.expect("ADDED b")
	})
}

func TestWatchOfTheFutureAndThePast(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		must[corev1.ConfigMap](t, d, create(configMaps, configMap("a", nil)))
		for _, o := range []*metav1.ListOptions{
			{ResourceVersion: "1000000"},
			{ResourceVersion: "1000000", SendInitialEvents: new(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan},
		} {
			_, err := d.Do(t.Context(), &apimachinery.Request{Verb: "watch", Resource: configMaps, Namespace: "default", Options: o})
			require.True(t, apierrors.IsTimeout(err), "%v", err)
			require.True(t, apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge))
			require.ErrorContains(t, err, "Too large resource version: 1000000, current: ")
			_, waits := apierrors.SuggestsClientDelay(err)
			require.True(t, waits)
		}
		for i := range 1100 {
			must[corev1.ConfigMap](t, d, update(configMaps, configMap("a", map[string]string{"k": strconv.Itoa(i)})))
		}
		x := watch(t, d, configMaps, metav1.ListOptions{ResourceVersion: "1"})
		e := x.next()
		require.Equal(t, "ERROR", e.Type)
		var s metav1.Status
		require.NoError(t, apimachinery.DecodeLoose(e.Object, &s))
		require.EqualValues(t, 410, s.Code)
		require.Equal(t, metav1.StatusReasonExpired, s.Reason)
		x.ended()
	})
}

// TestTableBookmark: the end of the initial events of a table is told by a row that carries metadata, even if others
// carry none.
func TestTableBookmark(t *testing.T) {
	w := start(t, nil)
	must[corev1.ConfigMap](t, w.conn, create(configMaps, configMap("a", nil)))
	one := int64(1)
	body, _, err := do(t, w.conn, &apimachinery.Request{
		Verb: "watch", Resource: configMaps, Accept: "application/json;as=Table;include=None;v=v1;g=meta.k8s.io",
		Options: &metav1.ListOptions{AllowWatchBookmarks: true, TimeoutSeconds: &one},
	})
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(body)), "\n")
	require.GreaterOrEqual(t, len(lines), 2)
	var table metav1.Table
	var e watched
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &e))
	require.Equal(t, "BOOKMARK", e.Type)
	require.NoError(t, json.Unmarshal(e.Object, &table))
	require.Empty(t, table.ColumnDefinitions)
	require.Len(t, table.Rows, 1)
	require.Contains(t, string(table.Rows[0].Object.Raw), `"k8s.io/initial-events-end":"true"`)
}

// TestPagesCount: what is left over is counted once and told right on every page.
func TestPagesCount(t *testing.T) {
	bothDoors(t, nil, func(t *testing.T, d apimachinery.Doer, w *world) {
		const n = 11
		for i := range n {
			must[corev1.ConfigMap](t, d, create(configMaps, configMap(fmt.Sprintf("c%02d", i), nil)))
		}
		o := metav1.ListOptions{Limit: 3}
		for seen := 3; ; seen += 3 {
			page := must[corev1.ConfigMapList](t, d, list(configMaps, o))
			if o.Continue = page.Continue; o.Continue == "" {
				require.Len(t, page.Items, n%3)
				break
			}
			require.EqualValues(t, n-seen, *page.RemainingItemCount)
			must[corev1.ConfigMap](t, d, create(configMaps, configMap(fmt.Sprintf("d%02d", seen), nil))) // it does not count
		}
		o.Limit, o.LabelSelector, o.Continue = 3, "!x", ""
		require.Nil(t, must[corev1.ConfigMapList](t, d, list(configMaps, o)).RemainingItemCount)
	})
}
