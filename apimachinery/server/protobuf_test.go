package server_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

const (
	protobuf   = apimachinery.Protobuf
	pathOfMaps = "/api/v1/namespaces/default/configmaps"
)

// unwrap reads an envelope into an object.
func unwrap(t *testing.T, body string, into interface{ Unmarshal([]byte) error }) runtime.TypeMeta {
	t.Helper()
	rest, ok := strings.CutPrefix(body, apimachinery.ProtobufMagic)
	require.True(t, ok, "%.200q", body)
	var u runtime.Unknown
	require.NoError(t, u.Unmarshal([]byte(rest)))
	require.NoError(t, into.Unmarshal(u.Raw))
	return u.TypeMeta
}

func wrap(t *testing.T, o runtime.Object) string {
	t.Helper()
	body, err := apimachinery.EncodeProtobuf(o)
	require.NoError(t, err)
	return string(body)
}

func TestProtobuf(t *testing.T) {
	w := start(t, nil)
	sent := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"k": "v"}}
	code, h, body := w.ask("POST", pathOfMaps, wrap(t, sent), "Content-Type", protobuf, "Accept", protobuf+",application/json")
	require.Equal(t, 201, code, body)
	require.Equal(t, protobuf, h.Get("Content-Type"))
	var made corev1.ConfigMap
	require.Equal(t, runtime.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, unwrap(t, body, &made))
	require.NotEmpty(t, made.ResourceVersion)
	require.Equal(t, sent.Data, made.Data)

	var asJSON corev1.ConfigMap
	_, _, body = w.ask("GET", pathOfMaps+"/a", "")
	require.NoError(t, apimachinery.DecodeLoose([]byte(body), &asJSON))
	asJSON.TypeMeta = metav1.TypeMeta{}
	for range 2 { // made, then from the memo
		_, _, body = w.ask("GET", pathOfMaps+"/a", "", "Accept", protobuf)
		var got corev1.ConfigMap
		unwrap(t, body, &got)
		require.True(t, asJSON.CreationTimestamp.Equal(&got.CreationTimestamp))
		got.CreationTimestamp, got.ManagedFields = asJSON.CreationTimestamp, asJSON.ManagedFields
		require.Equal(t, asJSON, got)
	}
	code, _, body = w.ask("PATCH", pathOfMaps+"/a", `{"data":{"k":"w"}}`, "Content-Type", mergePatch, "Accept", protobuf)
	require.Equal(t, 200, code)
	unwrap(t, body, &made)
	require.Equal(t, "w", made.Data["k"])

	var gone metav1.Status
	code, _, body = w.ask("GET", pathOfMaps+"/b", "", "Accept", protobuf)
	require.Equal(t, 404, code)
	require.Equal(t, runtime.TypeMeta{APIVersion: "v1", Kind: "Status"}, unwrap(t, body, &gone))
	require.Equal(t, metav1.StatusReasonNotFound, gone.Reason)

	grace := int64(0)
	options := &metav1.DeleteOptions{TypeMeta: metav1.TypeMeta{Kind: "DeleteOptions", APIVersion: "v1"}, GracePeriodSeconds: &grace, Preconditions: metav1.NewUIDPreconditions("other")}
	code, _, _ = w.ask("DELETE", pathOfMaps+"/a", wrap(t, options), "Content-Type", protobuf)
	require.Equal(t, 409, code, "the options are read")
	options.Preconditions = nil
	code, _, body = w.ask("DELETE", pathOfMaps+"/a", wrap(t, options), "Content-Type", protobuf, "Accept", protobuf)
	require.Equal(t, 200, code)
	unwrap(t, body, &gone)
	require.Equal(t, metav1.StatusSuccess, gone.Status)
}

func TestProtobufLists(t *testing.T) {
	w := start(t, nil)
	const n = 300
	for i := range n {
		must[corev1.ConfigMap](t, w.conn, create(configMaps, configMap(fmt.Sprintf("c%03d", i), map[string]string{"k": strings.Repeat("x", 900)})))
	}
	var list corev1.ConfigMapList
	code, h, body := w.ask("GET", pathOfMaps, "", "Accept", protobuf)
	require.Equal(t, 200, code)
	require.Equal(t, protobuf, h.Get("Content-Type"))
	require.Equal(t, runtime.TypeMeta{APIVersion: "v1", Kind: "ConfigMapList"}, unwrap(t, body, &list))
	require.Len(t, list.Items, n)
	require.NotEmpty(t, list.ResourceVersion)
	require.Equal(t, "c299", list.Items[n-1].Name)
	require.NotEmpty(t, list.Items[n-1].ResourceVersion)
	require.NotEqual(t, list.Items[0].ResourceVersion, list.Items[1].ResourceVersion)

	list = corev1.ConfigMapList{}
	_, _, body = w.ask("GET", pathOfMaps+"?limit=2", "", "Accept", protobuf)
	unwrap(t, body, &list)
	require.Len(t, list.Items, 2)
	require.NotEmpty(t, list.Continue)
	require.EqualValues(t, n-2, *list.RemainingItemCount)

	list = corev1.ConfigMapList{}
	_, _, body = w.ask("GET", pathOfMaps+"?labelSelector=none", "", "Accept", protobuf)
	unwrap(t, body, &list)
	require.Empty(t, list.Items)

	var metas metav1.PartialObjectMetadataList
	_, _, body = w.ask("GET", pathOfMaps, "", "Accept", protobuf+";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
	require.Equal(t, runtime.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"}, unwrap(t, body, &metas))
	require.Len(t, metas.Items, n)
	require.NotEmpty(t, metas.Items[7].ResourceVersion)

	_, _, body = w.ask("DELETE", pathOfMaps, "", "Accept", protobuf)
	list = corev1.ConfigMapList{}
	unwrap(t, body, &list)
	require.Len(t, list.Items, n)
}

// frames reads a watch in protobuf.
type frames struct {
	t    *testing.T
	from io.Reader
}

func (f frames) next(into interface{ Unmarshal([]byte) error }) (string, runtime.TypeMeta) {
	f.t.Helper()
	var size [4]byte
	_, err := io.ReadFull(f.from, size[:])
	require.NoError(f.t, err)
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err = io.ReadFull(f.from, frame)
	require.NoError(f.t, err)
	var e metav1.WatchEvent
	require.NoError(f.t, e.Unmarshal(frame))
	return e.Type, unwrap(f.t, string(e.Object.Raw), into)
}

func TestProtobufWatch(t *testing.T) {
	w := start(t, nil)
	first := must[corev1.ConfigMap](t, w.conn, create(configMaps, configMap("a", map[string]string{"k": "v"})))
	open := func(path, accept string) frames {
		r, err := http.NewRequestWithContext(t.Context(), "GET", w.url+path, nil)
		require.NoError(t, err)
		r.Header.Set("Accept", accept)
		resp, err := w.http.Do(r)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, protobuf+";stream=watch", resp.Header.Get("Content-Type"))
		t.Cleanup(func() { _ = resp.Body.Close() })
		return frames{t, resp.Body}
	}
	whole := open(pathOfMaps+"?watch=1&allowWatchBookmarks=true", protobuf+",application/json")
	metas := open(pathOfMaps+"?watch=1&resourceVersion="+first.ResourceVersion, protobuf+";as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json")
	var got corev1.ConfigMap
	typ, kind := whole.next(&got)
	require.Equal(t, "ADDED", typ)
	require.Equal(t, runtime.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, kind)
	require.Equal(t, first.ResourceVersion, got.ResourceVersion)
	var mark corev1.ConfigMap
	typ, _ = whole.next(&mark)
	require.Equal(t, "BOOKMARK", typ)
	require.Equal(t, "true", mark.Annotations[metav1.InitialEventsAnnotationKey])

	_, _, err := do(t, w.conn, remove(configMaps, "a", nil))
	require.NoError(t, err)
	got = corev1.ConfigMap{}
	typ, _ = whole.next(&got)
	require.Equal(t, "DELETED", typ)
	require.Equal(t, "v", got.Data["k"])
	require.NotEqual(t, first.ResourceVersion, got.ResourceVersion, "it is that of the deletion")
	var meta metav1.PartialObjectMetadata
	typ, kind = metas.next(&meta)
	require.Equal(t, "DELETED", typ)
	require.Equal(t, runtime.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}, kind)
	require.Equal(t, got.ResourceVersion, meta.ResourceVersion)
}

func TestNotAcceptable(t *testing.T) {
	w := start(t, nil)
	must[database](t, w.conn, create(databases, newDatabase("d")))
	const own = "/apis/db.example.com/v1/namespaces/default/databases"
	for _, c := range []struct{ path, accept, says string }{
		{own, protobuf, "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{own, "application/cbor", "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{own + "?watch=1", "application/yaml", "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"},
		{own + "?watch=1", protobuf, "only the following"},
		{pathOfMaps, protobuf + ";as=Table;g=meta.k8s.io;v=v1", "only the following"},
		{own, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", "you requested PartialObjectMetadata, but the requested object is a list"},
		{own + "/d", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "you requested PartialObjectMetadataList, but the requested object is not a list"},
	} {
		code, _, body := w.ask("GET", c.path, "", "Accept", c.accept)
		require.Equal(t, 406, code, "%s %s", c.path, c.accept)
		if strings.HasPrefix(body, "{") {
			require.Contains(t, statusIn(t, body).Message, c.says)
		}
	}
	code, h, body := w.ask("GET", own+"/d", "", "Accept", protobuf+",application/json")
	require.Equal(t, 200, code)
	require.Equal(t, "application/json", h.Get("Content-Type"))
	require.Contains(t, body, `"kind":"Database"`)
	var metas metav1.PartialObjectMetadataList
	code, _, body = w.ask("GET", own, "", "Accept", protobuf+";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
	require.Equal(t, 200, code, "metadata has a protobuf encoding whatever the kind has")
	unwrap(t, body, &metas)
	require.Equal(t, "d", metas.Items[0].Name)
	for contentType, want := range map[string]int{"application/cbor": 415, protobuf: 400} {
		code, _, _ = w.ask("POST", own, "k8s\x00", "Content-Type", contentType)
		require.Equal(t, want, code, contentType)
	}
	code, _, body = w.ask("GET", own+"?includeObject=All", "", "Accept", "application/json;as=Table;g=meta.k8s.io;v=v1")
	require.Equal(t, 400, code)
	require.Contains(t, body, "Unable to convert to Table as requested")
}

func TestUnreadableObjects(t *testing.T) {
	w := start(t, nil)
	must[corev1.ConfigMap](t, w.conn, create(configMaps, configMap("good", nil)))
	table, ok := w.s.Table(configMaps.GroupResource())
	require.True(t, ok)
	putRaw(t, w, table.Abs("default/bad"), "not JSON")
	putRaw(t, w, table.Abs("other/bad"), "not JSON")

	code, _, body := w.ask("GET", pathOfMaps, "")
	require.Equal(t, 500, code)
	s := statusIn(t, body)
	require.Equal(t, metav1.StatusReasonStoreReadError, s.Reason)
	require.Len(t, s.Details.Causes, 1)
	require.Equal(t, table.Abs("default/bad"), s.Details.Causes[0].Field)
	code, _, _ = w.ask("GET", pathOfMaps+"?watch=1", "")
	require.Equal(t, 500, code, "initial events would leave it out, too")
	code, _, _ = w.ask("GET", pathOfMaps+"?fieldSelector=metadata.name%3Dgood", "")
	require.Equal(t, 200, code, "nothing is left out here")

	const ignoring = `{"ignoreStoreReadErrorWithClusterBreakingPotential":true}`
	code, _, body = w.ask("DELETE", pathOfMaps+"/good", ignoring, "Content-Type", "application/json")
	require.Equal(t, 409, code, body)
	code, _, _ = w.ask("DELETE", pathOfMaps, ignoring, "Content-Type", "application/json")
	require.Equal(t, 422, code)
	code, _, _ = w.ask("DELETE", pathOfMaps+"/bad", "", "Content-Type", "application/json")
	require.Equal(t, 500, code)
	code, _, _ = w.ask("DELETE", pathOfMaps+"/bad?dryRun=All", `{"dryRun":["All"],"ignoreStoreReadErrorWithClusterBreakingPotential":true}`, "Content-Type", "application/json")
	require.Equal(t, 200, code)
	code, _, body = w.ask("DELETE", pathOfMaps+"/bad", ignoring, "Content-Type", "application/json")
	require.Equal(t, 200, code, body)
	code, _, body = w.ask("GET", pathOfMaps, "")
	require.Equal(t, 200, code)
	require.Contains(t, body, "good")
}

// putRaw stores bytes past the server, as a disk that fails might.
func putRaw(t *testing.T, w *world, key, value string) {
	t.Helper()
	_, err := w.db.Commit(t.Context(), storage.Write{Key: key, Value: []byte(value), At: storage.AnyRev})
	require.NoError(t, err)
}
