package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"google.golang.org/protobuf/proto"

	"github.com/bedplate/bedplate/storage/etcd/internal/pages"
)

// Info is what a snapshot holds.
type Info struct {
	Size      int64             // of the file, in bytes
	SHA256    [sha256.Size]byte // of the database in it; zero if the file does not end with its hash
	Revision  int64             // of the store at the moment of the snapshot
	Compacted int64             // the history before this revision is not in it; 0: all is
	Keys      int               // that exist at Revision
	Version   string            // of the storage format, "3.6.0"; "" before etcd 3.6, and in the first seconds of a new member

	newest int64 // the newest revision that has a key in it; less than Revision if that was a deletion and is compacted
}

// Verify reads a snapshot: its hash, the consistency of its pages, and every key. Errors are ErrDamaged, ErrNoHash,
// those of the file system and the context's. It takes memory for the names of all keys.
func Verify(ctx context.Context, path string, report Report) (Info, error) {
	info, err := verify(ctx, path, false, report)
	if err != nil {
		return Info{}, fmt.Errorf("verify snapshot %s: %w", path, err)
	}
	report.at(Done, info.Size, info.Size)
	return info, nil
}

func verify(ctx context.Context, path string, withoutHash bool, report Report) (Info, error) {
	info, err := checkHash(ctx, path, withoutHash, report)
	if err != nil {
		return Info{}, err
	}
	if err := info.readDatabase(ctx, path); err != nil {
		return Info{}, err
	}
	return info, nil
}

// checkHash compares the hash at the end. Pages are multiples of 512 bytes, so the size tells whether there is one.
func checkHash(ctx context.Context, path string, withoutHash bool, report Report) (Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	info := Info{Size: stat.Size()}
	report.at(Verifying, 0, info.Size)
	switch {
	case info.Size%512 == sha256.Size:
	case withoutHash:
		return info, nil
	default:
		return Info{}, fmt.Errorf("%w: its %d bytes are a database that was copied, or cut short", ErrNoHash, info.Size)
	}
	h := &trailing{h: sha256.New()}
	if _, err := io.Copy(h, &counted{ctx: ctx, r: f, report: report, stage: Verifying, total: info.Size}); err != nil {
		return Info{}, err
	}
	if !h.matches() {
		return Info{}, fmt.Errorf("%w: its hash is another", ErrDamaged)
	}
	copy(info.SHA256[:], h.tail)
	return info, nil
}

// readDatabase checks pages and counts keys.
func (info *Info) readDatabase(ctx context.Context, path string) error {
	db, err := bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	err = db.View(func(tx *bolt.Tx) (err error) {
		defer func() { // keys that are no revisions
			if p := recover(); p != nil {
				err = fmt.Errorf("%w: %v", ErrDamaged, p)
			}
		}()
		if tx.Size() > info.Size {
			return fmt.Errorf("%w: %d bytes of %d", ErrDamaged, info.Size, tx.Size())
		}
		if err := checkPages(ctx, path, tx); err != nil {
			return err
		}
		return info.readKeys(ctx, tx)
	})
	return errors.Join(err, db.Close())
}

// checkPages has the library look at pages after they have been seen to make sense.
func checkPages(ctx context.Context, path string, tx *bolt.Tx) error {
	if err := pages.Check(ctx, path, tx, true); ctx.Err() != nil {
		return ctx.Err()
	} else if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	var first error
	for err := range tx.Check() { // to its end, or the checker waits for ever
		if first == nil {
			first = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return first
}

func (info *Info) readKeys(ctx context.Context, tx *bolt.Tx) error {
	keys, meta := tx.Bucket(schema.Key.Name()), tx.Bucket(schema.Meta.Name())
	if keys == nil || meta == nil {
		return fmt.Errorf("%w: it is no database of an etcd", ErrDamaged)
	}
	if v := schema.ReadStorageVersionFromSnapshot(tx); v != nil {
		info.Version = v.String()
	}
	scheduled, finished := revOf(meta.Get(schema.ScheduledCompactKeyName)), revOf(meta.Get(schema.FinishedCompactKeyName))
	info.Compacted = max(scheduled, finished)
	live := map[string]struct{}{}
	n := 0
	err := keys.ForEach(func(k, v []byte) error {
		if n++; n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		var kv mvccpb.KeyValue
		if err := proto.Unmarshal(v, &kv); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		info.newest = revOf(k)
		switch {
		case mvcc.IsTombstone(k):
			delete(live, string(kv.Key))
		case len(kv.Key) > 0: // else it is what Restore raised the revision with
			live[string(kv.Key)] = struct{}{}
		}
		return nil
	})
	if err != nil {
		return err
	}
	// An empty store is at revision 1. A deletion goes with the compaction of its own revision.
	info.Keys, info.Revision = len(live), max(1, info.newest, info.Compacted)
	return nil
}

// revOf reads a revision as the database has it; etcd's library panics where that is none, which readDatabase catches.
func revOf(k []byte) int64 {
	if len(k) == 0 {
		return 0
	}
	return mvcc.BytesToRev(k).Main
}
