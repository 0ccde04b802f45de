package kubernetes

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/bedplate/bedplate/storage/seal"
)

// envelope is Kubernetes' EncryptedObject, the form of what is sealed by a plugin.
type envelope struct {
	data        []byte
	keyID       string
	source      []byte // the seed or key, sealed by the plugin
	annotations map[string][]byte
	kind        uint64
}

// The kinds of an envelope's source.
const (
	kindKey  = 0 // an AES-GCM key
	kindSeed = 1 // a seed, from which HKDF-SHA256 derives the key of each value
)

// The fields of an EncryptedObject, and the bounds that Kubernetes has for them.
const (
	fieldData, fieldKeyID, fieldSource, fieldAnnotations, fieldKind = 1, 2, 3, 4, 5

	maxKeyID, maxSource, maxAnnotations = 1 << 10, 1 << 10, 32 << 10
)

func (e *envelope) validate() error {
	size := 0
	for k, v := range e.annotations {
		size += len(k) + len(v)
	}
	switch {
	case e.kind != kindKey && e.kind != kindSeed:
		return fmt.Errorf("the envelope's key is of the unknown kind %d", e.kind)
	case len(e.data) == 0:
		return errors.New("the envelope has no data")
	case len(e.source) == 0 || len(e.source) > maxSource:
		return fmt.Errorf("the envelope's key has %d bytes", len(e.source))
	case size > maxAnnotations:
		return fmt.Errorf("the envelope's annotations have %d bytes", size)
	}
	return validateKeyID(e.keyID)
}

func validateKeyID(id string) error {
	if id == "" || len(id) > maxKeyID {
		return fmt.Errorf("the key ID has %d bytes: it must have some, and %d at most", len(id), maxKeyID)
	}
	return nil
}

// appendData appends the data. An envelope is that and its head.
func (e *envelope) appendData(b []byte) []byte {
	b = protowire.AppendTag(b, fieldData, protowire.BytesType)
	return protowire.AppendBytes(b, e.data)
}

// appendHead appends all but the data, which is the same for all values of a seed: annotations in order, so that the
// same has the same bytes.
func (e *envelope) appendHead(b []byte) []byte {
	b = protowire.AppendTag(b, fieldKeyID, protowire.BytesType)
	b = protowire.AppendString(b, e.keyID)
	b = protowire.AppendTag(b, fieldSource, protowire.BytesType)
	b = protowire.AppendBytes(b, e.source)
	names := make([]string, 0, len(e.annotations))
	for name := range e.annotations {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		entry := protowire.AppendTag(nil, 1, protowire.BytesType)
		entry = protowire.AppendString(entry, name)
		entry = protowire.AppendTag(entry, 2, protowire.BytesType)
		entry = protowire.AppendBytes(entry, e.annotations[name])
		b = protowire.AppendTag(b, fieldAnnotations, protowire.BytesType)
		b = protowire.AppendBytes(b, entry)
	}
	if e.kind != 0 {
		b = protowire.AppendTag(b, fieldKind, protowire.VarintType)
		b = protowire.AppendVarint(b, e.kind)
	}
	return b
}

var errEnvelope = errors.New("it is no envelope")

// fields calls f with each field of a message; unknown ones too.
func fields(b []byte, f func(n protowire.Number, value []byte, number uint64) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errEnvelope
		}
		b = b[n:]
		var value []byte
		var number uint64
		switch typ {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return errEnvelope
		}
		b = b[n:]
		if err := f(num, value, number); err != nil {
			return err
		}
	}
	return nil
}

// openEnvelope decodes and judges an envelope. It refers to the memory of b.
func openEnvelope(b []byte) (*envelope, error) {
	e := &envelope{}
	err := fields(b, func(n protowire.Number, value []byte, number uint64) error {
		switch n {
		case fieldData:
			e.data = value
		case fieldKeyID:
			e.keyID = string(value)
		case fieldSource:
			e.source = value
		case fieldKind:
			e.kind = number
		case fieldAnnotations:
			return e.annotate(value)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return e, e.validate()
}

func (e *envelope) annotate(entry []byte) error {
	var name string
	var value []byte
	err := fields(entry, func(n protowire.Number, v []byte, _ uint64) error {
		switch n {
		case 1:
			name = string(v)
		case 2:
			value = v
		}
		return nil
	})
	if e.annotations == nil {
		e.annotations = map[string][]byte{}
	}
	e.annotations[name] = value
	return err
}

// sourceKey tells sources apart: that of two which the plugin would open alike is the same.
func (e *envelope) sourceKey() [sha256.Size]byte {
	head := envelope{keyID: e.keyID, source: e.source, annotations: e.annotations, kind: e.kind}
	return sha256.Sum256(head.appendHead(nil))
}

const (
	infoSize = 32
	gcmNonce = 12
	gcmTag   = 16
)

// dek is what the plugin opens: a seed or a key.
type dek struct {
	kind uint64
	key  []byte
}

func newDEK(kind uint64, key []byte) (*dek, error) {
	if kind == kindSeed && len(key) < infoSize {
		return nil, fmt.Errorf("the seed has %d bytes, and must have %d", len(key), infoSize)
	}
	if kind == kindKey {
		if _, err := aes.NewCipher(key); err != nil {
			return nil, err
		}
	}
	return &dek{kind, key}, nil
}

// String shows nothing.
func (d *dek) String() string   { return "REDACTED" }
func (d *dek) GoString() string { return "REDACTED" }

// derive makes the cipher of one value.
func (d *dek) derive(info []byte) (cipher.AEAD, error) {
	key := d.key
	if d.kind == kindSeed {
		var err error
		if key, err = hkdf.Expand(sha256.New, d.key, string(info), infoSize); err != nil {
			return nil, err
		}
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal seals by a seed: 32 random bytes of which the value's key is derived, a nonce, the ciphertext.
func (d *dek) seal(key string, plain []byte) ([]byte, error) {
	out := make([]byte, infoSize+gcmNonce, infoSize+gcmNonce+len(plain)+gcmTag)
	rand.Read(out) // does not fail
	aead, err := d.derive(out[:infoSize])
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, out[infoSize:], plain, []byte(key)), nil
}

func (d *dek) open(key string, data []byte) ([]byte, error) {
	var info []byte
	if d.kind == kindSeed {
		if len(data) < infoSize {
			return nil, errShort
		}
		info, data = data[:infoSize], data[infoSize:]
	}
	if len(data) < gcmNonce+gcmTag {
		return nil, errShort
	}
	aead, err := d.derive(info)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(make([]byte, 0, len(data)), data[:gcmNonce], data[gcmNonce:], []byte(key))
	if err != nil {
		return nil, seal.ErrNotAuthentic
	}
	return plain, nil
}

// hash names a key ID in metrics and messages without showing it.
func hash(id string) string {
	if id == "" {
		return ""
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(id)))
}

// newUID names a call to the plugin.
func newUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", binary.BigEndian.Uint32(b[:]), b[4:6], b[6:8], b[8:10], b[10:])
}
