package podcertificates

import (
	"context"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/certificates"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// ClusterTrustBundles declares certificates.k8s.io/v1 ClusterTrustBundle. The name of one that belongs to a signer
// begins with the signer's, "example.com:signer:".
func ClusterTrustBundles() apimachinery.Resource {
	type bundle = *certificatesv1.ClusterTrustBundle
	r := declared("ClusterTrustBundle", "clustertrustbundles", func() apimachinery.Object { return &certificatesv1.ClusterTrustBundle{} })
	r.Views[0].Fields = []apimachinery.Field{{Name: "spec.signerName"}}
	r.Views[0].Columns = []apimachinery.Column{
		apimachinery.NameColumn(),
		apimachinery.ColumnOf("SignerName", "string", func(b bundle) any {
			if b.Spec.SignerName == "" {
				return "<none>"
			}
			return b.Spec.SignerName
		}),
	}
	r.ValidName = func(string, bool) []string { return nil } // it depends on the signer: see validateBundleNames
	r.Validate = func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
		n := new.(bundle)
		errs := append(core.ValidateFinalizers(n), validateBundleNames(n)...)
		if n.Spec.SignerName != "" {
			errs = append(errs, certificates.ValidateSignerName(n.Spec.SignerName, spec.Child("signerName"))...)
		}
		o, _ := old.(bundle)
		if o == nil || o.Spec.TrustBundle != n.Spec.TrustBundle {
			errs = append(errs, validateBundle(n.Spec.TrustBundle, spec.Child("trustBundle"))...)
		}
		if o != nil {
			errs = append(errs, validation.ValidateImmutableField(n.Spec.SignerName, o.Spec.SignerName, spec.Child("signerName"))...)
		}
		return errs
	}
	return r
}

func validateBundleNames(b *certificatesv1.ClusterTrustBundle) field.ErrorList {
	metadata := field.NewPath("metadata")
	errs := invalid(metadata.Child("name"), b.Name, badBundleName(b.Name, b.Spec.SignerName, false))
	if b.GenerateName != "" {
		errs = append(errs, invalid(metadata.Child("generateName"), b.GenerateName, badBundleName(b.GenerateName, b.Spec.SignerName, true))...)
	}
	return errs
}

func badBundleName(name, signer string, prefix bool) []string {
	if signer == "" {
		if strings.Contains(name, ":") {
			return []string{"a bundle of no signer may not have a colon in its name"}
		}
		return validation.NameIsDNSSubdomain(name, prefix)
	}
	begin := strings.ReplaceAll(signer, "/", ":") + ":"
	rest, ok := strings.CutPrefix(name, begin)
	if !ok {
		return []string{fmt.Sprintf("a bundle of the signer %s must have a name that begins with %s", signer, begin)}
	}
	return validation.NameIsDNSSubdomain(rest, prefix)
}

// validateBundle wants roots, each once.
func validateBundle(text string, at *field.Path) field.ErrorList {
	const most = 1 << 20
	if len(text) > most {
		return field.ErrorList{field.TooLong(at, "", most)}
	}
	var errs field.ErrorList
	complain := func(format string, args ...any) {
		errs = append(errs, field.Invalid(at, "<value omitted>", fmt.Sprintf(format, args...)))
	}
	first, twice := map[string]int{}, [][2]int{}
	for i, b := range blocks(text) {
		if err := anchor(b); err != nil {
			complain("entry %d %v", i, err)
		} else if before, ok := first[string(b.Bytes)]; ok {
			twice = append(twice, [2]int{before, i})
		} else {
			first[string(b.Bytes)] = i
		}
	}
	if len(errs) > 0 {
		return errs
	}
	if len(first) == 0 {
		complain("at least one trust anchor must be provided")
	}
	for _, t := range twice {
		complain("entries %d and %d are the same trust anchor", t[0], t[1])
	}
	return errs
}
