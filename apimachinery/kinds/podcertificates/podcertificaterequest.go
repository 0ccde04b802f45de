package podcertificates

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/certificates"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

const (
	day       = 24 * 60 * 60
	shortest  = 60 * 60
	longest   = 91 * day
	defaultTo = day
)

type request = *certificatesv1.PodCertificateRequest

// PodCertificateRequests declares certificates.k8s.io/v1 PodCertificateRequest. Its spec is immutable; its status is
// written once, by its signer.
func PodCertificateRequests() apimachinery.Resource {
	r := declared("PodCertificateRequest", "podcertificaterequests", func() apimachinery.Object { return &certificatesv1.PodCertificateRequest{} })
	r.Namespaced = true
	r.Views[0].Fields = []apimachinery.Field{{Name: "spec.signerName"}, {Name: "spec.podName"}, {Name: "spec.nodeName"}}
	r.Views[0].Columns = []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("PodName", "string", func(r request) any { return r.Spec.PodName }),
		apimachinery.ColumnOf("ServiceAccountName", "string", func(r request) any { return r.Spec.ServiceAccountName }),
		apimachinery.ColumnOf("NodeName", "string", func(r request) any { return string(r.Spec.NodeName) }),
		apimachinery.ColumnOf("SignerName", "string", func(r request) any { return r.Spec.SignerName }),
		apimachinery.ColumnOf("State", "string", func(r request) any { return state(r) }),
		apimachinery.ColumnOf("UnverifiedUserAnnotations", "string", func(r request) any { return labels.FormatLabels(r.Spec.UnverifiedUserAnnotations) }),
	}
	r.Default = func(o apimachinery.Object) {
		if s := &o.(request).Spec; s.MaxExpirationSeconds == nil {
			seconds := int32(defaultTo)
			s.MaxExpirationSeconds = &seconds
		}
	}
	r.Prepare = func(_ context.Context, new, old apimachinery.Object) {
		n := new.(request)
		n.Status = certificatesv1.PodCertificateRequestStatus{}
		if o, ok := old.(request); ok {
			n.Status = *o.Status.DeepCopy()
		}
	}
	r.Validate = func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
		n := new.(request)
		errs := core.ValidateFinalizers(n)
		if o, ok := old.(request); ok {
			return append(errs, validation.ValidateImmutableField(n.Spec, o.Spec, spec)...)
		}
		return append(errs, validateRequest(&n.Spec)...)
	}
	r.Subs = map[string]apimachinery.Subresource{
		"status": {
			Verbs: []string{apimachinery.VerbGet, apimachinery.VerbPatch, apimachinery.VerbUpdate},
			Strategy: &apimachinery.Strategy{
				Owned: []string{"status"},
				Prepare: func(_ context.Context, new, old apimachinery.Object) {
					n, o := new.(request), old.(request)
					n.Spec = *o.Spec.DeepCopy()
					metav1.ResetObjectMetaForStatus(n, o)
				},
				Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
					if errs := core.ValidateFinalizers(new); len(errs) > 0 {
						return errs
					}
					return validateStatus(new.(request), old.(request))
				},
			},
		},
	}
	return r
}

func state(r request) string {
	out := "Pending"
	for _, c := range r.Status.Conditions {
		if terminal(c.Type) {
			out = c.Type
		}
	}
	return out
}

func validateRequest(s *certificatesv1.PodCertificateRequestSpec) field.ErrorList {
	errs := certificates.ValidateSignerName(s.SignerName, spec.Child("signerName"))
	errs = append(errs, validateUserAnnotations(s.UnverifiedUserAnnotations, spec.Child("unverifiedUserAnnotations"))...)
	errs = append(errs, validateOwner("podName", s.PodName, "podUID", string(s.PodUID), validation.NameIsDNSSubdomain)...)
	errs = append(errs, validateOwner("serviceAccountName", s.ServiceAccountName, "serviceAccountUID", string(s.ServiceAccountUID), validation.ValidateServiceAccountName)...)
	errs = append(errs, validateOwner("nodeName", string(s.NodeName), "nodeUID", string(s.NodeUID), validation.NameIsDNSSubdomain)...)
	at := spec.Child("maxExpirationSeconds")
	if s.MaxExpirationSeconds == nil {
		return append(errs, field.Required(at, "must be set"))
	}
	most := int32(longest)
	if domain, _, _ := strings.Cut(s.SignerName, "/"); domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io") {
		most = day
	}
	if e := *s.MaxExpirationSeconds; e < shortest || e > most {
		errs = append(errs, field.Invalid(at, e, fmt.Sprintf("must be in the range [%d, %d]", shortest, most)))
	}
	if len(s.StubPKCS10Request) == 0 {
		return append(errs, field.Invalid(spec, field.OmitValueType{}, "stubPKCS10Request must be set"))
	}
	return append(errs, validateStub(s.StubPKCS10Request, spec.Child("stubPKCS10Request"))...)
}

func validateUserAnnotations(annotations map[string]string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for key := range annotations {
		errs = append(errs, utilvalidation.IsDomainPrefixedKey(at, strings.ToLower(key))...)
	}
	if validation.ValidateAnnotationsSize(annotations) != nil {
		errs = append(errs, field.TooLong(at, "", validation.TotalAnnotationSizeLimitB))
	}
	return errs
}

// validateOwner judges the name and the UID of what a certificate is for.
func validateOwner(nameField, name, uidField, uid string, judge validation.ValidateNameFunc) field.ErrorList {
	const most = 128
	errs := invalid(spec.Child(nameField), name, judge(name, false))
	if uid == "" {
		errs = append(errs, field.Invalid(spec.Child(uidField), uid, "must not be empty"))
	}
	if len(uid) > most {
		errs = append(errs, field.TooLong(spec.Child(uidField), uid, most))
	}
	return errs
}

// validateStub judges a request for its key and signature alone: what else it says is for signers to judge.
func validateStub(der []byte, at *field.Path) field.ErrorList {
	const most = 10 << 10
	if len(der) > most {
		return field.ErrorList{field.TooLong(at, der, most)}
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, "must be a valid PKCS#10 CSR")}
	}
	switch key := r.PublicKey.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			return field.ErrorList{field.Invalid(at, "curve "+key.Curve.Params().Name, "elliptic public keys must use curve P256, P384, or P521")}
		}
	case *rsa.PublicKey:
		if bits := key.Size() * 8; bits != 3072 && bits != 4096 {
			return field.ErrorList{field.Invalid(at, fmt.Sprintf("%d-bit modulus", bits), "RSA keys must have modulus size 3072 or 4096")}
		}
	default:
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, "unknown public key type; supported types are Ed25519, ECDSA, and RSA")}
	}
	if r.CheckSignature() != nil {
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, "invalid signature")}
	}
	return nil
}
