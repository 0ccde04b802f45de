package seal

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/nacl/secretbox"
)

const (
	boxKey   = 32
	boxNonce = 24
)

// Secretbox is NaCl's secretbox, XSalsa20 and Poly1305 with a random nonce of 192 bits, which needs no AES in
// hardware and no rotation for its own sake. Secretbox has no additional data, so each key in the store has a secret
// of its own (HKDF-SHA256 of the secret and the key): a value that was moved to another key does not open. Stored:
// k8s:enc:bedplate-secretbox:v1:<name>:, nonce, box. Kubernetes does not know the form, and refuses it; what
// Kubernetes wrote is read by [KubernetesSecretbox].
type Secretbox struct {
	prefix string
	secret *[]byte // what HKDF extracted; behind a pointer, so that no format shows it
}

var _ Provider = (*Secretbox)(nil)

// NewSecretbox makes a provider from a key of 32 random bytes. The name is as NewAESGCM's.
func NewSecretbox(name string, key []byte) (*Secretbox, error) {
	prefix, err := boxPrefix("bedplate-secretbox", name, key)
	if err != nil {
		return nil, err
	}
	secret, err := hkdf.Extract(sha256.New, key, []byte("bedplate secretbox v1"))
	if err != nil {
		return nil, fmt.Errorf("secretbox key %s: %w", name, err)
	}
	return &Secretbox{prefix, &secret}, nil
}

func boxPrefix(form, name string, key []byte) (string, error) {
	prefix, err := prefixOf(form, name)
	if err != nil {
		return "", fmt.Errorf("secretbox: %w", err)
	}
	if len(key) != boxKey {
		return "", fmt.Errorf("secretbox key %s: it has %d bytes, not %d", name, len(key), boxKey)
	}
	return prefix, nil
}

// derive makes the secret of one key in the store.
func (p *Secretbox) derive(key string) (*[boxKey]byte, error) {
	derived, err := hkdf.Expand(sha256.New, *p.secret, key, boxKey)
	if err != nil {
		return nil, err
	}
	return (*[boxKey]byte)(derived), nil
}

// Prefix implements Provider.
func (p *Secretbox) Prefix() string { return p.prefix }

// String names the provider and its key; it does not show the key.
func (p *Secretbox) String() string { return p.prefix }

// GoString is String, so that no format shows the key.
func (p *Secretbox) GoString() string { return p.prefix }

// Seal implements Provider.
func (p *Secretbox) Seal(_ context.Context, key string, plain []byte) ([]byte, error) {
	secret, err := p.derive(key)
	if err != nil {
		return nil, err
	}
	head := len(p.prefix) + boxNonce
	out := make([]byte, head, head+secretbox.Overhead+len(plain))
	copy(out, p.prefix)
	nonce := (*[boxNonce]byte)(out[len(p.prefix):])
	rand.Read(nonce[:]) // does not fail
	return secretbox.Seal(out, plain, nonce, secret), nil
}

// Open implements Provider.
func (p *Secretbox) Open(_ context.Context, key string, sealed []byte) ([]byte, bool, error) {
	secret, err := p.derive(key)
	if err != nil {
		return nil, false, err
	}
	plain, err := openBox(sealed[len(p.prefix):], secret)
	return plain, false, err
}

func openBox(body []byte, secret *[boxKey]byte) ([]byte, error) {
	if len(body) < boxNonce+secretbox.Overhead {
		return nil, errShort
	}
	dst := make([]byte, 0, len(body)-boxNonce-secretbox.Overhead)
	plain, ok := secretbox.Open(dst, body[boxNonce:], (*[boxNonce]byte)(body), secret)
	if !ok {
		return nil, ErrNotAuthentic
	}
	return plain, nil
}

// KubernetesSecretbox reads Kubernetes' provider secretbox, to move away from it: it seals nothing, so it cannot be
// the first of a rule. A value of this form does not say of which key it is: who can write to the etcd can put the value
// of one key in the place of another. Drop it after [Sealed.Rewrite].
type KubernetesSecretbox struct {
	prefix string
	secret *[boxKey]byte
}

var _ Provider = (*KubernetesSecretbox)(nil)

// NewKubernetesSecretbox makes a provider from the name and the 32 bytes of a key in Kubernetes' configuration. The
// same key may go on as that of a NewSecretbox.
func NewKubernetesSecretbox(name string, key []byte) (*KubernetesSecretbox, error) {
	prefix, err := boxPrefix("secretbox", name, key)
	if err != nil {
		return nil, err
	}
	secret := [boxKey]byte(key)
	return &KubernetesSecretbox{prefix, &secret}, nil
}

// Prefix implements Provider.
func (p *KubernetesSecretbox) Prefix() string { return p.prefix }

// String names the provider and its key; it does not show the key.
func (p *KubernetesSecretbox) String() string { return p.prefix }

// Seal implements Provider: it refuses.
func (p *KubernetesSecretbox) Seal(context.Context, string, []byte) ([]byte, error) {
	return nil, errReadOnly
}

// Open implements Provider. What it opens is stale.
func (p *KubernetesSecretbox) Open(_ context.Context, _ string, sealed []byte) ([]byte, bool, error) {
	plain, err := openBox(sealed[len(p.prefix):], p.secret)
	return plain, true, err
}
