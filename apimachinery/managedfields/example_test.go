package managedfields_test

import (
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/bedplate/bedplate/apimachinery/managedfields"
	"github.com/bedplate/bedplate/apimachinery/structural"
)

// A user creates a deployment, an autoscaler changes its replicas, and a pipeline that applies another number is told.
func Example() {
	typ, err := structural.Of(&appsv1.Deployment{})
	if err != nil {
		fmt.Println(err)
		return
	}
	status := managedfields.Paths("status") // nobody owns it but through the status subresource
	manager := func(name string) managedfields.Manager {
		return managedfields.Manager{Name: name, APIVersion: "apps/v1", Time: time.Unix(0, 0)}
	}
	created := []byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":1,"paused":true}}`)
	managed, err := managedfields.Update(typ, nil, created, nil, manager("kubectl-create"), status)
	if err != nil {
		fmt.Println(err)
		return
	}
	scaled := []byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":5,"paused":true}}`)
	managed, err = managedfields.Update(typ, created, scaled, managed, manager("autoscaler"), status)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range managed {
		fmt.Println(e.Manager, e.FieldsV1)
	}
	patch := []byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":3}}`)
	_, _, err = managedfields.Apply(typ, scaled, patch, managed, manager("pipeline"), false, status)
	if conflict := new(managedfields.ConflictError); errors.As(err, &conflict) {
		fmt.Println(conflict)
	}
	merged, _, err := managedfields.Apply(typ, scaled, patch, managed, manager("pipeline"), true, status)
	fmt.Println(string(merged), err)
	// Output:
	// autoscaler {"f:spec":{"f:replicas":{}}}
	// kubectl-create {"f:spec":{"f:paused":{}}}
	// Apply failed with 1 conflict: conflict with "autoscaler" using apps/v1: .spec.replicas
	// {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"paused":true,"replicas":3}} <nil>
}
