//go:build linux

package image_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/image"
)

func userRoot(t *testing.T, passwd, group string) string {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.Mkdir(root+"/etc", 0o755))
	require.NoError(t, os.WriteFile(root+"/etc/passwd", []byte(passwd), 0o644))
	require.NoError(t, os.WriteFile(root+"/etc/group", []byte(group), 0o644))
	return root
}

func TestLookupUser(t *testing.T) {
	root := userRoot(t, "# comment\nroot:x:0:0:root:/root:/bin/sh\n\nweb:x:33:34:w:/srv:/bin/false\nweb:x:99:99::/no:/x\nshort\nodd:x:5:6::relative:\n",
		"root:x:0:\nwww:x:34:web\nssl:x:50:bob,web\nlogs:x:51:web\nlogs2:x:51:web\nadm:x:4:root\n")
	for in, want := range map[string]image.User{
		"":                      {Name: "root", Home: "/root", Groups: []uint32{4}},
		"0":                     {Name: "root", Home: "/root", Groups: []uint32{4}},
		"root":                  {Name: "root", Home: "/root", Groups: []uint32{4}},
		"web":                   {UID: 33, GID: 34, Name: "web", Home: "/srv", Groups: []uint32{50, 51}},
		"33":                    {UID: 33, GID: 34, Name: "web", Home: "/srv", Groups: []uint32{50, 51}},
		"web:ssl":               {UID: 33, GID: 50, Name: "web", Home: "/srv", Groups: []uint32{34, 51}},
		"web:7":                 {UID: 33, GID: 7, Name: "web", Home: "/srv", Groups: []uint32{34, 50, 51}},
		"1000":                  {UID: 1000, Home: "/"},
		"1000:50":               {UID: 1000, GID: 50, Home: "/"},
		"1000:ssl":              {UID: 1000, GID: 50, Home: "/"},
		"odd":                   {UID: 5, GID: 6, Name: "odd", Home: "/"},
		"2147483647:2147483647": {UID: 2147483647, GID: 2147483647, Home: "/"},
	} {
		got, err := image.LookupUser(root, in)
		require.NoError(t, err, in)
		if len(got.Groups) == 0 {
			got.Groups = nil
		}
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"nobody", "web:nogroup"} {
		_, err := image.LookupUser(root, in)
		require.ErrorIs(t, err, image.ErrNotFound, in)
	}
	// An image without the files has numbers only.
	got, err := image.LookupUser(t.TempDir(), "7:8")
	require.NoError(t, err)
	require.Equal(t, image.User{UID: 7, GID: 8, Home: "/"}, got)
}

func TestUsersOutOfRangeAreRefused(t *testing.T) {
	// An image that gives each of these names to root.
	bad := []string{
		"2147483648", "4294967295", "4294967296", "4294967297", "18446744073709551616", "99999999999999999999999", "-1", "+1", "-0",
		"00", "01", "0x0", "1e3", "1_000", "0 ", " 0", "１０００", "٠", "1000:4294967296", "0:-1", "1000:00", "1000:１", ":", ":0", "0:", "a:b:c", "a b", "a/b",
		"a\nb", "root\x00", "é", strings.Repeat("a", 300), "9lives",
	}
	var passwd, group strings.Builder
	for _, b := range bad {
		name, g, _ := strings.Cut(b, ":")
		if !strings.ContainsAny(b, "\n") {
			passwd.WriteString(name + ":x:0:0::/root:/bin/sh\n")
			group.WriteString(g + ":x:0:\n")
		}
	}
	root := userRoot(t, passwd.String(), group.String())
	for _, b := range bad {
		_, err := image.LookupUser(root, b)
		require.ErrorIs(t, err, image.ErrInvalid, "%q", b)
		_, err = image.ParseUser(b)
		require.ErrorIs(t, err, image.ErrInvalid, "%q", b)
	}
	// The numbers in the files are held to the same.
	root = userRoot(t, "a:x:4294967296:0::/:\nb:x:1:-1::/:\nc:x:3:3::/:\n", "g:x:4294967297:\nh:x:00:c\n")
	for _, u := range []string{"a", "b", "7:g", "c"} {
		_, err := image.LookupUser(root, u)
		require.ErrorIs(t, err, image.ErrInvalid, u)
	}
	spec, err := image.ParseUser("0:staff")
	require.NoError(t, err)
	require.Zero(t, *spec.UID)
	require.Equal(t, "staff", spec.Group)
}

func TestUserFilesAreBounded(t *testing.T) {
	root := userRoot(t, "", "")
	require.NoError(t, os.Truncate(root+"/etc/group", 1<<30))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := image.LookupUser(root, "7")
	require.ErrorIs(t, err, image.ErrTooLarge)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20))

	root = userRoot(t, strings.Repeat("x", 1<<20), "")
	_, err = image.LookupUser(root, "7")
	require.ErrorIs(t, err, image.ErrTooLarge, "a line without end")
}

func TestUserFilesStayInTheRoot(t *testing.T) {
	host := filepath.Join(t.TempDir(), "passwd")
	require.NoError(t, os.WriteFile(host, []byte("evil:x:0:0::/:\n"), 0o644))
	for name, to := range map[string]string{"absolute": host, "dotdot": strings.Repeat("../", 30) + host, "proc": "/proc/self/root" + host} {
		root := userRoot(t, "", "")
		require.NoError(t, os.Remove(root+"/etc/passwd"))
		require.NoError(t, os.Symlink(to, root+"/etc/passwd"))
		_, err := image.LookupUser(root, "evil")
		require.ErrorIs(t, err, image.ErrNotFound, name)
	}
	root := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Dir(host), root+"/etc"))
	_, err := image.LookupUser(root, "evil")
	require.ErrorIs(t, err, image.ErrNotFound)

	root = userRoot(t, "", "")
	require.NoError(t, os.Remove(root+"/etc/passwd"))
	require.NoError(t, unix.Mkfifo(root+"/etc/passwd", 0o644))
	_, err = image.LookupUser(root, "x")
	require.ErrorIs(t, err, image.ErrInvalid, "a fifo would block")

	// A link inside the root is followed.
	root = userRoot(t, "", "")
	require.NoError(t, os.Remove(root+"/etc/passwd"))
	require.NoError(t, os.WriteFile(root+"/real", []byte("a:x:1:2::/:\n"), 0o644))
	require.NoError(t, os.Symlink("/real", root+"/etc/passwd"))
	u, err := image.LookupUser(root, "a")
	require.NoError(t, err)
	require.EqualValues(t, 1, u.UID)
}
