package authn

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
)

// The bounds of a token's life. Kubernetes asks for 3607 seconds where it mounts tokens into pods.
const (
	minLife     = 10 * time.Minute
	defaultLife = time.Hour
)

// Getter finds what tokens are bound to. kind is ServiceAccount, Pod, Node or Secret, of the core group; the
// error is an apierrors NotFound if there is no such object. It should not lag far behind.
type Getter interface {
	Get(ctx context.Context, kind, namespace, name string) (apimachinery.Object, error)
}

// GetterFunc adapts a function to a [Getter].
type GetterFunc func(ctx context.Context, kind, namespace, name string) (apimachinery.Object, error)

// Get calls f.
func (f GetterFunc) Get(ctx context.Context, kind, namespace, name string) (apimachinery.Object, error) {
	return f(ctx, kind, namespace, name)
}

// IssuerConfig is what an [Issuer] needs.
type IssuerConfig struct {
	// Issuer is the "iss" of tokens; default "https://kubernetes.default.svc.cluster.local".
	Issuer string
	// Key signs: ECDSA P-256 or RSA of at least 2048 bits. Required.
	Key crypto.Signer
	// Former are public keys whose tokens are still good.
	Former []crypto.PublicKey
	// Audiences are the server's own; default: the Issuer.
	Audiences []string
	// MaxLife is the longest life of a token; default 24 hours. Who asks for more gets this.
	MaxLife time.Duration
	// Getter finds what tokens are bound to. Required.
	Getter Getter
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

func (c *IssuerConfig) validate() error {
	switch {
	case c.Key == nil:
		return errors.New("token issuer: Key must be set")
	case c.Getter == nil:
		return errors.New("token issuer: Getter must be set")
	case c.MaxLife != 0 && c.MaxLife < time.Hour:
		return fmt.Errorf("token issuer: MaxLife is %v, and must be at least an hour", c.MaxLife)
	}
	if c.Issuer == "" {
		c.Issuer = "https://kubernetes.default.svc.cluster.local"
	}
	if len(c.Audiences) == 0 {
		c.Audiences = []string{c.Issuer}
	}
	if c.MaxLife == 0 {
		c.MaxLife = 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Issuer makes and checks the tokens of service accounts. It is safe for concurrent use.
type Issuer struct {
	config IssuerConfig
	keys   keyring
	kid    string
	method jwt.SigningMethod
	parser *jwt.Parser
	seen   verified
}

var _ apimachinery.TokenAuthenticator = (*Issuer)(nil)

// NewIssuer makes an Issuer.
func NewIssuer(c IssuerConfig) (*Issuer, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	i := &Issuer{config: c, keys: keyring{}}
	var err error
	if i.kid, i.method, err = i.keys.add(c.Key.Public()); err != nil {
		return nil, fmt.Errorf("token issuer: %w", err)
	}
	for _, k := range c.Former {
		if _, _, err := i.keys.add(k); err != nil {
			return nil, fmt.Errorf("token issuer: former key: %w", err)
		}
	}
	i.parser = jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg(), jwt.SigningMethodRS256.Alg()}),
		jwt.WithTimeFunc(c.Now), jwt.WithExpirationRequired(), jwt.WithIssuer(c.Issuer),
	)
	return i, nil
}

// Issue answers a TokenRequest for a service account: the result is a copy of it with Status filled in and, where
// they were left out, audiences and expirationSeconds. Errors are those of Kubernetes: Invalid for a life below 10
// minutes, NotFound and Conflict for what the token should be bound to.
func (i *Issuer) Issue(ctx context.Context, sa *corev1.ServiceAccount, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	out := request.DeepCopy()
	if err := i.complete(sa, out); err != nil {
		return nil, err
	}
	binding := bound{Namespace: sa.Namespace, ServiceAccount: ref{sa.Name, string(sa.UID)}}
	if out.Spec.BoundObjectRef != nil {
		if err := i.bind(ctx, sa, out.Spec.BoundObjectRef, &binding); err != nil {
			return nil, err
		}
	}
	now := i.config.Now()
	ends := now.Add(time.Duration(*out.Spec.ExpirationSeconds) * time.Second)
	token, err := i.sign(claims{Kubernetes: binding, RegisteredClaims: jwt.RegisteredClaims{
		Issuer: i.config.Issuer, Subject: subjectOf(sa.Namespace, sa.Name), Audience: out.Spec.Audiences, ID: string(uuid.NewUUID()),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(ends),
	}})
	if err != nil {
		return nil, fmt.Errorf("sign token of %s/%s: %w", sa.Namespace, sa.Name, err)
	}
	out.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(ends.Truncate(time.Second))}
	return out, nil
}

func subjectOf(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}

func (i *Issuer) sign(c claims) (string, error) {
	t := jwt.NewWithClaims(i.method, c)
	delete(t.Header, "typ") // as Kubernetes has it
	t.Header["kid"] = i.kid
	return t.SignedString(i.config.Key)
}

// complete checks a request and fills in what it left out.
func (i *Issuer) complete(sa *corev1.ServiceAccount, r *authenticationv1.TokenRequest) error {
	var errs field.ErrorList
	if r.Name != "" && r.Name != sa.Name {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), r.Name, "must match the service account name"))
	}
	if r.Namespace != "" && r.Namespace != sa.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "namespace"), r.Namespace, "must match the service account namespace"))
	}
	r.Name, r.Namespace = sa.Name, sa.Namespace
	if len(r.Spec.Audiences) == 0 {
		r.Spec.Audiences = slices.Clone(i.config.Audiences)
	}
	if r.Spec.ExpirationSeconds == nil {
		r.Spec.ExpirationSeconds = seconds(defaultLife)
	}
	life, path := *r.Spec.ExpirationSeconds, field.NewPath("spec", "expirationSeconds")
	if life < int64(minLife/time.Second) {
		errs = append(errs, field.Invalid(path, life, "may not specify a duration less than 10 minutes"))
	}
	if life > 1<<32 {
		errs = append(errs, field.Invalid(path, life, "may not specify a duration larger than 2^32 seconds"))
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: authenticationv1.GroupName, Kind: "TokenRequest"}, sa.Name, errs)
	}
	if most := seconds(i.config.MaxLife); life > *most {
		r.Spec.ExpirationSeconds = most
	}
	return nil
}

func seconds(d time.Duration) *int64 {
	s := int64(d / time.Second)
	return &s
}

// bind resolves what a token shall be bound to.
func (i *Issuer) bind(ctx context.Context, sa *corev1.ServiceAccount, to *authenticationv1.BoundObjectReference, b *bound) error {
	if to.APIVersion != "v1" || to.Kind != "Pod" && to.Kind != "Secret" && to.Kind != "Node" {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", schema.FromAPIVersionAndKind(to.APIVersion, to.Kind)))
	}
	namespace := sa.Namespace
	if to.Kind == "Node" {
		namespace = ""
	}
	o, err := i.config.Getter.Get(ctx, to.Kind, namespace, to.Name)
	if err != nil {
		return err
	}
	if to.UID != "" && to.UID != o.GetUID() {
		return conflict(to)
	}
	r := &ref{to.Name, string(o.GetUID())}
	switch to.Kind {
	case "Secret":
		b.Secret = r
	case "Node":
		b.Node = r
	case "Pod":
		b.Pod = r
		return i.bindPod(ctx, sa, o.(*corev1.Pod), b)
	}
	return nil
}

func (i *Issuer) bindPod(ctx context.Context, sa *corev1.ServiceAccount, p *corev1.Pod, b *bound) error {
	if p.Spec.ServiceAccountName != sa.Name {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", sa.Name))
	}
	if p.Spec.NodeName == "" {
		return nil
	}
	b.Node = &ref{Name: p.Spec.NodeName}
	switch node, err := i.config.Getter.Get(ctx, "Node", "", p.Spec.NodeName); {
	case apierrors.IsNotFound(err):
		return nil // its uid is left out
	case err != nil:
		return err
	default:
		b.Node.UID = string(node.GetUID())
	}
	return nil
}

func conflict(to *authenticationv1.BoundObjectReference) error {
	gr := schema.GroupResource{Resource: map[string]string{"Pod": "pods", "Secret": "secrets", "Node": "nodes"}[to.Kind]}
	return apierrors.NewConflict(gr, to.Name, fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", to.UID))
}
