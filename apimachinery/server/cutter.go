package server

import (
	"io"
	"time"
)

// cutter ends a write that hangs: it sets the deadline of the connection into the past when its time is over. To
// set a deadline before each write would cost every event of every watch.
type cutter struct {
	timer *time.Timer
	limit time.Duration
}

// newCutter makes a cutter for writers whose deadline can be set; others are left alone.
func newCutter(w io.Writer, limit time.Duration) *cutter {
	d, ok := w.(interface{ SetWriteDeadline(time.Time) error })
	if !ok {
		return &cutter{}
	}
	c := &cutter{limit: limit}
	c.timer = time.AfterFunc(limit, func() {
		_ = d.SetWriteDeadline(time.Unix(1, 0)) // a connection without deadlines can't hang here for ever either: the client's end closes it
	})
	c.timer.Stop()
	return c
}

func (c *cutter) arm() {
	if c.timer != nil {
		c.timer.Reset(c.limit)
	}
}

func (c *cutter) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
}
