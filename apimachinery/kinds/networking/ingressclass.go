package networking

import (
	"context"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
)

// IngressClasses declares networking.k8s.io/v1 IngressClass. The one that is annotated as the default is what
// admission/defaultclass gives to Ingresses that name none.
func IngressClasses() apimachinery.Resource {
	type class = *networkingv1.IngressClass
	name := apimachinery.NameColumn()
	name.Cell = func(o apimachinery.Object) any {
		if o.GetAnnotations()[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
			return o.GetName() + " (default)"
		}
		return o.GetName()
	}
	return apimachinery.Resource{
		Name:   resource("ingressclasses"),
		Prefix: "ingressclasses",
		New:    func() apimachinery.Object { return &networkingv1.IngressClass{} },
		Views: []apimachinery.View{{
			GroupVersionKind: networkingv1.SchemeGroupVersion.WithKind("IngressClass"),
			Plural:           "ingressclasses",
			Columns: []apimachinery.Column{
				name,
				apimachinery.ColumnOf("Controller", "string", func(c class) any { return c.Spec.Controller }),
				apimachinery.ColumnOf("Parameters", "string", func(c class) any { return parameters(c.Spec.Parameters) }),
				apimachinery.AgeColumn(),
			},
		}},
		Default: func(o apimachinery.Object) {
			if p := o.(class).Spec.Parameters; p != nil && p.Scope == nil {
				cluster := networkingv1.IngressClassParametersReferenceScopeCluster
				p.Scope = &cluster
			}
		},
		Prepare: func(_ context.Context, new, old apimachinery.Object) {
			n := new.(class)
			if old == nil {
				n.Generation = 1
			} else if o := old.(class); !equality.Semantic.DeepEqual(n.Spec, o.Spec) {
				n.Generation = o.Generation + 1
			}
		},
		Validate: func(_ context.Context, new, old apimachinery.Object) field.ErrorList {
			n := new.(class)
			errs := append(core.ValidateFinalizers(n), validateController(n.Spec.Controller)...)
			errs = append(errs, validateParameters(n.Spec.Parameters)...)
			if o, ok := old.(class); ok {
				errs = append(errs, validation.ValidateImmutableField(n.Spec.Controller, o.Spec.Controller, spec.Child("controller"))...)
			}
			return errs
		},
	}
}

func validateController(c string) field.ErrorList {
	const most = 250
	var errs field.ErrorList
	if len(c) > most {
		errs = append(errs, field.TooLong(spec.Child("controller"), "", most))
	}
	return append(errs, utilvalidation.IsDomainPrefixedPath(spec.Child("controller"), c)...)
}

func validateParameters(p *networkingv1.IngressClassParametersReference) field.ErrorList {
	if p == nil {
		return nil
	}
	at := spec.Child("parameters")
	errs := append(validateGroup(p.APIGroup, at), append(requiredSegment(at.Child("kind"), p.Kind), requiredSegment(at.Child("name"), p.Name)...)...)
	scopes := []string{networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace}
	switch namespace := at.Child("namespace"); {
	case p.Scope == nil:
		errs = append(errs, field.Required(at.Child("scope"), ""))
	case !slices.Contains(scopes, *p.Scope):
		errs = append(errs, field.NotSupported(at.Child("scope"), *p.Scope, scopes))
	case *p.Scope == networkingv1.IngressClassParametersReferenceScopeCluster:
		if p.Namespace != nil {
			errs = append(errs, field.Forbidden(namespace, "`parameters.scope` is set to 'Cluster'"))
		}
	case p.Namespace == nil:
		errs = append(errs, field.Required(namespace, "`parameters.scope` is set to 'Namespace'"))
	default:
		errs = append(errs, invalid(namespace, *p.Namespace, validation.ValidateNamespaceName(*p.Namespace, false))...)
	}
	return errs
}

func parameters(p *networkingv1.IngressClassParametersReference) string {
	if p == nil {
		return "<none>"
	}
	out := p.Kind
	if p.APIGroup != nil {
		out += "." + *p.APIGroup
	}
	return out + "/" + p.Name
}
