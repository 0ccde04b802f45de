//go:build linux

package image

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Get finds an image by name in any form that Pull takes, by "repository@digest", or by a digest alone: its ID,
// its manifest's or its index's. Errors are ErrNotFound, ErrInvalidName and ErrClosed.
func (s *Store) Get(ref string) (Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec, shown, err := s.find(ref)
	if err != nil {
		return Image{}, fmt.Errorf("get image: %w", err)
	}
	return s.describe(rec, shown, s.refs[shown].Target), nil
}

// Present says whether an image is here by that name, without asking its registry: what decides a pull under
// the policy IfNotPresent. A name that isn't one is not present.
func (s *Store) Present(ref string) (Image, bool) {
	img, err := s.Get(ref)
	return img, err == nil
}

// List gives all images, ordered by Ref and then Manifest.
func (s *Store) List() []Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Image, 0, len(s.images))
	for _, rec := range s.images {
		all = append(all, s.describe(rec, "", ""))
	}
	slices.SortFunc(all, func(a, b Image) int {
		return cmp.Or(strings.Compare(a.Ref, b.Ref), strings.Compare(a.Manifest, b.Manifest))
	})
	return all
}

// find looks an image up. shown is the canonical name that it was asked for by, or "" for a bare digest. Call with mu held.
func (s *Store) find(ref string) (rec *record, shown string, err error) {
	if s.closed {
		return nil, "", ErrClosed
	}
	if _, herr := v1.NewHash(ref); herr == nil {
		if rec = s.byDigest(ref); rec == nil {
			return nil, "", fmt.Errorf("%w: %s", ErrNotFound, ref)
		}
		return rec, "", nil
	}
	r, err := parseReference(ref)
	if err != nil {
		return nil, "", err
	}
	e, ok := s.refs[r.String()]
	if !ok {
		return nil, "", fmt.Errorf("%w: %s", ErrNotFound, r)
	}
	return s.images[e.Manifest], r.String(), nil
}

func (s *Store) byDigest(digest string) *record {
	if rec := s.images[digest]; rec != nil {
		return rec
	}
	// In order, so that the answer is the same each time when several manifests share a configuration.
	for _, k := range slices.Sorted(maps.Keys(s.images)) {
		if s.images[k].ID == digest {
			return s.images[k]
		}
	}
	for _, k := range slices.Sorted(maps.Keys(s.refs)) {
		if s.refs[k].Target == digest {
			return s.images[s.refs[k].Manifest]
		}
	}
	return nil
}

// describe makes the caller's own copy of an image. Call with mu held.
func (s *Store) describe(rec *record, shown, target string) Image {
	img := Image{
		Ref: shown, ID: rec.ID, Digest: target, Manifest: rec.Manifest,
		Config: rec.Config.clone(), Layers: slices.Clone(rec.Layers), Platform: rec.Platform, Pulled: rec.Pulled,
	}
	for _, l := range rec.Layers {
		if l := s.layers[l]; l != nil {
			img.Size += l.Bytes
		}
	}
	for name, e := range s.refs {
		if e.Manifest != rec.Manifest {
			continue
		}
		if strings.Contains(name, "@") {
			img.Digests = append(img.Digests, name)
		} else {
			img.Tags = append(img.Tags, name)
		}
	}
	slices.Sort(img.Tags)
	slices.Sort(img.Digests)
	if all := slices.Concat(img.Tags, img.Digests); img.Ref == "" && len(all) > 0 {
		img.Ref = all[0]
	}
	if img.Digest == "" {
		img.Digest = cmp.Or(s.refs[img.Ref].Target, rec.Manifest)
	}
	return img
}

func (c ContainerConfig) clone() ContainerConfig {
	for _, l := range []*[]string{&c.Env, &c.Entrypoint, &c.Cmd, &c.Volumes, &c.ExposedPorts} {
		*l = slices.Clone(*l)
	}
	return c
}

// name points names at an image, and writes them. Call with write held.
func (s *Store) name(e refEntry, names []string) error {
	return s.changeRefs(func(refs map[string]refEntry) {
		for _, n := range names {
			refs[n] = e
		}
	})
}

// changeRefs replaces the names on disk and then in memory, if the change made a difference. Call with write held.
func (s *Store) changeRefs(change func(map[string]refEntry)) error {
	s.mu.Lock()
	old := s.refs
	s.mu.Unlock()
	refs := maps.Clone(old)
	change(refs)
	if maps.Equal(refs, old) {
		return nil
	}
	if err := s.writeRefs(refs); err != nil {
		return err
	}
	s.mu.Lock()
	s.refs = refs
	s.mu.Unlock()
	return nil
}

func (s *Store) writeRefs(refs map[string]refEntry) error {
	raw, err := json.Marshal(refs)
	if err != nil {
		return err
	}
	return s.writeFile("refs.json", raw)
}

// Usage is what the store's layers take.
type Usage struct {
	// Bytes is the content of files in unpacked layers, each layer once.
	Bytes int64
	// Entries is the number of files, folders and links in them.
	Entries int64
	// Images and Layers count them.
	Images, Layers int
}

// Usage adds up the layers; it doesn't walk them. What containers wrote is RootUsage's.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := Usage{Images: len(s.images), Layers: len(s.layers)}
	for _, l := range s.layers {
		u.Bytes += l.Bytes
		u.Entries += l.Entries
	}
	return u
}
