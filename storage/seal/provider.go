package seal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// Provider seals values and opens them, with one key or what stands for one. Implementations outside of this package
// are welcome: an envelope over a key management service is one. All methods may be called concurrently.
type Provider interface {
	// Prefix is what all values that it sealed begin with, as they are stored: "k8s:enc:<form>:<version>:<name>:".
	// It must not change. Only Identity has none.
	Prefix() string

	// Seal returns the value as it is to be stored at the key, beginning with Prefix, in memory of its own. It must
	// neither keep nor modify plain. The sealed value must say of which key it is: Open with another one must fail.
	// ErrUnavailable: it may do later.
	Seal(ctx context.Context, key string, plain []byte) ([]byte, error)

	// Open returns the value that is stored at the key, in memory of its own. It is called with what begins with
	// Prefix only, and must not modify it. Stale asks [Sealed.Rewrite] to seal the value anew, though this provider
	// is the first. Any error says that the value is not authentic, and will be the same next time, but for
	// ErrUnavailable: that it may do later. No error may tell what is secret.
	Open(ctx context.Context, key string, sealed []byte) (plain []byte, stale bool, err error)
}

var (
	// ErrUnavailable: what a provider depends on does not answer now. A read or watch that meets it fails as a whole
	// and may be tried again, which storage.DB does; nothing is marked as corrupt.
	ErrUnavailable = errors.New("key service unavailable")
	// ErrWornOut: the key has sealed as many values as it safely can. It still opens. Put another one first.
	ErrWornOut = errors.New("key is worn out")
	// ErrNotAuthentic: the value was tampered with, or moved here from another key, or sealed with another secret.
	ErrNotAuthentic = errors.New("not authentic")
)

var (
	errReserved = errors.New("a plain value may not begin with " + reserved)
	errReadOnly = errors.New("this provider only reads")
	errShort    = fmt.Errorf("%w: shorter than any sealed value", ErrNotAuthentic)
)

// reserved is what sealed values of every form begin with. Kubernetes, too, takes no such value for a plain one.
const reserved = "k8s:enc:"

// Identity stores values as they are. It reads what is not sealed, whatever provider sealed it, and refuses to write
// a value that would look as if it were.
var Identity Provider = identity{}

type identity struct{}

// Prefix implements Provider.
func (identity) Prefix() string { return "" }

// Seal implements Provider.
func (identity) Seal(_ context.Context, _ string, plain []byte) ([]byte, error) {
	if hasPrefix(plain, reserved) {
		return nil, errReserved
	}
	return plain, nil
}

// Open implements Provider.
func (identity) Open(_ context.Context, _ string, stored []byte) ([]byte, bool, error) {
	if hasPrefix(stored, reserved) {
		return nil, false, errReserved
	}
	return stored, false, nil
}

// String names the provider.
func (identity) String() string { return "identity" }

func hasPrefix(value []byte, prefix string) bool {
	return len(value) >= len(prefix) && string(value[:len(prefix)]) == prefix
}

const maxName = 128

// prefixOf makes the prefix of a form and a key's name.
func prefixOf(form, name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("the key has no name")
	case len(name) > maxName:
		return "", fmt.Errorf("the name of the key has %d bytes, the limit is %d", len(name), maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }):
		return "", fmt.Errorf("the key's name %q has a colon, a space or what is not ASCII in it", name)
	}
	return reserved + form + ":v1:" + name + ":", nil
}

// scratch lends memory for a key's bytes, which ciphers want as a slice.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

func borrow(key string) *[]byte {
	b := scratch.Get().(*[]byte)
	*b = append((*b)[:0], key...)
	return b
}
