package kubernetes

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/nacl/secretbox"

	"github.com/bedplate/bedplate/storage/seal"
)

var errShort = fmt.Errorf("%w: it has no length that a sealed value can have", seal.ErrNotAuthentic)

const reserved = "k8s:enc:"

// prefixOf makes the prefix of a form with the name of a key.
func prefixOf(form, version, name string) (string, error) {
	const most = 512
	if name == "" || len(name) > most || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) {
		return "", fmt.Errorf("the name %q of the key is empty, too long or has a colon, a space or what is not ASCII in it", name)
	}
	return reserved + form + ":" + version + ":" + name + ":", nil
}

// cbc is Kubernetes' aescbc: an IV, and AES-CBC with PKCS #7 padding. Stored: k8s:enc:aescbc:v1:<name>:, IV, ciphertext.
type cbc struct {
	prefix string
	block  cipher.Block
}

func newCBC(name string, key []byte) (*cbc, error) {
	prefix, err := prefixOf("aescbc", "v1", name)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	return &cbc{prefix, block}, err
}

func (p *cbc) Prefix() string   { return p.prefix }
func (p *cbc) String() string   { return p.prefix }
func (p *cbc) GoString() string { return p.prefix }

func (p *cbc) Seal(_ context.Context, _ string, plain []byte) ([]byte, error) {
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	out := make([]byte, len(p.prefix)+aes.BlockSize+len(plain)+pad)
	n := copy(out, p.prefix)
	iv, body := out[n:n+aes.BlockSize], out[n+aes.BlockSize:]
	rand.Read(iv) // does not fail
	for i := copy(body, plain); i < len(body); i++ {
		body[i] = byte(pad)
	}
	cipher.NewCBCEncrypter(p.block, iv).CryptBlocks(body, body)
	return out, nil
}

func (p *cbc) Open(_ context.Context, _ string, sealed []byte) ([]byte, bool, error) {
	body := sealed[len(p.prefix):]
	if len(body) < 2*aes.BlockSize || len(body)%aes.BlockSize != 0 {
		return nil, false, errShort
	}
	plain := make([]byte, len(body)-aes.BlockSize)
	cipher.NewCBCDecrypter(p.block, body[:aes.BlockSize]).CryptBlocks(plain, body[aes.BlockSize:])
	pad := int(plain[len(plain)-1])
	good := subtle.ConstantTimeLessOrEq(1, pad) & subtle.ConstantTimeLessOrEq(pad, aes.BlockSize)
	for i := 1; i <= aes.BlockSize; i++ { // all of the last block, so that the time does not tell
		inside := subtle.ConstantTimeLessOrEq(i, pad)
		same := subtle.ConstantTimeByteEq(plain[len(plain)-i], byte(pad))
		good &= 1&^inside | same
	}
	if good != 1 {
		return nil, false, seal.ErrNotAuthentic
	}
	return plain[:len(plain)-pad], false, nil
}

// box is Kubernetes' secretbox: a nonce, and NaCl's secretbox. Stored: k8s:enc:secretbox:v1:<name>:, nonce, box.
type box struct {
	prefix string
	key    *[32]byte
}

const boxNonce = 24

func newBox(name string, key []byte) (*box, error) {
	prefix, err := prefixOf("secretbox", "v1", name)
	if err != nil {
		return nil, err
	}
	if len(key) != 32 {
		return nil, errors.New("the key of a secretbox has 32 bytes")
	}
	own := [32]byte(key)
	return &box{prefix, &own}, nil
}

func (p *box) Prefix() string   { return p.prefix }
func (p *box) String() string   { return p.prefix }
func (p *box) GoString() string { return p.prefix }

func (p *box) Seal(_ context.Context, _ string, plain []byte) ([]byte, error) {
	head := len(p.prefix) + boxNonce
	out := make([]byte, head, head+secretbox.Overhead+len(plain))
	copy(out, p.prefix)
	nonce := (*[boxNonce]byte)(out[len(p.prefix):])
	rand.Read(nonce[:]) // does not fail
	return secretbox.Seal(out, plain, nonce, p.key), nil
}

func (p *box) Open(_ context.Context, _ string, sealed []byte) ([]byte, bool, error) {
	body := sealed[len(p.prefix):]
	if len(body) < boxNonce+secretbox.Overhead {
		return nil, false, errShort
	}
	plain, ok := secretbox.Open(make([]byte, 0, len(body)), body[boxNonce:], (*[boxNonce]byte)(body), p.key)
	if !ok {
		return nil, false, seal.ErrNotAuthentic
	}
	return plain, false, nil
}
