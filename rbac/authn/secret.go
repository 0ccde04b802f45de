package authn

import (
	"context"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// secretLife is that of tokens which are kept in Secrets: for as long as the secret is there, in practice.
const secretLife = 100 * 365 * 24 * time.Hour

// IssueSecretToken makes the token that a Secret of type kubernetes.io/service-account-token holds. It dies with the
// secret and with the service account.
func (i *Issuer) IssueSecretToken(_ context.Context, sa *corev1.ServiceAccount, secret *corev1.Secret) (string, error) {
	now := i.config.Now()
	token, err := i.sign(claims{
		Kubernetes: bound{
			Namespace: sa.Namespace, ServiceAccount: ref{sa.Name, string(sa.UID)}, Secret: &ref{secret.Name, string(secret.UID)},
		},
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: i.config.Issuer, Subject: subjectOf(sa.Namespace, sa.Name), Audience: i.config.Audiences, ID: string(uuid.NewUUID()),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(secretLife)),
		},
	})
	if err != nil {
		return "", fmt.Errorf("sign token of %s/%s for secret %s: %w", sa.Namespace, sa.Name, secret.Name, err)
	}
	return token, nil
}
