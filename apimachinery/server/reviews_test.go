package server_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/server"
)

// rules allows reading to everybody, everything to root, and can tell.
type rules struct{}

func (rules) Authorize(_ context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
	switch {
	case a.User.Name == "banned":
		return apimachinery.Deny, "banned", nil
	case a.User.Name == "root", a.Verb == "get", a.Group == "authorization.k8s.io", a.Group == "authentication.k8s.io":
		return apimachinery.Allow, "rule", nil
	}
	return apimachinery.NoOpinion, "", nil
}

func (rules) RulesFor(context.Context, apimachinery.User, string) ([]apimachinery.ResourceRule, []apimachinery.PathRule, error) {
	return []apimachinery.ResourceRule{{Verbs: []string{"get"}, Groups: []string{"*"}, Resources: []string{"*"}}}, []apimachinery.PathRule{{Verbs: []string{"get"}, Paths: []string{"*"}}}, nil
}

type tokens struct{}

func (tokens) AuthenticateToken(_ context.Context, token string, audiences []string) (apimachinery.User, []string, bool, error) {
	return apimachinery.User{Name: "somebody", Extra: map[string][]string{"k": {"v"}}}, audiences, token == "good", nil
}

func TestReviews(t *testing.T) {
	with := func(c *server.Config) {
		r, err := apimachinery.NewRegistry(append(resources(), server.ReviewResources(tokens{}, rules{})...)...)
		if err != nil {
			panic(err)
		}
		c.Registry, c.Authorizer = r, rules{}
	}
	ask := func(gv schema.GroupVersion, plural, namespace string, o runtime.Object) *apimachinery.Request {
		return &apimachinery.Request{Verb: "create", Resource: gv.WithResource(plural), Namespace: namespace, Object: o}
	}
	authz, authn := authorizationv1.SchemeGroupVersion, authenticationv1.SchemeGroupVersion
	read := &authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods", Namespace: "default"}
	write := &authorizationv1.ResourceAttributes{Verb: "create", Resource: "pods", Namespace: "default"}
	bothDoors(t, with, func(t *testing.T, d apimachinery.Doer, w *world) {
		self := must[authorizationv1.SelfSubjectAccessReview](t, d, ask(authz, "selfsubjectaccessreviews", "", &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: read}}))
		require.True(t, self.Status.Allowed)
		require.Equal(t, "SelfSubjectAccessReview", self.Kind)
		self = must[authorizationv1.SelfSubjectAccessReview](t, d, ask(authz, "selfsubjectaccessreviews", "", &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: write}}))
		require.False(t, self.Status.Allowed)
		other := must[authorizationv1.SubjectAccessReview](t, d, ask(authz, "subjectaccessreviews", "", &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "banned", NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "get", Path: "/x"}}}))
		require.True(t, other.Status.Denied)
		require.Equal(t, "banned", other.Status.Reason)
		local := must[authorizationv1.LocalSubjectAccessReview](t, d, ask(authz, "localsubjectaccessreviews", "default", &authorizationv1.LocalSubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "root", ResourceAttributes: write}}))
		require.True(t, local.Status.Allowed)
		can := must[authorizationv1.SelfSubjectRulesReview](t, d, ask(authz, "selfsubjectrulesreviews", "", &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}))
		require.Equal(t, []string{"get"}, can.Status.ResourceRules[0].Verbs)
		require.False(t, can.Status.Incomplete)
		me := must[authenticationv1.SelfSubjectReview](t, d, ask(authn, "selfsubjectreviews", "", &authenticationv1.SelfSubjectReview{}))
		require.Equal(t, "tester", me.Status.UserInfo.Username)
		for token, good := range map[string]bool{"good": true, "bad": false} {
			r := must[authenticationv1.TokenReview](t, d, ask(authn, "tokenreviews", "", &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}))
			require.Equal(t, good, r.Status.Authenticated)
			require.Empty(t, r.Spec.Token)
		}
		for _, bad := range []*apimachinery.Request{
			ask(authz, "subjectaccessreviews", "", &authorizationv1.SubjectAccessReview{}),
			ask(authz, "localsubjectaccessreviews", "other", &authorizationv1.LocalSubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "x", ResourceAttributes: read}}),
			ask(authz, "selfsubjectrulesreviews", "", &authorizationv1.SelfSubjectRulesReview{}),
			ask(authn, "tokenreviews", "", &authenticationv1.TokenReview{}),
		} {
			_, _, err := do(t, d, bad)
			require.True(t, apierrors.IsInvalid(err) || apierrors.IsBadRequest(err), "%v", err)
		}
	})
}
