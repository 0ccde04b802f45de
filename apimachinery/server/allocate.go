package server

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

// IPAllocator gives objects what they claim and did not ask for by name: addresses and node ports of Services. It
// only chooses. That nobody else has the same is a condition of the transaction (see apimachinery.Claims), so any
// number of servers over one store may choose at the same time, and a crash leaves nothing to repair.
//
// It is asked for objects of resources that have Claims. An error that is an apierrors.APIStatus is told to the
// client as it is. It must be safe for concurrent use.
type IPAllocator interface {
	// Allocate completes new, which is to be created (old nil) or updated, with what is free as held tells. It is
	// asked before preparation and validation, and again with newer knowledge when others were faster, each time
	// with new as it was before. old is only read.
	Allocate(ctx context.Context, new, old apimachinery.Object, held Held) error
	// Release is asked before any object is deleted by a client; an error refuses it. An address that a service
	// has must not go without the service.
	Release(ctx context.Context, o apimachinery.Object, held Held) error
}

// Held tells an [IPAllocator] what the store holds, at least as new as the decision needs. The objects are shared:
// they must not be changed.
type Held interface {
	// Has says whether a claim is taken, by its Resource (empty: a bare key) and Name.
	Has(ctx context.Context, resource schema.GroupResource, name string) (bool, error)
	// Get returns an object; nil if there is none, or the resource is not served.
	Get(ctx context.Context, resource schema.GroupResource, namespace, name string) (apimachinery.Object, error)
	// Each yields the objects of a resource, none if it is not served. It ends with the first error.
	Each(ctx context.Context, resource schema.GroupResource) iter.Seq2[apimachinery.Object, error]
}

// errTaken says that others took meanwhile what was chosen for an object.
var errTaken = errors.New("what was allocated has been taken meanwhile")

// held reads tables no older than min.
type held struct {
	s   *Server
	min int64
}

func (h held) kind(resource schema.GroupResource) (*kind, error) {
	res, ok := h.s.c.Registry.Resource(resource)
	if !ok {
		return nil, nil
	}
	return h.s.kind(res)
}

// Has implements [Held].
func (h held) Has(ctx context.Context, resource schema.GroupResource, name string) (bool, error) {
	t := h.s.guards
	if !resource.Empty() {
		k, err := h.kind(resource)
		if k == nil || err != nil {
			return false, err
		}
		t = k.table
	}
	_, err := t.Get(ctx, name, h.min)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil || errors.Is(err, storage.ErrCorrupt), ignoreCorrupt(err)
}

// ignoreCorrupt lets a key that holds nonsense be taken all the same.
func ignoreCorrupt(err error) error {
	if errors.Is(err, storage.ErrCorrupt) {
		return nil
	}
	return err
}

// Get implements [Held].
func (h held) Get(ctx context.Context, resource schema.GroupResource, namespace, name string) (apimachinery.Object, error) {
	k, err := h.kind(resource)
	if k == nil || err != nil {
		return nil, err
	}
	e, err := k.table.Get(ctx, k.key(namespace, name), h.min)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return k.hub(e)
}

// Each implements [Held].
func (h held) Each(ctx context.Context, resource schema.GroupResource) iter.Seq2[apimachinery.Object, error] {
	return func(yield func(apimachinery.Object, error) bool) {
		k, err := h.kind(resource)
		if k == nil && err == nil {
			return
		}
		var snap *storage.Snapshot
		if err == nil {
			snap, err = k.table.Snapshot(ctx, h.min, false)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		for e := range snap.All(storage.Filter{}, "") {
			if o, err := k.hub(e); !yield(o, err) || err != nil {
				return
			}
		}
	}
}

// claiming says whether this write of an object may come by claims.
func (c *call) claiming(p part) bool { return c.k.res.Claims != nil && p.sub == "" }

// allocated lets write store the new object of an admission, given what it claims; again if others were faster.
func (c *call) allocated(ctx context.Context, p part, a *apimachinery.Admission, write func() (*storage.Entry, error)) (*storage.Entry, error) {
	if !c.claiming(p) {
		return write()
	}
	asked := a.Object
	for range c.s.c.Limits.Attempts {
		var err error
		if a.Object, err = c.allocate(ctx, asked, nil); err != nil {
			return nil, err
		}
		e, err := write()
		if !errors.Is(err, errTaken) {
			return e, err
		}
		c.late = true
	}
	return nil, apierrors.NewServerTimeout(c.v.gr, "create", 1)
}

// allocate returns the object with what it claims; old is nil on create. It goes by the cache first: whatever is wrong
// is looked at again with the newest state.
func (c *call) allocate(ctx context.Context, asked, old apimachinery.Object) (apimachinery.Object, error) {
	claims := c.k.res.Claims
	asked = deepCopy(asked)
	if claims.Complete != nil {
		if err := c.invalid(asked.GetName(), claims.Complete(asked, old)); err != nil {
			return nil, err
		}
	}
	if c.s.c.Allocator == nil {
		return asked, nil
	}
	c.asked = claims.Of(asked)
	if !c.late {
		hub := deepCopy(asked)
		if err := c.s.c.Allocator.Allocate(ctx, hub, old, held{c.s, storage.Cached}); err == nil {
			return hub, nil
		}
	}
	rev, err := c.s.c.DB.Revision(ctx)
	if err != nil {
		return nil, storageError(c.v.gr, c.r.Name, err)
	}
	return asked, c.s.c.Allocator.Allocate(ctx, asked, old, held{c.s, rev})
}

// release asks whether an object may be deleted.
func (c *call) release(ctx context.Context, o apimachinery.Object, rev int64) error {
	if c.s.c.Allocator == nil {
		return nil
	}
	return c.s.c.Allocator.Release(ctx, o, held{c.s, rev})
}

// claims are what a write takes and gives back.
type claims struct {
	key    string // of the object
	take   []apimachinery.Claim
	writes []storage.Write // of take, in this order, then of what is given back
}

// claims works out by what writes new comes to have what it claims, and old ceases to. Either may be nil.
func (c *call) claims(key string, new, old apimachinery.Object) (claims, error) {
	out := claims{key: key}
	if c.k.res.Claims == nil || c.s.c.Allocator == nil {
		return out, nil
	}
	before, after := c.claimsOf(old), c.claimsOf(new)
	for _, claim := range after {
		if hasClaim(before, claim) {
			continue
		}
		w, err := c.taking(claim, key)
		if err != nil {
			return out, err
		}
		out.take, out.writes = append(out.take, claim), append(out.writes, w)
	}
	for _, claim := range before {
		if hasClaim(after, claim) {
			continue
		}
		t, _, err := c.claimed(claim)
		if err != nil {
			return out, err
		}
		out.writes = append(out.writes, storage.Write{Table: t, Key: claim.Name, At: storage.AnyRev})
	}
	return out, nil
}

func (c *call) claimsOf(o apimachinery.Object) []apimachinery.Claim {
	if o == nil {
		return nil
	}
	return c.k.res.Claims.Of(o)
}

func hasClaim(all []apimachinery.Claim, claim apimachinery.Claim) bool {
	return slices.ContainsFunc(all, func(x apimachinery.Claim) bool { return x.Resource == claim.Resource && x.Name == claim.Name })
}

// claimed is the table that a claim lies in, and the kind of the object that stands for it, if one does.
func (c *call) claimed(claim apimachinery.Claim) (*storage.Table, *kind, error) {
	if claim.Resource.Empty() {
		return c.s.guards, nil, nil
	}
	k, err := held{s: c.s}.kind(claim.Resource)
	if err == nil && k == nil {
		err = apierrors.NewInternalError(fmt.Errorf("%s claims %s %s, which this server does not serve", c.v.gr, claim.Resource, claim.Name))
	}
	if err != nil {
		return nil, nil, err
	}
	return k.table, k, nil
}

// taking is the write that takes a claim for the object at key, unless somebody has it.
func (c *call) taking(claim apimachinery.Claim, key string) (storage.Write, error) {
	t, k, err := c.claimed(claim)
	if err != nil {
		return storage.Write{}, err
	}
	w := storage.Write{Table: t, Key: claim.Name, Value: []byte(c.k.table.Abs(key))}
	if k == nil {
		return w, nil
	}
	o := claim.New()
	o.SetUID(types.UID(uuid.NewUUID()))
	o.SetCreationTimestamp(c.now)
	if k.res.Default != nil {
		k.res.Default(o)
	}
	e, err := k.seal(claim.Name, o)
	if err != nil {
		return w, err
	}
	w.Value = e.Raw
	return w, nil
}

// lost says what it means that a transaction failed with err: errTaken if somebody has what was chosen, what the
// writer is to be told if it had asked for that; nil if err is about something else.
func (c *call) lost(cl claims, err error) error {
	for i, claim := range cl.take {
		if !isConflictAt(err, cl.writes[i].Table.Abs(claim.Name)) {
			continue
		}
		if hasClaim(c.asked, claim) {
			return c.taken(claim, cl.key)
		}
		return errTaken
	}
	return nil
}

// taken is what a writer is told who asked, for the object at key, for what another has.
func (c *call) taken(claim apimachinery.Claim, key string) error {
	err := claim.Taken()
	var bad *field.Error
	if errors.As(err, &bad) {
		_, name := splitKey(c.k, key)
		return c.invalid(name, field.ErrorList{bad})
	}
	return apierrors.NewInternalError(err)
}

// dryClaims says what lost would say, as far as reading can tell.
func (c *call) dryClaims(ctx context.Context, cl claims) error {
	for _, claim := range cl.take {
		has, err := held{s: c.s}.Has(ctx, claim.Resource, claim.Name)
		if err != nil {
			return storageError(c.v.gr, c.r.Name, err)
		}
		if has && hasClaim(c.asked, claim) {
			return c.taken(claim, cl.key)
		}
	}
	return nil
}
