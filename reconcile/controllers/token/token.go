// Package token fills Secrets of type kubernetes.io/service-account-token with a token of their service account, and
// deletes them when it goes. Pods don't need them: their tokens are requested, and end with them.
package token

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// Issuer makes tokens that don't expire, for as long as the secret is there.
type Issuer interface {
	IssueSecretToken(ctx context.Context, account *corev1.ServiceAccount, secret *corev1.Secret) (string, error)
}

// Config configures the controller.
type Config struct {
	Issuer Issuer
	// CA goes into the secrets beside the token, in PEM.
	CA []byte
}

const byAccount = "token.account"

// Add adds the controller to a manager whose client knows Secret and ServiceAccount.
func Add(m *reconcile.Manager, c Config) error {
	if c.Issuer == nil {
		return errors.New("add controller token: Issuer must be set")
	}
	secrets, err := reconcile.Informer[*corev1.Secret](m)
	if err != nil {
		return fmt.Errorf("add controller token: %w", err)
	}
	if err := secrets.EnsureIndex(byAccount, accountKeys); err != nil {
		return fmt.Errorf("add controller token: %w", err)
	}
	t := &controller{
		Config: c, secretCache: secrets,
		secrets: client.For[*corev1.Secret](m.Client()), accounts: client.For[*corev1.ServiceAccount](m.Client()),
	}
	return reconcile.Add(m, reconcile.Controller[*corev1.Secret]{
		Name: "token", Reconcile: t.reconcile,
		Watches: []reconcile.Watch{reconcile.Watches(t.forAccount)},
	})
}

type controller struct {
	Config
	secretCache *informer.Informer[*corev1.Secret]
	secrets     client.Resource[*corev1.Secret]
	accounts    client.Resource[*corev1.ServiceAccount]
}

func accountKeys(s *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeServiceAccountToken {
		return nil
	}
	return []string{apimachinery.Key(s.Namespace, s.Annotations[corev1.ServiceAccountNameKey])}
}

func (c *controller) forAccount(sa *corev1.ServiceAccount) (keys []string) {
	for s := range c.secretCache.ByIndex(byAccount, apimachinery.KeyOf(sa)) {
		keys = append(keys, apimachinery.KeyOf(s))
	}
	return keys
}

// Action is what a secret needs.
type Action int

// The actions.
const (
	Nothing Action = iota
	Fill
	Remove
)

// Diff says what a secret needs; account is nil if there is none of its name. It is a pure function.
func Diff(s *corev1.Secret, account *corev1.ServiceAccount, ca []byte) Action {
	if s.Type != corev1.SecretTypeServiceAccountToken || s.DeletionTimestamp != nil {
		return Nothing
	}
	uid := s.Annotations[corev1.ServiceAccountUIDKey]
	switch {
	case account == nil, uid != "" && uid != string(account.UID):
		return Remove
	case uid == "", len(s.Data[corev1.ServiceAccountTokenKey]) == 0, !bytes.Equal(s.Data[corev1.ServiceAccountRootCAKey], ca),
		string(s.Data[corev1.ServiceAccountNamespaceKey]) != s.Namespace:
		return Fill
	}
	return Nothing
}

func (c *controller) reconcile(ctx context.Context, s *corev1.Secret) (reconcile.Result, error) {
	if s.Type != corev1.SecretTypeServiceAccountToken {
		return reconcile.Result{}, nil
	}
	if s.Annotations[corev1.ServiceAccountNameKey] == "" {
		return reconcile.Result{}, reconcile.Terminal(fmt.Errorf("secret %s names no service account", apimachinery.KeyOf(s)))
	}
	// A cache that does not show an account yet must not cost it its secrets: the API is asked.
	account, err := c.accounts.Get(ctx, s.Namespace, s.Annotations[corev1.ServiceAccountNameKey])
	if apierrors.IsNotFound(err) {
		account, err = nil, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	switch Diff(s, account, c.CA) {
	case Fill:
		err = c.fill(ctx, s, account)
	case Remove:
		err = c.secrets.Delete(ctx, s.Namespace, s.Name, client.IfUID(s.UID), client.IfVersion(s.ResourceVersion))
	}
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return reconcile.Result{}, err
}

func (c *controller) fill(ctx context.Context, s *corev1.Secret, account *corev1.ServiceAccount) error {
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	if len(s.Data[corev1.ServiceAccountTokenKey]) == 0 {
		token, err := c.Issuer.IssueSecretToken(ctx, account, s)
		if err != nil {
			return fmt.Errorf("issue a token for %s: %w", apimachinery.KeyOf(account), err)
		}
		s.Data[corev1.ServiceAccountTokenKey] = []byte(token)
	}
	s.Data[corev1.ServiceAccountRootCAKey], s.Data[corev1.ServiceAccountNamespaceKey] = c.CA, []byte(s.Namespace)
	s.Annotations[corev1.ServiceAccountUIDKey] = string(account.UID)
	_, err := c.secrets.Update(ctx, s)
	return err
}
