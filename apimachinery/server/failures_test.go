package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// TestPatchAmplification is CVE-2019-1002100: patches that are short and do much.
func TestPatchAmplification(t *testing.T) {
	w := start(t, nil)
	must[corev1.ConfigMap](t, w.conn, create(configMaps, configMap("there", map[string]string{"a": strings.Repeat("x", 100_000)})))
	doubling := `{"op":"add","path":"/x","value":{}}`
	for i := range 40 {
		doubling += fmt.Sprintf(`,{"op":"copy","from":"/data","path":"/x/%d"},{"op":"copy","from":"/x","path":"/data/%d"}`, i, i)
	}
	for name, ops := range map[string]string{
		"10,001 operations": strings.TrimSuffix(strings.Repeat(`{"op":"test","path":"/kind","value":"ConfigMap"},`, 10_001), ","),
		"doubling":          doubling,
		"many copies":       strings.TrimSuffix(strings.Repeat(`{"op":"copy","from":"/data/a","path":"/data/b"},{"op":"copy","from":"/data","path":"/metadata/x"},`, 400), ","),
	} {
		before, begin := heap(), time.Now()
		code, _, body := w.ask("PATCH", mapsPath+"/there", "["+ops+"]", "Content-Type", "application/json-patch+json")
		require.Equal(t, http.StatusRequestEntityTooLarge, code, "%s: %.300s", name, body)
		require.Equal(t, metav1.StatusReasonRequestEntityTooLarge, statusIn(t, body).Reason, name)
		require.Less(t, time.Since(begin), slow*5*time.Second, name)
		require.Less(t, heap(), before+64<<20, name)
	}
}

// TestKeysDontEscape is CVE-2015-5305 and CVE-2022-3162: a name is never another key's, and a resource never shows one
// whose name it begins.
func TestKeysDontEscape(t *testing.T) {
	w := start(t, nil)
	must[corev1.ConfigMap](t, w.conn, create(configMaps, configMap("there", nil)))
	far := create(configMaps, configMap("far", nil))
	far.Namespace = "default2"
	must[corev1.ConfigMap](t, w.conn, far)
	must[database](t, w.conn, create(databases, newDatabase("there")))
	for _, name := range []string{
		"..", ".", "../default/there", "..%2fdefault%2fthere", "there%00", "%00", "default%2fthere", "x%2f..%2fthere", "..%5cthere", "there%5c", "%2e%2e%2fdefault2%2ffar", "%ff",
		"2%2ffar", "there%0a", "there%7f",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE", "PATCH"} {
			h := hostile{method: method, path: mapsPath + "/" + name, header: typed("application/merge-patch+json"), body: "{}"}
			if method == "PUT" {
				h.header = typed("application/json")
			}
			code, fault := w.send(t.Context(), w.http, &h)
			require.Empty(t, fault, "%s %s", method, name)
			require.Contains(t, []int{400, 404, 405}, code, "%s %s", method, name)
		}
		for _, d := range []apimachinery.Doer{w.s.As(tester), w.conn} {
			plain := strings.NewReplacer("%2f", "/", "%2e", ".", "%5c", "\\", "%00", "\x00", "%ff", "\xff", "%0a", "\n", "%7f", "\x7f").Replace(name)
			_, _, err := do(t, d, get(configMaps, plain))
			require.Error(t, err, "%q", plain)
			r := get(configMaps, "there")
			r.Namespace = plain
			_, _, err = do(t, d, r)
			require.Error(t, err, "%q", plain)
		}
	}
	in := func(path string) []string {
		code, _, body := w.ask("GET", path, "")
		require.Equal(t, 200, code, body)
		l := &metav1.PartialObjectMetadataList{}
		require.NoError(t, apimachinery.DecodeLoose([]byte(body), l))
		return names(l)
	}
	require.Equal(t, []string{"there"}, in(mapsPath), "default2 begins with default")
	require.Equal(t, []string{"far"}, in("/api/v1/namespaces/default2/configmaps"))
	require.Empty(t, in("/api/v1/namespaces/defaul/configmaps"))
	require.Equal(t, []string{"there"}, in(databasesPath))
	for _, path := range []string{"/api/v1/namespaces/default/configmap", "/api/v1/namespaces/default/configmaps2", "/api/v1/namespaces/default/config"} {
		code, _, _ := w.ask("GET", path, "")
		require.Equal(t, 404, code, path)
	}
}
