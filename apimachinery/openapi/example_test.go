package openapi_test

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery/openapi"
)

// A server's document of the group and version in which it has config maps alone.
func ExampleDocument() {
	raw, err := openapi.Document(corev1.SchemeGroupVersion, []openapi.Resource{{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		Plural:           "configmaps",
		Namespaced:       true,
		Sample:           &corev1.ConfigMap{},
		Verbs:            []string{"get", "list", "patch"},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Type, Description string }
			}
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		fmt.Println(err)
		return
	}
	data := doc.Components.Schemas["io.k8s.api.core.v1.ConfigMap"].Properties["data"]
	fmt.Println(data.Type, data.Description[:44])
	// Output: object Data contains the configuration data. Each k
}
