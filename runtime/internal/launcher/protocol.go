//go:build linux

// Package launcher is the process that starts containers on behalf of an agent, and the
// agent's side of talking to it. One connection carries one request: the answer to it,
// or for exec and attach the start of a conversation that the end of the connection ends.
package launcher

import (
	"errors"

	"github.com/bedplate/bedplate/runtime/internal/engine"
	"github.com/bedplate/bedplate/runtime/internal/proc"
)

// Version is of the protocol. An agent and a launcher of different ones don't talk.
const Version = 1

// Operations.
const (
	opHello  = "hello"
	opStart  = "start"
	opExec   = "exec"
	opAttach = "attach"
	opReopen = "reopen"
	opQuit   = "quit"
)

type request struct {
	Version int
	Op      string
	ID      string              `json:",omitempty"`
	Exec    *engine.ExecRequest `json:",omitempty"`
	// Which of stdin, stdout and stderr come as descriptors, in this order.
	Streams [3]bool
	// CloseStdin, on an attached connection, ends the container's standard input.
	CloseStdin bool `json:",omitempty"`
}

type response struct {
	Err        string      `json:",omitempty"`
	NotRunning bool        `json:",omitempty"` // Err is engine.ErrNotRunning
	PID        int         `json:",omitempty"`
	StartTime  uint64      `json:",omitempty"`
	Run        *engine.Run `json:",omitempty"`
	Exit       *proc.Exit  `json:",omitempty"`
	Done       bool        `json:",omitempty"` // the last one of a conversation
}

func failed(err error) response {
	return response{Err: err.Error(), NotRunning: errors.Is(err, engine.ErrNotRunning), Done: true}
}

func (r response) err() error {
	switch {
	case r.Err == "":
		return nil
	case r.NotRunning:
		return &remote{r.Err, engine.ErrNotRunning}
	default:
		return &remote{r.Err, nil}
	}
}

// remote is an error that the launcher answered with.
type remote struct {
	text string
	is   error
}

func (e *remote) Error() string { return e.text }
func (e *remote) Unwrap() error { return e.is }

// ErrLost tells that the launcher, or its keeper, went away before it answered.
var ErrLost = errors.New("the launcher went away")
