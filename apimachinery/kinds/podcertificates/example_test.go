package podcertificates_test

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"

	"github.com/bedplate/bedplate/apimachinery/kinds/podcertificates"
)

// A bundle must hold something to trust.
func Example() {
	b := &certificatesv1.ClusterTrustBundle{}
	b.Name = "roots"
	for _, err := range podcertificates.ClusterTrustBundles().Validate(context.Background(), b, nil) {
		fmt.Println(err.Field, err.Detail)
	}
	// Output: spec.trustBundle at least one trust anchor must be provided
}
