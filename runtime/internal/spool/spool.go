//go:build linux

// Package spool keeps exit codes on disk, where the keeper (in C) and the launcher write
// them and the agent reads them. A record is a file named by PID and start
// time. It is made pending before the process may run, so that only processes that
// somebody cares for are recorded, and replaced by a rename when the process ends.
// A pending file is as long as a record: on a full disk it is overwritten in place.
package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bedplate/bedplate/runtime/internal/proc"
)

// size is the length of every record; keeper.c agrees.
const size = 64

// Record is one exit.
type Record struct {
	proc.Exit
	At time.Time
}

// Dir is a spool folder.
type Dir string

func (d Dir) name(pid int, start uint64) string {
	return filepath.Join(string(d), fmt.Sprintf("%d.%d", pid, start))
}

// Expect makes the record of a process pending.
func (d Dir) Expect(pid int, start uint64) error {
	line := fmt.Sprintf("%-*s\n", size-1, "pending")
	if err := os.WriteFile(d.name(pid, start), []byte(line), 0o600); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// Write records how an expected process ended, by its si_code and si_status. Of one not
// expected, or already recorded, it is a no-op.
func (d Dir) Write(pid int, start uint64, e proc.Exit, at time.Time) error {
	name := d.name(pid, start)
	if _, done, err := d.Read(pid, start); err != nil || done {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	code, status := 1, e.Code
	if e.Signal != 0 {
		code, status = 2, int(e.Signal)
	}
	line := fmt.Sprintf("exit %d %d %d %d", code, status, at.Unix(), at.Nanosecond())
	line = fmt.Sprintf("%-*s\n", size-1, line)
	tmp := name + ".go"
	err := os.WriteFile(tmp, []byte(line), 0o600)
	if err == nil {
		err = os.Rename(tmp, name)
	}
	if err == nil {
		return nil
	}
	_ = os.Remove(tmp)
	return overwrite(name, line)
}

func overwrite(name, line string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	_, err = f.WriteAt([]byte(line), 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// Read returns the record of a process; done is false while it is pending. The error
// is os.ErrNotExist if it was never expected.
func (d Dir) Read(pid int, start uint64) (r Record, done bool, err error) {
	b, err := os.ReadFile(d.name(pid, start))
	if err != nil {
		return Record{}, false, fmt.Errorf("spool: %w", err)
	}
	if len(b) != size || strings.HasPrefix(string(b), "pending") {
		return Record{}, false, nil
	}
	var code, status int
	var sec, nsec int64
	if _, err := fmt.Sscanf(string(b), "exit %d %d %d %d", &code, &status, &sec, &nsec); err != nil {
		return Record{}, false, fmt.Errorf("spool: read %s: %w", d.name(pid, start), err)
	}
	return Record{Exit: proc.FromWait(code, status), At: time.Unix(sec, nsec)}, true, nil
}

// Remove deletes the record, pending or not. Of none it is a no-op.
func (d Dir) Remove(pid int, start uint64) error {
	if err := os.Remove(d.name(pid, start)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// Prune deletes every record that keep doesn't want.
func (d Dir) Prune(keep func(name string) bool) error {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	for _, e := range entries {
		if !keep(e.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(string(d), e.Name())))
		}
	}
	return err
}

// Name is the file name of a process's record, for Prune.
func Name(pid int, start uint64) string { return fmt.Sprintf("%d.%d", pid, start) }
