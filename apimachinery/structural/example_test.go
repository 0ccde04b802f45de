package structural_test

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/bedplate/bedplate/apimachinery/structural"
)

// The containers of a pod template are told apart by name, their arguments only as a whole.
func Example() {
	t, err := structural.Of(&appsv1.Deployment{})
	if err != nil {
		fmt.Println(err)
		return
	}
	containers := t.Field("spec").Type.Field("template").Type.Field("spec").Type.Field("containers").Type
	args := containers.Elem().Field("args").Type
	fmt.Println(containers.List() == structural.MapList, containers.KeyNames())
	fmt.Println(args.List() == structural.AtomicList)
	// Output:
	// true [name]
	// true
}
