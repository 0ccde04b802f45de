package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/storage"
)

const modified = "the object has been modified; please apply your changes to the latest version and try again"

var errModified = errors.New(modified)

// storageError turns what storage says into what a client gets. Errors that it doesn't know stay as they are.
func storageError(gr schema.GroupResource, name string, err error) error {
	var tooOld *storage.TooOldError
	var future *storage.FutureError
	var corrupt *storage.CorruptError
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return apierrors.NewNotFound(gr, name)
	case errors.As(err, &tooOld):
		return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", tooOld.Rev, tooOld.Oldest))
	case errors.As(err, &future):
		return tooLargeVersion(future)
	case errors.Is(err, storage.ErrConflict):
		return apierrors.NewConflict(gr, name, errModified)
	case errors.Is(err, storage.ErrTooLarge):
		return apierrors.NewRequestEntityTooLargeError(err.Error())
	case errors.As(err, &corrupt):
		return storeReadError(gr, name, corrupt)
	case errors.Is(err, storage.ErrBehind):
		return apierrors.NewServerTimeout(gr, "read", 1)
	case errors.Is(err, storage.ErrClosed):
		return apierrors.NewServiceUnavailable("the server is shutting down")
	case errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError("request did not complete within the allotted timeout", 1)
	}
	return err
}

func tooLargeVersion(e *storage.FutureError) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", e.Rev, e.Current), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version",
	}}
	return err
}

func storeReadError(gr schema.GroupResource, name string, err error) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonStoreReadError,
		Message: err.Error(), Details: &metav1.StatusDetails{Group: gr.Group, Kind: gr.Resource, Name: name},
	}}
}

// genericError is an error with the reason that its code has.
func genericError(code int, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: int32(code), Message: message, Reason: reasons[code],
	}}
}

var reasons = map[int]metav1.StatusReason{
	http.StatusBadRequest: metav1.StatusReasonBadRequest, http.StatusMethodNotAllowed: metav1.StatusReasonMethodNotAllowed,
	http.StatusRequestTimeout: metav1.StatusReasonTimeout,
}

func isConflictAt(err error, key string) bool {
	var c *storage.ConflictError
	return errors.As(err, &c) && c.Key == key
}
