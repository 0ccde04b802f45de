//go:build linux

package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// layoutSource reads an image from an OCI layout folder (image-spec, image-layout.md).
type layoutSource struct {
	dir   string
	ref   reference
	limit int64
}

const refNameAnnotation = "org.opencontainers.image.ref.name"

func (l *layoutSource) root(ctx context.Context) ([]byte, types.MediaType, v1.Hash, error) {
	fail := func(err error) ([]byte, types.MediaType, v1.Hash, error) { return nil, "", v1.Hash{}, err }
	marker, err := l.read("oci-layout")
	if err != nil {
		return fail(err)
	}
	var layout struct{ ImageLayoutVersion string }
	if err := json.Unmarshal(marker, &layout); err != nil || layout.ImageLayoutVersion != "1.0.0" {
		return fail(fmt.Errorf("%w: oci-layout file of version %.50q", ErrUnsupported, layout.ImageLayoutVersion))
	}
	raw, err := l.read("index.json")
	if err != nil {
		return fail(err)
	}
	doc, err := parseDocument(raw, types.OCIImageIndex)
	if err != nil {
		return fail(fmt.Errorf("index.json: %w", err))
	}
	if doc.index == nil {
		return fail(fmt.Errorf("%w: index.json is no index", ErrInvalid))
	}
	d, err := l.pick(doc.index)
	if err != nil {
		return fail(err)
	}
	raw, err = l.manifest(ctx, d)
	return raw, d.MediaType, d.Digest, err
}

// pick finds the entry that the name means: by digest, by annotation, or the only one.
func (l *layoutSource) pick(idx *v1.IndexManifest) (v1.Descriptor, error) {
	var found []v1.Descriptor
	for _, d := range idx.Manifests {
		if !known(d.MediaType) {
			continue
		}
		if l.ref.digest != (v1.Hash{}) {
			if d.Digest == l.ref.digest {
				return d, checkDescriptor(d, l.limit)
			}
			continue
		}
		switch d.Annotations[refNameAnnotation] {
		case l.ref.tag, l.ref.String():
			return d, checkDescriptor(d, l.limit)
		}
		found = append(found, d)
	}
	if len(found) != 1 {
		return v1.Descriptor{}, fmt.Errorf("%w: none of %d images in the layout is named %s", ErrNotFound, len(idx.Manifests), l.ref)
	}
	return found[0], checkDescriptor(found[0], l.limit)
}

func (l *layoutSource) manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	return readBlob(ctx, l, d)
}

func (l *layoutSource) blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return l.open(filepath.Join("blobs", d.Digest.Algorithm, d.Digest.Hex))
}

func (l *layoutSource) read(name string) ([]byte, error) {
	f, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, l.limit+1))
	if err == nil && int64(len(raw)) > l.limit {
		err = fmt.Errorf("%w: %s", ErrTooLarge, name)
	}
	return raw, err
}

// open opens a regular file of the layout; a fifo would block.
func (l *layoutSource) open(name string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(l.dir, name), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if os.IsNotExist(err) {
		return nil, fmt.Errorf("%w: %v", ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s isn't a file", ErrInvalid, name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// memorySource reads an image from memory. It is verified all the same.
type memorySource struct {
	img  v1.Image
	want v1.Hash
}

func (m memorySource) root(context.Context) ([]byte, types.MediaType, v1.Hash, error) {
	raw, err := m.img.RawManifest()
	if err != nil {
		return nil, "", v1.Hash{}, err
	}
	mt, err := m.img.MediaType()
	return raw, mt, m.want, err
}

func (m memorySource) manifest(_ context.Context, d v1.Descriptor) ([]byte, error) {
	return nil, fmt.Errorf("manifest %s: %w", d.Digest, ErrNotFound)
}

func (m memorySource) blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	l, err := m.img.LayerByDigest(d.Digest)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNotFound, err)
	}
	return l.Compressed()
}
