package core_test

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// A registry of the core kinds knows a resource by its Go type, its kind and its plural.
func Example() {
	registry, err := apimachinery.NewRegistry(core.Resources()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	found, _ := registry.ForType(&corev1.Pod{})
	fmt.Println(found.View.Resource(), found.Resource.Namespaced)
	// Output: /v1, Resource=pods true
}

// Whoever embeds pod templates in a kind of their own judges them as pods are judged.
func ExampleValidatePodTemplate() {
	t := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "Web", Image: "nginx"}}}}
	core.DefaultPodTemplate(&t)
	for _, err := range core.ValidatePodTemplate(&t, field.NewPath("spec", "template")) {
		fmt.Println(err.Field, err.Type)
	}
	// Output: spec.template.spec.containers[0].name Invalid value
}
