// Package certificates has the admission plugins that guard signing: who approves a CertificateSigningRequest, signs
// it, signs for pods, or says by what a signer is to be trusted, must have the right to on the signer itself, a
// resource "signers" of certificates.k8s.io that only authorizers know, as in Kubernetes. A right on "example.com/*"
// is one on all signers of the domain.
package certificates

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// The plugins' names.
const (
	ApprovalName           = "CertificateApproval"
	SigningName            = "CertificateSigning"
	PodSigningName         = "PodCertificateSigning"
	AttestName             = "ClusterTrustBundleAttest"
	SubjectRestrictionName = "CertificateSubjectRestriction"
)

// Plugins are all of this package.
func Plugins(authorizer apimachinery.Authorizer) []apimachinery.Plugin {
	return []apimachinery.Plugin{Approval(authorizer), Signing(authorizer), PodSigning(authorizer), Attest(authorizer), SubjectRestriction()}
}

type validatorFunc func(ctx context.Context, a *apimachinery.Admission) error

// Validate implements [apimachinery.Validator].
func (f validatorFunc) Validate(ctx context.Context, a *apimachinery.Admission) error {
	return f(ctx, a)
}

func plugin(name string, f validatorFunc) apimachinery.Plugin {
	return apimachinery.Plugin{Name: name, Validate: f}
}

// Approval wants the verb approve of whoever writes the subresource approval. The signer is that of the request as it
// was.
func Approval(authorizer apimachinery.Authorizer) apimachinery.Plugin {
	return plugin(ApprovalName, func(ctx context.Context, a *apimachinery.Admission) error {
		old, ok := a.Old.(*certificatesv1.CertificateSigningRequest)
		if !ok || a.Operation != "UPDATE" || a.Sub != "approval" || may(ctx, authorizer, a.User, "approve", old.Spec.SignerName) {
			return nil
		}
		return forbidden(a, "user not permitted to approve requests with signerName %q", old.Spec.SignerName)
	})
}

// Signing wants the verb sign of whoever changes the certificate or the conditions in a request's status.
func Signing(authorizer apimachinery.Authorizer) apimachinery.Plugin {
	return plugin(SigningName, func(ctx context.Context, a *apimachinery.Admission) error {
		old, ok := a.Old.(*certificatesv1.CertificateSigningRequest)
		now, is := a.Object.(*certificatesv1.CertificateSigningRequest)
		if !ok || !is || a.Operation != "UPDATE" || a.Sub != "status" {
			return nil
		}
		same := bytes.Equal(now.Status.Certificate, old.Status.Certificate) && equality.Semantic.DeepEqual(now.Status.Conditions, old.Status.Conditions)
		if same || may(ctx, authorizer, a.User, "sign", old.Spec.SignerName) {
			return nil
		}
		return forbidden(a, "user not permitted to sign requests with signerName %q", old.Spec.SignerName)
	})
}

// PodSigning wants the verb sign of whoever changes the status of a PodCertificateRequest. It answers as if the object
// were at fault, as Kubernetes does: 422, with a Forbidden for spec.signerName.
func PodSigning(authorizer apimachinery.Authorizer) apimachinery.Plugin {
	return plugin(PodSigningName, func(ctx context.Context, a *apimachinery.Admission) error {
		old, ok := a.Old.(*certificatesv1.PodCertificateRequest)
		now, is := a.Object.(*certificatesv1.PodCertificateRequest)
		if !ok || !is || a.Operation != "UPDATE" || a.Sub != "status" || equality.Semantic.DeepEqual(now.Status, old.Status) {
			return nil
		}
		if may(ctx, authorizer, a.User, "sign", old.Spec.SignerName) {
			return nil
		}
		return apierrors.NewInvalid(a.Kind.GroupKind(), a.Name, field.ErrorList{field.Forbidden(field.NewPath("spec", "signerName"),
			fmt.Sprintf("user %q is not permitted to \"sign\" for signer %q", a.User.Name, old.Spec.SignerName))})
	})
}

// Attest wants the verb attest of whoever writes a ClusterTrustBundle of a signer. What the garbage collector writes,
// owners and finalizers, is free.
func Attest(authorizer apimachinery.Authorizer) apimachinery.Plugin {
	return plugin(AttestName, func(ctx context.Context, a *apimachinery.Admission) error {
		now, ok := a.Object.(*certificatesv1.ClusterTrustBundle)
		if !ok || now.Spec.SignerName == "" || a.Operation != "CREATE" && a.Operation != "UPDATE" {
			return nil
		}
		if old, ok := a.Old.(*certificatesv1.ClusterTrustBundle); ok && a.Operation == "UPDATE" && onlyCollected(now, old) {
			return nil
		}
		if may(ctx, authorizer, a.User, "attest", now.Spec.SignerName) {
			return nil
		}
		return forbidden(a, "user not permitted to attest for signerName %q", now.Spec.SignerName)
	})
}

func onlyCollected(new, old *certificatesv1.ClusterTrustBundle) bool {
	c := *new
	c.OwnerReferences, c.Finalizers, c.SelfLink, c.ManagedFields = old.OwnerReferences, old.Finalizers, old.SelfLink, old.ManagedFields
	return equality.Semantic.DeepEqual(&c, old)
}

// SubjectRestriction lets nobody ask for a client certificate that makes its holder one of system:masters.
func SubjectRestriction() apimachinery.Plugin {
	return plugin(SubjectRestrictionName, func(_ context.Context, a *apimachinery.Admission) error {
		r, ok := a.Object.(*certificatesv1.CertificateSigningRequest)
		if !ok || a.Operation != "CREATE" || a.Sub != "" || r.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
			return nil
		}
		asked, err := parse(r.Spec.Request)
		if err != nil {
			return forbidden(a, "parse the request: %v", err)
		}
		if slices.Contains(asked.Subject.Organization, "system:masters") {
			return forbidden(a, "use of %s signer with system:masters group is not allowed", certificatesv1.KubeAPIServerClientSignerName)
		}
		return nil
	})
}

func parse(text []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("it is no PEM block of the type CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// may says whether a user has a right on a signer, or on all of its domain. What an authorizer can't say, it denies.
func may(ctx context.Context, authorizer apimachinery.Authorizer, u apimachinery.User, verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		d, _, err := authorizer.Authorize(ctx, &apimachinery.Attributes{
			User: u, Verb: verb, Group: certificatesv1.GroupName, Version: "*", Resource: "signers", Name: name,
		})
		if err == nil && d == apimachinery.Allow {
			return true
		}
	}
	return false
}

func forbidden(a *apimachinery.Admission, format string, args ...any) error {
	return apierrors.NewForbidden(a.Resource.GroupResource(), a.Name, fmt.Errorf(format, args...))
}
