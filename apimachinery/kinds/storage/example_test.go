package storage_test

import (
	"context"
	"fmt"

	storagev1 "k8s.io/api/storage/v1"

	"github.com/bedplate/bedplate/apimachinery/kinds/storage"
)

// A class must say who makes its volumes; the rest has defaults.
func Example() {
	r, c := storage.StorageClasses(), &storagev1.StorageClass{}
	r.Default(c)
	for _, err := range r.Validate(context.Background(), c, nil) {
		fmt.Println(err)
	}
	fmt.Println(*c.ReclaimPolicy, *c.VolumeBindingMode)
	// Output:
	// provisioner: Required value
	// Delete Immediate
}
