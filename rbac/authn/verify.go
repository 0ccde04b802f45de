package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
)

// afterlife is how long an object's tokens stay good once its deletion has come due.
const afterlife = 60 * time.Second

// AuthenticateToken implements [apimachinery.TokenAuthenticator]. A token of another issuer is not ours (ok
// false); one that says it is ours and isn't good is an error. Signatures are checked once per token; dates,
// audiences and what the token is bound to, every time.
func (i *Issuer) AuthenticateToken(ctx context.Context, token string, audiences []string) (u apimachinery.User, good []string, ok bool, err error) {
	c, err := i.verify(token)
	if err == nil && c != nil {
		err = i.check(c)
	}
	if c == nil || err != nil {
		return u, nil, false, err
	}
	if audiences == nil {
		audiences = i.config.Audiences
	}
	if good = intersect(audiences, c.Audience); len(good) == 0 {
		return u, nil, false, fmt.Errorf("token audiences %q is invalid for the target audiences %q", []string(c.Audience), audiences)
	}
	if err := i.alive(ctx, &c.Kubernetes); err != nil {
		return u, nil, false, err
	}
	return userOf(c), good, true, nil
}

// isOurs reads the issuer without believing the rest.
func (i *Issuer) isOurs(token string) bool {
	var c jwt.RegisteredClaims
	_, _, err := jwt.NewParser().ParseUnverified(token, &c)
	return err == nil && c.Issuer == i.config.Issuer
}

// verify returns the claims of a token that we have signed, nil if it is another issuer's.
func (i *Issuer) verify(token string) (*claims, error) {
	key := sha256.Sum256([]byte(token))
	if c := i.seen.get(key); c != nil {
		return c, nil
	}
	if !i.isOurs(token) {
		return nil, nil
	}
	c := &claims{}
	if _, err := i.parser.ParseWithClaims(token, c, i.keys.find); err != nil {
		return nil, fmt.Errorf("verify token: %w", err)
	}
	i.seen.put(key, c)
	return c, nil
}

// check judges claims that were signed by us.
func (i *Issuer) check(c *claims) error {
	now, b := i.config.Now(), &c.Kubernetes
	switch {
	case !now.Before(c.ExpiresAt.Time):
		return errors.New("service account token has expired")
	case c.NotBefore != nil && now.Before(c.NotBefore.Time):
		return errors.New("service account token is not valid yet")
	case b.Namespace == "" || b.ServiceAccount.Name == "" || b.ServiceAccount.UID == "":
		return errors.New("token does not name a service account")
	case c.Subject != subjectOf(b.Namespace, b.ServiceAccount.Name):
		return fmt.Errorf("token subject %q does not match its service account", c.Subject)
	}
	return nil
}

// alive looks for what a token is bound to. A pod's node is told, not looked for: the pod lives no longer.
func (i *Issuer) alive(ctx context.Context, b *bound) error {
	if err := i.exists(ctx, "ServiceAccount", b.Namespace, b.ServiceAccount); err != nil {
		return err
	}
	if b.Secret != nil {
		if err := i.exists(ctx, "Secret", b.Namespace, *b.Secret); err != nil {
			return err
		}
	}
	switch {
	case b.Pod != nil:
		return i.exists(ctx, "Pod", b.Namespace, *b.Pod)
	case b.Node != nil:
		return i.exists(ctx, "Node", "", *b.Node)
	}
	return nil
}

func (i *Issuer) exists(ctx context.Context, kind, namespace string, r ref) error {
	o, err := i.config.Getter.Get(ctx, kind, namespace, r.Name)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("the token's %s %s is gone", kind, apimachinery.Key(namespace, r.Name))
	case err != nil:
		return fmt.Errorf("look for the token's %s %s: %w", kind, apimachinery.Key(namespace, r.Name), err)
	case string(o.GetUID()) != r.UID:
		return fmt.Errorf("%s UID (%s) does not match claim (%s)", kind, o.GetUID(), r.UID)
	}
	if t := o.GetDeletionTimestamp(); t != nil && t.Add(afterlife).Before(i.config.Now()) {
		return fmt.Errorf("the token's %s %s has been deleted", kind, apimachinery.Key(namespace, r.Name))
	}
	return nil
}

func userOf(c *claims) apimachinery.User {
	b := &c.Kubernetes
	u := apimachinery.User{
		Name: c.Subject, UID: b.ServiceAccount.UID,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + b.Namespace},
		Extra:  map[string][]string{},
	}
	if c.ID != "" {
		u.Extra[credentialID] = []string{"JTI=" + c.ID}
	}
	extra := func(what string, r *ref) {
		if r == nil {
			return
		}
		u.Extra["authentication.kubernetes.io/"+what+"-name"] = []string{r.Name}
		if r.UID != "" {
			u.Extra["authentication.kubernetes.io/"+what+"-uid"] = []string{r.UID}
		}
	}
	extra("pod", b.Pod)
	extra("node", b.Node)
	return u
}

// maxVerified bounds the memory of checked signatures; when it is full it is emptied.
const maxVerified = 4096

// verified remembers tokens whose signature was good.
type verified struct {
	mu     sync.Mutex
	tokens map[[sha256.Size]byte]*claims
}

func (v *verified) get(key [sha256.Size]byte) *claims {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tokens[key]
}

func (v *verified) put(key [sha256.Size]byte, c *claims) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tokens == nil || len(v.tokens) >= maxVerified {
		v.tokens = map[[sha256.Size]byte]*claims{}
	}
	v.tokens[key] = c
}
