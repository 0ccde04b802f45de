//go:build linux

package image

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func sha256Of(raw []byte) v1.Hash {
	sum := sha256.Sum256(raw)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// verifier passes a blob on and replaces its end by ErrDigest when it isn't what its descriptor says. What was read
// before the end is unverified: it counts only once Read has returned io.EOF.
type verifier struct {
	r    io.Reader
	want v1.Descriptor
	n    int64
	sum  hash.Hash
	note func(n int) // called for bytes read; may be nil
	err  error
}

func newVerifier(r io.Reader, want v1.Descriptor) *verifier {
	h, err := v1.Hasher(want.Digest.Algorithm)
	return &verifier{r: r, want: want, sum: h, err: err}
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.r.Read(p)
	v.n += int64(n)
	v.sum.Write(p[:n])
	if v.note != nil {
		v.note(n)
	}
	if v.n > v.want.Size {
		v.err = fmt.Errorf("%w: %s is longer than %d bytes", ErrDigest, v.want.Digest, v.want.Size)
		return 0, v.err
	}
	if err != nil {
		v.err = v.end(err)
	}
	return n, v.err
}

// end judges how the stream ended.
func (v *verifier) end(err error) error {
	if v.n < v.want.Size {
		// The registry client compares what it was sent with the digest as well.
		if err == io.EOF || strings.HasPrefix(err.Error(), "error verifying") {
			return fmt.Errorf("%w: %s ends after %d of %d bytes", ErrDigest, v.want.Digest, v.n, v.want.Size)
		}
		return err
	}
	if got := hex.EncodeToString(v.sum.Sum(nil)); got != v.want.Digest.Hex {
		return fmt.Errorf("%w: content of %s has %s:%s", ErrDigest, v.want.Digest, v.want.Digest.Algorithm, got)
	}
	return io.EOF
}

// cause prefers the stream's own failure to what a reader further up made of it.
func (v *verifier) cause(err error) error {
	if v.err != nil && v.err != io.EOF {
		return v.err
	}
	return err
}
