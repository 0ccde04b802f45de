package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
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

func checkDatabase(dir string) error {
	path := filepath.Join(dir, "member", "snap", "db")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: 100 * time.Millisecond})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return lockedError(dir)
	case err != nil:
		return fmt.Errorf("data folder %s is damaged: %s: %w: restore a backup or choose another folder", dir, path, err)
	}
	return db.Close()
}

func (f *folder) close() {
	// Closing gives up the lock; there is nothing to be done about an error, and nothing was written.
	_ = f.lock.Close()
}
