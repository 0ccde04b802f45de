// Package certificates declares CertificateSigningRequest of certificates.k8s.io, as Kubernetes v1.37 has it: who asks
// is filled in from the request, what is asked for is immutable, and approval and signing have doors of their own. The
// rights to them are in admission/certificates. ClusterTrustBundle and PodCertificateRequest, which came to v1 with
// v1.37, are in package podcertificates.
package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// Resources returns every kind of this package.
func Resources() []apimachinery.Resource {
	return []apimachinery.Resource{CertificateSigningRequests()}
}

// ParseRequest reads a PKCS#10 request in PEM, as spec.request has it.
func ParseRequest(text []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("must be a PEM block of the type CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// ValidateSignerName judges the name of a signer: a domain, and one segment of a path.
func ValidateSignerName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	domain, rest, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(rest, "/") {
		return field.ErrorList{field.Invalid(at, name, "must be a domain and a path, as in 'example.com/signer-name'")}
	}
	var errs field.ErrorList
	const mostDomain = validation.DNS1123SubdomainMaxLength
	if len(domain) > mostDomain {
		errs = append(errs, field.TooLong(at, "", mostDomain))
	}
	errs = append(errs, validateParts(domain, at, validation.IsDNS1123Label)...)
	if !strings.Contains(domain, ".") {
		errs = append(errs, field.Invalid(at, domain, "must be a domain of at least two labels"))
	}
	errs = append(errs, validateParts(rest, at, validation.IsDNS1123Subdomain)...)
	const most = mostDomain + 1 + validation.DNS1123SubdomainMaxLength + validation.DNS1123LabelMaxLength + 1
	if len(name) > most {
		errs = append(errs, field.TooLong(at, "", most))
	}
	return errs
}

// validateParts judges what dots part, up to the first that is wrong.
func validateParts(text string, at *field.Path, judge func(string) []string) field.ErrorList {
	var errs field.ErrorList
	for part := range strings.SplitSeq(text, ".") {
		for _, msg := range judge(part) {
			errs = append(errs, field.Invalid(at, text, fmt.Sprintf("%q: %s", part, msg)))
		}
		if len(errs) > 0 {
			break
		}
	}
	return errs
}
