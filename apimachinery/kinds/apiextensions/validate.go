package apiextensions

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
)

var spec = field.NewPath("spec")

// judge judges definitions. It has the language of their rules, which is set up when the first rule is met.
type judge struct {
	rules *cel.Environment
}

func (j *judge) validate(_ context.Context, new, old apimachinery.Object) field.ErrorList {
	n := new.(*apiext.CustomResourceDefinition)
	o, _ := old.(*apiext.CustomResourceDefinition)
	var errs field.ErrorList
	if want := n.Spec.Names.Plural + "." + n.Spec.Group; o == nil && n.Name != want {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), n.Name, `must be spec.names.plural+"."+spec.group`))
	}
	errs = append(errs, j.validateSpec(n, o)...)
	if o != nil {
		errs = append(errs, validateImmutable(n, o)...)
	}
	errs = append(errs, validateNames(&n.Status.AcceptedNames, field.NewPath("status", "acceptedNames"))...)
	errs = append(errs, validateStored(n)...)
	errs = append(errs, validateApproval(n, o)...)
	if n.Spec.PreserveUnknownFields && (o == nil || !o.Spec.PreserveUnknownFields) {
		errs = append(errs, field.Invalid(spec.Child("preserveUnknownFields"), true, "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"))
	}
	return errs
}

func (j *judge) validateSpec(n, o *apiext.CustomResourceDefinition) field.ErrorList {
	s := &n.Spec
	var errs field.ErrorList
	switch msgs := utilvalidation.IsDNS1123Subdomain(s.Group); {
	case s.Group == "":
		errs = append(errs, field.Required(spec.Child("group"), ""))
	case len(msgs) > 0:
		errs = append(errs, field.Invalid(spec.Child("group"), s.Group, strings.Join(msgs, ",")))
	case !strings.Contains(s.Group, "."):
		errs = append(errs, field.Invalid(spec.Child("group"), s.Group, "should be a domain with at least one dot"))
	}
	switch s.Scope {
	case apiext.ClusterScoped, apiext.NamespaceScoped:
	case "":
		errs = append(errs, field.Required(spec.Child("scope"), ""))
	default:
		errs = append(errs, field.NotSupported(spec.Child("scope"), s.Scope, []apiext.ResourceScope{apiext.ClusterScoped, apiext.NamespaceScoped}))
	}
	errs = append(errs, j.validateVersions(n, o)...)
	names := spec.Child("names")
	for _, required := range []struct{ name, value string }{
		{"plural", s.Names.Plural}, {"singular", s.Names.Singular}, {"kind", s.Names.Kind}, {"listKind", s.Names.ListKind},
	} {
		if required.value == "" {
			errs = append(errs, field.Required(names.Child(required.name), ""))
		}
	}
	errs = append(errs, validateNames(&s.Names, names)...)
	return append(errs, validateConversion(n, o)...)
}

// validateNames judges names as far as they are given.
func validateNames(names *apiext.CustomResourceDefinitionNames, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	label := func(at *field.Path, value, judged, prefix string) {
		if msgs := utilvalidation.IsDNS1035Label(judged); value != "" && len(msgs) > 0 {
			errs = append(errs, field.Invalid(at, value, prefix+strings.Join(msgs, ",")))
		}
	}
	const mixed = "may have mixed case, but should otherwise match: "
	label(at.Child("plural"), names.Plural, names.Plural, "")
	label(at.Child("singular"), names.Singular, names.Singular, "")
	label(at.Child("kind"), names.Kind, strings.ToLower(names.Kind), mixed)
	label(at.Child("listKind"), names.ListKind, strings.ToLower(names.ListKind), mixed)
	list := func(at *field.Path, values []string) {
		for i, v := range values {
			if msgs := utilvalidation.IsDNS1035Label(v); len(msgs) > 0 {
				errs = append(errs, field.Invalid(at.Index(i), v, strings.Join(msgs, ",")))
			}
		}
	}
	list(at.Child("shortNames"), names.ShortNames)
	if names.Kind != "" && names.Kind == names.ListKind {
		errs = append(errs, field.Invalid(at.Child("listKind"), names.ListKind, "kind and listKind may not be the same"))
	}
	list(at.Child("categories"), names.Categories)
	return errs
}

// validateImmutable holds what leads to stored objects.
func validateImmutable(n, o *apiext.CustomResourceDefinition) field.ErrorList {
	var errs field.ErrorList
	if IsTrue(o, apiext.Established) {
		errs = append(errs, validation.ValidateImmutableField(n.Spec.Scope, o.Spec.Scope, spec.Child("scope"))...)
		errs = append(errs, validation.ValidateImmutableField(n.Spec.Names.Kind, o.Spec.Names.Kind, spec.Child("names", "kind"))...)
	}
	errs = append(errs, validation.ValidateImmutableField(n.Spec.Group, o.Spec.Group, spec.Child("group"))...)
	return append(errs, validation.ValidateImmutableField(n.Spec.Names.Plural, o.Spec.Names.Plural, spec.Child("names", "plural"))...)
}

// validateStored keeps every version in which objects may be stored.
func validateStored(n *apiext.CustomResourceDefinition) field.ErrorList {
	at, stored := field.NewPath("status", "storedVersions"), n.Status.StoredVersions
	if len(stored) == 0 {
		return field.ErrorList{field.Invalid(at, stored, "must have at least one stored version")}
	}
	var errs field.ErrorList
	known := map[string]bool{}
	for i := range n.Spec.Versions {
		v := &n.Spec.Versions[i]
		known[v.Name] = true
		if v.Storage && !slices.Contains(stored, v.Name) {
			errs = append(errs, field.Invalid(at, stored, "must have the storage version "+v.Name))
		}
	}
	for i, v := range stored {
		if !known[v] {
			errs = append(errs, field.Invalid(at.Index(i), v, fmt.Sprintf("missing from spec.versions; %[1]s was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in %[1]s and removes %[1]s from status.storedVersions", v)))
		}
	}
	return errs
}

// Approval is what a definition's annotation says of whether the community has approved its API.
type Approval int

// The states of approval.
const (
	ApprovalMissing Approval = iota
	ApprovalInvalid
	ApprovalBypassed
	Approved
)

// Protected says whether a group belongs to the Kubernetes community, which wants to approve what is in it.
func Protected(group string) bool {
	for _, of := range []string{"k8s.io", "kubernetes.io"} {
		if group == of || strings.HasSuffix(group, "."+of) {
			return true
		}
	}
	return false
}

// ApprovalOf reads the annotation, and says why.
func ApprovalOf(annotations map[string]string) (Approval, string) {
	text := annotations[apiext.KubeAPIApprovedAnnotation]
	u, err := url.ParseRequestURI(text)
	switch {
	case text == "":
		return ApprovalMissing, fmt.Sprintf("protected groups must have approval annotation %q, see https://github.com/kubernetes/enhancements/pull/1111", apiext.KubeAPIApprovedAnnotation)
	case strings.HasPrefix(text, "unapproved"):
		return ApprovalBypassed, fmt.Sprintf("not approved: %q", text)
	case err == nil && u.Host != "" && u.Scheme != "":
		return Approved, "approved in " + text
	}
	return ApprovalInvalid, fmt.Sprintf("protected groups must have approval annotation %q with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111", apiext.KubeAPIApprovedAnnotation)
}

func validateApproval(n, o *apiext.CustomResourceDefinition) field.ErrorList {
	if !Protected(n.Spec.Group) {
		return nil
	}
	state, reason := ApprovalOf(n.Annotations)
	if o != nil {
		if before, _ := ApprovalOf(o.Annotations); before == state {
			return nil
		}
	}
	at := field.NewPath("metadata", "annotations").Key(apiext.KubeAPIApprovedAnnotation)
	switch state {
	case ApprovalMissing:
		return field.ErrorList{field.Required(at, reason)}
	case ApprovalInvalid:
		return field.ErrorList{field.Invalid(at, n.Annotations[apiext.KubeAPIApprovedAnnotation], reason)}
	}
	return nil
}
