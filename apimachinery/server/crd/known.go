package crd

import (
	"context"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/storage"
)

// known is what is kept of a definition.
type known struct {
	rev      int64
	uid      types.UID
	group    string
	names    apiext.CustomResourceDefinitionNames // that it has
	conflict bool                                 // it wants others
	settled  bool                                 // its status is up to date, and it is served if it shall be
	raw      []byte                               // shared with its entry
	served   served
	cleaning bool
}

// served is what a definition is registered as.
type served struct {
	name       schema.GroupResource // empty: it isn't
	uid        types.UID
	generation int64
	spec       [sha256.Size]byte // of its JSON
	names      apiext.CustomResourceDefinitionNames
	closing    *atomic.Bool
}

// user is who writes statuses.
var user = apimachinery.User{Name: "system:apiserver", Groups: []string{"system:masters", "system:authenticated"}}

// takeAll takes in all definitions that there are, and forgets those that are gone.
func (c *Controller) takeAll(ctx context.Context, snap *storage.Snapshot) (retry []string) {
	var gone []string
	c.mu.Lock()
	for name := range c.known {
		if _, ok := snap.Get(name); !ok {
			gone = append(gone, name)
		}
	}
	c.mu.Unlock()
	for _, name := range gone {
		c.forget(ctx, name)
	}
	for e := range snap.All(storage.Filter{}, "") {
		if !c.changed(ctx, e.Key, e.Raw, e.Rev) {
			retry = append(retry, e.Key)
		}
	}
	return retry
}

// take takes in one change. It returns the name of a definition that must be tried again, else "".
func (c *Controller) take(ctx context.Context, ev storage.Event) string {
	switch {
	case ev.New != nil:
		if !c.changed(ctx, ev.New.Key, ev.New.Raw, ev.New.Rev) {
			return ev.New.Key
		}
	case ev.Old != nil && ev.Corrupt == nil:
		c.forget(ctx, ev.Old.Key)
	}
	return ""
}

// again tries what failed before.
func (c *Controller) again(ctx context.Context, names []string) (retry []string) {
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		c.mu.Lock()
		k := c.known[name]
		c.mu.Unlock()
		if k != nil && !c.changed(ctx, name, k.raw, k.rev) {
			retry = append(retry, name)
		}
	}
	return retry
}

// changed takes in a definition as it is now. It is false if that must be tried again.
func (c *Controller) changed(ctx context.Context, name string, raw []byte, rev int64) bool {
	d := &apiext.CustomResourceDefinition{}
	if err := apimachinery.DecodeLoose(raw, d); err != nil {
		c.c.Log.Error("definition can't be read", "name", name, "err", err)
		return true
	}
	before := d.DeepCopy()
	stale := judge(d, c.taken(d), c.now())
	c.note(name, before, raw, rev)
	if stale {
		return c.write(ctx, d, rev)
	}
	c.serve(d, raw)
	c.settle(name)
	if d.DeletionTimestamp != nil && slices.Contains(d.Finalizers, apiext.CustomResourceCleanupFinalizer) {
		c.clean(ctx, name)
	}
	return true
}

// note keeps what there is to know of a definition.
func (c *Controller) note(name string, d *apiext.CustomResourceDefinition, raw []byte, rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[name]
	if k == nil {
		k = &known{}
		c.known[name] = k
	}
	k.cleaning = k.cleaning && k.uid == d.UID
	k.rev, k.raw, k.uid, k.group, k.names, k.settled = rev, raw, d.UID, d.Spec.Group, d.Status.AcceptedNames, false
	k.conflict = !reflect.DeepEqual(d.Spec.Names, d.Status.AcceptedNames)
}

func (c *Controller) settle(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.known[name]; k != nil {
		k.settled = true
	}
	close(c.moved)
	c.moved = make(chan struct{})
}

// taken are the names that others have in a definition's group. Nobody asks unless it wants names that it doesn't have.
func (c *Controller) taken(d *apiext.CustomResourceDefinition) *taken {
	t := newTaken()
	if reflect.DeepEqual(d.Spec.Names, d.Status.AcceptedNames) {
		return t
	}
	own := map[schema.GroupResource]bool{}
	c.mu.Lock()
	for name, k := range c.known {
		if k.served.name.Resource != "" {
			own[k.served.name] = true
		}
		if k.group == d.Spec.Group && name != d.Name {
			t.add(&k.names)
		}
	}
	c.mu.Unlock()
	for _, res := range c.c.Registry.All() {
		if own[res.Name] {
			continue
		}
		for i := range res.Views {
			if v := &res.Views[i]; v.Group == d.Spec.Group {
				t.add(&apiext.CustomResourceDefinitionNames{
					Plural: v.Plural, Singular: v.Singular, ShortNames: v.Short, Kind: v.Kind, ListKind: v.ListKind,
				})
			}
		}
	}
	return t
}

// write stores the status of a definition as of a revision. It is false if that must be tried again; if others were
// faster, their change comes by itself.
func (c *Controller) write(ctx context.Context, d *apiext.CustomResourceDefinition, rev int64) bool {
	if _, err := c.tryWrite(ctx, d, rev); err != nil && ctx.Err() == nil {
		c.c.Log.Warn("status of a definition not written", "name", d.Name, "err", err)
		return false
	}
	return true
}

// tryWrite stores a definition's status and finalizers. conflict says that it was written by others since rev; one that
// is gone is no error.
func (c *Controller) tryWrite(ctx context.Context, d *apiext.CustomResourceDefinition, rev int64) (conflict bool, err error) {
	d.ResourceVersion = strconv.FormatInt(rev, 10)
	d.TypeMeta = metav1.TypeMeta{Kind: "CustomResourceDefinition", APIVersion: apiext.SchemeGroupVersion.String()}
	_, err = c.server.Load().As(user).Do(ctx, &apimachinery.Request{
		Verb: apimachinery.VerbUpdate, Resource: Definitions, Name: d.Name, Sub: "status", Object: d,
		Options: &metav1.UpdateOptions{FieldManager: "kube-apiserver"},
	})
	switch {
	case apierrors.IsConflict(err):
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	}
	return false, err
}

// serve registers a definition that is established, unless it is already what is registered.
func (c *Controller) serve(d *apiext.CustomResourceDefinition, raw []byte) {
	if !isTrue(d, apiext.Established) {
		return
	}
	c.mu.Lock()
	k := c.known[d.Name]
	was := k.served
	c.mu.Unlock()
	now := served{
		name: schema.GroupResource{Group: d.Spec.Group, Resource: d.Status.AcceptedNames.Plural},
		uid:  d.UID, generation: d.Generation, names: d.Status.AcceptedNames, closing: was.closing,
	}
	terminating := d.DeletionTimestamp != nil || isTrue(d, apiext.Terminating)
	same := was.name.Resource != "" && was.uid == now.uid && reflect.DeepEqual(was.names, now.names)
	if now.spec = was.spec; !same || was.generation != now.generation { // deletion counts as a generation, too
		spec, err := apimachinery.Encode(&d.Spec)
		if err != nil {
			c.c.Log.Error("definition not served", "name", d.Name, "err", err)
			return
		}
		now.spec = sha256.Sum256(spec)
	}
	if same && was.spec == now.spec {
		was.closing.Store(terminating)
		return
	}
	if _, ok := c.c.Registry.Resource(now.name); ok && was.name != now.name {
		c.c.Log.Error("definition not served: there is a resource of its name", "name", d.Name)
		return
	}
	now.closing = &atomic.Bool{}
	now.closing.Store(terminating)
	if err := c.c.Registry.Replace(resourceOf(d, raw, c.converterOf(d), c.language, now.closing)); err != nil {
		c.c.Log.Error("definition not served", "name", d.Name, "err", err)
		return
	}
	c.mu.Lock()
	k.served = now
	c.mu.Unlock()
}

// converterOf is how objects of a definition are converted.
func (c *Controller) converterOf(d *apiext.CustomResourceDefinition) converter {
	kind := schema.GroupKind{Group: d.Spec.Group, Kind: d.Spec.Names.Kind}
	conversion := d.Spec.Conversion
	switch by := c.c.Convert[kind]; {
	case by != nil:
		return converter{by: by, what: fmt.Sprintf("conversion of %v", kind)}
	case conversion != nil && conversion.Strategy == apiext.WebhookConverter && conversion.Webhook != nil && conversion.Webhook.ClientConfig != nil:
		return converter{by: newWebhook(d, c.c.Services, c.c.Dial).convert, batch: true, what: "conversion webhook"}
	}
	return converter{by: onlyVersion, what: "conversion"}
}

// forget ends what is served of a definition that is gone, and lets others in its group have its names.
func (c *Controller) forget(ctx context.Context, name string) {
	c.mu.Lock()
	k := c.known[name]
	delete(c.known, name)
	var waiting []string
	for other, o := range c.known {
		if k != nil && o.group == k.group && o.conflict {
			waiting = append(waiting, other)
		}
	}
	c.mu.Unlock()
	if k == nil {
		return
	}
	if k.served.name.Resource != "" {
		c.c.Registry.Remove(k.served.name)
	}
	slices.SortFunc(waiting, strings.Compare)
	for _, other := range waiting {
		c.mu.Lock()
		o := c.known[other]
		c.mu.Unlock()
		c.changed(ctx, other, o.raw, o.rev)
	}
}
