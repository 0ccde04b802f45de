//go:build linux

package netplug

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// lock is a socket with a name that one socket of a network namespace can have. The name ends with the socket, and the
// socket with the process, however that ends: there is nothing to tidy up. It says only that somebody is there, and
// hears nothing. Any process of the namespace could have bound it, as it could a port that the node needs.
type lock int

// hold takes what a name stands for in the namespace; ok is false if somebody has it.
func hold(ns *os.File, name string) (l lock, ok bool, err error) {
	err = inside(ns, func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		l = lock(fd)
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
			l.release()
			return err
		}
		return nil
	})
	if errors.Is(err, unix.EADDRINUSE) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("bind socket %s: %w", name, err)
	}
	return l, true, nil
}

// release gives it up. A child that is between fork and exec would hold it a little longer.
func (l lock) release() {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	unix.Close(int(l))
}

// take makes ours alone what tells our things in the kernel from those of other Networks of the same namespace: the
// prefix tells links and rules, the protocol routes.
func (n *Network) take() error {
	for _, what := range []string{"prefix/" + n.c.Prefix, fmt.Sprint("protocol/", n.c.Protocol)} {
		name := "@bedplate/netplug/" + what
		l, ok, err := hold(n.ns, name)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("another network is open in this network namespace, maybe another node's: end it, or choose another namespace, or another prefix and protocol (the socket name %s is locked)", name)
		}
		n.locks = append(n.locks, l)
	}
	return nil
}
