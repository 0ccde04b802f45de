//go:build linux

package image_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/image"
	"github.com/bedplate/bedplate/runtime/image/imagetest"
)

func open(t testing.TB, change ...func(*image.Config)) *image.Store {
	t.Helper()
	cfg := image.Config{Dir: imagetest.Dir(t), NoSync: true}
	for _, c := range change {
		c(&cfg)
	}
	s, err := image.Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, ignoreClosed(s.Keep(nil)))
		require.NoError(t, s.Close())
	})
	return s
}

func ignoreClosed(err error) error {
	if err != nil && strings.Contains(err.Error(), image.ErrClosed.Error()) {
		return nil
	}
	return err
}

// front is a registry whose requests a test can change or count.
type front struct {
	http.Handler
	before func(w http.ResponseWriter, r *http.Request) (done bool)
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.before != nil && f.before(w, r) {
		return
	}
	f.Handler.ServeHTTP(w, r)
}

func newFront() *front {
	return &front{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
}

func serve(t testing.TB, h http.Handler) (host string) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// layered makes an image of several layers, lowest first.
func layered(t testing.TB, c image.Compression, layers ...map[string]image.File) v1.Image {
	t.Helper()
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	for _, files := range layers {
		one, err := image.Build(files, image.BuildOptions{Compression: c})
		require.NoError(t, err)
		ls, err := one.Layers()
		require.NoError(t, err)
		img, err = mutate.Append(img, mutate.Addendum{Layer: ls[0]})
		require.NoError(t, err)
	}
	cf, err := img.ConfigFile()
	require.NoError(t, err)
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", goarch
	img, err = mutate.ConfigFile(img, cf)
	require.NoError(t, err)
	return img
}

func data(s string) image.File { return image.File{Data: []byte(s)} }

// unpacked takes an image apart so that a test can change it.
func unpacked(t testing.TB, img v1.Image) (m map[string]any, blobs map[string][]byte) {
	t.Helper()
	doc, err := img.RawManifest()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(doc, &m))
	blobs = map[string][]byte{}
	conf, err := img.RawConfigFile()
	require.NoError(t, err)
	blobs[digestOf(conf)] = conf
	ls, err := img.Layers()
	require.NoError(t, err)
	for _, l := range ls {
		rc, err := l.Compressed()
		require.NoError(t, err)
		b, err := io.ReadAll(rc)
		require.NoError(t, err)
		blobs[digestOf(b)] = b
	}
	return m, blobs
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

// treeHash covers what a container sees of a tree.
func treeHash(t testing.TB, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		fmt.Fprintf(h, "%s %o %d %d\n", rel, st.Mode, st.Uid, st.Gid)
		if d.Type().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			h.Write(b)
		}
		return nil
	})
	require.NoError(t, err)
	return hex.EncodeToString(h.Sum(nil))
}

// left lists what lies in a store's folder of temporary files.
func left(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "tmp"))
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func read(t testing.TB, p string) string {
	t.Helper()
	b, err := os.ReadFile(p)
	require.NoError(t, err)
	return string(b)
}

func isKind(err, kind error) bool { return errors.Is(err, kind) }

func (l loose) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (l loose) RawManifest() ([]byte, error)        { return l.doc, nil }
func (l loose) Digest() (v1.Hash, error)            { return v1.NewHash(digestOf(l.doc)) }
func (l loose) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	b, ok := l.blobs[h.String()]
	if !ok {
		return nil, fmt.Errorf("no blob %s", h)
	}
	return static.NewLayer(b, types.OCILayer), nil
}

func quietLog() *log.Logger { return log.New(io.Discard, "", 0) }
