package server

import (
	"context"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// ReviewResources are the questions that clients ask about identity and permission: TokenReview (where authn is
// not nil) and SelfSubjectReview of authentication.k8s.io, and SubjectAccessReview, LocalSubjectAccessReview,
// SelfSubjectAccessReview and SelfSubjectRulesReview of authorization.k8s.io. authz nil allows everything, as in
// [Config]. Rules are listed if authz is an apimachinery.Rules.
func ReviewResources(authn apimachinery.TokenAuthenticator, authz apimachinery.Authorizer) []apimachinery.Resource {
	list := []apimachinery.Resource{
		review(authenticationv1.SchemeGroupVersion.WithKind("SelfSubjectReview"), "selfsubjectreviews", false, reviewSelf),
		review(authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview"), "subjectaccessreviews", false, reviewAccess(authz)),
		review(authorizationv1.SchemeGroupVersion.WithKind("LocalSubjectAccessReview"), "localsubjectaccessreviews", true, reviewLocalAccess(authz)),
		review(authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview"), "selfsubjectaccessreviews", false, reviewSelfAccess(authz)),
		review(authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectRulesReview"), "selfsubjectrulesreviews", false, reviewRules(authz)),
	}
	if authn != nil {
		list = append(list, review(authenticationv1.SchemeGroupVersion.WithKind("TokenReview"), "tokenreviews", false, reviewToken(authn)))
	}
	return list
}

// review declares a resource of Go type T that stores nothing.
func review[T any, P interface {
	*T
	apimachinery.Object
}](gvk schema.GroupVersionKind, plural string, namespaced bool, answer func(context.Context, *apimachinery.Request, P) error) apimachinery.Resource {
	return apimachinery.Resource{
		Name:       schema.GroupResource{Group: gvk.Group, Resource: plural},
		Namespaced: namespaced,
		New:        func() apimachinery.Object { return P(new(T)) },
		Views:      []apimachinery.View{{GroupVersionKind: gvk, Plural: plural}},
		Verbs:      []string{apimachinery.VerbCreate},
		Virtual: func(ctx context.Context, r *apimachinery.Request, o apimachinery.Object) (apimachinery.Object, error) {
			p := o.(P)
			return p, answer(ctx, r, p)
		},
	}
}

func reviewSelf(_ context.Context, r *apimachinery.Request, o *authenticationv1.SelfSubjectReview) error {
	o.CreationTimestamp = metav1.Now()
	o.Status = authenticationv1.SelfSubjectReviewStatus{UserInfo: userInfo(r.User)}
	return nil
}

func userInfo(u apimachinery.User) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: u.Name, UID: u.UID, Groups: u.Groups}
	for k, v := range u.Extra {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[k] = v
	}
	return info
}

func reviewToken(authn apimachinery.TokenAuthenticator) func(context.Context, *apimachinery.Request, *authenticationv1.TokenReview) error {
	return func(ctx context.Context, _ *apimachinery.Request, o *authenticationv1.TokenReview) error {
		if o.Spec.Token == "" {
			return apierrors.NewBadRequest("token is required for TokenReview in authentication")
		}
		u, good, ok, err := authn.AuthenticateToken(ctx, o.Spec.Token, o.Spec.Audiences)
		o.Status = authenticationv1.TokenReviewStatus{Authenticated: ok && err == nil}
		switch {
		case err != nil:
			o.Status.Error = err.Error()
		case ok:
			o.Status.User, o.Status.Audiences = userInfo(u), good
		}
		o.Spec.Token = "" // nobody needs to see it again
		return nil
	}
}

func reviewAccess(authz apimachinery.Authorizer) func(context.Context, *apimachinery.Request, *authorizationv1.SubjectAccessReview) error {
	return func(ctx context.Context, _ *apimachinery.Request, o *authorizationv1.SubjectAccessReview) error {
		if errs := checkReview(&o.Spec); len(errs) > 0 {
			return apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview").GroupKind(), "", errs)
		}
		o.Status = decide(ctx, authz, &o.Spec)
		return nil
	}
}

func reviewLocalAccess(authz apimachinery.Authorizer) func(context.Context, *apimachinery.Request, *authorizationv1.LocalSubjectAccessReview) error {
	return func(ctx context.Context, r *apimachinery.Request, o *authorizationv1.LocalSubjectAccessReview) error {
		errs := checkReview(&o.Spec)
		path := field.NewPath("spec", "resourceAttributes", "namespace")
		switch a := o.Spec.ResourceAttributes; {
		case o.Spec.NonResourceAttributes != nil:
			errs = append(errs, field.Invalid(field.NewPath("spec", "nonResourceAttributes"), "", "disallowed on this kind of request"))
		case a != nil && a.Namespace != r.Namespace:
			errs = append(errs, field.Invalid(path, a.Namespace, "must match metadata.namespace"))
		}
		if len(errs) > 0 {
			return apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind("LocalSubjectAccessReview").GroupKind(), "", errs)
		}
		o.Status = decide(ctx, authz, &o.Spec)
		return nil
	}
}

func reviewSelfAccess(authz apimachinery.Authorizer) func(context.Context, *apimachinery.Request, *authorizationv1.SelfSubjectAccessReview) error {
	return func(ctx context.Context, r *apimachinery.Request, o *authorizationv1.SelfSubjectAccessReview) error {
		spec := authorizationv1.SubjectAccessReviewSpec{
			ResourceAttributes: o.Spec.ResourceAttributes, NonResourceAttributes: o.Spec.NonResourceAttributes,
			User: r.User.Name, UID: r.User.UID, Groups: r.User.Groups,
		}
		for k, v := range r.User.Extra {
			if spec.Extra == nil {
				spec.Extra = map[string]authorizationv1.ExtraValue{}
			}
			spec.Extra[k] = v
		}
		if errs := checkReview(&spec); len(errs) > 0 {
			return apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview").GroupKind(), "", errs)
		}
		o.Status = decide(ctx, authz, &spec)
		return nil
	}
}

func checkReview(s *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	switch {
	case s.ResourceAttributes != nil && s.NonResourceAttributes != nil:
		errs = append(errs, field.Invalid(spec.Child("nonResourceAttributes"), s.NonResourceAttributes, "cannot be specified in combination with resourceAttributes"))
	case s.ResourceAttributes == nil && s.NonResourceAttributes == nil:
		errs = append(errs, field.Invalid(spec.Child("resourceAttributes"), s.NonResourceAttributes, "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if s.User == "" && len(s.Groups) == 0 {
		errs = append(errs, field.Invalid(spec.Child("user"), s.User, "at least one of user or group must be specified"))
	}
	return errs
}

func decide(ctx context.Context, authz apimachinery.Authorizer, s *authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
	if authz == nil {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: true}
	}
	a := apimachinery.Attributes{User: apimachinery.User{Name: s.User, UID: s.UID, Groups: s.Groups}}
	for k, v := range s.Extra {
		if a.User.Extra == nil {
			a.User.Extra = map[string][]string{}
		}
		a.User.Extra[strings.ToLower(k)] = v
	}
	if x := s.ResourceAttributes; x != nil {
		a.Verb, a.Group, a.Version, a.Resource, a.Sub = x.Verb, x.Group, x.Version, x.Resource, x.Subresource
		a.Namespace, a.Name = x.Namespace, x.Name
	} else {
		a.Verb, a.Path = s.NonResourceAttributes.Verb, s.NonResourceAttributes.Path
	}
	d, reason, err := authz.Authorize(ctx, &a)
	status := authorizationv1.SubjectAccessReviewStatus{
		Allowed: d == apimachinery.Allow, Denied: d == apimachinery.Deny, Reason: reason,
	}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return status
}

func reviewRules(authz apimachinery.Authorizer) func(context.Context, *apimachinery.Request, *authorizationv1.SelfSubjectRulesReview) error {
	return func(ctx context.Context, r *apimachinery.Request, o *authorizationv1.SelfSubjectRulesReview) error {
		if o.Spec.Namespace == "" {
			return apierrors.NewBadRequest("no namespace on request")
		}
		o.Status = authorizationv1.SubjectRulesReviewStatus{
			ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{},
		}
		rules, ok := authz.(apimachinery.Rules)
		switch {
		case authz == nil:
			all := []string{"*"}
			o.Status.ResourceRules = append(o.Status.ResourceRules, authorizationv1.ResourceRule{Verbs: all, APIGroups: all, Resources: all})
			o.Status.NonResourceRules = append(o.Status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: all, NonResourceURLs: all})
			return nil
		case !ok:
			o.Status.Incomplete, o.Status.EvaluationError = true, "the authorizer does not list rules"
			return nil
		}
		resources, paths, err := rules.RulesFor(ctx, r.User, o.Spec.Namespace)
		if err != nil {
			o.Status.Incomplete, o.Status.EvaluationError = true, err.Error()
		}
		for _, x := range resources {
			o.Status.ResourceRules = append(o.Status.ResourceRules, authorizationv1.ResourceRule{
				Verbs: slices.Clone(x.Verbs), APIGroups: slices.Clone(x.Groups), Resources: slices.Clone(x.Resources), ResourceNames: slices.Clone(x.Names),
			})
		}
		for _, x := range paths {
			o.Status.NonResourceRules = append(o.Status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: slices.Clone(x.Verbs), NonResourceURLs: slices.Clone(x.Paths)})
		}
		return nil
	}
}
