package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/bedplate/bedplate/apimachinery/openapi"
)

// TestEveryKind compares the models of every kind of Kubernetes with its documents of version 3: each property's type,
// format, default, reference, list type, keys and patch strategy, and what is required. Descriptions are those of the
// same types in other words and not compared; documents in the sources are without enumerations.
func TestEveryKind(t *testing.T) {
	known := runtime.NewScheme()
	require.NoError(t, scheme.AddToScheme(known))
	require.NoError(t, apiextensionsv1.AddToScheme(known))
	byVersion := map[schema.GroupVersion][]openapi.Resource{}
	for gvk := range known.AllKnownTypes() {
		o, err := known.New(gvk)
		require.NoError(t, err)
		if _, ok := reflect.TypeOf(o).Elem().FieldByName("ObjectMeta"); ok && gvk.Version != runtime.APIVersionInternal {
			byVersion[gvk.GroupVersion()] = append(byVersion[gvk.GroupVersion()], openapi.Resource{
				GroupVersionKind: gvk, Plural: strings.ToLower(gvk.Kind) + "s", Sample: o, Verbs: []string{"get", "list", "watch", "create", "delete"},
			})
		}
	}
	compared, differences := 0, map[string]bool{}
	for gv, resources := range byVersion {
		want := published(t, openapi.Path(gv))
		if want == nil {
			continue // a version that isn't served any more
		}
		raw, err := openapi.Document(gv, resources)
		require.NoError(t, err)
		got := schemasIn(t, raw)
		for name, w := range want {
			g, ok := got[name].(map[string]any)
			if !ok || strings.HasSuffix(name, "List") || strings.HasPrefix(name, "io.k8s.apimachinery.pkg.apis.meta.v1.Patch") {
				continue
			}
			compared++
			compare(name, w.(map[string]any), g, func(path, what string) { differences[path+": "+what] = true })
		}
	}
	t.Logf("%d models compared", compared)
	require.Greater(t, compared, 900)
	var unexpected []string
	for d := range differences {
		if !newer.MatchString(d) {
			unexpected = append(unexpected, d)
		}
	}
	slices.Sort(unexpected)
	require.Empty(t, unexpected, strings.Join(unexpected, "\n"))
}

// newer are differences that the newer release makes: its markers are in the table, the types are of the older one.
var newer = regexp.MustCompile(`^io\.k8s\.api\.((apps|events|flowcontrol|apiserverinternal|resource)\.\w+\.\w+: required ` +
	`|core\.v1\.PodStatus\.nodeAllocatableResourceClaimStatuses: x-kubernetes-list-` +
	`|scheduling\.v1alpha2\.)`)

// published reads a document out of Kubernetes' sources; nil: it has none there.
func published(t *testing.T, path string) map[string]any {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	require.NoError(t, err)
	name := strings.ReplaceAll(path, "/", "__") + "_openapi.json"
	raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "api/openapi-spec/v3", name))
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	return schemasIn(t, raw)
}

func schemasIn(t *testing.T, raw []byte) map[string]any {
	var doc struct {
		Components struct{ Schemas map[string]any }
	}
	require.NoError(t, json.Unmarshal(raw, &doc))
	return doc.Components.Schemas
}

// words are what is compared of a schema.
var words = []string{
	"type", "format", "$ref", "default", "required", "oneOf", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
	"x-kubernetes-map-type", "x-kubernetes-patch-strategy", "x-kubernetes-patch-merge-key",
}

func compare(path string, want, got map[string]any, differ func(path, what string)) {
	want, got = unwrapped(want), unwrapped(got)
	for _, word := range words {
		w, g := want[word], got[word]
		if word == "required" {
			w, g = sorted(w), sorted(g)
		}
		if !reflect.DeepEqual(w, g) {
			differ(path, fmt.Sprintf("%s is %v, in Kubernetes %v", word, g, w))
		}
	}
	for _, word := range []string{"items", "additionalProperties"} {
		w, isW := want[word].(map[string]any)
		g, isG := got[word].(map[string]any)
		if isW != isG {
			differ(path, word)
		} else if isW {
			delete(w, "default") // newer releases leave these out
			compare(path+"[]", w, g, differ)
		}
	}
	w, _ := want["properties"].(map[string]any)
	g, _ := got["properties"].(map[string]any)
	for name := range w {
		if g[name] == nil {
			differ(path+"."+name, "missing")
			continue
		}
		compare(path+"."+name, w[name].(map[string]any), g[name].(map[string]any), differ)
	}
}

// unwrapped is a schema whose reference may stand by itself: whether it does depends on the description.
func unwrapped(s map[string]any) map[string]any {
	all, ok := s["allOf"].([]any)
	if !ok || len(all) != 1 {
		return s
	}
	s = maps.Clone(s)
	delete(s, "allOf")
	maps.Copy(s, all[0].(map[string]any))
	return s
}

func sorted(v any) []string {
	var out []string
	list, _ := v.([]any)
	for _, s := range list {
		out = append(out, s.(string))
	}
	slices.Sort(out)
	return out
}
