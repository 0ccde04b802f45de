//go:build linux

package image

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// File is one entry of an image that Build makes: exactly one of Data, Source, Link and Dir is what it is; none
// is an empty file.
type File struct {
	// Data is its content.
	Data []byte
	// Source is a regular file of this machine to take the content from, each time it is needed.
	Source string
	// Link makes it a symbolic link to that.
	Link string
	// Dir makes it a folder.
	Dir bool
	// Mode are its permissions, fs.ModeSetuid and alike included. Default 0644; 0755 for folders; those of the
	// Source.
	Mode fs.FileMode
	// UID and GID own it.
	UID, GID int
}

// Compression is how a layer is stored and sent.
type Compression string

// The compressions of layers. Plain is the fastest for an image that stays on its machine.
const (
	Plain Compression = ""
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
)

// BuildOptions say what Build makes of its files. The zero value is an image for this program's platform.
type BuildOptions struct {
	Config      ContainerConfig
	Platform    Platform
	Compression Compression
}

// Build makes an image of one layer from files, keyed by their path in the image; folders on the way are made.
// The same input gives the same digest. Load brings it into a Store, without a registry or a network; files given
// by Source are read then, and must not have changed.
func Build(files map[string]File, opt BuildOptions) (v1.Image, error) {
	img, err := build(files, opt)
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	return img, nil
}

func build(files map[string]File, opt BuildOptions) (v1.Image, error) {
	entries, err := plan(files)
	if err != nil {
		return nil, err
	}
	layer, err := buildLayer(entries, opt.Compression)
	if err != nil {
		return nil, err
	}
	base := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	img, err := mutate.Append(base, mutate.Addendum{Layer: layer})
	if err != nil {
		return nil, err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cf = cf.DeepCopy()
	cf.OS = cmp.Or(opt.Platform.OS, "linux")
	cf.Architecture = cmp.Or(opt.Platform.Architecture, runtime.GOARCH)
	cf.Variant = opt.Platform.Variant
	cf.Config = opt.Config.toV1()
	return mutate.ConfigFile(img, cf)
}

func (c ContainerConfig) toV1() v1.Config {
	out := v1.Config{User: c.User, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, WorkingDir: c.WorkingDir, StopSignal: c.StopSignal}
	set := func(list []string) map[string]struct{} {
		if len(list) == 0 {
			return nil
		}
		m := map[string]struct{}{}
		for _, v := range list {
			m[v] = struct{}{}
		}
		return m
	}
	out.Volumes, out.ExposedPorts = set(c.Volumes), set(c.ExposedPorts)
	return out
}

// FilesFrom describes a folder of this machine for Build: its regular files by Source, its folders and symbolic
// links, with modes and owners. Anything else in it is an error. Hard links become files of their own.
func FilesFrom(dir string) (map[string]File, error) {
	files := map[string]File{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == "." {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		f := File{Mode: fi.Mode() &^ fs.ModeType}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			f.UID, f.GID = int(st.Uid), int(st.Gid)
		}
		switch fi.Mode().Type() {
		case 0:
			f.Source = p
		case fs.ModeDir:
			f.Dir = true
		case fs.ModeSymlink:
			if f.Link, err = os.Readlink(p); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s: %w: %v", p, ErrUnsupported, fi.Mode().Type())
		}
		files[rel] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list files for an image: %w", err)
	}
	return files, nil
}

// entry is one archive entry to write.
type entry struct {
	tar.Header
	data   []byte
	source string
}

// plan turns files into archive entries in order, with every folder before what is in it.
func plan(files map[string]File) ([]entry, error) {
	all := map[string]entry{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		p := strings.TrimPrefix(path.Clean("/"+name), "/")
		if p == "" || strings.ContainsRune(p, 0) {
			return nil, fmt.Errorf("%w file name %q", ErrInvalid, name)
		}
		if old, ok := all[p]; ok && old.Typeflag != 0 {
			return nil, fmt.Errorf("%w: file %q twice", ErrInvalid, p)
		}
		e, err := files[name].entry(p)
		if err != nil {
			return nil, fmt.Errorf("file %q: %w", name, err)
		}
		all[p] = e
	}
	for p := range maps.Clone(all) {
		for d := path.Dir(p); d != "."; d = path.Dir(d) {
			if e, ok := all[d]; ok && e.Typeflag != tar.TypeDir {
				return nil, fmt.Errorf("%w: %q lies in %q, which isn't a folder", ErrInvalid, p, d)
			} else if !ok {
				all[d] = entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755}}
			}
		}
	}
	var out []entry
	for _, p := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[p])
	}
	return out, nil
}

func (f File) entry(p string) (entry, error) {
	e := entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: p, Mode: 0o644, Uid: f.UID, Gid: f.GID}}
	kinds := 0
	for _, is := range []bool{f.Data != nil, f.Source != "", f.Link != "", f.Dir} {
		if is {
			kinds++
		}
	}
	if kinds > 1 {
		return e, errors.New("more than one of Data, Source, Link and Dir")
	}
	switch {
	case f.Source != "":
		fi, err := os.Stat(f.Source)
		if err != nil {
			return e, err
		}
		if !fi.Mode().IsRegular() {
			return e, fmt.Errorf("%w: source %s isn't a regular file", ErrInvalid, f.Source)
		}
		e.source, e.Size, e.Mode = f.Source, fi.Size(), tarMode(fi.Mode())
	case f.Link != "":
		e.Typeflag, e.Linkname, e.Mode = tar.TypeSymlink, f.Link, 0o777
	case f.Dir:
		e.Typeflag, e.Name, e.Mode = tar.TypeDir, p+"/", 0o755
	default:
		e.data, e.Size = f.Data, int64(len(f.Data))
	}
	if f.Mode != 0 && f.Link == "" {
		e.Mode = tarMode(f.Mode)
	}
	return e, nil
}

func tarMode(m fs.FileMode) int64 {
	out := int64(m.Perm())
	for bit, v := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&bit != 0 {
			out |= v
		}
	}
	return out
}

// writeTar writes the archive. Times are the epoch, so that equal files make equal layers.
func writeTar(w io.Writer, entries []entry) error {
	tw := tar.NewWriter(w)
	for _, e := range entries {
		e.ModTime = time.Unix(0, 0)
		if err := tw.WriteHeader(&e.Header); err != nil {
			return err
		}
		if err := writeContent(tw, e); err != nil {
			return err
		}
	}
	return tw.Close()
}

func writeContent(tw *tar.Writer, e entry) error {
	if e.source == "" {
		_, err := tw.Write(e.data)
		return err
	}
	f, err := os.Open(e.source)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(tw, f, e.Size)
	return err
}

func openTar(entries []entry) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(writeTar(w, entries)) }() // ends when the reader closes
		return r, nil
	}
}

func buildLayer(entries []entry, c Compression) (v1.Layer, error) {
	open := openTar(entries)
	switch c {
	case Gzip:
		return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
	case Zstd:
		return tarball.LayerFromOpener(open, tarball.WithCompression(compression.ZStd), tarball.WithMediaType(types.OCILayerZStd))
	case Plain:
	default:
		return nil, fmt.Errorf("%w: compression %q", ErrUnsupported, c)
	}
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	h, n, err := v1.SHA256(r)
	if err != nil {
		return nil, err
	}
	return plainLayer{open: open, digest: h, size: n}, nil
}

// plainLayer is a layer that isn't compressed.
type plainLayer struct {
	open   func() (io.ReadCloser, error)
	digest v1.Hash
	size   int64
}

var _ v1.Layer = plainLayer{}

func (l plainLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l plainLayer) DiffID() (v1.Hash, error)             { return l.digest, nil }
func (l plainLayer) Compressed() (io.ReadCloser, error)   { return l.open() }
func (l plainLayer) Uncompressed() (io.ReadCloser, error) { return l.open() }
func (l plainLayer) Size() (int64, error)                 { return l.size, nil }
func (l plainLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
