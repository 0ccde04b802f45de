package podcertificates

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/mail"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	issued = certificatesv1.PodCertificateRequestConditionTypeIssued
	denied = certificatesv1.PodCertificateRequestConditionTypeDenied
	failed = certificatesv1.PodCertificateRequestConditionTypeFailed

	skew     = 5 * time.Minute  // between a signer's clock and the server's
	margin   = 10 * time.Minute // from either end of a certificate's life to its renewal
	leastFor = time.Hour
)

var (
	status    = field.NewPath("status")
	chainPath = status.Child("certificateChain")
)

func terminal(t string) bool { return t == issued || t == denied || t == failed }

// ended says whether a request has come to the end that a condition tells of.
func ended(r request, types ...string) bool {
	for _, c := range r.Status.Conditions {
		for _, t := range types {
			if c.Type == t && c.Status == metav1.ConditionTrue {
				return true
			}
		}
	}
	return false
}

// validateStatus lets a status be written once: that it is denied or failed, or a certificate that fits the request.
func validateStatus(new, old request) field.ErrorList {
	if errs := validateConditions(new.Status.Conditions, status.Child("conditions")); len(errs) > 0 {
		return errs
	}
	refuse := func(same bool, why string) field.ErrorList {
		if same {
			return nil
		}
		return field.ErrorList{field.Invalid(status, field.OmitValueType{}, why)}
	}
	unchanged := equality.Semantic.DeepEqual(new.Status, old.Status)
	switch {
	case ended(old, issued, denied, failed):
		return refuse(unchanged, "immutable after PodCertificateRequest is issued, denied, or failed")
	case ended(new, denied, failed):
		bare := certificatesv1.PodCertificateRequestStatus{Conditions: new.Status.Conditions}
		return refuse(equality.Semantic.DeepEqual(new.Status, bare), "non-condition status fields must be empty when denying or failing the PodCertificateRequest")
	case ended(new, issued):
		return validateIssued(new, time.Now())
	}
	return refuse(unchanged, `status is immutable unless transitioning to "Issued", "Denied", or "Failed"`)
}

func validateConditions(all []metav1.Condition, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	known := 0
	for i, c := range all {
		here := at.Child(fmt.Sprintf("[%d]", i)) // as Kubernetes names the place
		if !terminal(c.Type) {
			errs = append(errs, field.NotSupported(here.Child("type"), c.Type, []string{issued, denied, failed}))
			continue
		}
		if known++; known > 1 {
			errs = append(errs, field.Invalid(here.Child("type"), c.Type, `there may be one condition with type "Issued", "Denied", or "Failed"`))
		}
		if c.Status != metav1.ConditionTrue {
			errs = append(errs, field.NotSupported(here.Child("status"), c.Status, []metav1.ConditionStatus{metav1.ConditionTrue}))
		}
	}
	return append(errs, metavalidation.ValidateConditions(all, at)...)
}

func bad(at *field.Path, value any, why string) field.ErrorList {
	return field.ErrorList{field.Invalid(at, value, why)}
}

// validateIssued judges a certificate against the request and the clock.
func validateIssued(r request, now time.Time) field.ErrorList {
	const most = 100 << 10
	chain := r.Status.CertificateChain
	if len(chain) > most {
		return field.ErrorList{field.TooLong(chainPath, chain, most)}
	}
	block, rest := pem.Decode([]byte(chain))
	switch {
	case block == nil:
		return bad(chainPath, chain, "issued certificate chain must contain at least one certificate")
	case block.Type != "CERTIFICATE":
		return bad(chainPath, chain, "issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return bad(chainPath, chain, "leaf certificate does not parse as valid X.509")
	}
	errs := validateLeafNames(leaf)
	if more := validateLeafKey(leaf, r); len(more) > 0 {
		return append(errs, more...)
	}
	if errs = append(errs, requireTimes(&r.Status)...); len(errs) > 0 {
		return errs
	}
	if errs := validateLife(leaf, r, now); len(errs) > 0 {
		return errs
	}
	return validateIntermediates(string(rest), chain)
}

func validateLeafNames(leaf *x509.Certificate) field.ErrorList {
	var errs field.ErrorList
	for _, name := range leaf.DNSNames {
		if name == "" {
			errs = append(errs, bad(chainPath, name, "leaf certificate should not contain empty DNSName")...)
		}
		if strings.Contains(name, "..") {
			errs = append(errs, bad(chainPath, name, "leaf certificate's DNSName should not contain '..'")...)
		}
		if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") {
			errs = append(errs, bad(chainPath, name, "leaf certificate's DNSName should not start or end with '.'")...)
		}
	}
	for _, a := range leaf.EmailAddresses {
		if _, err := mail.ParseAddress(a); err != nil {
			errs = append(errs, bad(chainPath, a, "leaf certificate should not contain invalid EmailAddress")...)
		}
	}
	return errs
}

func validateLeafKey(leaf *x509.Certificate, r request) field.ErrorList {
	asked, err := x509.ParseCertificateRequest(r.Spec.StubPKCS10Request)
	if err != nil {
		return bad(spec.Child("stubPKCS10Request"), field.OmitValueType{}, "must be a valid PKCS#10 CSR")
	}
	want, ok := asked.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if ok && !want.Equal(leaf.PublicKey) {
		return bad(chainPath, r.Status.CertificateChain, "leaf certificate was not issued to the requested public key")
	}
	return nil
}

func requireTimes(s *certificatesv1.PodCertificateRequestStatus) field.ErrorList {
	var errs field.ErrorList
	require := func(t *metav1.Time, name, why string) {
		if t == nil {
			errs = append(errs, field.Required(status.Child(name), why))
		}
	}
	require(s.NotBefore, "notBefore", "must be present and consistent with the issued certificate")
	require(s.NotAfter, "notAfter", "must be present and consistent with the issued certificate")
	require(s.BeginRefreshAt, "beginRefreshAt", "must be present and in the range [notbefore+10min, notafter-10min]")
	return errs
}

func validateLife(leaf *x509.Certificate, r request, now time.Time) field.ErrorList {
	from, to, refresh := r.Status.NotBefore.Time, r.Status.NotAfter.Time, r.Status.BeginRefreshAt.Time
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	most := time.Duration(*r.Spec.MaxExpirationSeconds) * time.Second
	switch {
	case !from.Equal(leaf.NotBefore):
		return bad(status.Child("notBefore"), from, "must be set to the NotBefore time encoded in the leaf certificate")
	case now.Sub(from).Abs() >= skew:
		return bad(status.Child("notBefore"), from, "must be set to within 5 minutes of the server's current time")
	case !to.Equal(leaf.NotAfter):
		return bad(status.Child("notAfter"), to, "must be set to the NotAfter time encoded in the leaf certificate")
	case life < leastFor:
		return bad(chainPath, life, "leaf certificate lifetime must be >= 1 hour")
	case life > most:
		return bad(chainPath, life, fmt.Sprintf("leaf certificate lifetime must be <= spec.maxExpirationSeconds (%d)", *r.Spec.MaxExpirationSeconds))
	case refresh.Before(from.Add(margin)):
		return bad(status.Child("beginRefreshAt"), refresh, "must be at least 10 minutes after status.notBefore")
	case refresh.After(to.Add(-margin)):
		return bad(status.Child("beginRefreshAt"), refresh, "must be at least 10 minutes before status.notAfter")
	}
	return nil
}

func validateIntermediates(rest, chain string) field.ErrorList {
	for _, b := range blocks(rest) {
		if b.Type != "CERTIFICATE" {
			return bad(chainPath, chain, "issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
		}
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return bad(chainPath, chain, "intermediate certificate does not parse as valid X.509")
		}
	}
	return nil
}
