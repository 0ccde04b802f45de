//go:build unix

package seal_test

import (
	"syscall"
	"time"
)

// cpu is what the process has taken of the CPU, user and system together.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
