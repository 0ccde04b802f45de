//go:build linux

package image

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// PullOptions vary from pull to pull. The zero value works.
type PullOptions struct {
	// Auth is tried instead of Config.Credentials when it isn't zero.
	Auth Credentials
	// Progress is told how far the pull is: at each layer's end and about every MiB. An image whose manifest is here
	// already has no progress to tell. It must not block, nor call the store. nil is off.
	Progress func(Progress)
}

// Pull brings an image in from its registry and returns it. Layers that the store has aren't fetched again, and a
// tag that has moved is moved here as well. Callers who pull the same image with the same credentials at the same
// time share one pull; it ends early only when all of them gave up. How many different pulls run at once is the
// caller's to bound: each holds a manifest and a configuration, the layers wait for Config.Concurrency.
//
// Errors wrap ErrInvalidName, ErrNotFound, ErrUnauthorized, ErrUnavailable, ErrDigest, ErrTooLarge, ErrInvalid,
// ErrPlatform, ErrUnsupported, ErrClosed, or the context's.
func (s *Store) Pull(ctx context.Context, ref string, opt PullOptions) (Image, error) {
	r, err := parseReference(ref)
	if err == nil && plainHTTP(&s.cfg, r.remote.Context().RegistryStr()) {
		r, err = parseReference(ref, name.Insecure)
	}
	if err != nil {
		return Image{}, fmt.Errorf("pull image: %w", err)
	}
	cred := opt.Auth
	if cred == (Credentials{}) && s.cfg.Credentials != nil {
		if cred, err = s.cfg.Credentials(ctx, r.repository); err != nil {
			return Image{}, fmt.Errorf("pull image %s: credentials: %w", r, err)
		}
	}
	key := r.String() + " " + cred.fingerprint()
	img, err := s.share(ctx, key, opt.Progress, func(ctx context.Context, t *tracker) (Image, error) {
		src, err := newRegistrySource(&s.cfg, r, cred)
		if err != nil {
			return Image{}, err
		}
		defer src.close()
		return s.bring(ctx, src, r, t)
	})
	if err != nil {
		return Image{}, fmt.Errorf("pull image %s: %w", r, err)
	}
	return img, nil
}

// Import brings an image in from an OCI layout folder, under name. The folder must hold one image for this
// platform, or one whose org.opencontainers.image.ref.name is name or name's tag. Errors as of Pull.
func (s *Store) Import(ctx context.Context, dir, name string) (Image, error) {
	r, err := parseReference(name)
	if err != nil {
		return Image{}, fmt.Errorf("import image: %w", err)
	}
	img, err := s.share(ctx, r.String()+" from "+dir, nil, func(ctx context.Context, t *tracker) (Image, error) {
		return s.bring(ctx, &layoutSource{dir: dir, ref: r, limit: s.cfg.Limits.Manifest}, r, t)
	})
	if err != nil {
		return Image{}, fmt.Errorf("import image %s from %s: %w", r, dir, err)
	}
	return img, nil
}

// Load brings an image in from memory, as Build makes it, under name. Errors as of Pull.
func (s *Store) Load(ctx context.Context, name string, img v1.Image) (Image, error) {
	r, err := parseReference(name)
	if err != nil {
		return Image{}, fmt.Errorf("load image: %w", err)
	}
	d, err := img.Digest()
	if err != nil {
		return Image{}, fmt.Errorf("load image %s: %w", r, err)
	}
	got, err := s.share(ctx, r.String()+" as "+d.String(), nil, func(ctx context.Context, t *tracker) (Image, error) {
		return s.bring(ctx, memorySource{img: img, want: r.digest}, r, t)
	})
	if err != nil {
		return Image{}, fmt.Errorf("load image %s: %w", r, err)
	}
	return got, nil
}

func (s *Store) share(ctx context.Context, key string, note func(Progress), work func(context.Context, *tracker) (Image, error)) (Image, error) {
	if err := s.alive(); err != nil {
		return Image{}, err
	}
	img, _, err := s.pulls.do(ctx, s.ctx, key, note, func(ctx context.Context, t *tracker) (Image, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.Limits.Time,
			fmt.Errorf("%w: it took longer than %v", ErrUnavailable, s.cfg.Limits.Time))
		defer cancel()
		return work(ctx, t)
	})
	if err != nil && s.ctx.Err() != nil {
		return Image{}, ErrClosed
	}
	return img, err
}

// bring does the work of one pull.
func (s *Store) bring(ctx context.Context, src source, r reference, t *tracker) (Image, error) {
	res, err := s.resolve(ctx, src)
	if err != nil {
		return Image{}, err
	}
	if img, ok, err := s.recognize(r, res); ok || err != nil {
		return img, err
	}
	if res, err = s.resolveConfig(ctx, src, res); err != nil {
		return Image{}, err
	}
	unpin := s.pin(res.diffIDs)
	defer unpin()
	if err := s.bringLayers(ctx, src, res, t); err != nil {
		return Image{}, err
	}
	if err := ctx.Err(); err != nil {
		return Image{}, context.Cause(ctx)
	}
	return s.remember(r, res)
}

func (s *Store) bringLayers(ctx context.Context, src source, res resolved, t *tracker) error {
	t.update(func(p *Progress) {
		p.Layers = len(res.manifest.Layers)
		for _, d := range res.manifest.Layers {
			p.BytesTotal += d.Size
		}
	})
	var budget atomic.Int64
	budget.Store(s.cfg.Limits.ImageBytes)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.cfg.Concurrency)
	var total atomic.Int64
	for i, d := range res.manifest.Layers {
		g.Go(func() error {
			var read int64
			l, err := s.ensureLayer(gctx, layerFetch{
				src: src, desc: d, diffID: res.diffIDs[i], budget: &budget,
				note: func(n int) {
					read += int64(n)
					t.update(func(p *Progress) { p.Bytes += int64(n) })
				},
			})
			if err != nil {
				return err
			}
			t.update(func(p *Progress) { p.LayersDone++; p.Bytes += d.Size - read })
			if total.Add(l.Bytes) > s.cfg.Limits.ImageBytes {
				return fmt.Errorf("%w: image over its limit of %d uncompressed bytes", ErrTooLarge, s.cfg.Limits.ImageBytes)
			}
			return nil
		})
	}
	err := g.Wait()
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// pin keeps layers from being collected until an image's record names them.
func (s *Store) pin(ids []v1.Hash) (unpin func()) {
	change := func(by int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, id := range ids {
			if s.pins[id.String()] += by; s.pins[id.String()] == 0 {
				delete(s.pins, id.String())
			}
		}
	}
	change(1)
	return func() { change(-1) }
}

// remember writes the image's record and then its names: a crash in between leaves an image without a name.
func (s *Store) remember(r reference, res resolved) (Image, error) {
	s.write.Lock()
	defer s.write.Unlock()
	key := res.digest.String()
	s.mu.Lock()
	rec := s.images[key]
	s.mu.Unlock()
	if rec == nil {
		rec = &record{Manifest: key, ID: res.id.String(), Layers: []string{}, Config: res.config, Platform: res.platform, Pulled: time.Now().UTC()}
		for _, d := range res.diffIDs {
			rec.Layers = append(rec.Layers, d.String())
		}
		raw, err := json.Marshal(rec)
		if err != nil {
			return Image{}, err
		}
		if err := s.writeFile("images/"+fileName(key)+".json", raw); err != nil {
			return Image{}, err
		}
		s.mu.Lock()
		s.images[key] = rec
		s.mu.Unlock()
	}
	return s.rename(r, res, rec)
}

// recognize gives names to an image whose manifest is here already.
func (s *Store) recognize(r reference, res resolved) (Image, bool, error) {
	s.write.Lock()
	defer s.write.Unlock()
	s.mu.Lock()
	rec := s.images[res.digest.String()]
	s.mu.Unlock()
	if rec == nil {
		return Image{}, false, nil
	}
	img, err := s.rename(r, res, rec)
	return img, true, err
}

// rename points the image's tag or digest, and its repository's digest, at a record. Call with write held.
func (s *Store) rename(r reference, res resolved, rec *record) (Image, error) {
	entry := refEntry{Target: res.target.String(), Manifest: rec.Manifest}
	names := slices.Compact([]string{r.String(), r.repository + "@" + entry.Target})
	if err := s.name(entry, names); err != nil {
		return Image{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.describe(rec, r.String(), entry.Target), nil
}
