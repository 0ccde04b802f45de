package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
)

const xaesNonce = 24

// XAESGCM is XAES-256-GCM (C2SP): AES-256-GCM with a nonce of 192 random bits, of which the first half makes a key of
// its own for each value. So it may seal 2^80 values, which nobody does; rotation is for keys that may have leaked. The
// key in the store is additional data. Stored: k8s:enc:bedplate-xaes256gcm:v1:<name>:, nonce, ciphertext. Kubernetes
// does not know the form, and refuses it.
type XAESGCM struct {
	prefix string
	block  cipher.Block
	mask   *[aes.BlockSize]byte // what C2SP calls K1
}

var _ Provider = (*XAESGCM)(nil)

// NewXAESGCM makes a provider from a key of 32 random bytes that serves nothing else. The name is as NewAESGCM's.
func NewXAESGCM(name string, key []byte) (*XAESGCM, error) {
	prefix, err := prefixOf("bedplate-xaes256gcm", name)
	if err != nil {
		return nil, fmt.Errorf("xaes256gcm: %w", err)
	}
	if len(key) != 32 {
		return nil, fmt.Errorf("xaes256gcm key %s: it has %d bytes, not 32", name, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("xaes256gcm key %s: %w", name, err)
	}
	return &XAESGCM{prefix, block, cmacMask(block)}, nil
}

// cmacMask is the first subkey of AES-CMAC (NIST SP 800-38B): the encryption of zero, doubled in GF(2^128).
func cmacMask(block cipher.Block) *[aes.BlockSize]byte {
	var mask [aes.BlockSize]byte
	block.Encrypt(mask[:], mask[:])
	var carry byte
	for i := len(mask) - 1; i >= 0; i-- {
		carry, mask[i] = mask[i]>>7, mask[i]<<1|carry
	}
	mask[len(mask)-1] ^= byte(subtle.ConstantTimeSelect(int(carry), 0x87, 0))
	return &mask
}

// derive makes the cipher of one value: AES-CMAC of a counter and half of the nonce, twice, is its key.
func (p *XAESGCM) derive(nonce []byte) (cipher.AEAD, error) {
	var key [2 * aes.BlockSize]byte
	for i := range 2 {
		m := key[i*aes.BlockSize : (i+1)*aes.BlockSize]
		m[1], m[2] = byte(i+1), 'X'
		copy(m[4:], nonce[:xaesNonce-gcmNonce])
		subtle.XORBytes(m, m, p.mask[:])
		p.block.Encrypt(m, m)
	}
	return newGCM(key[:])
}

// Prefix implements Provider.
func (p *XAESGCM) Prefix() string { return p.prefix }

// String names the provider and its key; it does not show the key.
func (p *XAESGCM) String() string { return p.prefix }

// Seal implements Provider.
func (p *XAESGCM) Seal(_ context.Context, key string, plain []byte) ([]byte, error) {
	head := len(p.prefix) + xaesNonce
	out := make([]byte, head, head+len(plain)+gcmTag)
	copy(out, p.prefix)
	nonce := out[len(p.prefix):]
	rand.Read(nonce) // does not fail
	aead, err := p.derive(nonce)
	if err != nil {
		return nil, err
	}
	path := borrow(key)
	defer scratch.Put(path)
	return aead.Seal(out, nonce[xaesNonce-gcmNonce:], plain, *path), nil
}

// Open implements Provider.
func (p *XAESGCM) Open(_ context.Context, key string, sealed []byte) ([]byte, bool, error) {
	body := sealed[len(p.prefix):]
	if len(body) < xaesNonce+gcmTag {
		return nil, false, errShort
	}
	aead, err := p.derive(body)
	if err != nil {
		return nil, false, err
	}
	plain, err := openGCM(aead, key, body[xaesNonce-gcmNonce:xaesNonce], body[xaesNonce:])
	return plain, false, err
}
