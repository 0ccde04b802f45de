//go:build linux

// Package unpack writes the tar of one image layer into a folder, in the form that overlayfs wants
// a lower layer in: whiteouts become character devices 0:0, opaque folders get an extended attribute.
//
// The archive is hostile until proven otherwise. Every folder is opened beneath the layer's own (symbolic
// links are followed inside it, as a container would), every name is made or removed relative to such a
// descriptor, and nothing that exists is written through.
package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// ErrTooLarge is an archive beyond its limits.
	ErrTooLarge = errors.New("too large")
	// ErrInvalid is an archive with an entry that no layer should have.
	ErrInvalid = errors.New("invalid")
)

const (
	maxName = unix.PathMax - 1 // of an entry's path, and of a link's target
	// maxFolderNames bounds the memory that folders' times wait in, as names compress very well.
	maxFolderNames = 64 << 20
	openFolders    = 64
	copyBuffer     = 256 << 10
)

// Limits bound one layer.
type Limits struct {
	Bytes   int64             // of the uncompressed stream, and of sparse files' holes
	Entries int64             // of the archive, and folders that it implies
	Take    func(int64) error // called for every few bytes that count; nil: no further limit
}

// Result says what was unpacked.
type Result struct {
	Bytes      int64 // in regular files
	Entries    int64
	OpaqueRoot bool // the layer hides everything below it
	Skipped    int  // device nodes and attributes left out
}

type unpacker struct {
	ctx     context.Context
	lim     Limits
	in      *meter
	tar     *tar.Reader
	res     Result
	folders folders
	times   map[string]unix.Timespec // of folders: set at the end, as filling a folder changes its time
	names   int                      // bytes of the keys of times
	buf     []byte
	stale   bool // a name was replaced: kept folders may be others now
}

// Tar unpacks the uncompressed archive r into dir, which must exist, be empty and be nobody
// else's. It reads r to its end. An error leaves dir half-filled: remove it.
// Owners, modes (set-user-id included), times, hard links, symbolic links, fifos and the attributes user.*,
// security.capability and POSIX ACLs are kept. Device nodes and other attributes are left out and counted.
func Tar(ctx context.Context, r io.Reader, dir string, lim Limits) (Result, error) {
	root, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return Result{}, fmt.Errorf("unpack: %w", err)
	}
	in := &meter{r: r, left: lim.Bytes, take: lim.Take}
	u := &unpacker{
		ctx: ctx, lim: lim, in: in, tar: tar.NewReader(in),
		folders: folders{root: root, open: map[string]*os.File{}},
		times:   map[string]unix.Timespec{},
		buf:     make([]byte, copyBuffer),
	}
	defer u.folders.close()
	if err := u.all(); err != nil {
		return Result{}, err
	}
	return u.res, nil
}

func (u *unpacker) all() error {
	for {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		h, err := u.tar.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return u.in.cause(fmt.Errorf("%w layer archive: %v", ErrInvalid, err))
		}
		if err := u.entry(h); err != nil {
			return u.in.cause(fmt.Errorf("layer entry %.200q: %w", h.Name, err))
		}
	}
	if err := u.setTimes(); err != nil {
		return err
	}
	return u.drain()
}

// drain reads what follows the archive's end mark, as the stream's digests cover it.
func (u *unpacker) drain() error {
	for {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		if _, err := u.in.Read(u.buf); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (u *unpacker) entry(h *tar.Header) error {
	if u.stale {
		u.folders.forget()
		u.stale = false
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return u.count()
	}
	p, err := clean(h.Name)
	if err != nil {
		return err
	}
	if err := u.check(h); err != nil {
		return err
	}
	if p == "" {
		return u.rootEntry(h)
	}
	if base := path.Base(p); strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(p, strings.TrimPrefix(base, whiteoutPrefix))
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.file(p, h)
	case tar.TypeDir:
		return u.folder(p, h)
	case tar.TypeSymlink:
		return u.symlink(p, h)
	case tar.TypeLink:
		return u.hardlink(p, h)
	case tar.TypeFifo:
		return u.fifo(p, h)
	case tar.TypeChar, tar.TypeBlock:
		u.res.Skipped++ // the runtime gives containers their own /dev
		return nil
	}
	return fmt.Errorf("%w: entry type %q", ErrInvalid, h.Typeflag)
}

// count takes one entry from the limit.
func (u *unpacker) count() error {
	if u.res.Entries++; u.res.Entries > u.lim.Entries {
		return fmt.Errorf("%w: more than %d entries", ErrTooLarge, u.lim.Entries)
	}
	return nil
}

func (u *unpacker) check(h *tar.Header) error {
	if err := u.count(); err != nil {
		return err
	}
	// The highest id means "leave alone" to chown.
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= math.MaxUint32 || int64(h.Gid) >= math.MaxUint32 {
		return fmt.Errorf("%w: owner %d:%d", ErrInvalid, h.Uid, h.Gid)
	}
	if h.Size < 0 {
		return fmt.Errorf("%w: size %d", ErrInvalid, h.Size)
	}
	if h.Size > u.in.left {
		return fmt.Errorf("%w: %d bytes where %d are left", ErrTooLarge, h.Size, u.in.left)
	}
	if sparse(h) {
		return u.in.spend(h.Size) // the stream holds only the data, not the holes
	}
	return nil
}

func sparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// clean gives the path relative to the layer, "" for its root. A path from the root ("/etc") is taken as one from
// the layer's; one with ".." is refused, as no builder writes it.
func clean(name string) (string, error) {
	if len(name) > maxName {
		return "", fmt.Errorf("%w: name of %d bytes", ErrInvalid, len(name))
	}
	if strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("%w: NUL in name", ErrInvalid)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("%w: name with \"..\"", ErrInvalid)
		}
	}
	return strings.TrimPrefix(path.Clean("/"+name), "/"), nil
}

// meter counts the uncompressed stream against the limits and remembers why it ended.
type meter struct {
	r    io.Reader
	left int64
	take func(int64) error
	err  error
}

func (m *meter) Read(p []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	n, err := m.r.Read(p)
	if err != nil {
		m.err = err
	}
	if serr := m.spend(int64(n)); serr != nil {
		m.err = serr
		return 0, serr
	}
	return n, err
}

func (m *meter) spend(n int64) error {
	if m.left -= n; m.left < 0 {
		return fmt.Errorf("%w: layer over its limit of uncompressed bytes", ErrTooLarge)
	}
	if m.take != nil && n > 0 {
		return m.take(n)
	}
	return nil
}

// cause prefers the stream's own failure to what the archive reader made of it.
func (m *meter) cause(err error) error {
	if m.err != nil && m.err != io.EOF {
		return m.err
	}
	return err
}
