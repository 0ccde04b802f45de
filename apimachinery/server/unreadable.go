package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
	"github.com/bedplate/bedplate/storage"
)

// verbUnsafeDelete is the right that it takes to delete what cannot be read.
const verbUnsafeDelete = "unsafe-delete-ignore-read-errors"

// maxCauses is how many objects that cannot be read one answer names.
const maxCauses = 100

// unreadable is the error of a list that would have to leave out objects because they cannot be read: those between
// two keys, relative to the table, both included; to "" is the end. nil if there are none.
func (c *call) unreadable(p *selected, snap *storage.Snapshot, from, to string) error {
	var causes []metav1.StatusCause
	prefix := c.k.table.Abs("")
	for corrupt := range snap.Corrupt() {
		key := strings.TrimPrefix(corrupt.Key, prefix)
		switch {
		case !strings.HasPrefix(key, p.filter.Prefix), p.filter.Key != "" && key != p.filter.Key, key < from, to != "" && key > to:
			continue
		case len(causes) == maxCauses:
			causes = append(causes, metav1.StatusCause{Type: metav1.CauseTypeTooMany, Message: "too many objects cannot be read: not all of them are named"})
			return storeReadErrors(c, causes)
		}
		causes = append(causes, metav1.StatusCause{Type: metav1.CauseTypeUnexpectedServerResponse, Field: corrupt.Key, Message: corrupt.Error()})
	}
	if len(causes) == 0 {
		return nil
	}
	return storeReadErrors(c, causes)
}

func storeReadErrors(c *call, causes []metav1.StatusCause) error {
	message := fmt.Sprintf("failed to read one or more %s from the storage: %s", c.v.gr, causes[0].Message)
	if len(causes) > 1 {
		message += fmt.Sprintf(" (and %d more)", len(causes)-1)
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonStoreReadError, Message: message,
		Details: &metav1.StatusDetails{Group: c.v.gr.Group, Kind: c.v.gr.Resource, Name: c.k.table.Abs(""), Causes: causes},
	}}
}

// ignoresReadError says whether a deletion is one of what cannot be read.
func ignoresReadError(o *metav1.DeleteOptions) bool {
	return o.IgnoreStoreReadErrorWithClusterBreakingPotential != nil && *o.IgnoreStoreReadErrorWithClusterBreakingPotential
}

// notForMany refuses the option for the deletion of many.
func notForMany(o *metav1.DeleteOptions) error {
	if !ignoresReadError(o) {
		return nil
	}
	return invalidOptions("DeleteOptions", field.ErrorList{field.Invalid(
		field.NewPath("ignoreStoreReadErrorWithClusterBreakingPotential"), true,
		"is not allowed with DELETECOLLECTION, try again after removing the option")})
}

// deleteUnreadable takes away an object that cannot be read: without admission, preconditions and finalizers, as
// nobody knows what it says. One that can be read stays.
func (c *call) deleteUnreadable(ctx context.Context) (*apimachinery.Response, error) {
	a := wire.Attributes(c.r)
	a.Verb = verbUnsafeDelete
	if err := c.s.authorize(ctx, a); err != nil {
		return nil, err
	}
	rev, err := c.unreadableAt(ctx)
	if err != nil {
		return nil, err
	}
	if !c.options.dryRun {
		if rev, err = c.s.c.DB.Commit(ctx, storage.Write{Table: c.k.table, Key: c.key(), At: rev}); err != nil {
			return nil, storageError(c.v.gr, c.r.Name, err)
		}
		c.k.wrote(rev)
	}
	return c.deleted("")
}

// unreadableAt is the revision of the object, which must not be readable.
func (c *call) unreadableAt(ctx context.Context) (int64, error) {
	e, err := c.k.table.Get(ctx, c.key(), 0)
	var corrupt *storage.CorruptError
	switch {
	case errors.As(err, &corrupt):
		return corrupt.Rev, nil
	case err != nil:
		return 0, storageError(c.v.gr, c.r.Name, err)
	}
	if _, err := c.k.hub(e); err != nil {
		return e.Rev, nil
	}
	return 0, apierrors.NewConflict(c.v.gr, c.r.Name, errors.New("the object can be read: delete it without ignoreStoreReadErrorWithClusterBreakingPotential"))
}
