package embedded

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// written makes a WAL of entries of these sizes, and returns its folder, the text of its file and where frames begin.
func written(t *testing.T, sizes ...int) (dir string, text []byte, frames []int64) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "wal")
	w, err := wal.Create(zap.NewNop(), dir, []byte("meta"))
	require.NoError(t, err)
	for i, n := range sizes {
		e := &raftpb.Entry{Index: proto.Uint64(uint64(i + 1)), Term: proto.Uint64(1), Data: make([]byte, n)}
		for j := range e.Data {
			e.Data[j] = byte(j%250 + 1)
		}
		hard := &raftpb.HardState{Term: proto.Uint64(1), Commit: proto.Uint64(uint64(i + 1))}
		require.NoError(t, w.Save(hard, []*raftpb.Entry{e}))
	}
	require.NoError(t, w.Close())
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	text, err = os.ReadFile(files[0])
	require.NoError(t, err)
	f, err := os.Open(files[0])
	require.NoError(t, err)
	defer f.Close()
	one := &walFile{f: f, size: int64(len(text))}
	for at := int64(0); ; {
		frame, ok := one.frame(at)
		if !ok || frame == 0 {
			return dir, text[:at+4096], frames // the rest of the 64 MB are zeros
		}
		end, ok := one.record(at, frame)
		require.True(t, ok)
		frames = append(frames, at)
		at = end
	}
}

func damage(t *testing.T, dir string, text []byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(files[0], text, 0o600))
}

// TestFlippedFrames: each bit of a length that etcd looks at is told from an end that a power failure made.
func TestFlippedFrames(t *testing.T) {
	dir, text, frames := written(t, 100, 333, 1000, 50)
	require.NoError(t, checkEnd(dir))
	for _, at := range frames[2 : len(frames)-1] {
		for bit := range 64 {
			if bit >= 59 && bit < 63 {
				continue // nobody looks at them
			}
			bad := append([]byte(nil), text...)
			bad[at+int64(bit/8)] ^= 1 << (bit % 8)
			damage(t, dir, bad)
			require.Error(t, checkEnd(dir), "frame at %d, bit %d", at, bit)
		}
	}
}

// TestTornTails: wherever the last write was cut short, at a byte or by sectors that did not reach the disk, the WAL is
// good: nothing that was lost had been acknowledged.
func TestTornTails(t *testing.T) {
	dir, text, frames := written(t, 100, 200, 3000)
	from, to := frames[len(frames)-2], frames[len(frames)-1]+16
	for cut := from; cut < to; cut += 7 {
		torn := append([]byte(nil), text...)
		clear(torn[cut:])
		damage(t, dir, torn)
		require.NoError(t, checkEnd(dir), "cut at %d", cut)
	}
	for first := from / sector * sector; first < to; first += sector {
		torn := append([]byte(nil), text...)
		clear(torn[max(first, from):min(first+sector, int64(len(torn)))])
		damage(t, dir, torn)
		require.NoError(t, checkEnd(dir), "sector at %d", first)
	}
}
