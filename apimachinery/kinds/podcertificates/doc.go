// Package podcertificates declares the kinds of certificates.k8s.io by which pods come to certificates and to what
// they trust, new in v1 with Kubernetes v1.37: PodCertificateRequest (KEP-4317), by which a node asks for a pod's, and
// ClusterTrustBundle (KEP-3257), what a signer is to be trusted by. Who may sign and attest is for
// admission/certificates to say.
package podcertificates

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"iter"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource {
	return []apimachinery.Resource{ClusterTrustBundles(), PodCertificateRequests()}
}

var spec = field.NewPath("spec")

func declared(kind, plural string, new func() apimachinery.Object) apimachinery.Resource {
	return apimachinery.Resource{
		Name:        schema.GroupResource{Group: certificatesv1.GroupName, Resource: plural},
		Prefix:      plural,
		New:         new,
		Views:       []apimachinery.View{{GroupVersionKind: certificatesv1.SchemeGroupVersion.WithKind(kind), Plural: plural}},
		Conditional: true,
	}
}

func invalid[T any](at *field.Path, value T, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range messages {
		errs = append(errs, field.Invalid(at, value, msg))
	}
	return errs
}

// blocks yields the blocks of a text in PEM.
func blocks(text string) iter.Seq2[int, *pem.Block] {
	return func(yield func(int, *pem.Block) bool) {
		rest := []byte(text)
		for i := 0; ; i++ {
			var b *pem.Block
			if b, rest = pem.Decode(rest); b == nil || !yield(i, b) {
				return
			}
		}
	}
}

// anchor says what is wrong with a block that should be a root.
func anchor(b *pem.Block) error {
	if b.Type != "CERTIFICATE" {
		return fmt.Errorf("is a block of the type %q", b.Type)
	}
	if len(b.Headers) > 0 {
		return fmt.Errorf("has headers")
	}
	c, err := x509.ParseCertificate(b.Bytes)
	switch {
	case err != nil:
		return fmt.Errorf("does not parse as X.509")
	case !c.IsCA:
		return fmt.Errorf("does not have the CA bit set")
	case !c.BasicConstraintsValid:
		return fmt.Errorf("has invalid basic constraints")
	}
	return nil
}
