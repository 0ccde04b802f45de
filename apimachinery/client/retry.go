package client

import (
	"context"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	conflictTries = 8
	conflictPause = 5 * time.Millisecond
)

// RetryOnConflict calls f until it returns something else than a Conflict, up to 8 times, with a pause that grows
// from 5 ms. f reads, changes and writes; it must begin with reading. The last error is returned.
func RetryOnConflict(ctx context.Context, f func(ctx context.Context) error) error {
	pause := conflictPause
	for try := 1; ; try++ {
		err := f(ctx)
		if !apierrors.IsConflict(err) || try == conflictTries {
			return err
		}
		t := time.NewTimer(pause + rand.N(pause))
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
		pause *= 2
	}
}

// Modify reads an object, lets change change it and updates it, again from the start on a Conflict. change may be
// called several times, each with a fresh object. If it leaves the object as it was, that is updated all the same.
func (r Resource[T]) Modify(ctx context.Context, namespace, name string, change func(T) error, opts ...Option) (T, error) {
	return r.modify(ctx, namespace, name, "", change, opts)
}

// ModifyStatus is [Resource.Modify] of the status alone.
func (r Resource[T]) ModifyStatus(ctx context.Context, namespace, name string, change func(T) error, opts ...Option) (T, error) {
	return r.modify(ctx, namespace, name, "status", change, opts)
}

func (r Resource[T]) modify(ctx context.Context, namespace, name, sub string, change func(T) error, opts []Option) (out T, err error) {
	err = RetryOnConflict(ctx, func(ctx context.Context) error {
		o, err := r.Get(ctx, namespace, name)
		if err != nil {
			return err
		}
		if err := change(o); err != nil {
			return r.op("modify", namespace, name, sub, err)
		}
		out, err = r.UpdateSub(ctx, sub, o, opts...)
		return err
	})
	return out, err
}
