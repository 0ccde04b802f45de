//go:build linux

package spool

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Watcher tells when records are written.
type Watcher struct {
	f    *os.File
	done chan struct{}

	mu   sync.Mutex
	next chan struct{}
}

// Watch starts watching d until Close.
func (d Dir) Watch() (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch spool: inotify: %w (raise fs.inotify.max_user_instances)", err)
	}
	if _, err := unix.InotifyAddWatch(fd, string(d), unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch spool %s: %w", string(d), err)
	}
	w := &Watcher{f: os.NewFile(uintptr(fd), "inotify"), done: make(chan struct{}), next: make(chan struct{})}
	go w.run()
	return w, nil
}

func (w *Watcher) run() {
	defer close(w.done)
	// What changed does not matter: every waiter looks at its own record. So a queue
	// overflow is an event like any other.
	buf := make([]byte, 4096)
	for {
		if _, err := w.f.Read(buf); err != nil {
			return
		}
		w.mu.Lock()
		close(w.next)
		w.next = make(chan struct{})
		w.mu.Unlock()
	}
}

// Changed returns a channel that is closed at the next change. Take it, then
// look, then wait.
func (w *Watcher) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next
}

// Close ends the watch.
func (w *Watcher) Close() error {
	err := w.f.Close()
	<-w.done
	return err
}
