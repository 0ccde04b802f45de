package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"

	dbpages "github.com/bedplate/bedplate/storage/etcd/internal/pages"
)

// folder is the data folder, locked.
type folder struct{ lock *fileutil.LockedFile }

// openFolder makes and locks the folder and sees that nothing else, such as a standalone etcd, has its
// database open, for which etcd would wait for ever.
func openFolder(dir string) (*folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	lock, err := fileutil.TryLockFile(filepath.Join(dir, "lock"), os.O_WRONLY|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, lockedError(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
	}
	f := &folder{lock}
	if err := checkDatabase(dir); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func lockedError(dir string) error {
	return fmt.Errorf("data folder %s is locked by another process: stop it or choose another folder", dir)
}

// checkDatabase refuses a database that is in use or damaged, and a WAL that ends before what the database has: etcd
// takes a WAL that is damaged in its middle for one that was cut short by a power failure, and would forget the rest.
func checkDatabase(dir string) (err error) {
	path := filepath.Join(dir, "member", "snap", "db")
	if stat, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || err == nil && stat.Size() == 0 && !hasWAL(dir) {
		return nil
	}
	damaged := func(what string, why any) error {
		return fmt.Errorf("data folder %s is damaged: %s: %v: restore a backup or choose another folder", dir, what, why)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a page number that leads out of the file
	defer func() {
		if p := recover(); p != nil { // bbolt's way of telling of a damaged page
			err = damaged(path, p)
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: 100 * time.Millisecond})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return lockedError(dir)
	case err != nil:
		return damaged(path, err)
	}
	defer db.Close()
	var applied uint64
	err = db.View(func(tx *bolt.Tx) error {
		if b := tx.Bucket([]byte("meta")); b != nil {
			if v := b.Get([]byte("consistent_index")); len(v) == 8 {
				applied = binary.BigEndian.Uint64(v)
			}
		}
		return dbpages.Check(context.Background(), path, tx, false)
	})
	if err != nil {
		return damaged(path, err)
	}
	if !hasWAL(dir) {
		if applied > 0 {
			return damaged(dir, "its WAL is gone")
		}
		return nil // a first start that was interrupted
	}
	walDir := filepath.Join(dir, "member", "wal")
	last, err := lastEntry(walDir)
	if err == nil {
		err = checkEnd(walDir)
	}
	switch {
	case err != nil:
		return damaged(walDir, err)
	case last < applied:
		return damaged(walDir, fmt.Sprintf("it can be read up to entry %d, and the database has %d", last, applied))
	}
	return nil
}

func (f *folder) close() {
	// Closing gives up the lock; there is nothing to be done about an error, and nothing was written.
	_ = f.lock.Close()
}
