package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// legacySigner is that of requests that were made before signers had names.
const legacySigner = "kubernetes.io/legacy-unknown"

// door is the way by which a request is written: the object itself may change neither what its approvers say nor
// what its signer gives.
type door struct{ approval, certificate bool }

var (
	spec            = field.NewPath("spec")
	conditionsPath  = field.NewPath("status", "conditions")
	certificatePath = field.NewPath("status", "certificate")
)

// usages are all that there are, in the order of their names.
var usages = []certificatesv1.KeyUsage{
	certificatesv1.UsageAny, certificatesv1.UsageCertSign, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
	certificatesv1.UsageContentCommitment, certificatesv1.UsageCRLSign, certificatesv1.UsageDataEncipherment, certificatesv1.UsageDecipherOnly,
	certificatesv1.UsageDigitalSignature, certificatesv1.UsageEmailProtection, certificatesv1.UsageEncipherOnly, certificatesv1.UsageIPsecEndSystem,
	certificatesv1.UsageIPsecTunnel, certificatesv1.UsageIPsecUser, certificatesv1.UsageKeyAgreement, certificatesv1.UsageKeyEncipherment,
	certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC, certificatesv1.UsageOCSPSigning, certificatesv1.UsageSMIME,
	certificatesv1.UsageServerAuth, certificatesv1.UsageSigning, certificatesv1.UsageTimestamping,
}

func (d door) validate(new, old request) field.ErrorList {
	errs := append(core.ValidateFinalizers(new), validateSpec(&new.Spec, old)...)
	errs = append(errs, validateConditions(new, old)...)
	if err := validCertificate(new.Status.Certificate); err != nil && !toleratesCertificate(new, old) {
		errs = append(errs, field.Invalid(certificatePath, "<certificate data>", err.Error()))
	}
	if old != nil {
		errs = append(errs, d.validateChange(new, old)...)
	}
	return errs
}

func validateSpec(s *certificatesv1.CertificateSigningRequestSpec, old request) field.ErrorList {
	var errs field.ErrorList
	if err := validRequest(s.Request); err != nil {
		errs = append(errs, field.Invalid(spec.Child("request"), s.Request, err.Error()))
	}
	errs = append(errs, validateUsages(s.Usages, old)...)
	if signer := spec.Child("signerName"); s.SignerName == legacySigner && (old == nil || old.Spec.SignerName != legacySigner) {
		errs = append(errs, field.Invalid(signer, s.SignerName, "this version of the API does not allow the legacy signer"))
	} else {
		errs = append(errs, ValidateSignerName(s.SignerName, signer)...)
	}
	const shortest = 600
	if e := s.ExpirationSeconds; e != nil && *e < shortest {
		errs = append(errs, field.Invalid(spec.Child("expirationSeconds"), *e, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	return errs
}

func validRequest(text []byte) error {
	r, err := ParseRequest(text)
	if err != nil {
		return err
	}
	return r.CheckSignature()
}

func validateUsages(all []certificatesv1.KeyUsage, old request) field.ErrorList {
	var before []certificatesv1.KeyUsage
	if old != nil {
		before = old.Spec.Usages
	}
	at := spec.Child("usages")
	var errs field.ErrorList
	if len(all) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	unknown := func(u certificatesv1.KeyUsage) bool { return !slices.Contains(usages, u) }
	anyUnknown, anyTwice := slices.ContainsFunc(before, unknown), hasDoubles(before)
	for i, u := range all {
		if unknown(u) && !anyUnknown {
			errs = append(errs, field.NotSupported(at.Index(i), u, usages))
		}
		if slices.Contains(all[:i], u) && !anyTwice {
			errs = append(errs, field.Duplicate(at.Index(i), u))
		}
	}
	return errs
}

func hasDoubles[T comparable](all []T) bool {
	for i, v := range all {
		if slices.Contains(all[:i], v) {
			return true
		}
	}
	return false
}

// typesOf are the types of a request's conditions.
func typesOf(r request) (out []certificatesv1.RequestConditionType) {
	if r == nil {
		return nil
	}
	for _, c := range r.Status.Conditions {
		out = append(out, c.Type)
	}
	return out
}

// validateConditions tolerates what was wrong before.
func validateConditions(new, old request) field.ErrorList {
	const approved, denied = certificatesv1.CertificateApproved, certificatesv1.CertificateDenied
	before := typesOf(old)
	anyTwice, anyEmpty := hasDoubles(before), slices.Contains(before, "")
	both := slices.Contains(before, approved) && slices.Contains(before, denied)
	var errs field.ErrorList
	types := typesOf(new)
	for i, c := range new.Status.Conditions {
		at := conditionsPath.Index(i)
		if c.Type == "" && !anyEmpty {
			errs = append(errs, field.Required(at.Child("type"), ""))
		}
		errs = append(errs, validateConditionStatus(c, at.Child("status"))...)
		opposite := map[certificatesv1.RequestConditionType]certificatesv1.RequestConditionType{approved: denied, denied: approved}[c.Type]
		if opposite != "" && !both && slices.Contains(types[:i], opposite) {
			errs = append(errs, field.Invalid(conditionsPath, c.Type, "Approved and Denied conditions are mutually exclusive"))
		}
		if !anyTwice && slices.Contains(types[:i], c.Type) {
			errs = append(errs, field.Duplicate(at.Child("type"), c.Type))
		}
	}
	return errs
}

// validateConditionStatus: what was approved, denied or has failed was so for good.
func validateConditionStatus(c certificatesv1.CertificateSigningRequestCondition, at *field.Path) field.ErrorList {
	allowed := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
	switch c.Type {
	case certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
		allowed = []corev1.ConditionStatus{corev1.ConditionTrue}
	}
	switch {
	case c.Status == "":
		return field.ErrorList{field.Required(at, "")}
	case !slices.Contains(allowed, c.Status):
		return field.ErrorList{field.NotSupported(at, c.Status, allowed)}
	}
	return nil
}

// validCertificate judges a chain in PEM; none is fine.
func validCertificate(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	blocks := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) != 0 {
			return errors.New("PEM blocks may not have headers")
		}
		certs, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certs) == 0 {
			return errors.New("a CERTIFICATE PEM block is empty")
		}
		blocks++
	}
	if blocks == 0 {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}

func toleratesCertificate(new, old request) bool {
	return old != nil && (bytes.Equal(new.Status.Certificate, old.Status.Certificate) || validCertificate(old.Status.Certificate) != nil)
}

func (d door) validateChange(new, old request) field.ErrorList {
	var errs field.ErrorList
	forbid := func(at *field.Path, format string, args ...any) {
		errs = append(errs, field.Forbidden(at, fmt.Sprintf(format, args...)))
	}
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		now, before := conditions(new, t), conditions(old, t)
		switch {
		case len(now) < len(before):
			forbid(conditionsPath, "updates may not remove a condition of type %q", t)
		case d.approval || t == certificatesv1.CertificateFailed:
		case len(now) > len(before):
			forbid(conditionsPath, "updates may not add a condition of type %q", t)
		case !equality.Semantic.DeepEqual(now, before):
			forbid(conditionsPath, "updates may not modify a condition of type %q", t)
		}
	}
	if bytes.Equal(new.Status.Certificate, old.Status.Certificate) {
		return errs
	}
	if !d.certificate {
		forbid(certificatePath, "updates may not set certificate content")
	} else if len(old.Status.Certificate) > 0 {
		forbid(certificatePath, "updates may not modify existing certificate content")
	}
	return errs
}

func conditions(r request, t certificatesv1.RequestConditionType) (out []certificatesv1.CertificateSigningRequestCondition) {
	for _, i := range indices(r, t) {
		out = append(out, r.Status.Conditions[i])
	}
	return out
}
