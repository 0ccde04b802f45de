package apiextensions_test

import (
	"fmt"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/bedplate/bedplate/apimachinery/kinds/apiextensions"
)

// What was left out of a definition is filled in, and what won't do is told.
func Example() {
	definitions := apiextensions.CustomResourceDefinitions()
	d := &apiext.CustomResourceDefinition{}
	d.Name, d.Spec.Group, d.Spec.Scope = "things.example.com", "example.com", apiext.NamespaceScoped
	d.Spec.Names = apiext.CustomResourceDefinitionNames{Plural: "things", Kind: "Thing"}
	d.Spec.Versions = []apiext.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true}}
	definitions.Default(d)
	fmt.Println(d.Spec.Names.Singular, d.Spec.Names.ListKind, d.Spec.Conversion.Strategy)
	fmt.Println(definitions.Validate(nil, d, nil).ToAggregate())
	// Output:
	// thing ThingList None
	// spec.versions[0].schema.openAPIV3Schema: Required value
}
