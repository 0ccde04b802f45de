package backup

import (
	"context"
	"errors"
	"io"
)

// Errors to compare with errors.Is.
var (
	// ErrDamaged: the snapshot is cut short, or a byte of it is not what was saved.
	ErrDamaged = errors.New("the snapshot is damaged")
	// ErrNoHash: the file does not end with its hash: it is a copy of a database, or cut short.
	ErrNoHash = errors.New("the snapshot has no hash")
	// ErrNotEmpty: the folder to restore to is in use.
	ErrNotEmpty = errors.New("the folder is not empty")
)

// Stage is a step of Save, Verify or Restore.
type Stage string

// The stages, in the order in which they come.
const (
	Reading   Stage = "reading"   // Save: from the source, to the file
	Verifying Stage = "verifying" // the file is read again: its hash, its pages, its keys
	Building  Stage = "building"  // Restore: the new folder, beside the target
	Syncing   Stage = "syncing"   // to the disk
	Placing   Stage = "placing"   // it is given its name
	Done      Stage = "done"
)

// Progress says how far it is.
type Progress struct {
	Stage Stage
	Done  int64 // bytes of this stage
	Total int64 // 0: unknown
}

// Report hears of progress: at the begin of each stage, and during long ones at every MiB. It is called from the
// goroutine of the caller, and should be quick. Nil: nobody listens.
type Report func(Progress)

func (r Report) at(s Stage, done, total int64) {
	if r != nil {
		r(Progress{s, done, total})
	}
}

// step is how many bytes are done between two reports.
const step = 1 << 20

// counted reports what is read through it, and ends with the context.
type counted struct {
	ctx         context.Context
	r           io.Reader
	report      Report
	stage       Stage
	done, total int64
	told        int64
}

func (c *counted) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.done += int64(n)
	if c.done-c.told >= step {
		c.told = c.done
		c.report.at(c.stage, c.done, c.total)
	}
	return n, err
}
