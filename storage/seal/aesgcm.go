package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"sync/atomic"
)

const (
	gcmNonce = 12
	gcmTag   = 16
	// gcmLimit is how many values NIST SP 800-38D allows under one key with random nonces of 96 bits: the odds
	// that two of them are equal, which would lay both values and the key's authentication open, are 2^-33 then.
	gcmLimit = 1 << 32
)

// AESGCM is Kubernetes' provider aesgcm, byte for byte: AES-GCM with a random nonce of 96 bits, the key in the store
// as additional data. Stored: k8s:enc:aesgcm:v1:<name>:, nonce, ciphertext.
//
// A key must not seal more than 2^32 values, those of all processes that ever used it taken together: 7 weeks at
// 1,000 writes a second. A process can count its own only. It refuses at 2^32 (ErrWornOut), and Sealed logs a
// warning at half of that; for all the rest, rotate in time: each writer's Used, added up over restarts, should stay
// below 2^31. [XAESGCM] has no such bound.
type AESGCM struct {
	prefix string
	aead   cipher.AEAD
	used   atomic.Uint64
	limit  uint64
}

var _ Provider = (*AESGCM)(nil)

// NewAESGCM makes a provider from a key of 16, 24 or 32 random bytes. The name goes with every value: it is up to
// 128 printable ASCII characters without a colon.
func NewAESGCM(name string, key []byte) (*AESGCM, error) {
	prefix, err := prefixOf("aesgcm", name)
	if err != nil {
		return nil, fmt.Errorf("aesgcm: %w", err)
	}
	aead, err := newGCM(key)
	if err != nil {
		return nil, fmt.Errorf("aesgcm key %s: %w", name, err)
	}
	return &AESGCM{prefix: prefix, aead: aead, limit: gcmLimit}, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Used returns how many values the provider has sealed, and how many it will.
func (p *AESGCM) Used() (used, limit uint64) { return min(p.used.Load(), p.limit), p.limit }

// Prefix implements Provider.
func (p *AESGCM) Prefix() string { return p.prefix }

// String names the provider and its key; it does not show the key.
func (p *AESGCM) String() string { return p.prefix }

// Seal implements Provider.
func (p *AESGCM) Seal(_ context.Context, key string, plain []byte) ([]byte, error) {
	if p.used.Add(1) > p.limit {
		return nil, fmt.Errorf("%s %w: it has sealed %d values", p.prefix, ErrWornOut, p.limit)
	}
	head := len(p.prefix) + gcmNonce
	out := make([]byte, head, head+len(plain)+gcmTag)
	copy(out, p.prefix)
	nonce := out[len(p.prefix):]
	rand.Read(nonce) // does not fail
	path := borrow(key)
	defer scratch.Put(path)
	return p.aead.Seal(out, nonce, plain, *path), nil
}

// Open implements Provider.
func (p *AESGCM) Open(_ context.Context, key string, sealed []byte) ([]byte, bool, error) {
	body := sealed[len(p.prefix):]
	if len(body) < gcmNonce+gcmTag {
		return nil, false, errShort
	}
	plain, err := openGCM(p.aead, key, body[:gcmNonce], body[gcmNonce:])
	return plain, false, err
}

func openGCM(aead cipher.AEAD, key string, nonce, body []byte) ([]byte, error) {
	path := borrow(key)
	defer scratch.Put(path)
	plain, err := aead.Open(make([]byte, 0, len(body)-gcmTag), nonce, body, *path)
	if err != nil {
		return nil, ErrNotAuthentic
	}
	return plain, nil
}
