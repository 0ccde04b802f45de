package networking

import (
	"context"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// IPAddresses declares networking.k8s.io/v1 IPAddress. Its name is the address.
func IPAddresses() apimachinery.Resource {
	return apimachinery.Resource{
		Name:   resource("ipaddresses"),
		Prefix: "ipaddresses",
		New:    func() apimachinery.Object { return &networkingv1.IPAddress{} },
		Views: []apimachinery.View{{
			GroupVersionKind: networkingv1.SchemeGroupVersion.WithKind("IPAddress"),
			Plural:           "ipaddresses", Short: []string{"ip"},
			Columns: []apimachinery.Column{
				apimachinery.NameColumn(),
				apimachinery.ColumnOf("ParentRef", "string", func(a *networkingv1.IPAddress) any { return parent(a.Spec.ParentRef) }),
			},
		}},
		ValidName: func(name string, _ bool) []string {
			var out []string
			for _, e := range utilvalidation.IsValidIP(&field.Path{}, name) {
				out = append(out, e.Detail)
			}
			return out
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			a := new.(*networkingv1.IPAddress)
			errs := append(core.ValidateFinalizers(a), validateParent(a.Spec.ParentRef)...)
			if o, ok := old.(*networkingv1.IPAddress); ok {
				errs = append(errs, validation.ValidateImmutableField(a.Spec.ParentRef, o.Spec.ParentRef, spec.Child("parentRef"))...)
			}
			return errs
		},
	}
}

func validateParent(p *networkingv1.ParentReference) field.ErrorList {
	at := spec.Child("parentRef")
	if p == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	judge := func(name, value string, rule func(string) []string) {
		if value == "" {
			return
		}
		for _, msg := range rule(value) {
			errs = append(errs, field.Invalid(at.Child(name), value, msg))
		}
	}
	require := func(name, value string) {
		if value == "" {
			errs = append(errs, field.Required(at.Child(name), ""))
		}
		judge(name, value, path.IsValidPathSegmentName)
	}
	judge("group", p.Group, utilvalidation.IsDNS1123Subdomain)
	require("resource", p.Resource)
	require("name", p.Name)
	judge("namespace", p.Namespace, path.IsValidPathSegmentName)
	return errs
}

func parent(p *networkingv1.ParentReference) string {
	if p == nil {
		return "<none>"
	}
	out := strings.ToLower(schema.GroupResource{Group: p.Group, Resource: p.Resource}.String())
	if p.Namespace != "" {
		out += "/" + p.Namespace
	}
	return out + "/" + p.Name
}
