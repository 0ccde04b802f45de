package storagesuite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/value"

	bed "github.com/bedplate/bedplate/storage"
)

// state is an object as it is stored now. Nothing there: rev 0, and a zero object.
type state struct {
	obj   runtime.Object // nil: it can't be read
	rev   int64
	data  []byte // without the transformer's wrapping
	stale bool   // the transformer would write it differently
}

// Get implements storage.Interface.
func (a *Adapter) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	key, err := a.key(key, false)
	if err != nil {
		return err
	}
	rev, err := a.revision(opts.ResourceVersion)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	e, err := a.table.Load().Get(ctx, key, rev)
	switch {
	case errors.Is(err, bed.ErrNotFound) && opts.IgnoreNotFound:
		return runtime.SetZeroValue(out)
	case err != nil:
		return a.failed(key, rev, err)
	}
	_, err = a.decode(ctx, key, e.Raw, e.Rev, out)
	return err
}

// revision is the revision to ask a table for.
func (a *Adapter) revision(resourceVersion string) (int64, error) {
	rev, err := a.versioner.ParseResourceVersion(resourceVersion)
	if resourceVersion == "0" {
		return a.c.Zero, nil
	}
	return int64(rev), err
}

// current reads what is there for a write. It must be the latest.
func (a *Adapter) current(ctx context.Context, key string) (state, error) {
	s := state{obj: a.c.New()}
	e, err := a.table.Load().Get(ctx, key, 0)
	if corrupt, ok := errors.AsType[*bed.CorruptError](err); ok {
		return state{rev: corrupt.Rev}, storage.NewInternalError(corrupt)
	}
	if err != nil {
		return s, a.failed(key, 0, err)
	}
	s.rev = e.Rev
	if s.stale, err = a.decode(ctx, key, e.Raw, e.Rev, s.obj); err != nil {
		return state{rev: e.Rev}, err
	}
	s.data, _, err = a.Transformer().TransformFromStorage(ctx, e.Raw, value.DefaultContext(a.abs(key)))
	return s, err
}

func (a *Adapter) decode(ctx context.Context, key string, raw []byte, rev int64, into runtime.Object) (stale bool, err error) {
	key = a.abs(key)
	data, stale, err := a.Transformer().TransformFromStorage(ctx, raw, value.DefaultContext(key))
	if err != nil {
		return false, storage.NewInternalError(fmt.Errorf("unable to transform key %q: %w", key, err))
	}
	return stale, a.set(data, rev, into)
}

func (a *Adapter) set(data []byte, rev int64, into runtime.Object) error {
	if _, _, err := a.c.Codec.Decode(data, nil, into); err != nil {
		return err
	}
	return a.versioner.UpdateObject(into, uint64(rev))
}

// Create implements storage.Interface.
func (a *Adapter) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	key, err := a.key(key, false)
	if err != nil {
		return err
	}
	if rev, err := a.versioner.ObjectResourceVersion(obj); err == nil && rev != 0 {
		return storage.ErrResourceVersionSetOnCreate
	}
	data, err := a.encode(obj)
	if err != nil {
		return err
	}
	rev, err := a.write(ctx, key, data, 0, ttl)
	switch {
	case errors.Is(err, bed.ErrConflict):
		return storage.NewKeyExistsError(a.abs(key), 0)
	case err != nil || out == nil:
		return err
	}
	return a.set(data, rev, out)
}

func (a *Adapter) encode(obj runtime.Object) ([]byte, error) {
	if err := a.versioner.PrepareObjectForStorage(obj); err != nil {
		return nil, err
	}
	return runtime.Encode(a.c.Codec, obj)
}

func (a *Adapter) write(ctx context.Context, key string, data []byte, at int64, ttl uint64) (int64, error) {
	raw, err := a.Transformer().TransformToStorage(ctx, data, value.DefaultContext(a.abs(key)))
	if err != nil {
		return 0, storage.NewInternalError(err)
	}
	w := bed.Write{Key: a.abs(key), Value: raw, At: at}
	if ttl > 0 {
		lease, err := a.c.DB.Grant(ctx, time.Duration(ttl)*time.Second+a.c.Linger)
		if err != nil {
			return 0, err
		}
		w.Lease = lease.ID
	}
	return a.c.DB.Commit(ctx, w)
}

// GuaranteedUpdate implements storage.Interface. It has no use for a suggestion of the caller's: the table is a cache.
func (a *Adapter) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	pre *storage.Preconditions, update storage.UpdateFunc, _ runtime.Object) error {
	key, err := a.key(key, false)
	if err != nil {
		return err
	}
	for {
		s, err := a.current(ctx, key)
		if err != nil && (!ignoreNotFound || !storage.IsNotFound(err)) {
			return err
		}
		if err := pre.Check(a.abs(key), s.obj); err != nil {
			return err
		}
		obj, ttl, err := update(s.obj, storage.ResponseMeta{ResourceVersion: uint64(s.rev)})
		if err != nil {
			return err
		}
		data, err := a.encode(obj)
		if err != nil {
			return err
		}
		if s.rev != 0 && !s.stale && bytes.Equal(data, s.data) {
			return a.set(data, s.rev, out)
		}
		rev, err := a.write(ctx, key, data, s.rev, deref(ttl))
		if err == nil {
			return a.set(data, rev, out)
		}
		if !errors.Is(err, bed.ErrConflict) {
			return err
		}
	}
}

func deref(p *uint64) uint64 {
	if p == nil {
		return 0
	}
	return *p
}

// Delete implements storage.Interface. It has no use for a suggestion of the caller's.
func (a *Adapter) Delete(ctx context.Context, key string, out runtime.Object, pre *storage.Preconditions,
	validate storage.ValidateObjectFunc, _ runtime.Object, opts storage.DeleteOptions) error {
	key, err := a.key(key, false)
	if err != nil {
		return err
	}
	for {
		s, err := a.current(ctx, key)
		switch unreadable := err != nil && s.obj == nil; {
		case unreadable && opts.ExpectTransformOrDecodeError:
		case err != nil:
			return err
		case opts.ExpectTransformOrDecodeError:
			return storage.NewInvalidObjError(a.abs(key), "the object can be read, so it is not deleted unseen")
		}
		if s.obj != nil {
			if err := pre.Check(a.abs(key), s.obj); err != nil {
				return err
			}
		}
		if err := validate(ctx, s.obj); err != nil {
			return err
		}
		rev, err := a.c.DB.Commit(ctx, bed.Write{Key: a.abs(key), At: s.rev})
		switch {
		case errors.Is(err, bed.ErrConflict):
			continue
		case err != nil || s.obj == nil:
			return err
		}
		return a.set(s.data, rev, out)
	}
}

// failed says an error of the table's in Kubernetes' words.
func (a *Adapter) failed(key string, rev int64, err error) error {
	if future, ok := errors.AsType[*bed.FutureError](err); ok {
		return storage.NewTooLargeResourceVersionError(uint64(rev), uint64(future.Current), 1)
	}
	switch {
	case errors.Is(err, bed.ErrNotFound):
		return storage.NewKeyNotFoundError(a.abs(key), 0)
	case errors.Is(err, bed.ErrCorrupt):
		return storage.NewInternalError(err)
	}
	return err
}
