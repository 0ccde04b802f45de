//go:build linux

package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// writeFile replaces a file of the store in one step.
func (s *Store) writeFile(name string, data []byte) error {
	if err := os.MkdirAll(s.path("tmp"), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.path("tmp"), "file-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && !s.cfg.NoSync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), s.path(name)); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return s.syncDir(filepath.Dir(name))
}

// syncDir makes renames in a folder of the store durable.
func (s *Store) syncDir(name string) error {
	if s.cfg.NoSync {
		return nil
	}
	d, err := os.Open(s.path(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// syncAll makes everything written below dir durable, and whatever else its file system has in memory: one call
// instead of one for every file.
func (s *Store) syncAll(dir string) error {
	if s.cfg.NoSync {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(d.Fd())))
}

// discard removes a folder of the store: out of its place in one step, then bit by bit.
func (s *Store) discard(path string) error {
	tmp, err := s.setAside(path)
	if err != nil || tmp == "" {
		return err
	}
	return s.removeTree(tmp)
}

// setAside moves a folder to a temporary name, from where a crash's sweep would remove it. "" if it isn't there.
func (s *Store) setAside(path string) (string, error) {
	tmp := s.path("tmp", fmt.Sprintf("gone-%d", s.serial.Add(1)))
	err := os.Rename(path, tmp)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return tmp, nil
}

// keyLock is a lock for each key.
type keyLock struct {
	mu     sync.Mutex
	closed bool
	held   map[string]*keyHold
	wg     sync.WaitGroup
}

type keyHold struct {
	sync.Mutex
	users int
}

// lock waits for the key. ErrClosed after close.
func (k *keyLock) lock(key string) (unlock func(), err error) {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return nil, ErrClosed
	}
	if k.held == nil {
		k.held = map[string]*keyHold{}
	}
	h := k.held[key]
	if h == nil {
		h = &keyHold{}
		k.held[key] = h
	}
	h.users++
	k.wg.Add(1)
	k.mu.Unlock()
	h.Lock()
	return func() { k.unlock(key, h) }, nil
}

func (k *keyLock) unlock(key string, h *keyHold) {
	h.Unlock()
	k.mu.Lock()
	if h.users--; h.users == 0 {
		delete(k.held, key)
	}
	k.mu.Unlock()
	k.wg.Done()
}

// close waits until nothing is held and lets nobody lock again.
func (k *keyLock) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.wg.Wait()
}
