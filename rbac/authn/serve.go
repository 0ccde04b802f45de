package authn

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/bedplate/bedplate/apimachinery"
)

// Serve makes an issuer answer the token subresource of a resource of service accounts, before that goes into a
// registry. TokenRequests then pass through admission like any other object.
func (i *Issuer) Serve(accounts *apimachinery.Resource) {
	subs := map[string]apimachinery.Subresource{}
	for name, s := range accounts.Subs {
		subs[name] = s
	}
	subs["token"] = apimachinery.Subresource{
		Kind:  authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"),
		New:   func() apimachinery.Object { return &authenticationv1.TokenRequest{} },
		Verbs: []string{apimachinery.VerbCreate},
		Do:    i.create,
	}
	accounts.Subs = subs
}

func (i *Issuer) create(ctx context.Context, _ *apimachinery.Request, account, in apimachinery.Object) (apimachinery.Object, error) {
	sa, ok := account.(*corev1.ServiceAccount)
	r, ok2 := in.(*authenticationv1.TokenRequest)
	if !ok || !ok2 {
		return nil, fmt.Errorf("create token: %T of %T is no TokenRequest of a ServiceAccount", in, account)
	}
	return i.Issue(ctx, sa, r)
}
