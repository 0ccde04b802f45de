package clientgo

import (
	"testing"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/bedplate/bedplate"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/internal/interop/plane"
)

func whoami(t *testing.T, c *rest.Config) authenticationv1.UserInfo {
	t.Helper()
	k, err := kubernetes.NewForConfig(c)
	require.NoError(t, err)
	r, err := k.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	require.NoError(t, err)
	return r.Status.UserInfo
}

// TestIdentities: certificates, static tokens, tokens of service accounts and impersonation each say who somebody is,
// and RBAC what he may.
func TestIdentities(t *testing.T) {
	p, admin := plane.Start(t, bedplate.Config{Tokens: map[string]apimachinery.User{"sesame": {Name: "ali", Groups: []string{"thieves"}}}})
	for _, config := range []*rest.Config{admin, plane.Protobuf(admin)} {
		k, err := kubernetes.NewForConfig(config)
		require.NoError(t, err)
		require.Equal(t, "admin", whoami(t, config).Username)
		require.Equal(t, []string{"developers", "system:authenticated"}, whoami(t, plane.User(t, p, "jane", "developers")).Groups)

		token := rest.AnonymousClientConfig(config)
		token.BearerToken = "sesame"
		require.Equal(t, "ali", whoami(t, token).Username)
		token.BearerToken = "seed"
		bad, err := kubernetes.NewForConfig(token)
		require.NoError(t, err)
		_, err = bad.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
		require.True(t, apierrors.IsUnauthorized(err), "%v", err)

		accounts := k.CoreV1().ServiceAccounts("default")
		_, err = accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
		require.NoError(t, err)
		request, err := accounts.CreateToken(t.Context(), "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		require.NoError(t, err)
		robot := rest.AnonymousClientConfig(config)
		robot.BearerToken = request.Status.Token
		require.Equal(t, "system:serviceaccount:default:robot", whoami(t, robot).Username)
		review, err := k.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: request.Status.Token}}, metav1.CreateOptions{})
		require.NoError(t, err)
		require.True(t, review.Status.Authenticated)

		other := rest.CopyConfig(config)
		other.Impersonate = rest.ImpersonationConfig{UserName: "joe", Groups: []string{"ops"}, Extra: map[string][]string{"reason": {"a", "b"}}}
		joe := whoami(t, other)
		require.Equal(t, "joe", joe.Username)
		require.Equal(t, authenticationv1.ExtraValue{"a", "b"}, joe.Extra["reason"])
		allowed(t, k, other)
		require.NoError(t, accounts.Delete(t.Context(), "robot", metav1.DeleteOptions{}))
	}
}

// allowed gives somebody a right, asks for it in every way, and takes it away.
func allowed(t *testing.T, k kubernetes.Interface, joe *rest.Config) {
	t.Helper()
	as, err := kubernetes.NewForConfig(joe)
	require.NoError(t, err)
	_, err = as.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	_, err = k.RbacV1().Roles("default").Create(t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"secrets"}}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = k.RbacV1().RoleBindings("default").Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "r"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "r"}, Subjects: []rbacv1.Subject{{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "ops"}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	eventually(t, func() bool {
		_, err = as.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
		return err == nil
	})
	may, err := as.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: "default", Verb: "list", Resource: "secrets"}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.True(t, may.Status.Allowed)
	rules, err := as.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Contains(t, rules.Status.ResourceRules, authorizationv1.ResourceRule{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"secrets"}})
	require.NoError(t, k.RbacV1().RoleBindings("default").Delete(t.Context(), "r", metav1.DeleteOptions{}))
	require.NoError(t, k.RbacV1().Roles("default").Delete(t.Context(), "r", metav1.DeleteOptions{}))
}
