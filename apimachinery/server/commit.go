package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

// guardPrefix is where guards lie: beside the objects of Kubernetes' own layout.
const guardPrefix = "/registry/bedplate.io/"

// commit stores one object, with the guards that the write takes part in, what it comes to claim and ceases to, and
// the conditions that the request carries, in one transaction. new is nil for a deletion, old for a creation. The
// error is errMoved if the object is not at the revision that w expects, errTaken if somebody else has what was
// chosen for it. Nothing is stored in a dry run.
func (c *call) commit(ctx context.Context, w storage.Write, new, old apimachinery.Object) (int64, error) {
	ctx, end := c.s.step(ctx, storeStep(new, old))
	defer end()
	claims, err := c.claims(w.Key, new, old)
	if err != nil {
		return 0, err
	}
	if c.options.dryRun {
		rev, err := c.dryCommit(ctx, w)
		if err == nil {
			err = c.dryClaims(ctx, claims)
		}
		return rev, err
	}
	fence, err := c.fence()
	if err != nil {
		return 0, err
	}
	if fence.Key != "" {
		w.If = append(w.If, fence)
	}
	var guards []string
	if c.k.res.Guards != nil {
		guards = c.k.res.Guards(new, old)
	}
	writes := make([]storage.Write, 0, 1+len(guards)+len(claims.writes))
	min := storage.Cached
	for range c.s.c.Limits.Attempts {
		writes = append(writes[:0], w)
		if writes, err = c.addGuards(ctx, writes, guards, min); err != nil {
			return 0, err
		}
		writes = append(writes, claims.writes...)
		rev, err := c.s.c.DB.Commit(ctx, writes...)
		lost := c.lost(claims, err)
		switch {
		case err == nil:
			c.k.wrote(rev)
			return rev, nil
		case isConflictAt(err, c.k.table.Abs(w.Key)):
			return 0, errMoved
		case lost != nil:
			return 0, lost
		case fence.Key != "" && isConflictAt(err, fence.Key):
			return 0, c.fenced()
		case !errors.Is(err, storage.ErrConflict):
			return 0, storageError(c.v.gr, c.r.Name, err)
		}
		min = 0 // a guard was written meanwhile
	}
	return 0, apierrors.NewConflict(c.v.gr, c.r.Name, errModified)
}

// dryCommit says what commit would say, as far as reading can tell.
func (c *call) dryCommit(ctx context.Context, w storage.Write) (int64, error) {
	e, err := c.k.table.Get(ctx, w.Key, 0)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		if w.At > 0 {
			return 0, errMoved
		}
		return 0, nil
	case err != nil:
		return 0, storageError(c.v.gr, c.r.Name, err)
	case w.At >= 0 && e.Rev != w.At:
		return 0, errMoved
	}
	return e.Rev, nil
}

// addGuards adds a write for each guard, on condition that nobody else writes it at the same time, and refuses
// the whole if a guard was written after what the writer has seen.
func (c *call) addGuards(ctx context.Context, writes []storage.Write, guards []string, min int64) ([]storage.Write, error) {
	if len(guards) == 0 {
		return writes, nil
	}
	seen, err := parseVersion(c.r.Seen)
	if err != nil {
		return nil, err
	}
	value := []byte(writes[0].Key)
	for _, g := range guards {
		at := int64(0)
		e, err := c.s.guards.Get(ctx, g, min)
		switch {
		case err == nil:
			at = e.Rev
		case !errors.Is(err, storage.ErrNotFound):
			return nil, storageError(c.v.gr, c.r.Name, err)
		}
		if c.r.Seen != "" && at > seen {
			return nil, apierrors.NewConflict(c.v.gr, c.r.Name, fmt.Errorf("%s was written at revision %d, after revision %d that the writer had seen", g, at, seen))
		}
		writes = append(writes, storage.Write{Table: c.s.guards, Key: g, Value: value, At: at})
	}
	return writes, nil
}

// fence reads the request's fence as a condition; the zero Cond if there is none.
func (c *call) fence() (storage.Cond, error) {
	if c.r.Fence == "" {
		return storage.Cond{}, nil
	}
	lease, text, _ := strings.Cut(c.r.Fence, "=")
	rev, err := strconv.ParseInt(text, 10, 64)
	namespace, name, ok := strings.Cut(lease, "/")
	if err != nil || rev <= 0 || !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return storage.Cond{}, apierrors.NewBadRequest(fmt.Sprintf("the fence %q is not of the form namespace/lease=revision", c.r.Fence))
	}
	return storage.Cond{Key: guardPrefix + "fences/" + lease, Rev: rev}, nil
}

func (c *call) fenced() error {
	lease, rev, _ := strings.Cut(c.r.Fence, "=")
	return apierrors.NewConflict(c.v.gr, c.r.Name, fmt.Errorf("the lease %s has moved on since revision %s: the writer no longer holds it", lease, rev))
}
