package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/backup"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
)

// TestRefusesDamage: whatever byte is another, and wherever the file is cut.
func TestRefusesDamage(t *testing.T) {
	whole, err := os.ReadFile(saved(t, 20))
	require.NoError(t, err)
	refused := func(content []byte, why ...error) {
		t.Helper()
		path, dir := filepath.Join(t.TempDir(), "s"), filepath.Join(t.TempDir(), "d")
		require.NoError(t, os.WriteFile(path, content, 0o600))
		_, err := backup.Restore(t.Context(), path, backup.Config{Dir: dir}, nil)
		require.Condition(t, func() bool {
			for _, w := range why {
				if errors.Is(err, w) {
					return true
				}
			}
			return false
		}, "%v", err)
		entries, err := os.ReadDir(filepath.Dir(dir))
		require.NoError(t, err)
		require.Empty(t, entries, "nothing is left")
		_, err = backup.Verify(t.Context(), path, nil)
		require.Error(t, err)
	}
	flip := func(at int) {
		t.Helper()
		damaged := bytes.Clone(whole)
		damaged[at] ^= 1 << rand.IntN(8)
		refused(damaged, backup.ErrDamaged)
	}
	for _, at := range []int{0, 100, 4_096, len(whole) / 2, len(whole) - 33, len(whole) - 32, len(whole) - 1} {
		flip(at)
	}
	for range 20 {
		flip(rand.IntN(len(whole)))
		refused(whole[:rand.IntN(len(whole))], backup.ErrDamaged, backup.ErrNoHash)
	}
	refused(nil, backup.ErrNoHash)
	refused(whole[:len(whole)-512], backup.ErrDamaged)
	refused(whole[:len(whole)-sha256.Size], backup.ErrNoHash)
	refused(append(bytes.Clone(whole), whole...), backup.ErrDamaged, backup.ErrNoHash)
	sum := sha256.Sum256(whole[:8192])
	refused(append(bytes.Clone(whole[:8192]), sum[:]...), backup.ErrDamaged) // with a right hash
	sum = sha256.Sum256(make([]byte, 8192))
	refused(append(make([]byte, 8192), sum[:]...), backup.ErrDamaged)
}

// TestWithoutHash takes a database as it lies in a folder, if asked to, and looks at its pages all the same.
func TestWithoutHash(t *testing.T) {
	data := t.TempDir()
	s, stop := serve(t, embedded.Config{Dir: data})
	for i := range 50 {
		put(t, s.Backend(), fmt.Sprint("/registry/", i), "1")
	}
	want := contents(t, s.Backend())
	stop()
	path := filepath.Join(data, "member", "snap", "db")
	dir := filepath.Join(t.TempDir(), "d")
	_, err := backup.Restore(t.Context(), path, backup.Config{Dir: dir}, nil)
	require.ErrorIs(t, err, backup.ErrNoHash)
	restored, err := backup.Restore(t.Context(), path, backup.Config{Dir: dir, WithoutHash: true}, nil)
	require.NoError(t, err)
	require.Zero(t, restored.SHA256)
	n, _ := serve(t, embedded.Config{Dir: dir})
	require.Equal(t, want, contents(t, n.Backend()))

	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, n := range []int{0, 1_024, 8_192, 16_384} {
		cut := filepath.Join(t.TempDir(), "s")
		require.NoError(t, os.WriteFile(cut, whole[:n], 0o600))
		_, err = backup.Restore(t.Context(), cut, backup.Config{Dir: filepath.Join(t.TempDir(), "d"), WithoutHash: true}, nil)
		require.ErrorIs(t, err, backup.ErrDamaged, "%d", n)
	}
	whole, err = os.ReadFile(saved(t, 50)) // without the free space at the end
	require.NoError(t, err)
	whole = whole[:len(whole)-sha256.Size]
	refused := 0
	for range 100 { // as a whole page, and as a single byte
		flipped := bytes.Clone(whole)
		at := rand.IntN(len(whole) / 4_096)
		if rand.IntN(2) == 0 {
			copy(flipped[at*4_096:], bytes.Repeat([]byte{byte(rand.IntN(256))}, 4_096))
		} else {
			flipped[at*4_096+rand.IntN(100)] ^= 1 << rand.IntN(8)
		}
		bad := filepath.Join(t.TempDir(), "s")
		require.NoError(t, os.WriteFile(bad, flipped, 0o600))
		_, err := backup.Restore(t.Context(), bad, backup.Config{Dir: filepath.Join(t.TempDir(), "d"), WithoutHash: true}, nil)
		if err != nil { // else it was a free page, the other meta page, or in a value: nobody can tell without a hash
			require.ErrorIs(t, err, backup.ErrDamaged)
			refused++
		}
	}
	require.NotZero(t, refused)

	hashed := saved(t, 5) // a hash that is there is looked at
	whole, err = os.ReadFile(hashed)
	require.NoError(t, err)
	whole[len(whole)-1] ^= 1
	require.NoError(t, os.WriteFile(hashed, whole, 0o600))
	_, err = backup.Restore(t.Context(), hashed, backup.Config{Dir: filepath.Join(t.TempDir(), "d"), WithoutHash: true}, nil)
	require.ErrorIs(t, err, backup.ErrDamaged)
}

func TestRefusesTargets(t *testing.T) {
	path := saved(t, 5)
	restore := func(c backup.Config) error {
		_, err := backup.Restore(t.Context(), path, c, nil)
		return err
	}
	used := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(used, "x"), []byte("mine"), 0o600))
	require.ErrorIs(t, restore(backup.Config{Dir: used}), backup.ErrNotEmpty)
	require.FileExists(t, filepath.Join(used, "x"))
	require.Error(t, restore(backup.Config{Dir: filepath.Join(used, "x")}), "a file")

	empty := t.TempDir()
	require.NoError(t, restore(backup.Config{Dir: empty}))
	require.ErrorIs(t, restore(backup.Config{Dir: empty}), backup.ErrNotEmpty)

	for text, c := range map[string]backup.Config{
		"no data folder": {},
		"negative":       {Dir: "x", Bump: -1},
		"peer URL":       {Dir: "x", PeerURL: "10.0.0.1:2380"},
	} {
		require.ErrorContains(t, restore(c), text)
	}
	ctx, cancel := context.WithCancel(t.Context())
	dir := filepath.Join(t.TempDir(), "d")
	_, err := backup.Restore(ctx, path, backup.Config{Dir: dir}, func(p backup.Progress) {
		if p.Stage == backup.Syncing {
			cancel()
			require.ErrorContains(t, restore(backup.Config{Dir: dir}), "under way")
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	require.NoDirExists(t, dir)
	require.NoDirExists(t, dir+".restoring")
}

// brokenSource breaks off, or lies.
type brokenSource struct {
	r   io.Reader
	err error
}

func (s brokenSource) Snapshot(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(s.r), s.err
}

func TestSaveRefuses(t *testing.T) {
	whole, err := os.ReadFile(saved(t, 5))
	require.NoError(t, err)
	flipped := bytes.Clone(whole)
	flipped[5_000] ^= 1
	away := errors.New("away")
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	require.NoError(t, os.WriteFile(path, []byte("the one before"), 0o600))
	for _, c := range []struct {
		from func() io.Reader
		err  error
		want error
	}{
		{func() io.Reader { return nil }, away, away},
		{func() io.Reader { return bytes.NewReader(flipped) }, nil, backup.ErrDamaged},
		{func() io.Reader { return bytes.NewReader(whole[:len(whole)/2]) }, nil, backup.ErrDamaged},
		{func() io.Reader { return io.MultiReader(bytes.NewReader(whole[:9_000]), errReader{away}) }, nil, away},
	} {
		_, err := backup.Save(t.Context(), brokenSource{c.from(), c.err}, path, nil)
		require.ErrorIs(t, err, c.want)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "the one before", string(text))
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1)
		require.ErrorIs(t, backup.Stream(t.Context(), brokenSource{c.from(), c.err}, io.Discard, nil), c.want)
	}
	s, stop := serve(t, embedded.Config{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = backup.Save(ctx, s.Maintenance(), path, nil)
	require.ErrorIs(t, err, context.Canceled)
	stop()
	_, err = backup.Save(t.Context(), s.Maintenance(), path, nil)
	require.ErrorIs(t, err, storage.ErrClosed)
	_, err = backup.Save(t.Context(), brokenSource{r: bytes.NewReader(whole)}, path, nil)
	require.NoError(t, err)
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// killAt makes the test binary restore, and kill itself at the n-th report of progress.
const killAt = "BACKUP_TEST_KILL_AT"

func restoreAndDie() int {
	n, _ := strconv.Atoi(os.Getenv(killAt))
	at := 0
	_, err := backup.Restore(context.Background(), os.Args[1], backup.Config{Dir: os.Args[2]}, func(backup.Progress) {
		if at++; at == n {
			p, _ := os.FindProcess(os.Getpid())
			_ = p.Kill()
			select {}
		}
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	return 0
}

// TestKilledRestore kills a restore at each of its steps: the folder is missing or whole, and the next one succeeds
// whatever is left.
func TestKilledRestore(t *testing.T) {
	path := saved(t, 20)
	self, err := os.Executable()
	require.NoError(t, err)
	for step := 1; ; step++ {
		dir := filepath.Join(t.TempDir(), "d")
		cmd := exec.CommandContext(t.Context(), self, path, dir)
		cmd.Env = append(os.Environ(), killAt+"="+strconv.Itoa(step))
		out, err := cmd.CombinedOutput()
		if err == nil {
			require.Greater(t, step, 4, "some steps were tried")
			break
		}
		require.NotEqual(t, 3, cmd.ProcessState.ExitCode(), "%s", out)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			_, err := backup.Restore(t.Context(), path, backup.Config{Dir: dir}, nil)
			require.NoError(t, err)
		}
		s, stop := serve(t, embedded.Config{Dir: dir})
		require.Len(t, contents(t, s.Backend()), 19)
		stop()
		entries, err := os.ReadDir(filepath.Dir(dir))
		require.NoError(t, err)
		require.Len(t, entries, 1, "nothing is left")
	}
}
