package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bedplate/bedplate/storage"
)

// Source is one member of an etcd: a *clientv3.Client with one endpoint, or embedded.Server.Maintenance(). The
// stream is the database of that member at one moment, followed by its SHA-256. If it has a method Size() int64,
// that is its length in bytes.
type Source interface {
	Snapshot(ctx context.Context) (io.ReadCloser, error)
}

var _ Source = (*clientv3.Client)(nil)

// Save writes a snapshot of the source to a file. When it returns nil the file is there, whole, verified and on the
// disk; a file of that name is replaced then, and not before. Writers and watchers of the etcd go on. What
// was acknowledged before the call is in it; a member that is behind others for now is storage.ErrBehind, so try
// again.
//
// While it lasts there is a file with the suffix ".part" beside. The file is readable by its owner alone: it holds
// everything, and no more encrypted than it is in the store.
func Save(ctx context.Context, from Source, path string, report Report) (Info, error) {
	info, err := save(ctx, from, path, report)
	if err != nil {
		return Info{}, fmt.Errorf("save snapshot to %s: %w", path, err)
	}
	report.at(Done, info.Size, info.Size)
	return info, nil
}

func save(ctx context.Context, from Source, path string, report Report) (info Info, err error) {
	known, err := revision(ctx, from)
	if err != nil {
		return Info{}, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part") // mode 0600
	if err != nil {
		return Info{}, err
	}
	part := f.Name()
	defer func() {
		if err != nil {
			err = errors.Join(err, remove(part))
		}
	}()
	err = stream(ctx, from, f, report)
	if err == nil {
		report.at(Syncing, 0, 0)
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return Info{}, err
	}
	if info, err = verify(ctx, part, false, report); err != nil {
		return Info{}, err
	}
	if info.Revision < known {
		return Info{}, fmt.Errorf("the member is at revision %d, %d was acknowledged: %w", info.Revision, known, storage.ErrBehind)
	}
	report.at(Placing, 0, 0)
	if err := os.Rename(part, path); err != nil {
		return Info{}, err
	}
	return info, syncFolder(filepath.Dir(path))
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// revision asks a client for the current revision, 0 of a source that sees to that itself.
func revision(ctx context.Context, from Source) (int64, error) {
	kv, ok := from.(clientv3.KV)
	if !ok {
		return 0, nil
	}
	resp, err := kv.Get(ctx, "\x00", clientv3.WithLimit(1), clientv3.WithKeysOnly())
	if err != nil {
		return 0, fmt.Errorf("ask for the revision: %w", err)
	}
	return resp.Header.Revision, nil
}

// Stream writes a snapshot of the source to w, and checks its hash on the way: after an error, which may be
// ErrDamaged, what was written is worthless. Unlike Save it cannot look at the pages and keys; see Verify.
func Stream(ctx context.Context, from Source, w io.Writer, report Report) error {
	if err := stream(ctx, from, w, report); err != nil {
		return fmt.Errorf("stream snapshot: %w", err)
	}
	return nil
}

func stream(ctx context.Context, from Source, w io.Writer, report Report) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // else a client's stream stays when writing fails
	r, err := from.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	var total int64
	if sized, ok := r.(interface{ Size() int64 }); ok {
		total = sized.Size()
	}
	report.at(Reading, 0, total)
	h := &trailing{h: sha256.New()}
	n, err := io.Copy(io.MultiWriter(w, h), &counted{ctx: ctx, r: r, report: report, stage: Reading, total: total})
	switch {
	case err != nil:
		return err
	case total > 0 && n != total:
		return fmt.Errorf("%w: %d bytes of %d", ErrDamaged, n, total)
	case !h.matches():
		return fmt.Errorf("%w: its hash is another", ErrDamaged)
	}
	return nil
}

// trailing hashes all that is written but for the last bytes, which are the hash.
type trailing struct {
	h    hash.Hash
	tail []byte
}

// Write implements io.Writer.
func (t *trailing) Write(p []byte) (int, error) {
	t.tail = append(t.tail, p...)
	if n := len(t.tail) - sha256.Size; n > 0 {
		t.h.Write(t.tail[:n])
		t.tail = append(t.tail[:0], t.tail[n:]...)
	}
	return len(p), nil
}

func (t *trailing) matches() bool { return bytes.Equal(t.tail, t.h.Sum(nil)) }
