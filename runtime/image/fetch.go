//go:build linux

package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/image/internal/unpack"
)

// layerFetch is one layer on its way into the store.
type layerFetch struct {
	src    source
	desc   v1.Descriptor
	diffID v1.Hash
	budget *atomic.Int64 // bytes that the image may still unpack
	note   func(n int)   // compressed bytes read
}

// ensureLayer makes sure that a layer is in the store; pulls that need the same one share the work. What fails
// for another pull's source is tried again with our own.
func (s *Store) ensureLayer(ctx context.Context, f layerFetch) (*layer, error) {
	for {
		l, joined, err := s.layerFlights.do(ctx, s.ctx, f.diffID.String(), nil, func(ctx context.Context, _ *tracker) (*layer, error) {
			return s.fetchOnce(ctx, f)
		})
		if err == nil {
			return l, nil
		}
		if !joined || ctx.Err() != nil {
			return nil, fmt.Errorf("layer %s: %w", f.desc.Digest, err)
		}
	}
}

func (s *Store) fetchOnce(ctx context.Context, f layerFetch) (*layer, error) {
	if l := s.layer(f.diffID.String()); l != nil {
		return l, nil
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	tmp, err := os.MkdirTemp(s.path("tmp"), "layer-")
	if err != nil {
		return nil, err
	}
	l, err := s.fetchInto(ctx, f, tmp)
	if err != nil {
		return nil, errors.Join(err, s.removeTree(tmp))
	}
	return s.commitLayer(tmp, l)
}

// fetchInto streams a layer into tmp/fs, and returns once both digests agree.
func (s *Store) fetchInto(ctx context.Context, f layerFetch, tmp string) (*layer, error) {
	fs := filepath.Join(tmp, "fs")
	if err := os.Mkdir(fs, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(fs, 0o755); err != nil { // whatever the umask
		return nil, err
	}
	rc, err := f.src.blob(ctx, f.desc)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	v := newVerifier(rc, f.desc)
	v.note = f.note
	sum, err := v1.Hasher(f.diffID.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("%w diff id: %v", ErrInvalid, err)
	}
	res, err := s.unpackStream(ctx, v, sum, fs, f.budget)
	if err != nil {
		return nil, err
	}
	if got := fmt.Sprintf("%x", sum.Sum(nil)); got != f.diffID.Hex {
		return nil, fmt.Errorf("%w: uncompressed, it is %s:%s instead of %s", ErrDigest, f.diffID.Algorithm, got, f.diffID)
	}
	if res.Skipped > 0 {
		s.log.Debug("left out device nodes and attributes of a layer", "layer", f.diffID.String(), "count", res.Skipped)
	}
	return &layer{Digest: f.diffID.String(), Bytes: res.Bytes, Entries: res.Entries, OpaqueRoot: res.OpaqueRoot}, nil
}

// unpackStream runs the chain: verify, decompress, hash | unpack, with a goroutine on each side of the bar.
func (s *Store) unpackStream(ctx context.Context, v *verifier, sum hash.Hash, dir string, budget *atomic.Int64) (unpack.Result, error) {
	br := bufio.NewReaderSize(v, 128<<10)
	plain, err := decompress(br)
	if err != nil {
		return unpack.Result{}, v.cause(err)
	}
	in := readAhead(io.TeeReader(plain, sum))
	res, err := unpack.Tar(ctx, in, dir, unpack.Limits{
		Bytes: s.cfg.Limits.LayerBytes, Entries: s.cfg.Limits.Entries,
		Take: func(n int64) error {
			if budget.Add(-n) < 0 {
				return fmt.Errorf("%w: image over its limit of %d uncompressed bytes", ErrTooLarge, s.cfg.Limits.ImageBytes)
			}
			return nil
		},
	})
	in.close()
	plain.Close()
	if err != nil && (errors.Is(err, ErrTooLarge) || ctx.Err() != nil) {
		return res, err
	}
	// To the end of the compressed stream: only there is its digest known. After a failure it tells damaged
	// content from a strange archive.
	_, derr := io.Copy(io.Discard, br)
	if derr != nil {
		return res, v.cause(derr)
	}
	if err != nil && !errors.Is(err, ErrInvalid) && isDecoding(err) {
		err = fmt.Errorf("%w layer: %v", ErrInvalid, err)
	}
	return res, err
}

// isDecoding tells errors of the stream's form from those of the machine.
func isDecoding(err error) bool {
	var errno unix.Errno
	var perr *os.PathError
	return !errors.As(err, &errno) && !errors.As(err, &perr)
}
