//go:build linux

package image

import (
	"errors"

	"github.com/bedplate/bedplate/runtime/image/internal/unpack"
)

// The kinds of failure. Every error of this package that a caller may want to tell apart wraps
// exactly one of them; the text around it says what was asked and what was found.
var (
	// ErrInvalidName is a reference that isn't one ("Busybox", "a//b", "x@sha256:..").
	ErrInvalidName = errors.New("invalid image name")
	// ErrNotFound is an image, tag, blob or mount that isn't there, in the registry or in the store.
	ErrNotFound = errors.New("not found")
	// ErrUnauthorized is a registry that wants other credentials, or one that wants them sent to
	// a place where they may not go.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrUnavailable is a registry that can't be reached, fails, or asks to come back later. Worth a retry.
	ErrUnavailable = errors.New("registry unavailable")
	// ErrDigest is content that isn't what its digest or size says.
	ErrDigest = errors.New("digest mismatch")
	// ErrTooLarge is content beyond one of the Limits.
	ErrTooLarge = unpack.ErrTooLarge
	// ErrInvalid is a malformed or ambiguous manifest, configuration, layer or user.
	ErrInvalid = unpack.ErrInvalid
	// ErrPlatform is an image that has nothing for this store's platform.
	ErrPlatform = errors.New("unsupported platform")
	// ErrUnsupported is a valid thing that this package, or this kernel or file system, doesn't do.
	ErrUnsupported = errors.New("unsupported")
	// ErrLocked is a store folder that another process has open.
	ErrLocked = errors.New("image store is in use by another process")
	// ErrInUse is an image that can't be removed while a root file system is made of it.
	ErrInUse = errors.New("in use")
	// ErrClosed is a store after Close.
	ErrClosed = errors.New("image store is closed")
)
