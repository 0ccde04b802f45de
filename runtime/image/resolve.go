//go:build linux

package image

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// source is where an image comes from. Nothing that it returns is trusted.
type source interface {
	// root is the manifest or index that the image's name stands for, with the media type it came
	// with (or "") and, when the name held one, the digest it must have.
	root(ctx context.Context) (raw []byte, mt types.MediaType, want v1.Hash, err error)
	// manifest is one that an index names.
	manifest(ctx context.Context, d v1.Descriptor) ([]byte, error)
	// blob streams a configuration or layer. It may end early or go on too long.
	blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// resolved is an image of which everything but the layers is verified.
type resolved struct {
	target   v1.Hash // what the name stood for
	digest   v1.Hash // of the manifest
	manifest *v1.Manifest
	// From here on by resolveConfig.
	diffIDs  []v1.Hash
	id       v1.Hash
	config   ContainerConfig
	platform Platform
}

const maxIndexDepth = 3

// resolve finds this platform's manifest behind a source's root.
func (s *Store) resolve(ctx context.Context, src source) (resolved, error) {
	raw, mt, want, err := src.root(ctx)
	if err != nil {
		return resolved{}, err
	}
	if want == (v1.Hash{}) {
		want = sha256Of(raw)
	} else if err := checkHash(raw, want); err != nil {
		return resolved{}, err
	}
	r := resolved{target: want, digest: want}
	for depth := 0; ; depth++ {
		if int64(len(raw)) > s.cfg.Limits.Manifest {
			return resolved{}, fmt.Errorf("%w: manifest of %d bytes", ErrTooLarge, len(raw))
		}
		doc, err := parseDocument(raw, mt)
		if err != nil {
			return resolved{}, err
		}
		if r.manifest = doc.manifest; r.manifest != nil {
			break
		}
		if depth == maxIndexDepth {
			return resolved{}, fmt.Errorf("%w: indexes nested deeper than %d", ErrInvalid, maxIndexDepth)
		}
		d, err := s.choose(doc.index)
		if err != nil {
			return resolved{}, err
		}
		if raw, err = src.manifest(ctx, d); err != nil {
			return resolved{}, err
		}
		if err := checkBytes(raw, d); err != nil {
			return resolved{}, err
		}
		mt, r.digest = d.MediaType, d.Digest
	}
	return r, nil
}

// resolveConfig adds what the configuration says.
func (s *Store) resolveConfig(ctx context.Context, src source, r resolved) (resolved, error) {
	if err := checkManifest(r.manifest, s.cfg.Limits); err != nil {
		return resolved{}, err
	}
	raw, err := readBlob(ctx, src, r.manifest.Config)
	if err != nil {
		return resolved{}, fmt.Errorf("image configuration: %w", err)
	}
	file, conf, err := parseConfig(raw)
	if err != nil {
		return resolved{}, err
	}
	if len(file.RootFS.DiffIDs) != len(r.manifest.Layers) {
		return resolved{}, fmt.Errorf("%w: %d layers, but %d diff ids", ErrInvalid, len(r.manifest.Layers), len(file.RootFS.DiffIDs))
	}
	r.platform = Platform{OS: file.OS, Architecture: file.Architecture, Variant: file.Variant}
	if _, ok := s.cfg.Platform.runs(r.platform); !ok && r.platform != (Platform{}) {
		return resolved{}, fmt.Errorf("%w: the image is for %s, not %s", ErrPlatform, r.platform, s.cfg.Platform)
	}
	r.id, r.diffIDs, r.config = r.manifest.Config.Digest, file.RootFS.DiffIDs, conf
	return r, nil
}

// readBlob reads a small blob whose size was checked, and verifies it.
func readBlob(ctx context.Context, src source, d v1.Descriptor) ([]byte, error) {
	rc, err := src.blob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	v := newVerifier(rc, d)
	raw, err := io.ReadAll(v)
	if err != nil {
		return nil, v.cause(err)
	}
	return raw, nil
}

// choose picks the entry of an index that suits the platform best; the first among equals.
func (s *Store) choose(idx *v1.IndexManifest) (v1.Descriptor, error) {
	best, found := -1, v1.Descriptor{}
	for _, d := range idx.Manifests {
		if !known(d.MediaType) {
			continue
		}
		score := 0 // an entry without a platform is for those who find nothing better
		if d.Platform != nil {
			var ok bool
			p := Platform{OS: d.Platform.OS, Architecture: d.Platform.Architecture, Variant: d.Platform.Variant}
			if score, ok = s.cfg.Platform.runs(p); !ok {
				continue
			}
		}
		if score > best {
			best, found = score, d
		}
	}
	if best < 0 {
		return v1.Descriptor{}, fmt.Errorf("%w: the index has nothing for %s", ErrPlatform, s.cfg.Platform)
	}
	return found, checkDescriptor(found, s.cfg.Limits.Manifest)
}

// runs says whether a machine of platform p runs images for other, and how well they fit (more is better).
func (p Platform) runs(other Platform) (score int, ok bool) {
	if p.OS != other.OS || p.Architecture != other.Architecture {
		return 0, false
	}
	have, want := other.Variant, p.Variant
	if p.Architecture == "arm64" {
		// v8 is what arm64 means.
		if have == "v8" {
			have = ""
		}
		if want == "v8" {
			want = ""
		}
	}
	switch {
	case have == want:
		return 100, true
	case have == "":
		return 50, true
	case (p.Architecture == "arm" || p.Architecture == "amd64") && len(have) == 2 && len(want) == 2 && have < want:
		return 50 + int(have[1]-'0'), true // v7 runs v6; amd64 v3 runs v2
	}
	return 0, false
}
