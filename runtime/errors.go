//go:build linux

package runtime

import (
	"errors"
	"fmt"
)

// Errors that callers may ask for with errors.Is.
var (
	// ErrNotInitialised: Init was not called on the first line of main.
	ErrNotInitialised = errors.New("runtime.Init was not called: call it on the first line of main, and of TestMain in tests")
	// ErrNotFound: no sandbox or container has this ID.
	ErrNotFound = errors.New("not found")
	// ErrExists: the ID is taken.
	ErrExists = errors.New("already exists")
	// ErrInvalid: the spec or Config is wrong; the message says where. Nothing was done.
	ErrInvalid = errors.New("invalid")
	// ErrUnsupported: this machine, build or version does not do that; the message
	// says what would.
	ErrUnsupported = errors.New("unsupported")
	// ErrState: the container is not in a state that allows it.
	ErrState = errors.New("wrong state")
	// ErrInUse: another process has the folder open, or a sandbox still has containers.
	ErrInUse = errors.New("in use")
	// ErrClosed: the Runtime was detached or shut down.
	ErrClosed = errors.New("closed")
)

// StartError tells that a container's command could not be run: a missing
// executable or directory, a mount that failed. The container is exited with
// ReasonStartError. Errors that say nothing about the container, such as a cancelled
// context, come as themselves and leave it created.
type StartError struct {
	ID  string
	Err error
}

func (e *StartError) Error() string { return fmt.Sprintf("start container %s: %v", e.ID, e.Err) }

// Unwrap gives the cause.
func (e *StartError) Unwrap() error { return e.Err }
