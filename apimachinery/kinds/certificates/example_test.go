package certificates_test

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/certificates"
)

// Who asks for a certificate is not for the asker to say.
func Example() {
	r := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{Username: "root"}}
	ctx := apimachinery.WithUser(context.Background(), apimachinery.User{Name: "alice"})
	certificates.CertificateSigningRequests().Prepare(ctx, r, nil)
	fmt.Println(r.Spec.Username)
	// Output: alice
}
