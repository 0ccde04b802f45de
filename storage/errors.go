package storage

import (
	"errors"
	"fmt"
)

// Errors to compare with errors.Is.
var (
	// ErrNotFound: there is no such key.
	ErrNotFound = errors.New("not found")
	// ErrConflict: a condition did not hold; errors.As finds the *ConflictError.
	ErrConflict = errors.New("conflict")
	// ErrTooOld: the revision has left the window of history; errors.As finds the *TooOldError.
	ErrTooOld = errors.New("revision too old")
	// ErrFuture: the revision has not happened; errors.As finds the *FutureError.
	ErrFuture = errors.New("revision not reached")
	// ErrBehind: the cache did not catch up with the store in time. Trying again is right.
	ErrBehind = errors.New("cache behind the store")
	// ErrTooLarge: a value, or a transaction, is larger than the store takes. Nothing was written.
	ErrTooLarge = errors.New("too large")
	// ErrNoSpace: the store has used up its quota. The write that crossed it may have been applied.
	ErrNoSpace = errors.New("store is full")
	// ErrCorrupt: the stored bytes cannot be understood; errors.As finds the *CorruptError.
	ErrCorrupt = errors.New("corrupt object")
	// ErrClosed: the DB, table, watcher or backend has ended.
	ErrClosed = errors.New("closed")
)

// ConflictError says which condition of a transaction did not hold. It is ErrConflict.
type ConflictError struct {
	Key    string // absolute
	Want   int64  // the revision the condition named; 0: must not exist
	Have   int64  // the key's revision; 0 if it does not exist
	Exists bool   // whether the key exists
}

// Error implements error.
func (e *ConflictError) Error() string {
	switch {
	case e.Want == 0:
		return fmt.Sprintf("%s exists already, at revision %d", e.Key, e.Have)
	case !e.Exists:
		return fmt.Sprintf("%s is gone, expected at revision %d", e.Key, e.Want)
	default:
		return fmt.Sprintf("%s is at revision %d, expected %d", e.Key, e.Have, e.Want)
	}
}

// Is makes errors.Is(e, ErrConflict) true.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// TooOldError says that a revision has left the window of history. It is ErrTooOld.
type TooOldError struct {
	Rev    int64 // the revision asked for; 0 if a watcher fell behind
	Oldest int64 // the oldest that would do now; from a remote store, perhaps not even this
}

// Error implements error.
func (e *TooOldError) Error() string {
	if e.Rev == 0 {
		return fmt.Sprintf("too slow: the oldest revision kept is %d", e.Oldest)
	}
	return fmt.Sprintf("revision %d is too old: the oldest kept is %d", e.Rev, e.Oldest)
}

// Is makes errors.Is(e, ErrTooOld) true.
func (e *TooOldError) Is(target error) bool { return target == ErrTooOld }

// FutureError says that a revision has not happened yet. It is ErrFuture.
type FutureError struct {
	Rev     int64 // the revision asked for
	Current int64 // the newest there is
}

// Error implements error.
func (e *FutureError) Error() string {
	return fmt.Sprintf("revision %d has not happened: the newest is %d", e.Rev, e.Current)
}

// Is makes errors.Is(e, ErrFuture) true.
func (e *FutureError) Is(target error) bool { return target == ErrFuture }

// CorruptError says that a stored object cannot be understood: the schema's Head refused it, or the backend
// could not open it. The object is never served; it can be overwritten or deleted with At: Rev. It is ErrCorrupt.
type CorruptError struct {
	Key string // absolute
	Rev int64
	Err error // what Head returned, or the backend
}

// Error implements error.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s at revision %d: stored object is corrupt: %v", e.Key, e.Rev, e.Err)
}

// Is makes errors.Is(e, ErrCorrupt) true.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Unwrap returns Err.
func (e *CorruptError) Unwrap() error { return e.Err }
