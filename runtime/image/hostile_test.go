//go:build linux

package image_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/runtime/image"
	"github.com/bedplate/bedplate/runtime/image/imagetest"
)

// blobServer serves one repository's content exactly as it is told.
type blobServer struct {
	manifest []byte
	mt       string
	blobs    map[string][]byte
}

func (b *blobServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/v2/":
	case strings.Contains(r.URL.Path, "/manifests/"):
		w.Header().Set("Content-Type", b.mt)
		w.Write(b.manifest)
	default:
		blob, ok := b.blobs[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
		w.Write(blob)
	}
}

const ociManifest = "application/vnd.oci.image.manifest.v1+json"

// good is an image taken apart: change it and serve it.
func good(t testing.TB) (map[string]any, map[string][]byte) {
	img := imagetest.Image(t, map[string][]byte{"etc/f": []byte("content")}, image.ContainerConfig{Cmd: []string{"x"}})
	return unpacked(t, img)
}

func TestMalformedManifestsAreRefused(t *testing.T) {
	at := func(m map[string]any, path ...any) map[string]any {
		var v any = m
		for _, p := range path {
			switch p := p.(type) {
			case string:
				v = v.(map[string]any)[p]
			case int:
				v = v.([]any)[p]
			}
		}
		return v.(map[string]any)
	}
	zeros := strings.Repeat("0", 64)
	cases := map[string]struct {
		change func(m map[string]any)
		want   error
	}{
		"digest as path":          {func(m map[string]any) { at(m, "layers", 0)["digest"] = "sha256:../../../etc/passwd" }, image.ErrInvalid},
		"digest of dots":          {func(m map[string]any) { at(m, "config")["digest"] = "sha256:" + strings.Repeat("../", 21) + "a" }, image.ErrInvalid},
		"digest too short":        {func(m map[string]any) { at(m, "layers", 0)["digest"] = "sha256:abc" }, image.ErrInvalid},
		"digest in upper case":    {func(m map[string]any) { at(m, "layers", 0)["digest"] = "sha256:" + strings.Repeat("A", 64) }, image.ErrInvalid},
		"unknown algorithm":       {func(m map[string]any) { at(m, "layers", 0)["digest"] = "md5:" + zeros[:32] }, image.ErrInvalid},
		"algorithm as path":       {func(m map[string]any) { at(m, "layers", 0)["digest"] = "../x:" + zeros }, image.ErrInvalid},
		"no digest":               {func(m map[string]any) { delete(at(m, "layers", 0), "digest") }, image.ErrInvalid},
		"digest null":             {func(m map[string]any) { at(m, "layers", 0)["digest"] = nil }, image.ErrInvalid},
		"another blob":            {func(m map[string]any) { at(m, "layers", 0)["digest"] = at(m, "config")["digest"] }, image.ErrDigest},
		"missing blob":            {func(m map[string]any) { at(m, "layers", 0)["digest"] = "sha256:" + zeros }, image.ErrNotFound},
		"size too small":          {func(m map[string]any) { at(m, "layers", 0)["size"] = 10 }, image.ErrDigest},
		"size too large":          {func(m map[string]any) { at(m, "layers", 0)["size"] = 1 << 20 }, image.ErrDigest},
		"size negative":           {func(m map[string]any) { at(m, "layers", 0)["size"] = -1 }, image.ErrInvalid},
		"size enormous":           {func(m map[string]any) { at(m, "layers", 0)["size"] = int64(1) << 60 }, image.ErrTooLarge},
		"size over int64":         {func(m map[string]any) { at(m, "layers", 0)["size"] = 1e30 }, image.ErrInvalid},
		"configuration size":      {func(m map[string]any) { at(m, "config")["size"] = 3 }, image.ErrDigest},
		"configuration is large":  {func(m map[string]any) { at(m, "config")["size"] = 1 << 30 }, image.ErrTooLarge},
		"also an index":           {func(m map[string]any) { m["manifests"] = []any{} }, image.ErrInvalid},
		"says it is an index":     {func(m map[string]any) { m["mediaType"] = "application/vnd.oci.image.index.v1+json" }, image.ErrInvalid},
		"media type disagrees":    {func(m map[string]any) { m["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json" }, image.ErrInvalid},
		"schema version 1":        {func(m map[string]any) { m["schemaVersion"] = 1 }, image.ErrUnsupported},
		"fsLayers beside":         {func(m map[string]any) { m["fsLayers"] = []any{} }, image.ErrUnsupported},
		"another spelling":        {func(m map[string]any) { m["Layers"] = []any{} }, image.ErrInvalid},
		"no schema version":       {func(m map[string]any) { delete(m, "schemaVersion") }, image.ErrInvalid},
		"neither":                 {func(m map[string]any) { delete(m, "config"); delete(m, "layers") }, image.ErrInvalid},
		"no layer for the diffID": {func(m map[string]any) { m["layers"] = []any{} }, image.ErrInvalid},
		"too many layers": {func(m map[string]any) {
			m["layers"] = slices.Repeat(m["layers"].([]any), 201)
		}, image.ErrTooLarge},
		"foreign layer": {func(m map[string]any) {
			at(m, "layers", 0)["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
		}, image.ErrUnsupported},
		"an artifact":   {func(m map[string]any) { at(m, "config")["mediaType"] = "application/vnd.oci.empty.v1+json" }, image.ErrUnsupported},
		"layers object": {func(m map[string]any) { m["layers"] = map[string]any{} }, image.ErrInvalid},
		"deep": {func(m map[string]any) {
			m["x"] = json.RawMessage(strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000))
		}, image.ErrInvalid},
	}
	b := &blobServer{mt: ociManifest}
	host := serve(t, b)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m, blobs := good(t)
			c.change(m)
			if name == "deep" {
				b.manifest = []byte(`{"schemaVersion":2,"x":` + string(m["x"].(json.RawMessage)) + `}`)
			} else {
				b.manifest = mustJSON(t, m)
			}
			b.blobs = blobs
			s := open(t)
			_, err := s.Pull(t.Context(), host+"/demo:v1", image.PullOptions{})
			require.ErrorIs(t, err, c.want)
			require.Empty(t, s.List())
			require.Zero(t, s.Usage().Layers)
		})
	}
}

func TestDuplicateKeysAreRefused(t *testing.T) {
	m, blobs := good(t)
	doc := mustJSON(t, m)
	b := &blobServer{mt: ociManifest, blobs: blobs}
	host := serve(t, b)
	b.manifest = append(bytes.TrimSuffix(bytes.Clone(doc), []byte("}")), []byte(`,"layers":[]}`)...)
	s := open(t)
	_, err := s.Pull(t.Context(), host+"/demo:v1", image.PullOptions{})
	require.ErrorIs(t, err, image.ErrInvalid)
	// Even when both say the same.
	b.manifest = append(bytes.TrimSuffix(bytes.Clone(doc), []byte("}")), []byte(`,"layers":`+string(mustJSON(t, m["layers"]))+`}`)...)
	_, err = s.Pull(t.Context(), host+"/demo:v1", image.PullOptions{})
	require.ErrorIs(t, err, image.ErrInvalid)
	b.manifest = doc
	_, err = s.Pull(t.Context(), host+"/demo:v1", image.PullOptions{})
	require.NoError(t, err)
	_, err = s.Pull(t.Context(), host+"/demo@sha256:"+strings.Repeat("0", 64), image.PullOptions{})
	require.ErrorIs(t, err, image.ErrDigest)
	b.mt = "application/vnd.oci.image.index.v1+json"
	_, err = s.Pull(t.Context(), host+"/demo:v1", image.PullOptions{})
	require.ErrorIs(t, err, image.ErrInvalid)
}

// withConfig serves an image whose configuration a test changed.
func withConfig(t *testing.T, b *blobServer, change func(cf map[string]any)) {
	t.Helper()
	m, blobs := good(t)
	conf := m["config"].(map[string]any)
	var cf map[string]any
	require.NoError(t, json.Unmarshal(blobs[conf["digest"].(string)], &cf))
	change(cf)
	raw := mustJSON(t, cf)
	conf["digest"], conf["size"] = digestOf(raw), len(raw)
	blobs[digestOf(raw)] = raw
	b.manifest, b.blobs, b.mt = mustJSON(t, m), blobs, ociManifest
}

func TestMalformedConfigurations(t *testing.T) {
	b := &blobServer{}
	host := serve(t, b)
	for name, c := range map[string]struct {
		change func(cf map[string]any)
		want   error
	}{
		"wrong diff id": {func(cf map[string]any) {
			cf["rootfs"].(map[string]any)["diff_ids"] = []any{"sha256:" + strings.Repeat("0", 64)}
		}, image.ErrDigest},
		"diff id as path": {func(cf map[string]any) {
			cf["rootfs"].(map[string]any)["diff_ids"] = []any{"sha256:../../x"}
		}, image.ErrInvalid},
		"null diff id": {func(cf map[string]any) { cf["rootfs"].(map[string]any)["diff_ids"] = []any{nil} }, image.ErrInvalid},
		"two diff ids": {func(cf map[string]any) {
			r := cf["rootfs"].(map[string]any)
			r["diff_ids"] = append(r["diff_ids"].([]any), r["diff_ids"].([]any)...)
		}, image.ErrInvalid},
		"windows":          {func(cf map[string]any) { cf["os"] = "windows" }, image.ErrPlatform},
		"another rootfs":   {func(cf map[string]any) { cf["rootfs"].(map[string]any)["type"] = "ostree" }, image.ErrInvalid},
		"NUL":              {func(cf map[string]any) { cf["config"].(map[string]any)["Env"] = []any{"A=\x00b"} }, image.ErrInvalid},
		"wrong type":       {func(cf map[string]any) { cf["config"] = "x" }, image.ErrInvalid},
		"another spelling": {func(cf map[string]any) { cf["RootFS"] = cf["rootfs"] }, image.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			withConfig(t, b, c.change)
			s := open(t)
			_, err := s.Pull(t.Context(), host+"/demo:v1", image.PullOptions{})
			require.ErrorIs(t, err, c.want)
			require.Zero(t, s.Usage().Layers)
		})
	}
}

// TestLabelsMeanNothing: whatever labels and annotations say, the image is described the same.
func TestLabelsMeanNothing(t *testing.T) {
	b := &blobServer{}
	host := serve(t, b)
	s := open(t)
	var want *image.ContainerConfig
	keys := []string{"io.kubernetes.cri.seccomp", "org.opencontainers.image.ref.name", "privileged", "User", "io.bedplate.mount"}
	for i := range 50 {
		withConfig(t, b, func(cf map[string]any) {
			cf["config"].(map[string]any)["Labels"] = map[string]any{keys[i%len(keys)]: fmt.Sprint(i), "Entrypoint": "/bin/evil"}
		})
		img, err := s.Pull(t.Context(), host+"/demo:v1", image.PullOptions{})
		require.NoError(t, err)
		if want == nil {
			want = &img.Config
		}
		require.Equal(t, *want, img.Config)
	}
}

// TestMutatedManifests changes manifests and configurations at random: an error of a known kind or an image, and
// the store stays whole.
func TestMutatedManifests(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	m, blobs := good(t)
	doc := mustJSON(t, m)
	conf := blobs[m["config"].(map[string]any)["digest"].(string)]
	s := open(t)
	kinds := []error{image.ErrInvalid, image.ErrDigest, image.ErrTooLarge, image.ErrUnsupported, image.ErrPlatform, image.ErrNotFound}
	tokens := []string{"null", "{}", "[]", "-1", "1e999", `""`, `"sha256:../.."`, `"` + strings.Repeat("9", 40) + `"`, "}", "]", `"manifests":[]`, ","}
	mutate := func(b []byte) []byte {
		b = bytes.Clone(b)
		for range 1 + r.IntN(3) {
			i := r.IntN(len(b))
			switch r.IntN(4) {
			case 0:
				b[i] = byte(r.IntN(256))
			case 1:
				b = append(b[:i], b[min(len(b), i+1+r.IntN(20)):]...)
			case 2:
				b = slices.Insert(b, i, []byte(tokens[r.IntN(len(tokens))])...)
			case 3:
				j := r.IntN(len(b))
				b[i], b[j] = b[j], b[i]
			}
			if len(b) == 0 {
				return []byte("{}")
			}
		}
		return b
	}
	for i := range 10_000 {
		doc, blobs := doc, maps.Clone(blobs)
		if i%2 == 0 {
			doc = mutate(doc)
		} else {
			raw := mutate(conf)
			var m map[string]any
			require.NoError(t, json.Unmarshal(doc, &m))
			m["config"].(map[string]any)["digest"], m["config"].(map[string]any)["size"] = digestOf(raw), len(raw)
			blobs[digestOf(raw)] = raw
			doc = mustJSON(t, m)
		}
		_, err := s.Load(t.Context(), "demo:v1", loose{doc: doc, blobs: blobs})
		if err != nil {
			require.True(t, slices.ContainsFunc(kinds, func(k error) bool { return isKind(err, k) }), "%v\n%s", err, doc)
		}
	}
	for _, img := range s.List() {
		require.Len(t, img.Layers, 1)
	}
	_, err := s.GC(nil)
	require.NoError(t, err)
	require.Equal(t, image.Usage{}, s.Usage())
}

// bomb is an image with one layer that is as given.
func bomb(t testing.TB, layer []byte, mt types.MediaType, plain []byte) loose {
	conf := mustJSON(t, map[string]any{"architecture": goarch, "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digestOf(plain)}}})
	doc := mustJSON(t, map[string]any{"schemaVersion": 2, "mediaType": ociManifest,
		"config": map[string]any{"mediaType": types.OCIConfigJSON, "digest": digestOf(conf), "size": len(conf)},
		"layers": []any{map[string]any{"mediaType": mt, "digest": digestOf(layer), "size": len(layer)}}})
	return loose{doc: doc, blobs: map[string][]byte{digestOf(conf): conf, digestOf(layer): layer}}
}

func TestBombs(t *testing.T) {
	dir := imagetest.Dir(t)
	s, err := image.Open(image.Config{Dir: dir, NoSync: true, Limits: image.Limits{LayerBytes: 8 << 20, ImageBytes: 12 << 20, Entries: 1000}})
	require.NoError(t, err)
	defer s.Close()
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "zeros", Size: 64 << 20, Mode: 0o644}))
	_, err = w.Write(make([]byte, 64<<20))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, err = g.Write(plain.Bytes())
	require.NoError(t, err)
	require.NoError(t, g.Close())
	enc, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	zs := enc.EncodeAll(plain.Bytes(), nil)
	require.NoError(t, enc.Close())
	trailing := append(bytes.Clone(gz.Bytes()), "garbage"...)
	cut := gz.Bytes()[:gz.Len()/2]
	for name, c := range map[string]struct {
		layer []byte
		want  error
	}{
		"gzip": {gz.Bytes(), image.ErrTooLarge}, "zstd": {zs, image.ErrTooLarge},
		"cut": {cut, image.ErrTooLarge}, "trailing": {trailing, image.ErrTooLarge},
	} {
		_, err := s.Load(t.Context(), "bomb:v1", bomb(t, c.layer, types.OCILayer, plain.Bytes()))
		require.ErrorIs(t, err, c.want, name)
		require.Zero(t, s.Usage().Layers)
		require.Empty(t, left(t, dir), name)
	}
	// Two layers that are small enough apart but not together.
	img := layered(t, image.Gzip, map[string]image.File{"a": {Data: make([]byte, 7<<20)}}, map[string]image.File{"b": {Data: make([]byte, 7<<20)}})
	_, err = s.Load(t.Context(), "two:v1", img)
	require.ErrorIs(t, err, image.ErrTooLarge)
	require.Empty(t, s.List())
	require.NoError(t, s.Close()) // waits for the other layer's end
	require.Empty(t, left(t, dir))
}

func TestDamagedStreams(t *testing.T) {
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "f", Size: 5, Mode: 0o644}))
	_, err := w.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, err = g.Write(plain.Bytes())
	require.NoError(t, err)
	require.NoError(t, g.Close())
	s := open(t)
	load := func(l []byte) error {
		_, err := s.Load(t.Context(), "x:v1", bomb(t, l, types.OCILayer, plain.Bytes()))
		return err
	}
	require.ErrorIs(t, load(gz.Bytes()[:gz.Len()-4]), image.ErrInvalid, "cut short")
	require.ErrorIs(t, load(append(bytes.Clone(gz.Bytes()), "garbage"...)), image.ErrInvalid, "trailing garbage")
	require.ErrorIs(t, load([]byte("not a tar")), image.ErrInvalid)
	// Zeros after a plain tar change its digest: they are read, hashed and refused.
	require.ErrorIs(t, load(append(bytes.Clone(plain.Bytes()), 0)), image.ErrDigest)
	require.NoError(t, load(gz.Bytes()))

	// Another compressed form of the same tar isn't the blob that the manifest names.
	other := bytes.Clone(gz.Bytes())
	other[9] ^= 1 // the operating system, which nobody reads
	img := bomb(t, gz.Bytes(), types.OCILayer, plain.Bytes())
	img.blobs[digestOf(gz.Bytes())] = other
	_, err = open(t).Load(t.Context(), "x:v1", img)
	require.ErrorIs(t, err, image.ErrDigest)
}

// TestLayerEscapes unpacks a hostile layer through the whole chain and looks at the host.
func TestLayerEscapes(t *testing.T) {
	canary := filepath.Join(t.TempDir(), "canary")
	require.NoError(t, os.WriteFile(canary, []byte("untouched"), 0o600))
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, h := range []tar.Header{
		{Name: "l", Typeflag: tar.TypeSymlink, Linkname: filepath.Dir(canary)},
		{Name: "l/canary", Typeflag: tar.TypeReg, Size: 3},
	} {
		require.NoError(t, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := w.Write([]byte("bad"))
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	s := open(t)
	_, err := s.Load(t.Context(), "x:v1", bomb(t, plain.Bytes(), types.OCIUncompressedLayer, plain.Bytes()))
	require.ErrorIs(t, err, image.ErrInvalid) // the link leads nowhere inside the layer
	require.Equal(t, "untouched", read(t, canary))
}

// loose is a v1.Image that says what it is told and checks nothing.
type loose struct {
	v1.Image
	doc   []byte
	blobs map[string][]byte
}
