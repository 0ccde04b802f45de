package crd_test

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/apiextensions"
	"github.com/bedplate/bedplate/apimachinery/server/crd"
)

// A controller whose server converts one kind by a Go function. It runs beside the server, whose Config.Await is the
// controller's: controller.Run(ctx, server).
func Example() {
	registry, err := apimachinery.NewRegistry(apiextensions.Resources()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	rename := func(_ context.Context, all []*unstructured.Unstructured, to schema.GroupVersion) ([]*unstructured.Unstructured, error) {
		for _, u := range all {
			u.SetAPIVersion(to.String()) // and whatever else differs between the versions
		}
		return all, nil
	}
	controller, err := crd.New(crd.Config{
		Registry: registry,
		Convert:  map[schema.GroupKind]crd.Convert{{Group: "example.com", Kind: "Host"}: rename},
	})
	fmt.Println(controller != nil, err)
	// Output: true <nil>
}
