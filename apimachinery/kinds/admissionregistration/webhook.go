package admissionregistration

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// webhook is what both kinds of webhooks have. It points into one, so that it can be given defaults.
type webhook struct {
	name       string
	client     *admissionregistrationv1.WebhookClientConfig
	rules      []admissionregistrationv1.RuleWithOperations
	failure    **admissionregistrationv1.FailurePolicyType
	match      **admissionregistrationv1.MatchPolicyType
	namespaces **metav1.LabelSelector
	objects    **metav1.LabelSelector
	effects    *admissionregistrationv1.SideEffectClass
	timeout    **int32
	reviews    []string
	conditions []admissionregistrationv1.MatchCondition
	again      *admissionregistrationv1.ReinvocationPolicyType // nil for validating ones
}

var (
	failurePolicies = []admissionregistrationv1.FailurePolicyType{admissionregistrationv1.Fail, admissionregistrationv1.Ignore}
	reinvocations   = []admissionregistrationv1.ReinvocationPolicyType{
		admissionregistrationv1.IfNeededReinvocationPolicy, admissionregistrationv1.NeverReinvocationPolicy,
	}
	noEffects = []admissionregistrationv1.SideEffectClass{
		admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.SideEffectClassNoneOnDryRun,
	}
	anyEffects = []admissionregistrationv1.SideEffectClass{
		admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.SideEffectClassNoneOnDryRun,
		admissionregistrationv1.SideEffectClassSome, admissionregistrationv1.SideEffectClassUnknown,
	}
	reviewVersions = []string{"v1", "v1beta1"}
)

func (w webhook) setDefaults() {
	set(w.failure, admissionregistrationv1.Fail)
	set(w.match, admissionregistrationv1.Equivalent)
	set(w.namespaces, metav1.LabelSelector{})
	set(w.objects, metav1.LabelSelector{})
	set(w.timeout, 10)
	if w.client.Service != nil {
		set(&w.client.Service.Port, 443)
	}
	defaultRules(w.rules)
}

// leniency is what is let pass because the configuration was so before a rule was made.
type leniency struct {
	effects, reviews, names, selectors bool
	conditions                         bool // none changed: they aren't judged again
}

// lenient looks for what a new configuration could not have.
func lenient(new, old []webhook) leniency {
	var l leniency
	names := map[string]bool{}
	for i := range old {
		w := &old[i]
		l.effects = l.effects || w.effects == nil || !slices.Contains(noEffects, *w.effects)
		l.reviews = l.reviews || len(w.reviews) > 0 && !slices.ContainsFunc(w.reviews, isReview)
		l.names = l.names || names[w.name]
		l.selectors = l.selectors || len(w.validateSelectors(false, field.NewPath("webhooks"))) > 0
		names[w.name] = true
	}
	l.conditions = slices.EqualFunc(new, old, func(a, b webhook) bool { return reflect.DeepEqual(a.conditions, b.conditions) })
	return l
}

func isReview(version string) bool { return slices.Contains(reviewVersions, version) }

// validateWebhooks judges those of one configuration; old are nil on create.
func validateWebhooks(new, old []webhook, update bool, x *expressions) field.ErrorList {
	var l leniency
	if update {
		l = lenient(new, old)
		for _, w := range old {
			x.hadConditions(w.conditions)
		}
	}
	var errs field.ErrorList
	names := map[string]bool{}
	for i, w := range new {
		at := field.NewPath("webhooks").Index(i)
		errs = append(errs, w.validate(l, x, at)...)
		errs = append(errs, validateReviews(w.reviews, l.reviews, at.Child("admissionReviewVersions"))...)
		if !l.names && w.name != "" && names[w.name] {
			errs = append(errs, field.Duplicate(at.Child("name"), w.name))
		}
		names[w.name] = true
	}
	return errs
}

func (w webhook) validate(l leniency, x *expressions, at *field.Path) field.ErrorList {
	errs := utilvalidation.IsFullyQualifiedName(at.Child("name"), w.name)
	for i := range w.rules {
		errs = append(errs, validateRule(&w.rules[i], at.Child("rules").Index(i))...)
	}
	errs = append(errs, supports(at.Child("failurePolicy"), *w.failure, failurePolicies...)...)
	errs = append(errs, supports(at.Child("matchPolicy"), *w.match, matchPolicies...)...)
	errs = append(errs, w.validateEffects(l.effects, at.Child("sideEffects"))...)
	if t := *w.timeout; t != nil && (*t < 1 || *t > 30) {
		errs = append(errs, field.Invalid(at.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds"))
	}
	errs = append(errs, w.validateSelectors(l.selectors, at)...)
	errs = append(errs, supports(at.Child("reinvocationPolicy"), w.again, reinvocations...)...)
	errs = append(errs, validateClient(w.client, at.Child("clientConfig"))...)
	if !l.conditions {
		errs = append(errs, x.conditions(w.conditions, at.Child("matchConditions"))...)
	}
	return errs
}

func (w webhook) validateEffects(lenient bool, at *field.Path) field.ErrorList {
	allowed := noEffects
	if lenient {
		allowed = anyEffects
	}
	if w.effects == nil {
		return field.ErrorList{field.Required(at, "must specify one of "+listed(allowed))}
	}
	return supports(at, w.effects, allowed...)
}

func listed[S ~string](values []S) string {
	var texts []string
	for _, v := range values {
		texts = append(texts, string(v))
	}
	return strings.Join(texts, ", ")
}

func (w webhook) validateSelectors(lenient bool, at *field.Path) field.ErrorList {
	o := metav1validation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: lenient}
	errs := metav1validation.ValidateLabelSelector(*w.namespaces, o, at.Child("namespaceSelector"))
	return append(errs, metav1validation.ValidateLabelSelector(*w.objects, o, at.Child("objectSelector"))...)
}

func validateReviews(versions []string, lenient bool, at *field.Path) field.ErrorList {
	if len(versions) == 0 {
		return field.ErrorList{field.Required(at, "must specify one of "+listed(reviewVersions))}
	}
	var errs field.ErrorList
	for i, v := range versions {
		if slices.Contains(versions[:i], v) {
			errs = append(errs, field.Invalid(at.Index(i), v, "duplicate version"))
			continue
		}
		errs = append(errs, invalid(at.Index(i), v, utilvalidation.IsDNS1035Label(v))...)
	}
	if !lenient && !slices.ContainsFunc(versions, isReview) {
		errs = append(errs, field.Invalid(at, versions, "must include at least one of "+listed(reviewVersions)))
	}
	return errs
}

func validateClient(c *admissionregistrationv1.WebhookClientConfig, at *field.Path) field.ErrorList {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		return field.ErrorList{field.Required(at, "exactly one of url or service is required")}
	case c.URL != nil:
		return validateURL(*c.URL, at.Child("url"))
	}
	return validateService(c.Service, at.Child("service"))
}

const urlForm = "; desired format: https://host[/path]"

func validateURL(text string, at *field.Path) field.ErrorList {
	u, err := url.Parse(text)
	if err != nil {
		return field.ErrorList{field.Required(at, "url must be a valid URL: "+err.Error()+urlForm)}
	}
	var errs field.ErrorList
	if u.Scheme != "https" {
		errs = append(errs, field.Invalid(at, u.Scheme, "'https' is the only allowed URL scheme"+urlForm))
	}
	if u.Host == "" {
		errs = append(errs, field.Invalid(at, u.Host, "host must be specified"+urlForm))
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

// validateService judges where a webhook is. Kubernetes tells of a missing name as of the namespace, and the other way
// round, and so it is here.
func validateService(s *admissionregistrationv1.ServiceReference, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Namespace == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	if s.Name == "" {
		errs = append(errs, field.Required(at.Child("namespace"), ""))
	}
	var port int32
	if s.Port != nil {
		port = *s.Port
	}
	if msgs := utilvalidation.IsValidPortNum(int(port)); msgs != nil {
		errs = append(errs, field.Invalid(at.Child("port"), port, "port is not valid: "+strings.Join(msgs, ", ")))
	}
	if s.Path == nil || *s.Path == "" || *s.Path == "/" {
		return errs
	}
	return append(errs, validateURLPath(*s.Path, at.Child("path"))...)
}

func validateURLPath(path string, at *field.Path) field.ErrorList {
	if path == "//" {
		return field.ErrorList{field.Invalid(at, path, "segment[0] may not be empty")}
	}
	var errs field.ErrorList
	if path[0] != '/' {
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
