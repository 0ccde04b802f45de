//go:build linux

package unpack

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// hostHash covers names, types, modes, owners, times and content of a tree.
func hostHash(t testing.TB, dir string) string {
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
		fmt.Fprintf(h, "%s %o %d %d %d %d %d\n", p, st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, st.Mtim.Nano())
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

// host is a tree with canary files, and a folder for layers beside it.
func host(t testing.TB) (canaries, layers string) {
	t.Helper()
	base := t.TempDir()
	canaries = filepath.Join(base, "canary")
	require.NoError(t, os.MkdirAll(filepath.Join(canaries, "etc"), 0o755))
	for _, f := range []string{"file", "etc/passwd", "etc/shadow"} {
		require.NoError(t, os.WriteFile(filepath.Join(canaries, f), []byte("canary "+f), 0o600))
	}
	layers = filepath.Join(base, "store", "layers")
	require.NoError(t, os.MkdirAll(layers, 0o755))
	return canaries, layers
}

var kinds = map[string]byte{
	"file": tar.TypeReg, "folder": tar.TypeDir, "symlink": tar.TypeSymlink, "hardlink": tar.TypeLink,
	"fifo": tar.TypeFifo, "char": tar.TypeChar, "block": tar.TypeBlock, "whiteout": 'W', "opaque": 'O',
}

// attack is one entry of a kind at name, aiming at target where the kind has one.
func attack(kind byte, name, target string) tar.Header {
	h := tar.Header{Name: name, Typeflag: kind, Mode: 0o6777, Uid: 1234, Gid: 1234}
	switch kind {
	case 'W':
		name = strings.TrimRight(name, "/")
		slash := strings.LastIndexByte(name, '/') + 1
		h.Typeflag, h.Name = tar.TypeReg, name[:slash]+".wh."+name[slash:]
	case 'O':
		h.Typeflag, h.Name = tar.TypeReg, name+"/.wh..wh..opq"
	case tar.TypeLink, tar.TypeSymlink:
		h.Linkname = target
	}
	return h
}

func TestNothingEscapes(t *testing.T) {
	canaries, layers := host(t)
	n := 0
	up := strings.Repeat("../", 30)
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	// Each trick prepares the layer and gives the name by which the attack goes.
	tricks := map[string]func(target string) (prepare []any, name string){
		"dotdot":          func(p string) ([]any, string) { return nil, up + p },
		"dotdot inside":   func(p string) ([]any, string) { return nil, "a/b/" + up + p },
		"absolute":        func(p string) ([]any, string) { return nil, p },
		"absolute dotdot": func(p string) ([]any, string) { return nil, "/.." + p },
		"symlink parent":  func(p string) ([]any, string) { return []any{link("l", filepath.Dir(p))}, "l/" + filepath.Base(p) },
		"symlink to root": func(p string) ([]any, string) { return []any{link("l", "/")}, "l" + p },
		"symlink dotdot":  func(p string) ([]any, string) { return []any{link("l", up)}, "l" + p },
		"symlink itself":  func(p string) ([]any, string) { return []any{link("l", p)}, "l" },
		"symlink, slash": func(p string) ([]any, string) {
			return []any{link("l", filepath.Dir(p))}, "l/./" + filepath.Base(p) + "/"
		},
		"chain of symlinks": func(p string) ([]any, string) {
			return []any{link("a", up), link("b", "a"), link("c", "b/"+up)}, "c" + p
		},
		"proc":     func(p string) ([]any, string) { return []any{link("l", "/proc/self/root")}, "l" + p },
		"proc cwd": func(p string) ([]any, string) { return []any{link("l", "/proc/self/cwd/"+up)}, "l" + p },
		"hardlinked symlink": func(p string) ([]any, string) {
			return []any{link("a", filepath.Dir(p)), tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "a"}}, "l/" + filepath.Base(p)
		},
		"loop": func(p string) ([]any, string) { return []any{link("a", "b"), link("b", "a")}, "a" + p },
		"folder then link": func(p string) ([]any, string) {
			return []any{tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "d2/x"}, "", link("d", filepath.Dir(p))}, "d/" + filepath.Base(p)
		},
	}
	targets := []string{canaries + "/file", canaries + "/etc/passwd", canaries + "/new", canaries + "/etc"}
	before := hostHash(t, canaries)
	for trick, make := range tricks {
		for kind, flag := range kinds {
			for _, target := range targets {
				prepare, name := make(target)
				aims := []string{target, up + target, strings.TrimPrefix(target, "/")}
				if flag != tar.TypeLink && flag != tar.TypeSymlink {
					aims = aims[:1]
				}
				for _, aim := range aims {
					n++
					layer := filepath.Join(layers, fmt.Sprint(n))
					require.NoError(t, os.Mkdir(layer, 0o755))
					raw := archive(t, append(prepare, attack(flag, name, aim))...)
					_, err := Tar(t.Context(), bytes.NewReader(raw), layer, roomy)
					require.Equal(t, before, hostHash(t, canaries), "%s, %s, %s", trick, kind, name)
					if flag == tar.TypeLink {
						require.ErrorIs(t, err, ErrInvalid, "%s, %s, %s", trick, kind, name)
					}
					if strings.Contains(name, "..") {
						require.ErrorIs(t, err, ErrInvalid, "%s, %s, %s", trick, kind, name)
					}
				}
			}
		}
	}
}

// TestRandomLayersStayInside unpacks archives of random entries over few names, so that links, folders and
// whiteouts meet in all orders.
func TestRandomLayersStayInside(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	canaries, _ := host(t)
	before := hostHash(t, canaries)
	parts := []string{"a", "b", "c", "l", ".", "..", ".wh.a", ".wh..wh..opq", ".wh.", ".wh..", "/", canaries, "proc/self/root", "proc/self/fd/3"}
	name := func() string {
		var p []string
		for range 1 + r.IntN(4) {
			p = append(p, parts[r.IntN(len(parts))])
		}
		return strings.Join(p, "/")
	}
	flags := []byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo, tar.TypeChar}
	base := t.TempDir()
	for i := range 500 {
		var entries []any
		for range 1 + r.IntN(12) {
			h := tar.Header{Name: name(), Typeflag: flags[r.IntN(len(flags))], Mode: int64(r.IntN(0o10000)), Uid: 7}
			if h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink {
				h.Linkname = name()
			}
			entries = append(entries, h)
			if h.Typeflag == tar.TypeReg && !strings.HasSuffix(h.Name, "/") {
				entries = append(entries, "overwritten")
			}
		}
		layer := filepath.Join(base, fmt.Sprint(i))
		require.NoError(t, os.Mkdir(layer, 0o755))
		_, err := Tar(t.Context(), bytes.NewReader(archive(t, entries...)), layer, roomy)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid, "entries %v", entries)
		}
	}
	require.Equal(t, before, hostHash(t, canaries))
}

// TestDamagedArchives feeds archives with changed bytes: an error or a layer, never a panic, nothing outside.
func TestDamagedArchives(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	canaries, _ := host(t)
	before := hostHash(t, canaries)
	good := archive(t,
		tar.Header{Name: "a/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "a/f", PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}}, "content",
		tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: canaries},
		tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "a/f"},
		tar.Header{Name: "a/.wh.b"})
	base := t.TempDir()
	for i := range 700 {
		raw := bytes.Clone(good)
		for range 1 + r.IntN(6) {
			raw[r.IntN(len(raw))] = byte(r.IntN(256))
		}
		fixChecksums(raw, r)
		if r.IntN(10) == 0 {
			raw = raw[:r.IntN(len(raw))]
		}
		layer := filepath.Join(base, fmt.Sprint(i))
		require.NoError(t, os.Mkdir(layer, 0o755))
		_, _ = Tar(t.Context(), bytes.NewReader(raw), layer, Limits{Bytes: 16 << 20, Entries: 1000})
	}
	require.Equal(t, before, hostHash(t, canaries))
}

// fixChecksums makes most changed headers count.
func fixChecksums(raw []byte, r *rand.Rand) {
	for off := 0; off+512 <= len(raw); off += 512 {
		b := raw[off : off+512]
		if string(b[257:262]) != "ustar" || r.IntN(8) == 0 {
			continue
		}
		copy(b[148:156], "        ")
		sum := 0
		for _, c := range b {
			sum += int(c)
		}
		copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	}
}
