package plane

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// folders have a file of valid objects for each kind; the first is what Kubernetes' own validation is compared over.
// Tests run in the folder of their package, beside this one.
var folders = []string{filepath.Join("..", "..", "peers", "corpus", "testdata"), filepath.Join("..", "plane", "testdata")}

// Corpus returns valid objects of a built-in kind, none where nobody has written any. Those of a namespaced kind are
// in the namespace default. They have no status.
func Corpus(t testing.TB, gvk schema.GroupVersionKind, namespaced bool) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	file := strings.ToLower(gvk.Kind) + ".yaml"
	if gvk.Group == "events.k8s.io" { // which has rules of its own
		file = "newerevent.yaml"
	}
	for _, folder := range folders {
		raw, err := os.ReadFile(filepath.Join(folder, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		require.NoError(t, err)
		for doc := range bytes.SplitSeq(raw, []byte("\n---\n")) {
			u := &unstructured.Unstructured{}
			require.NoError(t, yaml.Unmarshal(doc, &u.Object))
			if o, err := clientscheme.Scheme.New(gvk); err == nil { // YAML takes the "on" of a label for a boolean
				require.NoError(t, yaml.Unmarshal(doc, o))
				u.Object, err = runtime.DefaultUnstructuredConverter.ToUnstructured(o)
				require.NoError(t, err)
				delete(u.Object, "status")
				unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
			}
			u.SetGroupVersionKind(gvk)
			if namespaced {
				u.SetNamespace("default")
			}
			out = append(out, u)
		}
	}
	return out
}
