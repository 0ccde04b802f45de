//go:build linux

package proc

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfo is the part of siginfo_t that waitid(2) fills, on 64-bit kernels.
type siginfo struct {
	signo, errno, code, _ int32
	pid                   int32
	uid                   uint32
	status                int32
	_                     [100]byte
}

func rawWaitid(fd int, si *siginfo, options int) error {
	_, _, e := unix.Syscall6(unix.SYS_WAITID, unix.P_PIDFD, uintptr(fd), uintptr(unsafe.Pointer(si)), uintptr(options), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}
