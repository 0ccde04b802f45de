// Package garbagecollector deletes what nobody owns any more, and holds owners back until their dependents are gone
// or let go, as their deletion asked: in the background, in the foreground, or leaving orphans.
//
// It follows the metadata of every kind in the client's registry, and new kinds as they come. [Graph] is its pure
// core; whatever the graph suspects is looked at in the API before it is done.
package garbagecollector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/informer"
	"github.com/bedplate/bedplate/reconcile/queue"
)

// Add adds the collector to a manager whose client knows all the kinds to be looked after.
func Add(m *reconcile.Manager) {
	m.Go("garbage collector", true, func(ctx context.Context) error {
		c := &collector{
			m: m, registry: m.Client().Registry(), log: m.Log().With("controller", "garbagecollector"),
			queue: queue.NewBlocking[types.UID](queue.Config{Last: time.Minute}),
			graph: NewGraph(), follows: map[schema.GroupVersionResource]*follow{}, absent: map[types.UID]struct{}{},
		}
		return c.run(ctx)
	})
}

// workers is how many objects are looked at at once.
const workers = 8

type collector struct {
	m        *reconcile.Manager
	registry *apimachinery.Registry
	log      *slog.Logger
	queue    *queue.Blocking[types.UID]

	mu      sync.Mutex
	graph   *Graph
	follows map[schema.GroupVersionResource]*follow
	absent  map[types.UID]struct{} // owners known to be gone; uids never return
}

// follow is a resource that is followed.
type follow struct {
	cache *informer.Informer[*metav1.PartialObjectMetadata]
	stop  func()
}

func (c *collector) run(ctx context.Context) error {
	defer c.unfollow()
	if err := c.followAll(ctx); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() { c.work(ctx) })
	}
	defer wg.Wait()
	for {
		_, changed := c.registry.Version()
		if err := c.followAll(ctx); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// followAll follows what is in the registry and is not followed yet, and waits until it is all there.
func (c *collector) followAll(ctx context.Context) error {
	var fresh []*follow
	c.unfollowGone()
	for _, res := range c.registry.All() {
		view := res.Preferred()
		if gvr := view.Resource(); collectable(res) && c.follows[gvr] == nil {
			f, err := c.follow(gvr, view.GroupVersionKind.GroupKind(), res.Namespaced)
			if err != nil && c.registry.Served(gvr) {
				return err
			}
			if err != nil {
				continue // it has left meanwhile
			}
			c.mu.Lock()
			c.follows[gvr] = f
			c.mu.Unlock()
			fresh = append(fresh, f)
		}
	}
	for _, f := range fresh {
		select {
		case <-f.cache.Synced():
		case <-ctx.Done():
			return nil
		}
	}
	if len(fresh) > 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.look(c.graph.Virtual()) // their kind may be known now
	}
	return nil
}

// unfollowGone ends what follows resources that have left the registry.
func (c *collector) unfollowGone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for gvr, f := range c.follows {
		if !c.registry.Served(gvr) {
			f.stop()
			delete(c.follows, gvr)
		}
	}
}

// collectable leaves out what stores nothing, what can't be deleted, and events, which own nothing and nobody owns.
func collectable(res *apimachinery.Resource) bool {
	if res.Virtual != nil || res.Name.Resource == "events" {
		return false
	}
	for _, verb := range []string{apimachinery.VerbDelete, apimachinery.VerbList, apimachinery.VerbWatch} {
		if res.Verbs != nil && !slices.Contains(res.Verbs, verb) {
			return false
		}
	}
	return true
}

func (c *collector) follow(gvr schema.GroupVersionResource, kind schema.GroupKind, namespaced bool) (*follow, error) {
	i, err := reconcile.InformerOf(c.m, client.Metadata(c.m.Client(), gvr, namespaced))
	if err != nil {
		return nil, err
	}
	stop := i.Handle(informer.Handler[*metav1.PartialObjectMetadata]{Change: func(ch informer.Change[*metav1.PartialObjectMetadata]) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if ch.Deleted {
			c.look(c.graph.Remove(ch.Old.UID))
		} else {
			c.look(c.graph.Put(kind, ch.New))
		}
	}})
	return &follow{i, stop}, nil
}

func (c *collector) unfollow() {
	for _, f := range c.follows {
		f.stop()
	}
}

func (c *collector) look(uids []types.UID) {
	for _, uid := range uids {
		c.queue.Add(uid, 0)
	}
}

func (c *collector) work(ctx context.Context) {
	for {
		uid, err := c.queue.Next(ctx)
		if err != nil {
			return
		}
		begun := time.Now()
		err = c.process(ctx, uid)
		switch {
		case err == nil:
			c.queue.Forget(uid)
		case ctx.Err() == nil:
			in := c.queue.Retry(uid, 0)
			if !apierrors.IsConflict(err) {
				c.log.Warn("try again", "uid", uid, "in", in, "err", err)
			}
		}
		c.queue.Done(uid, time.Since(begun))
	}
}

// seen is a copy of what the graph says of an object.
type seen struct {
	Node
	dependents []ID
	blocked    bool        // dependents want it to wait for their end
	hurry      []types.UID // those of them that have not begun to end
}

func (c *collector) see(uid types.UID) (s seen, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.graph.Get(uid)
	if !ok {
		return s, false
	}
	s.Node = *n
	for _, d := range n.Dependents() {
		s.dependents = append(s.dependents, d.ID)
	}
	for _, d := range n.Blocking() {
		s.blocked = true
		if !d.Foreground {
			s.hurry = append(s.hurry, d.UID)
		}
	}
	return s, true
}

// process looks at an object in the API and does what its owners, or its own deletion, call for.
func (c *collector) process(ctx context.Context, uid types.UID) error {
	s, ok := c.see(uid)
	if !ok {
		return nil
	}
	door, ok := c.door(s.Kind, s.Namespace)
	if !ok {
		return nil // nobody can say whether it is there: what depends on it stays
	}
	live, err := door.Get(ctx, s.namespace(door), s.Name)
	if apierrors.IsNotFound(err) || err == nil && live.UID != uid {
		c.gone(uid)
		return nil
	}
	switch {
	case err != nil:
		return err
	case live.DeletionTimestamp == nil:
		return c.judge(ctx, door, live)
	case has(live, metav1.FinalizerOrphanDependents):
		return c.orphan(ctx, door, live)
	case has(live, metav1.FinalizerDeleteDependents):
		return c.foreground(ctx, door, live)
	}
	return nil
}

// namespace is where the object is: references don't say whether their owner has a namespace.
func (s *seen) namespace(door metadata) string {
	if !door.Namespaced() {
		return ""
	}
	return s.Namespace
}

func (c *collector) gone(uid types.UID) {
	const remember = 1000
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.absent) >= remember {
		clear(c.absent)
	}
	c.absent[uid] = struct{}{}
	c.look(c.graph.Remove(uid))
}

type metadata = client.Resource[*metav1.PartialObjectMetadata]

// door is the way to objects of a kind in a namespace; false if there can be none that anybody knows of.
func (c *collector) door(kind schema.GroupKind, namespace string) (metadata, bool) {
	for _, res := range c.registry.All() {
		for i := range res.Views {
			if v := &res.Views[i]; v.GroupVersionKind.GroupKind() == kind {
				return client.Metadata(c.m.Client(), v.Resource(), res.Namespaced), !res.Namespaced || namespace != ""
			}
		}
	}
	return metadata{}, false
}

// judge deletes an object whose owners are all gone, and trims references to those that are.
func (c *collector) judge(ctx context.Context, door metadata, live *metav1.PartialObjectMetadata) error {
	states := make([]State, len(live.OwnerReferences))
	for i, r := range live.OwnerReferences {
		var err error
		if states[i], err = c.state(ctx, live, r); err != nil {
			return err
		}
	}
	c.mu.Lock()
	n, _ := c.graph.Get(live.UID)
	verdict := Judge(n, states)
	c.mu.Unlock()
	switch verdict {
	case Trim:
		rest := keep(live.OwnerReferences, states)
		return patch(ctx, door, live, map[string]any{"ownerReferences": rest})
	case Unblock:
		if err := patch(ctx, door, live, map[string]any{"ownerReferences": unblocked(live.OwnerReferences)}); err != nil {
			return err
		}
		return c.delete(ctx, door, live, metav1.DeletePropagationForeground)
	case DeleteForeground:
		return c.delete(ctx, door, live, metav1.DeletePropagationForeground)
	case Delete:
		return c.delete(ctx, door, live, policy(live))
	}
	return nil
}

func keep(refs []metav1.OwnerReference, states []State) []metav1.OwnerReference {
	rest := []metav1.OwnerReference{}
	for i, r := range refs {
		if states[i] == Solid {
			rest = append(rest, r)
		}
	}
	return rest
}

func unblocked(refs []metav1.OwnerReference) []metav1.OwnerReference {
	out, no := slices.Clone(refs), false
	for i := range out {
		out[i].BlockOwnerDeletion = &no
	}
	return out
}

// policy is how an object wants to go, by the finalizers that it has already.
func policy(o metav1.Object) metav1.DeletionPropagation {
	switch {
	case has(o, metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case has(o, metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	}
	return metav1.DeletePropagationBackground
}

// state finds out what an owner is: from the graph, if that has seen it, else from the API. A graph that is behind
// does no harm: it will be told of the owner's end, and look again.
func (c *collector) state(ctx context.Context, o *metav1.PartialObjectMetadata, r metav1.OwnerReference) (State, error) {
	c.mu.Lock()
	_, absent := c.absent[r.UID]
	n, known := c.graph.Get(r.UID)
	solid, waiting := false, false
	if known && !n.Virtual {
		fits := n.fits(&Node{ID: ID{Namespace: o.Namespace}}, r)
		solid, waiting, absent = fits && !n.Foreground, fits && n.Foreground, !fits
	}
	c.mu.Unlock()
	switch {
	case absent:
		return Absent, nil
	case waiting:
		return Waiting, nil
	case solid:
		return Solid, nil
	}
	return c.ask(ctx, o, r)
}

func (c *collector) ask(ctx context.Context, o *metav1.PartialObjectMetadata, r metav1.OwnerReference) (State, error) {
	door, ok := c.door(kindOf(r), o.Namespace)
	if !ok {
		return Solid, nil // of an unknown kind, or in a namespace while o is in none: nobody can say
	}
	namespace := o.Namespace
	if !door.Namespaced() {
		namespace = ""
	}
	owner, err := door.Get(ctx, namespace, r.Name)
	switch {
	case apierrors.IsNotFound(err), err == nil && owner.UID != r.UID:
		return Absent, nil
	case err != nil:
		return Solid, err
	case owner.DeletionTimestamp != nil && has(owner, metav1.FinalizerDeleteDependents):
		return Waiting, nil
	}
	return Solid, nil
}

func (c *collector) delete(ctx context.Context, door metadata, o *metav1.PartialObjectMetadata, p metav1.DeletionPropagation) error {
	err := door.Delete(ctx, o.Namespace, o.Name, client.IfUID(o.UID), client.IfVersion(o.ResourceVersion), client.Propagation(p))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// patch changes metadata, if the object is still the same.
func patch(ctx context.Context, door metadata, o *metav1.PartialObjectMetadata, change map[string]any) error {
	change["uid"], change["resourceVersion"] = o.UID, o.ResourceVersion
	body, err := apimachinery.Encode(map[string]any{"metadata": change})
	if err != nil {
		return err
	}
	now, err := door.Patch(ctx, o.Namespace, o.Name, types.MergePatchType, body)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err == nil:
		o.ResourceVersion = now.ResourceVersion
	}
	return err
}

func without(o metav1.Object, finalizer string) []string {
	return append([]string{}, slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return f == finalizer })...)
}

// caughtUp waits until the graph has all that was written before o's deletion, where that is cheap to know.
func (c *collector) caughtUp(ctx context.Context, o *metav1.PartialObjectMetadata) error {
	if !c.m.Local() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c.mu.Lock()
	all := slices.Collect(maps.Values(c.follows))
	c.mu.Unlock()
	for _, f := range all {
		if err := f.cache.WaitFor(ctx, informer.RevOf(o.ResourceVersion)); err != nil {
			return fmt.Errorf("wait for caches: %w", err)
		}
	}
	return nil
}

// orphan takes the owner's references off its dependents, and then lets it go.
func (c *collector) orphan(ctx context.Context, door metadata, owner *metav1.PartialObjectMetadata) error {
	if err := c.caughtUp(ctx, owner); err != nil {
		return err
	}
	s, _ := c.see(owner.UID)
	var errs []error
	for _, id := range s.dependents {
		errs = append(errs, c.release(ctx, id, owner.UID))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return patch(ctx, door, owner, map[string]any{"finalizers": without(owner, metav1.FinalizerOrphanDependents)})
}

func (c *collector) release(ctx context.Context, id ID, owner types.UID) error {
	door, ok := c.door(id.Kind, id.Namespace)
	if !ok {
		return fmt.Errorf("release %s: its kind %v is not known", apimachinery.Key(id.Namespace, id.Name), id.Kind)
	}
	o, err := door.Get(ctx, id.Namespace, id.Name)
	if apierrors.IsNotFound(err) || err == nil && o.UID != id.UID {
		return nil
	}
	if err != nil {
		return err
	}
	rest := append([]metav1.OwnerReference{}, o.OwnerReferences...)
	rest = slices.DeleteFunc(rest, func(r metav1.OwnerReference) bool { return r.UID == owner })
	if len(rest) == len(o.OwnerReferences) {
		return nil
	}
	return patch(ctx, door, o, map[string]any{"ownerReferences": rest})
}

// foreground lets an owner go once nobody is left that it must wait for, and hurries those who are.
func (c *collector) foreground(ctx context.Context, door metadata, owner *metav1.PartialObjectMetadata) error {
	if err := c.caughtUp(ctx, owner); err != nil {
		return err
	}
	s, _ := c.see(owner.UID)
	if !s.blocked {
		return patch(ctx, door, owner, map[string]any{"finalizers": without(owner, metav1.FinalizerDeleteDependents)})
	}
	for _, d := range s.hurry {
		c.queue.Add(d, 0)
	}
	return nil
}
