//go:build linux

package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var roomy = Limits{Bytes: 1 << 30, Entries: 1 << 20}

// archive makes a tar; a header's Size and Typeflag are filled in from its content where that tells.
func archive(t testing.TB, entries ...any) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; i < len(entries); i++ {
		h := entries[i].(tar.Header)
		var body string
		if i+1 < len(entries) {
			if s, ok := entries[i+1].(string); ok {
				body = s
				i++
			}
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag != tar.TypeDir {
			h.Name = strings.TrimRight(h.Name, "/") // which this writer would refuse
		}
		h.Size = int64(len(body))
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		require.NoError(t, w.WriteHeader(&h))
		_, err := io.WriteString(w, body)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return buf.Bytes()
}

func untar(t testing.TB, raw []byte, lim Limits) (string, Result, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "fs")
	require.NoError(t, os.Mkdir(dir, 0o755))
	res, err := Tar(t.Context(), bytes.NewReader(raw), dir, lim)
	return dir, res, err
}

func stat(t testing.TB, p string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(p, &st), p)
	return st
}

func xattr(p, name string) string {
	buf := make([]byte, 256)
	n, err := unix.Lgetxattr(p, name, buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

func TestKeepsWhatAFileIs(t *testing.T) {
	when := time.Unix(1_600_000_000, 123_000_000)
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	raw := archive(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o711, ModTime: when},
		tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: when, Format: tar.FormatPAX},
		tar.Header{Name: "bin/su", Mode: 0o4755, Uid: 7, Gid: 8, ModTime: when, Format: tar.FormatPAX}, "su",
		tar.Header{Name: "bin/ping", Mode: 0o755, ModTime: when, PAXRecords: map[string]string{
			"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.note": "hi",
			"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.overlay.opaque": "y",
			"SCHILY.xattr.security.selinux": "x", "SCHILY.xattr.trusted.x": "y",
		}}, "ping",
		tar.Header{Name: "bin/su2", Typeflag: tar.TypeLink, Linkname: "bin/su"},
		tar.Header{Name: "etc/mtab", Typeflag: tar.TypeSymlink, Linkname: "/proc/mounts", Uid: 9, Gid: 9, ModTime: when},
		tar.Header{Name: "run/pipe", Typeflag: tar.TypeFifo, Mode: 0o620, Uid: 1},
		tar.Header{Name: "tmp", Typeflag: tar.TypeDir, Mode: 0o1777},
		tar.Header{Name: "/abs/olute", Mode: 0o600}, "x",
	)
	dir, res, err := untar(t, raw, roomy)
	require.NoError(t, err)
	require.EqualValues(t, len("su")+len("ping")+len("x"), res.Bytes)
	require.Equal(t, 4, res.Skipped)

	su := stat(t, dir+"/bin/su")
	require.EqualValues(t, unix.S_IFREG|0o4755, su.Mode)
	require.EqualValues(t, [2]uint32{7, 8}, [2]uint32{su.Uid, su.Gid})
	require.EqualValues(t, 2, su.Nlink)
	require.Equal(t, when.UnixNano(), su.Mtim.Nano())
	require.Equal(t, su.Ino, stat(t, dir+"/bin/su2").Ino)
	require.Equal(t, capability, xattr(dir+"/bin/ping", "security.capability"))
	require.Equal(t, "hi", xattr(dir+"/bin/ping", "user.note"))
	for _, gone := range []string{"trusted.overlay.redirect", "user.overlay.opaque", "trusted.x"} {
		require.Empty(t, xattr(dir+"/bin/ping", gone), gone)
	}
	require.EqualValues(t, 9, stat(t, dir+"/etc/mtab").Uid)
	target, err := os.Readlink(dir + "/etc/mtab")
	require.NoError(t, err)
	require.Equal(t, "/proc/mounts", target)
	require.EqualValues(t, unix.S_IFIFO|0o620, stat(t, dir+"/run/pipe").Mode)
	require.EqualValues(t, unix.S_IFDIR|0o1777, stat(t, dir+"/tmp").Mode)
	require.EqualValues(t, unix.S_IFDIR|0o711, stat(t, dir).Mode)
	require.Equal(t, when.Unix(), stat(t, dir+"/bin").Mtim.Sec, "a folder's time is set after it was filled")
	require.Equal(t, when.Unix(), stat(t, dir).Mtim.Sec)
	require.EqualValues(t, unix.S_IFDIR|0o755, stat(t, dir+"/abs").Mode)
}

func TestWhiteouts(t *testing.T) {
	raw := archive(t,
		tar.Header{Name: "etc/.wh.passwd"},
		tar.Header{Name: "opt/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "opt/.wh..wh..opq"},
		tar.Header{Name: "opt/new"}, "x",
		tar.Header{Name: "srv/keep/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "srv/.wh.keep"}, // of a folder that the layer itself has
		tar.Header{Name: "usr/.wh.late"}, // the entry comes after its whiteout
		tar.Header{Name: "usr/late/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "var/own"}, "own",
		tar.Header{Name: "var/.wh.own"},
		tar.Header{Name: ".wh..wh.plnk", Typeflag: tar.TypeDir},
	)
	dir, res, err := untar(t, raw, roomy)
	require.NoError(t, err)
	require.False(t, res.OpaqueRoot)
	white := stat(t, dir+"/etc/passwd")
	require.EqualValues(t, unix.S_IFCHR, white.Mode&unix.S_IFMT)
	require.Zero(t, white.Rdev)
	for _, d := range []string{"/opt", "/srv/keep", "/usr/late"} {
		require.Equal(t, "y", xattr(dir+d, opaqueXattr), d)
	}
	require.EqualValues(t, unix.S_IFREG, stat(t, dir+"/var/own").Mode&unix.S_IFMT)
	require.NoFileExists(t, dir+"/.wh..wh.plnk")

	_, res, err = untar(t, archive(t, tar.Header{Name: ".wh..wh..opq"}), roomy)
	require.NoError(t, err)
	require.True(t, res.OpaqueRoot)
}

func TestLaterEntriesReplaceEarlierOnes(t *testing.T) {
	raw := archive(t,
		tar.Header{Name: "a"}, "one",
		tar.Header{Name: "b", Typeflag: tar.TypeLink, Linkname: "a"},
		tar.Header{Name: "a"}, "two",
		tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "d/x"}, "x",
		tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "lib", Typeflag: tar.TypeSymlink, Linkname: "usr/lib"},
		tar.Header{Name: "usr/lib/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "lib/first"}, "1", // through the link
		tar.Header{Name: "lib/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "lib/second"}, "2", // beside it
		tar.Header{Name: "e/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "e", Typeflag: tar.TypeSymlink, Linkname: "d"},
		tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "./a/../a"[:3]},
	)
	_, _, err := untar(t, raw, roomy)
	require.ErrorIs(t, err, ErrInvalid) // a hard link to itself
	dir, _, err := untar(t, archive(t,
		tar.Header{Name: "a"}, "one",
		tar.Header{Name: "b", Typeflag: tar.TypeLink, Linkname: "a"},
		tar.Header{Name: "a"}, "two",
		tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "d/x"}, "x",
		tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "lib", Typeflag: tar.TypeSymlink, Linkname: "usr/lib"},
		tar.Header{Name: "usr/lib/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "lib/first"}, "1",
		tar.Header{Name: "lib/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "lib/second"}, "2",
		tar.Header{Name: "e/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "e", Typeflag: tar.TypeSymlink, Linkname: "d"},
		tar.Header{Name: "e/y"}, "y",
		tar.Header{Name: "f", Typeflag: tar.TypeLink, Linkname: "e/x"},
		tar.Header{Name: "d/x", Typeflag: tar.TypeLink, Linkname: "e/x"}, // the same file by another way
	), roomy)
	require.NoError(t, err)
	content := func(p string) string {
		b, err := os.ReadFile(dir + p)
		require.NoError(t, err)
		return string(b)
	}
	require.Equal(t, "two", content("/a"))
	require.Equal(t, "one", content("/b"), "a file isn't written through its other name")
	require.Equal(t, "1", content("/usr/lib/first"))
	require.Equal(t, "2", content("/lib/second"))
	require.NoFileExists(t, dir+"/usr/lib/second")
	require.Equal(t, "x", content("/d/x"))
	require.Equal(t, "y", content("/d/y"))
	require.Equal(t, "x", content("/f"))
	require.EqualValues(t, unix.S_IFDIR|0o700, stat(t, dir+"/d").Mode)
}

func TestSparseFilesBecomeHoles(t *testing.T) {
	raw := archive(t, tar.Header{Name: "zeros"}, string(make([]byte, 8<<20)))
	dir, res, err := untar(t, raw, roomy)
	require.NoError(t, err)
	st := stat(t, dir+"/zeros")
	require.EqualValues(t, 8<<20, st.Size)
	require.Less(t, st.Blocks*512, int64(1<<20))
	require.EqualValues(t, 8<<20, res.Bytes)
}

// gnuSparse is a header of an old GNU sparse file: real bytes in the archive, size bytes when read.
func gnuSparse(size int64) []byte {
	b := make([]byte, 1024)
	copy(b, "sparse")
	copy(b[100:], "0000644\x00")
	copy(b[108:], "0000000\x00")
	copy(b[116:], "0000000\x00")
	copy(b[124:], "00000000000\x00")
	copy(b[136:], "00000000000\x00")
	b[156] = tar.TypeGNUSparse
	copy(b[257:], "ustar  \x00")
	// One empty fragment at the end, and the real size in base 256.
	big := func(off int, v int64) {
		b[off] = 0x80
		for i := range 8 {
			b[off+11-i] = byte(v >> (8 * i))
		}
	}
	big(386, size)
	copy(b[398:], "00000000000\x00")
	big(483, size)
	copy(b[148:], "        ")
	var sum int64
	for _, c := range b[:512] {
		sum += int64(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return append(b[:512], make([]byte, 1024)...)
}

func TestLimits(t *testing.T) {
	t.Run("stream", func(t *testing.T) {
		_, _, err := untar(t, archive(t, tar.Header{Name: "a"}, string(make([]byte, 1<<20))), Limits{Bytes: 1 << 16, Entries: 10})
		require.ErrorIs(t, err, ErrTooLarge)
	})
	t.Run("what follows the archive", func(t *testing.T) {
		raw := append(archive(t, tar.Header{Name: "a"}), make([]byte, 1<<20)...)
		_, _, err := untar(t, raw, Limits{Bytes: 1 << 16, Entries: 10})
		require.ErrorIs(t, err, ErrTooLarge)
	})
	t.Run("sparse", func(t *testing.T) {
		dir, _, err := untar(t, gnuSparse(1<<40), Limits{Bytes: 1 << 30, Entries: 10})
		require.ErrorIs(t, err, ErrTooLarge)
		require.NoFileExists(t, dir+"/sparse")
		var three []byte
		for range 3 {
			three = append(three, gnuSparse(20 << 20)[:512]...)
		}
		_, _, err = untar(t, append(three, make([]byte, 1024)...), Limits{Bytes: 50 << 20, Entries: 10})
		require.ErrorIs(t, err, ErrTooLarge, "together")
		dir, res, err := untar(t, gnuSparse(64<<20), Limits{Bytes: 1 << 30, Entries: 10})
		require.NoError(t, err)
		require.EqualValues(t, 64<<20, res.Bytes)
		require.Less(t, stat(t, dir+"/sparse").Blocks*512, int64(1<<20))
	})
	t.Run("entries", func(t *testing.T) {
		var many []any
		for i := range 100_000 {
			many = append(many, tar.Header{Name: fmt.Sprintf("d%d/.wh..wh..opq", i)})
		}
		_, _, err := untar(t, archive(t, many...), Limits{Bytes: 1 << 30, Entries: 1000})
		require.ErrorIs(t, err, ErrTooLarge)
	})
	t.Run("folders that no entry names", func(t *testing.T) {
		_, _, err := untar(t, archive(t, tar.Header{Name: "a/b/c/d/e/f/g"}), Limits{Bytes: 1 << 30, Entries: 3})
		require.ErrorIs(t, err, ErrTooLarge)
	})
	t.Run("shared", func(t *testing.T) {
		left := int64(4096)
		lim := roomy
		lim.Take = func(n int64) error {
			if left -= n; left < 0 {
				return fmt.Errorf("%w: all of it", ErrTooLarge)
			}
			return nil
		}
		_, _, err := untar(t, archive(t, tar.Header{Name: "a"}, string(make([]byte, 1<<20))), lim)
		require.ErrorIs(t, err, ErrTooLarge)
	})
	t.Run("cancel", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Tar(ctx, bytes.NewReader(nil), t.TempDir(), roomy)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestManyFolders(t *testing.T) {
	var many []any
	when := time.Unix(1_500_000_000, 0)
	for i := range 3 * openFolders {
		many = append(many, tar.Header{Name: fmt.Sprintf("d%d/", i), Typeflag: tar.TypeDir, Mode: 0o755, ModTime: when},
			tar.Header{Name: fmt.Sprintf("d%d/f", i)}, "x",
			tar.Header{Name: fmt.Sprintf("l%d/f", i), Typeflag: tar.TypeLink, Linkname: fmt.Sprintf("d%d/f", i)})
	}
	dir, _, err := untar(t, archive(t, many...), roomy)
	require.NoError(t, err)
	for i := range 3 * openFolders {
		require.Equal(t, when.Unix(), stat(t, fmt.Sprintf("%s/d%d", dir, i)).Mtim.Sec)
		require.EqualValues(t, 2, stat(t, fmt.Sprintf("%s/l%d/f", dir, i)).Nlink)
	}
}

func TestOwnersOutOfRange(t *testing.T) {
	for _, id := range []int{-1, math.MaxUint32, math.MaxUint32 + 1} {
		_, _, err := untar(t, archive(t, tar.Header{Name: "a", Uid: id, Format: tar.FormatGNU}), roomy)
		require.ErrorIs(t, err, ErrInvalid, id)
	}
}
