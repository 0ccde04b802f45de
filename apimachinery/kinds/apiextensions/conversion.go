package apiextensions

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"slices"
	"strings"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// reviewVersions are those of ConversionReview that servers speak.
var reviewVersions = []string{"v1", "v1beta1"}

// validateConversion judges spec.conversion. Paths are those of the hub type of Kubernetes, which has the webhook's
// fields directly in the conversion.
func validateConversion(n, o *apiext.CustomResourceDefinition) field.ErrorList {
	c, at := n.Spec.Conversion, spec.Child("conversion")
	if c == nil {
		return nil
	}
	var errs field.ErrorList
	if c.Strategy != apiext.NoneConverter && n.Spec.PreserveUnknownFields {
		errs = append(errs, field.Invalid(at.Child("strategy"), c.Strategy, "must be None if spec.preserveUnknownFields is true"))
	}
	switch c.Strategy {
	case apiext.NoneConverter:
	case apiext.WebhookConverter:
		return append(errs, validateWebhook(c.Webhook, o, at)...)
	case "":
		errs = append(errs, field.Required(at.Child("strategy"), ""))
	default:
		errs = append(errs, field.NotSupported(at.Child("strategy"), c.Strategy, []apiext.ConversionStrategyType{apiext.NoneConverter, apiext.WebhookConverter}))
	}
	if c.Webhook != nil && c.Webhook.ClientConfig != nil {
		errs = append(errs, field.Forbidden(at.Child("webhookClientConfig"), "should not be set when strategy is not set to Webhook"))
	}
	if c.Webhook != nil && len(c.Webhook.ConversionReviewVersions) > 0 {
		errs = append(errs, field.Forbidden(at.Child("conversionReviewVersions"), "should not be set when strategy is not set to Webhook"))
	}
	return errs
}

func validateWebhook(w *apiext.WebhookConversion, o *apiext.CustomResourceDefinition, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	var versions []string
	if w != nil {
		versions = w.ConversionReviewVersions
	}
	if w == nil || w.ClientConfig == nil {
		errs = append(errs, field.Required(at.Child("webhookClientConfig"), "required when strategy is set to Webhook"))
	} else {
		errs = validateClientConfig(w.ClientConfig, o, at.Child("webhookClientConfig"))
	}
	return append(errs, validateReviewVersions(versions, o, at.Child("conversionReviewVersions"))...)
}

func validateClientConfig(c *apiext.WebhookClientConfig, o *apiext.CustomResourceDefinition, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case (c.URL == nil) == (c.Service == nil):
		errs = append(errs, field.Required(at, "exactly one of url or service is required"))
	case c.URL != nil:
		errs = validateURL(*c.URL, at.Child("url"))
	default:
		errs = validateService(c.Service, at.Child("service"))
	}
	if msg := badBundle(c.CABundle); msg != "" && !mayKeepBadBundle(o) {
		errs = append(errs, field.Invalid(at.Child("caBundle"), c.CABundle, msg))
	}
	return errs
}

// mayKeepBadBundle says whether a bundle that cannot be read is let pass: until the definition is established, and
// while the one before is no better.
func mayKeepBadBundle(o *apiext.CustomResourceDefinition) bool {
	if o == nil || !IsTrue(o, apiext.Established) {
		return true
	}
	c := o.Spec.Conversion
	return c != nil && c.Webhook != nil && c.Webhook.ClientConfig != nil && badBundle(c.Webhook.ClientConfig.CABundle) != ""
}

// badBundle says what is wrong with certificates in PEM; "" if there are none, or they are sound.
func badBundle(bundle []byte) string {
	if len(bundle) == 0 {
		return ""
	}
	found := false
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Sprintf("unable to load root certificates: unable to parse bytes as PEM block: %v", err)
		}
		found = true
	}
	if !found {
		return "unable to load root certificates: unable to parse bytes as PEM block"
	}
	return ""
}

func validateURL(text string, at *field.Path) field.ErrorList {
	const form = "; desired format: https://host[/path]"
	u, err := url.Parse(text)
	if err != nil {
		return field.ErrorList{field.Required(at, "url must be a valid URL: "+err.Error()+form)}
	}
	var errs field.ErrorList
	if u.Scheme != "https" {
		errs = append(errs, field.Invalid(at, u.Scheme, "'https' is the only allowed URL scheme"+form))
	}
	if u.Host == "" {
		errs = append(errs, field.Invalid(at, u.Host, "host must be specified"+form))
	}
	if u.User != nil {
		errs = append(errs, field.Invalid(at, u.User.String(), "user information is not permitted in the URL"))
	}
	if u.Fragment != "" {
		errs = append(errs, field.Invalid(at, u.Fragment, "fragments are not permitted in the URL"))
	}
	if u.RawQuery != "" {
		errs = append(errs, field.Invalid(at, u.RawQuery, "query parameters are not permitted in the URL"))
	}
	return errs
}

func validateService(s *apiext.ServiceReference, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	if s.Namespace == "" {
		errs = append(errs, field.Required(at.Child("namespace"), ""))
	}
	if s.Port != nil {
		if msgs := utilvalidation.IsValidPortNum(int(*s.Port)); msgs != nil {
			errs = append(errs, field.Invalid(at.Child("port"), *s.Port, "port is not valid: "+strings.Join(msgs, ", ")))
		}
	}
	if s.Path == nil || *s.Path == "" || *s.Path == "/" {
		return errs
	}
	return append(errs, validatePath(*s.Path, at.Child("path"))...)
}

func validatePath(path string, at *field.Path) field.ErrorList {
	if path == "//" {
		return field.ErrorList{field.Invalid(at, path, "segment[0] may not be empty")}
	}
	var errs field.ErrorList
	if !strings.HasPrefix(path, "/") {
		errs = append(errs, field.Invalid(at, path, "must start with a '/'"))
	}
	for i, step := range strings.Split(strings.TrimSuffix(path[1:], "/"), "/") {
		if step == "" {
			errs = append(errs, field.Invalid(at, path, fmt.Sprintf("segment[%d] may not be empty", i)))
			continue
		}
		for _, msg := range utilvalidation.IsDNS1123Subdomain(step) {
			errs = append(errs, field.Invalid(at, path, fmt.Sprintf("segment[%d]: %v", i, msg)))
		}
	}
	return errs
}

func validateReviewVersions(versions []string, o *apiext.CustomResourceDefinition, at *field.Path) field.ErrorList {
	if len(versions) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	for i, v := range versions {
		if slices.Contains(versions[:i], v) {
			errs = append(errs, field.Invalid(at.Index(i), v, "duplicate version"))
			continue
		}
		for _, msg := range utilvalidation.IsDNS1035Label(v) {
			errs = append(errs, field.Invalid(at.Index(i), v, msg))
		}
	}
	if !recognized(versions) && (o == nil || !knewNone(o)) {
		errs = append(errs, field.Invalid(at, versions, "must include at least one of "+strings.Join(reviewVersions, ", ")))
	}
	return errs
}

func recognized(versions []string) bool {
	return slices.ContainsFunc(versions, func(v string) bool { return slices.Contains(reviewVersions, v) })
}

// knewNone says whether a definition names versions of reviews already of which no server knows any.
func knewNone(o *apiext.CustomResourceDefinition) bool {
	c := o.Spec.Conversion
	return c != nil && c.Webhook != nil && len(c.Webhook.ConversionReviewVersions) > 0 && !recognized(c.Webhook.ConversionReviewVersions)
}
