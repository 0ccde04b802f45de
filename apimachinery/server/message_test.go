package server

import (
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds"
	"github.com/bedplate/bedplate/storage"
)

// TestMessageIsMarshal: a message with a revision in its place is, byte for byte, what the generated encoder writes of
// the object with that resourceVersion; for every built-in kind.
func TestMessageIsMarshal(t *testing.T) {
	s := &Server{quick: apimachinery.NewQuickDecoder()}
	for _, res := range kinds.All() {
		for _, v := range s.newKind(&res).views {
			require.True(t, v.protobuf, "%v", v.gvk)
			for _, labels := range []map[string]string{nil, {"a": "b"}} {
				o := v.found.New()
				o.SetName("n")
				o.SetUID("u")
				o.SetLabels(labels)
				raw, err := apimachinery.MarshalProtobuf(o)
				require.NoError(t, err)
				m, err := pack(raw)
				require.NoError(t, err, "%v", v.gvk)
				for rev, text := range map[int64]string{0: "", 7: "7", 10: "10", 99999: "99999", 1 << 40: "1099511627776"} {
					o.SetResourceVersion(text)
					want, err := apimachinery.MarshalProtobuf(o)
					require.NoError(t, err)
					require.Equal(t, want, m.appendTo(nil, rev), "%v", v.gvk)
					require.Equal(t, len(want), m.size(rev))
				}
				require.NoError(t, new(metav1.PartialObjectMetadata).Unmarshal(m.metadata().appendTo(nil, 5)))
			}
		}
	}
}

// TestEntryIsMarshal: a stored pod in protobuf is what its decoded object is.
func TestEntryIsMarshal(t *testing.T) {
	for _, viewed := range []bool{false, true} {
		k := podKind()
		k.viewed.Store(viewed)
		sealed, err := k.seal("default/a", sealedPod())
		require.NoError(t, err)
		e := &storage.Entry{Key: sealed.Key, Raw: sealed.Raw, Head: sealed.Head, Rev: 12}
		m, err := k.views[0].message(e)
		require.NoError(t, err)
		hub, err := k.hub(e)
		require.NoError(t, err)
		want, err := apimachinery.MarshalProtobuf(hub)
		require.NoError(t, err)
		require.Equal(t, want, m.appendTo(nil, e.Rev))

		meta, err := k.metaMessage(e)
		require.NoError(t, err)
		require.Equal(t, m.metadata().appendTo(nil, 3), meta.appendTo(nil, 3))
	}
}

func TestPackRefuses(t *testing.T) {
	for _, raw := range []string{"", "\x0a", "\x0a\x05a", "\x12\x00", "\x0a\x02\x08\x01", "\x0a\x02\x32\x09"} {
		_, err := pack([]byte(raw))
		require.Error(t, err, "%q", raw)
	}
}

// TestListsAreAlike: every list of a built-in kind has its metadata in field 1 and its items in field 2.
func TestListsAreAlike(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, coordinationv1.AddToScheme, discoveryv1.AddToScheme,
		eventsv1.AddToScheme, networkingv1.AddToScheme, rbacv1.AddToScheme, metav1.AddMetaToScheme,
	} {
		require.NoError(t, add(scheme))
	}
	for gvk, typ := range scheme.AllKnownTypes() {
		items, ok := typ.FieldByName("Items")
		if !ok || !strings.HasSuffix(gvk.Kind, "List") || reflect.PointerTo(typ) == reflect.TypeFor[*metav1.List]() {
			continue
		}
		meta, _ := typ.FieldByName("ListMeta")
		require.True(t, strings.HasPrefix(meta.Tag.Get("protobuf"), "bytes,1,"), "%v", gvk)
		require.True(t, strings.HasPrefix(items.Tag.Get("protobuf"), "bytes,2,rep"), "%v", gvk)
	}
}

func TestInParallel(t *testing.T) {
	done := make([]bool, 1000)
	require.NoError(t, inParallel(len(done), func(i int) error { done[i] = true; return nil }))
	require.NotContains(t, done, false)
	require.NoError(t, inParallel(0, func(int) error { return errNotJSON }))
	require.ErrorIs(t, inParallel(500, func(i int) error {
		if i == 321 {
			return errNotJSON
		}
		return nil
	}), errNotJSON)
	require.ErrorContains(t, inParallel(500, func(int) error { panic("x") }), "panic")
}

func BenchmarkMessage(b *testing.B) {
	k := podKind()
	k.viewed.Store(false)
	sealed, err := k.seal("default/a", sealedPod())
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		e := &storage.Entry{Key: sealed.Key, Raw: sealed.Raw, Head: sealed.Head, Rev: 12}
		m, err := k.views[0].message(e)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(m)), "bytes")
	}
	b.ReportMetric(float64(len(sealed.Raw)), "JSON-bytes")
}

// TestListedMessages: what large lists made is kept for the next, within a limit, until nobody uses it.
func TestListedMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := podKind()
		sealed, err := k.seal("default/a", sealedPod())
		require.NoError(t, err)
		entry := func(key string, rev int64) *storage.Entry {
			return &storage.Entry{Key: key, Raw: sealed.Raw, Head: sealed.Head, Rev: rev}
		}
		one, err := k.views[0].makeMessage(entry("a", 1))
		require.NoError(t, err)
		l := &listed{limit: 2*int64(len(one)+listedOverhead) + 1, keep: listedFor}
		ask := func(key string, rev int64) message {
			m, err := l.message(k.views[0], entry(key, rev))
			require.NoError(t, err)
			require.Equal(t, one, m)
			return m
		}
		first := ask("a", 1)
		require.Same(t, &first[0], &ask("a", 1)[0])
		require.NotSame(t, &first[0], &ask("a", 2)[0], "another state")
		ask("a", 1)
		held := func() (int, int64) {
			l.mu.RLock()
			defer l.mu.RUnlock()
			return len(l.kept), l.bytes
		}
		require.Equal(t, int64(2), l.kept[listedKey{k.views[0], "a"}].rev, "the newest stays")
		ask("b", 1)
		ask("c", 1)
		n, bytes := held()
		require.Equal(t, 2, n, "there is no room for a third")
		require.LessOrEqual(t, bytes, l.limit)
		time.Sleep(listedFor + time.Second)
		synctest.Wait()
		n, _ = held()
		require.Equal(t, 2, n, "they were used since they came")
		time.Sleep(listedFor)
		synctest.Wait()
		n, bytes = held()
		require.Zero(t, n)
		require.Zero(t, bytes)
		ask("c", 1)
		n, _ = held()
		require.Equal(t, 1, n)
		l.forget.Stop()
	})
}
