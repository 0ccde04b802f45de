package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// claims are those of a bound token.
type claims struct {
	jwt.RegisteredClaims
	Kubernetes bound `json:"kubernetes.io"`
}

// bound is what a token belongs to, and what it dies with.
type bound struct {
	Namespace      string `json:"namespace,omitempty"`
	Node           *ref   `json:"node,omitempty"`
	Pod            *ref   `json:"pod,omitempty"`
	Secret         *ref   `json:"secret,omitempty"`
	ServiceAccount ref    `json:"serviceaccount,omitzero"`
}

type ref struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
}

// keyring finds the public key of a token by the id in its header.
type keyring map[string]verifier

type verifier struct {
	key    crypto.PublicKey
	method jwt.SigningMethod
}

// add takes a public key in, and returns its id.
func (k keyring) add(key crypto.PublicKey) (id string, method jwt.SigningMethod, err error) {
	if method, err = methodOf(key); err != nil {
		return "", nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", nil, err
	}
	sum := sha256.Sum256(der)
	id = base64.RawURLEncoding.EncodeToString(sum[:])
	k[id] = verifier{key, method}
	return id, method, nil
}

func methodOf(key crypto.PublicKey) (jwt.SigningMethod, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return jwt.SigningMethodES256, nil
		}
		return nil, fmt.Errorf("key on curve %s: only P-256 is supported", k.Curve.Params().Name)
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return nil, fmt.Errorf("RSA key of %d bits: at least 2048 are needed", k.N.BitLen())
		}
		return jwt.SigningMethodRS256, nil
	}
	return nil, fmt.Errorf("key of type %T: only ECDSA P-256 and RSA are supported", key)
}

var errWrongKey = errors.New("no key of this issuer has signed it")

// find is asked by the parser. The algorithm is the key's, whatever the token claims, so that neither "none" nor
// a public key used as a shared secret gets through.
func (k keyring) find(t *jwt.Token) (any, error) {
	id, _ := t.Header["kid"].(string)
	v, ok := k[id]
	if !ok {
		return nil, errWrongKey
	}
	if t.Method != v.method {
		return nil, fmt.Errorf("signed with %s, where the key is for %s", t.Method.Alg(), v.method.Alg())
	}
	return v.key, nil
}
