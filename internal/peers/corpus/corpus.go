// Package corpus holds valid objects of the built-in kinds, by hand, so that between them they use every field that
// Kubernetes judges. Tests default, validate, print and mutate them.
package corpus

import (
	"bytes"
	"embed"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

//go:embed testdata/*.yaml
var files embed.FS

// Load returns the objects of a kind, in the order of the file "<kind>.yaml" (in lower case). make makes an empty
// one; what the file has and the Go type has not is an error.
func Load[T runtime.Object](gvk schema.GroupVersionKind, make func() T) ([]T, error) {
	name := "testdata/" + strings.ToLower(gvk.Kind) + ".yaml"
	raw, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var out []T
	for i, doc := range bytes.Split(raw, []byte("\n---\n")) {
		o := make()
		if err := yaml.UnmarshalStrict(doc, o); err != nil {
			return nil, fmt.Errorf("%s, document %d: %w", name, i, err)
		}
		o.GetObjectKind().SetGroupVersionKind(gvk)
		out = append(out, o)
	}
	return out, nil
}
