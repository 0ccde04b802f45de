//go:build linux

package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// document is a manifest or an index: exactly one of the two is set.
type document struct {
	manifest *v1.Manifest
	index    *v1.IndexManifest
}

// parseDocument reads a manifest or an index. claimed is the media type that came with it, which may be empty.
// What could be read as both is refused, as is any disagreement about which it is: two readers of one signed
// digest must not see two images.
func parseDocument(raw []byte, claimed types.MediaType) (document, error) {
	bad := func(format string, a ...any) (document, error) {
		return document{}, fmt.Errorf("%w manifest: %s", ErrInvalid, fmt.Sprintf(format, a...))
	}
	if err := unambiguous(raw, "schemaVersion", "mediaType", "config", "layers", "manifests", "fsLayers"); err != nil {
		return bad("%v", err)
	}
	var head struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
		Manifests     json.RawMessage `json:"manifests"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return bad("%v", err)
	}
	isIndex, isManifest := head.Manifests != nil, head.Config != nil || head.Layers != nil
	switch {
	case head.SchemaVersion == 1 || head.FSLayers != nil:
		return document{}, fmt.Errorf("%w: manifest of schema version 1", ErrUnsupported)
	case head.SchemaVersion != 2:
		return bad("schema version %d", head.SchemaVersion)
	case isIndex == isManifest:
		return bad("not one of manifest and index")
	}
	mt := head.MediaType
	if mt == "" {
		mt = claimed
	}
	if known(claimed) && claimed != mt {
		return bad("served as %q, says it is %q", claimed, mt)
	}
	if isIndex != mt.IsIndex() || isManifest != mt.IsImage() {
		return bad("its content isn't what %.100q has", mt)
	}
	return decodeDocument(raw, isIndex)
}

func known(mt types.MediaType) bool { return mt.IsIndex() || mt.IsImage() }

func decodeDocument(raw []byte, isIndex bool) (document, error) {
	var d document
	var target any
	if isIndex {
		d.index = &v1.IndexManifest{}
		target = d.index
	} else {
		d.manifest = &v1.Manifest{}
		target = d.manifest
	}
	if err := json.Unmarshal(raw, target); err != nil {
		return document{}, fmt.Errorf("%w manifest: %v", ErrInvalid, err)
	}
	return d, nil
}

// checkManifest looks at everything that a manifest promises before anything is fetched.
func checkManifest(m *v1.Manifest, l Limits) error {
	switch m.Config.MediaType {
	case types.OCIConfigJSON, types.DockerConfigJSON:
	default:
		return fmt.Errorf("%w: not a container image: configuration of type %.100q", ErrUnsupported, m.Config.MediaType)
	}
	if err := checkDescriptor(m.Config, l.Manifest); err != nil {
		return fmt.Errorf("image configuration: %w", err)
	}
	if len(m.Layers) > l.Layers {
		return fmt.Errorf("%w: %d layers, the limit is %d", ErrTooLarge, len(m.Layers), l.Layers)
	}
	for i, d := range m.Layers {
		switch d.MediaType {
		case types.OCILayer, types.OCILayerZStd, types.OCIUncompressedLayer, types.DockerLayer, types.DockerUncompressedLayer, dockerZstdLayer:
		default:
			return fmt.Errorf("%w: layer %d of type %.100q", ErrUnsupported, i, d.MediaType)
		}
		if err := checkDescriptor(d, l.LayerBytes); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return nil
}

const dockerZstdLayer types.MediaType = "application/vnd.docker.image.rootfs.diff.tar.zstd"

func checkDescriptor(d v1.Descriptor, limit int64) error {
	if d.Digest == (v1.Hash{}) {
		return fmt.Errorf("%w: no digest", ErrInvalid)
	}
	if d.Size < 0 {
		return fmt.Errorf("%w: size %d", ErrInvalid, d.Size)
	}
	if d.Size > limit {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, d.Size, limit)
	}
	return nil
}

// checkBytes compares content with its descriptor.
func checkBytes(raw []byte, d v1.Descriptor) error {
	if int64(len(raw)) != d.Size {
		return fmt.Errorf("%w: %s has %d bytes instead of %d", ErrDigest, d.Digest, len(raw), d.Size)
	}
	return checkHash(raw, d.Digest)
}

func checkHash(raw []byte, want v1.Hash) error {
	h, err := v1.Hasher(want.Algorithm)
	if err != nil {
		return fmt.Errorf("%w digest: %v", ErrInvalid, err)
	}
	h.Write(raw)
	if got := fmt.Sprintf("%x", h.Sum(nil)); got != want.Hex {
		return fmt.Errorf("%w: content of %s has %s:%s", ErrDigest, want, want.Algorithm, got)
	}
	return nil
}

// unambiguous refuses a JSON object that names a key twice, or one of the given keys in another spelling:
// encoding/json would take the last of them, another reader the first.
func unambiguous(raw []byte, keys ...string) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("not a JSON object")
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		if seen[key] {
			return fmt.Errorf("key %.50q twice", key)
		}
		seen[key] = true
		for _, k := range keys {
			if key != k && strings.EqualFold(key, k) {
				return fmt.Errorf("key %.50q instead of %q", key, k)
			}
		}
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return err
		}
	}
	return nil
}
