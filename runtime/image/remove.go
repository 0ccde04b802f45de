//go:build linux

package image

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
)

// Remove takes a name away from an image, and the image itself with its last tag. A digest, alone or as
// "repository@digest", removes the image with all its names. ErrInUse when it would go and has a root file
// system; ErrNotFound when it isn't there.
func (s *Store) Remove(ref string) error {
	gone, err := s.remove(ref)
	if err = errors.Join(err, s.removeAll(gone)); err != nil {
		return fmt.Errorf("remove image %.300s: %w", ref, err)
	}
	return nil
}

func (s *Store) remove(ref string) (gone []string, err error) {
	s.write.Lock()
	defer s.write.Unlock()
	s.mu.Lock()
	rec, shown, err := s.find(ref)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	tags := s.describe(rec, shown, "").Tags
	s.mu.Unlock()
	if slices.Contains(tags, shown) && len(tags) > 1 {
		return nil, s.changeRefs(func(refs map[string]refEntry) { delete(refs, shown) })
	}
	if err := s.removeImage(rec); err != nil {
		return nil, err
	}
	_, gone, err = s.removeLayers()
	return gone, err
}

// GC removes every image that isn't listed in inUse (by name, digest or ID) and has no root file system, and
// then every layer that no image, root or pull in progress needs. It returns the bytes freed. A name in
// inUse that isn't here is no error.
func (s *Store) GC(inUse []string) (freed int64, err error) {
	freed, gone, err := s.collect(inUse)
	if err = errors.Join(err, s.removeAll(gone)); err != nil {
		return freed, fmt.Errorf("collect images: %w", err)
	}
	return freed, nil
}

func (s *Store) collect(inUse []string) (freed int64, gone []string, err error) {
	s.write.Lock()
	defer s.write.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return 0, nil, ErrClosed
	}
	drop := maps.Clone(s.images)
	for _, ref := range inUse {
		if rec, _, err := s.find(ref); err == nil {
			delete(drop, rec.Manifest)
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, rec := range drop {
		if err := s.removeImage(rec); err != nil && !errors.Is(err, ErrInUse) {
			errs = append(errs, err)
		}
	}
	freed, gone, err = s.removeLayers()
	return freed, gone, errors.Join(append(errs, err)...)
}

// removeImage forgets an image with its names; removeLayers takes its layers. Call with write held.
func (s *Store) removeImage(rec *record) error {
	s.mu.Lock()
	for id, r := range s.roots {
		if r.Manifest == rec.Manifest {
			s.mu.Unlock()
			return fmt.Errorf("%w: container %s has its root file system", ErrInUse, id)
		}
	}
	delete(s.images, rec.Manifest) // from here on nobody mounts it
	refs := maps.Clone(s.refs)
	maps.DeleteFunc(refs, func(_ string, e refEntry) bool { return e.Manifest == rec.Manifest })
	s.refs = refs
	s.mu.Unlock()
	if err := s.writeRefs(refs); err != nil {
		return err
	}
	if err := os.Remove(s.path("images", fileName(rec.Manifest)+".json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return s.syncDir("images")
}

// removeLayers takes the layers that nothing needs out of the store, and returns the folders to delete once nothing
// is locked any more. Call with write held.
func (s *Store) removeLayers() (freed int64, gone []string, err error) {
	for _, l := range s.takeUnneeded() {
		tmp, err := s.setAside(s.path("layers", fileName(l.Digest)))
		if err != nil {
			return freed, gone, err
		}
		freed += l.Bytes
		if tmp != "" {
			gone = append(gone, tmp)
		}
	}
	return freed, gone, s.syncDir("layers")
}

func (s *Store) takeUnneeded() (out []*layer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	need := map[string]bool{}
	for _, rec := range s.images {
		for _, l := range rec.Layers {
			need[l] = true
		}
	}
	for _, r := range s.roots {
		for _, l := range r.Layers {
			need[l] = true
		}
	}
	for id, l := range s.layers {
		if !need[id] && s.pins[id] == 0 {
			out = append(out, l)
			delete(s.layers, id)
		}
	}
	return out
}

func (s *Store) removeAll(paths []string) error {
	var errs []error
	for _, p := range paths {
		errs = append(errs, s.removeTree(p))
	}
	return errors.Join(errs...)
}
