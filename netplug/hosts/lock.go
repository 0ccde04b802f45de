//go:build linux

package hosts

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// take makes the hosts ours alone, for as long as this process has them open: it gives a socket a name that one socket
// of the machine's network namespace can have. The name ends with the socket, and the socket with the process.
func (h *Hosts) take() error {
	name := "@bedplate/hosts/" + h.c.Name
	err := inside(h.machine, func() (err error) {
		if h.lock, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			h.lock = -1
			return err
		}
		return unix.Bind(h.lock, &unix.SockaddrUnix{Name: name})
	})
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("another process has them: end it, or use another name and range (the socket name %s is locked)", name)
	}
	if err != nil {
		return fmt.Errorf("bind socket %s: %w", name, err)
	}
	return nil
}

// release gives up what take took. A child that is between fork and exec would hold it a little longer.
func (h *Hosts) release() {
	if h.lock < 0 {
		return
	}
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	unix.Close(h.lock)
	h.lock = -1
}

// folderWait is how long others may be at work in the folder; their work takes milliseconds.
const folderWait = 30 * time.Second

// lockFolder makes the folder of the namespaces ours alone, among the hosts of all network namespaces, which may share
// it. The error is os.ErrNotExist if there is no folder.
func lockFolder() (unlock func(), err error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(folderWait); ; time.Sleep(5 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", folder, err)
	}
	return func() { f.Close() }, nil
}
