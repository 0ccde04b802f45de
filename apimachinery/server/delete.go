package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
	"github.com/bedplate/bedplate/storage"
)

func (c *call) delete(ctx context.Context) (*apimachinery.Response, error) {
	o, err := c.deleteOptions()
	if err != nil {
		return nil, err
	}
	if ignoresReadError(o) {
		return c.deleteUnreadable(ctx)
	}
	e, gone, err := c.remove(ctx, c.key(), c.r.Name, o)
	if err != nil {
		return nil, err
	}
	if !gone || c.k.res.Echo {
		code := 200
		if !gone && o.OrphanDependents != nil && !*o.OrphanDependents {
			code = 202
		}
		return c.answer(code, e)
	}
	return c.deleted(types.UID(e.Head.UID))
}

// deleted is the answer to a deletion that has left nothing.
func (c *call) deleted(uid types.UID) (*apimachinery.Response, error) {
	return c.object(200, &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: c.r.Name, Group: c.v.gr.Group, Kind: c.v.gr.Resource, UID: uid},
	})
}

func (c *call) deleteOptions() (*metav1.DeleteOptions, error) {
	if int64(len(c.r.Body)) > c.s.c.Limits.Body {
		return nil, c.s.tooLarge()
	}
	o, err := wire.DeleteOptions(c.r)
	if err != nil {
		return nil, err
	}
	c.options.dryRun = len(o.DryRun) > 0
	c.warnOfOrphans(o)
	if len(c.r.Body) > 0 && c.record != nil && c.record.rule.Level >= AuditRequest {
		raw, _ := apimachinery.Encode(o) // it was decoded
		c.record.sentRaw(raw, apimachinery.JSON)
	}
	return o, invalidOptions("DeleteOptions", validation.ValidateDeleteOptions(o))
}

// remove deletes an object, or begins to. gone says that it has gone; e is then its last state.
func (c *call) remove(ctx context.Context, key, name string, o *metav1.DeleteOptions) (e *storage.Entry, gone bool, err error) {
	min := c.k.recent()
	for range c.s.c.Limits.Attempts {
		old, err := c.k.table.Get(ctx, key, min)
		if err != nil {
			if min != 0 && ctx.Err() == nil {
				min = 0
				continue
			}
			return nil, false, storageError(c.v.gr, name, err)
		}
		e, gone, err = c.tryRemove(ctx, old, name, o)
		if err == nil && e != old || err == nil && gone {
			return e, gone, nil
		}
		if !errors.Is(err, errMoved) && (min == 0 || c.isNewest(ctx, old)) {
			return e, gone, err
		}
		min = 0
	}
	return nil, false, apierrors.NewConflict(c.v.gr, name, errModified)
}

// tryRemove decides and commits on the state that was read. It returns old itself if nothing is to be done.
func (c *call) tryRemove(ctx context.Context, old *storage.Entry, name string, o *metav1.DeleteOptions) (*storage.Entry, bool, error) {
	oldHub, err := c.k.hub(old)
	if err != nil {
		return nil, false, err
	}
	if err := c.checkPreconditions(o.Preconditions, name, old); err != nil {
		return nil, false, err
	}
	a := c.admission(opDelete, nil, oldHub)
	a.Name, a.Options = name, o
	if err := c.mutate(ctx, a); err != nil {
		return nil, false, err
	}
	if err := c.validateAdmission(ctx, a); err != nil {
		return nil, false, err
	}
	if err := c.release(ctx, oldHub, old.Rev); err != nil {
		return nil, false, err
	}
	return c.markOrDelete(ctx, old, oldHub, o)
}

// markOrDelete deletes what may go at once, and marks what may not.
func (c *call) markOrDelete(ctx context.Context, old *storage.Entry, oldHub apimachinery.Object, o *metav1.DeleteOptions) (*storage.Entry, bool, error) {
	hub := deepCopy(oldHub)
	immediate, pending := c.beginDelete(hub, o)
	if pending {
		return old, false, nil
	}
	if immediate {
		rev, err := c.commit(ctx, storage.Write{Table: c.k.table, Key: old.Key, At: old.Rev}, nil, oldHub)
		if err != nil {
			return nil, false, err
		}
		return &storage.Entry{Key: old.Key, Rev: rev, Created: old.Created, Raw: old.Raw, Head: old.Head}, true, nil
	}
	e, err := c.k.seal(old.Key, hub)
	if err != nil {
		return nil, false, err
	}
	if bytes.Equal(e.Raw, old.Raw) {
		return old, false, nil
	}
	rev, err := c.commit(ctx, storage.Write{Table: c.k.table, Key: old.Key, Value: e.Raw, At: old.Rev, Made: e.made}, hub, oldHub)
	if err != nil {
		return nil, false, err
	}
	return e.stored(rev, old.Created), false, nil
}

func (c *call) checkPreconditions(p *metav1.Preconditions, name string, e *storage.Entry) error {
	if p == nil {
		return nil
	}
	if p.UID != nil && string(*p.UID) != e.Head.UID {
		return apierrors.NewConflict(c.v.gr, name, fmt.Errorf("Precondition failed: UID in precondition: %s, UID in object meta: %s", *p.UID, e.Head.UID)) //nolint:staticcheck // Kubernetes' words
	}
	if have := strconv.FormatInt(e.Rev, 10); p.ResourceVersion != nil && *p.ResourceVersion != have {
		return apierrors.NewConflict(c.v.gr, name, fmt.Errorf("Precondition failed: ResourceVersion in precondition: %s, ResourceVersion in object meta: %s", *p.ResourceVersion, have)) //nolint:staticcheck // Kubernetes' words
	}
	return nil
}

// beginDelete marks an object as being deleted, as far as its kind, its finalizers and the options want that.
// immediate: it may go at once. pending: its deletion has begun, and this wish changes nothing.
func (c *call) beginDelete(hub apimachinery.Object, o *metav1.DeleteOptions) (immediate, pending bool) {
	graceful := false
	if c.k.res.Grace != nil {
		if graceful, pending = c.grace(hub, o); pending {
			return false, true
		}
	}
	c.reviseFinalizers(hub, o)
	if graceful {
		return false, false
	}
	if len(hub.GetFinalizers()) == 0 && c.finalized(hub) {
		return true, false
	}
	c.markDeleting(hub, 0)
	return false, false
}

// grace gives an object the time to end that its kind wants. graceful: it has some left; pending: it had
// been given no more than this already.
func (c *call) grace(hub apimachinery.Object, o *metav1.DeleteOptions) (graceful, pending bool) {
	asked := o.GracePeriodSeconds
	if asked != nil && *asked < 0 {
		one := int64(1)
		asked = &one
	}
	if !isDeleting(hub) {
		seconds := c.k.res.Grace(hub, asked)
		if seconds > 0 {
			c.markDeleting(hub, seconds)
		}
		return seconds > 0, false
	}
	given := hub.GetDeletionGracePeriodSeconds()
	switch {
	case given == nil || *given == 0:
		return false, false
	case asked == nil || *asked >= *given:
		return false, true
	case *asked == 0:
		return false, false
	}
	at := metav1.NewTime(hub.GetDeletionTimestamp().Add(time.Duration(*asked-*given) * time.Second))
	hub.SetDeletionTimestamp(&at)
	hub.SetDeletionGracePeriodSeconds(asked)
	return true, false
}

// markDeleting sets the deletion's time and counts the generation, once.
func (c *call) markDeleting(hub apimachinery.Object, seconds int64) {
	at := metav1.NewTime(c.now.Add(time.Duration(seconds) * time.Second))
	if !isDeleting(hub) {
		if hub.GetGeneration() > 0 {
			hub.SetGeneration(hub.GetGeneration() + 1)
		}
		hub.SetDeletionTimestamp(&at)
		if c.k.res.BeginDelete != nil {
			c.k.res.BeginDelete(hub)
		}
	} else if hub.GetDeletionTimestamp().After(at.Time) {
		hub.SetDeletionTimestamp(&at)
	}
	hub.SetDeletionGracePeriodSeconds(&seconds)
}

// reviseFinalizers sets the two finalizers of the garbage collector as the propagation policy wants.
func (c *call) reviseFinalizers(hub apimachinery.Object, o *metav1.DeleteOptions) {
	if c.k.res.TTL > 0 {
		return // such objects have no dependents that anybody collects
	}
	have := hub.GetFinalizers()
	orphan, foreground := propagation(have, o, c.k.res.Orphans)
	want := slices.DeleteFunc(slices.Clone(have), func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	if orphan {
		want = append(want, metav1.FinalizerOrphanDependents)
	}
	if foreground {
		want = append(want, metav1.FinalizerDeleteDependents)
	}
	x, y := slices.Sorted(slices.Values(have)), slices.Sorted(slices.Values(want))
	if !slices.Equal(x, y) {
		hub.SetFinalizers(want)
	}
}

// propagation says which of the two finalizers a deletion wants: what the options say, else what the object
// has already, else that of orphans if those of its kind leave some.
func propagation(have []string, o *metav1.DeleteOptions, orphans bool) (orphan, foreground bool) {
	switch {
	case o.OrphanDependents != nil: //nolint:staticcheck // deprecated, but clients send it
		return *o.OrphanDependents, false //nolint:staticcheck // as above
	case o.PropagationPolicy != nil:
		return *o.PropagationPolicy == metav1.DeletePropagationOrphan, *o.PropagationPolicy == metav1.DeletePropagationForeground
	}
	for _, f := range have {
		switch f {
		case metav1.FinalizerOrphanDependents:
			return true, false
		case metav1.FinalizerDeleteDependents:
			return false, true
		}
	}
	return orphans, false
}

// warnOfOrphans tells who deletes without saying what becomes of the dependents that they stay.
func (c *call) warnOfOrphans(o *metav1.DeleteOptions) {
	text := c.k.res.OrphansWarning
	if text != "" && o.PropagationPolicy == nil && o.OrphanDependents == nil { //nolint:staticcheck // deprecated, but clients send it
		c.warn(text)
	}
}

// deleteCollection deletes what the selectors select, one after the other, and answers with the list of it.
func (c *call) deleteCollection(ctx context.Context) (*apimachinery.Response, error) {
	o, err := c.deleteOptions()
	if err != nil {
		return nil, err
	}
	if err := notForMany(o); err != nil {
		return nil, err
	}
	list := listOptions(c.r)
	p, err := c.page(ctx, &list)
	if err != nil {
		return nil, err
	}
	entries, meta, err := c.cut(p)
	if err != nil {
		return nil, err
	}
	removed := make([]*storage.Entry, 0, len(entries))
	for _, e := range entries {
		_, name := splitKey(c.k, e.Key)
		last, _, err := c.remove(ctx, e.Key, name, o.DeepCopy())
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		removed = append(removed, last)
	}
	s, err := c.stream(removed, meta, p.snap.Rev())
	if err != nil {
		return nil, err
	}
	if err := s.fill(1 << 62); err != nil {
		return nil, err
	}
	return c.body(200, s.buf, nil)
}
