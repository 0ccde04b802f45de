package crd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

// clean ends a definition beside the loop, once.
func (c *Controller) clean(ctx context.Context, name string) {
	c.mu.Lock()
	k := c.known[name]
	begin := k != nil && !k.cleaning
	var uid types.UID
	var of schema.GroupResource
	if begin {
		k.cleaning = true
		uid, of = k.uid, k.served.name
	}
	c.mu.Unlock()
	if begin {
		c.cleaners.Go(func() { c.cleanUp(ctx, name, uid, of) })
	}
}

// cleanUp deletes the instances of a definition, waits until they are gone, and lets the definition go.
func (c *Controller) cleanUp(ctx context.Context, name string, uid types.UID, of schema.GroupResource) {
	for ctx.Err() == nil {
		err := c.tryCleanUp(ctx, name, uid, of)
		if err == nil {
			return
		}
		c.c.Log.Warn("instances of a definition not deleted", "name", name, "err", err)
		wait(ctx, retryAfter)
	}
}

func (c *Controller) tryCleanUp(ctx context.Context, name string, uid types.UID, of schema.GroupResource) error {
	terminating := func(status apiext.ConditionStatus, reason, message string, end bool) error {
		return c.revise(ctx, name, uid, func(d *apiext.CustomResourceDefinition) {
			set(d, apiext.Terminating, status, reason, message, c.now())
			if end {
				d.Finalizers = slices.DeleteFunc(d.Finalizers, func(f string) bool { return f == apiext.CustomResourceCleanupFinalizer })
			}
		})
	}
	if err := terminating(apiext.ConditionTrue, "InstanceDeletionInProgress", "CustomResource deletion is in progress", false); err != nil {
		return err
	}
	if of.Resource == "" {
		return terminating(apiext.ConditionFalse, "NeverEstablished", "resource was never established", true)
	}
	if err := c.deleteInstances(ctx, of); err != nil {
		return errors.Join(err, terminating(apiext.ConditionTrue, "InstanceDeletionFailed", fmt.Sprintf("could not issue all deletes: %v", err), false))
	}
	return terminating(apiext.ConditionFalse, "InstanceDeletionCompleted", "removed all instances", true)
}

// deleteInstances returns once there are none.
func (c *Controller) deleteInstances(ctx context.Context, of schema.GroupResource) error {
	s := c.server.Load()
	t, ok := s.Table(of)
	if !ok {
		return fmt.Errorf("there is no table of %s", of)
	}
	for {
		snap, err := t.Snapshot(ctx, 0, false)
		if err != nil {
			return err
		}
		left, err := s.Purge(ctx, of)
		if err != nil || left == 0 {
			return err
		}
		if err := nextChange(ctx, t, snap.Rev()); err != nil {
			return err
		}
	}
}

// instanceCheck is how long a change of instances is waited for at most before they are looked at again.
const instanceCheck = time.Minute

// nextChange waits until something in a table has changed since a revision.
func nextChange(ctx context.Context, t *storage.Table, since int64) error {
	w, err := t.Watch(since, storage.Filter{})
	if err != nil {
		return err
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(ctx, instanceCheck)
	defer cancel()
	if _, err = w.Next(ctx); errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// revise changes a definition's status and finalizers, on its newest state. One that is gone is fine.
func (c *Controller) revise(ctx context.Context, name string, uid types.UID, change func(*apiext.CustomResourceDefinition)) error {
	t := c.table.Load()
	for ctx.Err() == nil {
		e, err := t.Get(ctx, name, 0)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		d := &apiext.CustomResourceDefinition{}
		if err := apimachinery.DecodeLoose(e.Raw, d); err != nil {
			return err
		}
		if d.UID != uid || d.DeletionTimestamp == nil {
			return nil
		}
		change(d)
		conflict, err := c.tryWrite(ctx, d, e.Rev)
		if !conflict {
			return err
		}
	}
	return ctx.Err()
}
