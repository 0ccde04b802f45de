package server

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/wire"
	"github.com/bedplate/bedplate/storage"
)

const (
	maxGenerated    = 63 // the length of a generated name, of which the last are random
	randomLength    = 5
	generateRetries = 8
)

func (c *call) create(ctx context.Context) (*apimachinery.Response, error) {
	if err := c.readOptions(""); err != nil {
		return nil, err
	}
	body, strict, err := c.input()
	if err != nil {
		return nil, err
	}
	hub, err := c.decodeHub(body, strict)
	if err != nil {
		return nil, err
	}
	if hub.GetResourceVersion() != "" && hub.GetResourceVersion() != "0" {
		return nil, genericError(http.StatusBadRequest, "resourceVersion should not be set on objects to be created")
	}
	if err := c.inPlace(hub); err != nil {
		return nil, err
	}
	e, err := c.insert(ctx, hub, c.mainPart(), false)
	if err != nil {
		return nil, err
	}
	return c.answer(201, e)
}

// createInstead creates what an update or apply found missing, if the user may also create.
func (c *call) createInstead(ctx context.Context, hub apimachinery.Object, p part, accounted bool) (*storage.Entry, error) {
	a := wire.Attributes(c.r)
	a.Verb = apimachinery.VerbCreate
	if err := c.s.authorize(ctx, a); err != nil {
		return nil, err
	}
	if c.closed() {
		return nil, c.notSupported()
	}
	if err := c.inPlace(hub); err != nil {
		return nil, err
	}
	return c.insert(ctx, hub, p, accounted)
}

// insert brings a new object through the rest of the pipeline and into the store.
func (c *call) insert(ctx context.Context, hub apimachinery.Object, p part, accounted bool) (*storage.Entry, error) {
	c.fresh(hub)
	hub.SetResourceVersion("")
	generate := hub.GetName() == "" && hub.GetGenerateName() != ""
	if generate {
		hub.SetName(generatedName(hub.GetGenerateName()))
		c.defaults(hub) // some go by the name
	}
	if !accounted {
		if err := c.account(hub, nil, nil, p); err != nil {
			return nil, err
		}
	}
	a := c.admission(opCreate, hub, nil)
	if err := c.mutate(ctx, a); err != nil {
		return nil, err
	}
	hub = a.Object
	if c.s.mutators() {
		c.defaults(hub)
	}
	if err := c.inPlace(hub); err != nil {
		return nil, err
	}
	return c.allocated(ctx, p, a, func() (*storage.Entry, error) { return c.insertJudged(ctx, p, a, generate) })
}

// insertJudged validates and stores the object of an admission, which is complete.
func (c *call) insertJudged(ctx context.Context, p part, a *apimachinery.Admission, generate bool) (*storage.Entry, error) {
	hub := a.Object
	if err := c.judgeCreate(ctx, p, hub); err != nil {
		return nil, err
	}
	if err := c.validateAdmission(ctx, a); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		e, err := c.put(ctx, hub)
		if err == nil || !generate || !apierrors.IsAlreadyExists(err) {
			return e, err
		}
		if try == generateRetries {
			return nil, apierrors.NewGenerateNameConflict(c.v.gr, hub.GetName(), 1)
		}
		hub.SetName(generatedName(hub.GetGenerateName()))
	}
}

// put stores a new object under its name.
func (c *call) put(ctx context.Context, hub apimachinery.Object) (*storage.Entry, error) {
	key := c.k.key(hub.GetNamespace(), hub.GetName())
	e, err := c.k.seal(key, hub)
	if err != nil {
		return nil, err
	}
	rev, err := c.commit(ctx, storage.Write{Table: c.k.table, Key: key, Value: e.Raw, Made: e.made}, hub, nil)
	if errors.Is(err, errMoved) {
		return nil, c.alreadyExists(ctx, key, hub.GetName())
	}
	if err != nil {
		return nil, err
	}
	return e.stored(rev, rev), nil
}

func (c *call) alreadyExists(ctx context.Context, key, name string) error {
	err := apierrors.NewAlreadyExists(c.v.gr, name)
	if e, getErr := c.k.table.Get(ctx, key, 0); getErr == nil {
		if o, hubErr := c.k.hub(e); hubErr == nil && isDeleting(o) {
			err.ErrStatus.Message = "object is being deleted: " + err.ErrStatus.Message
		}
	}
	return err
}

func generatedName(base string) string {
	return base[:min(len(base), maxGenerated-randomLength)] + rand.String(randomLength)
}
