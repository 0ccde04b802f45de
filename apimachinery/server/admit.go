package server

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/apimachinery"
)

// The operations that admission knows.
const (
	opCreate  = "CREATE"
	opUpdate  = "UPDATE"
	opDelete  = "DELETE"
	opConnect = "CONNECT"
)

// admission makes what the plugins see. old is shared: they get a copy.
func (c *call) admission(op string, object, old apimachinery.Object) *apimachinery.Admission {
	if len(c.s.c.Admission) == 0 {
		return &apimachinery.Admission{Object: object}
	}
	a := &apimachinery.Admission{
		User: c.r.User, Operation: op, Kind: c.admittedKind(), Resource: c.r.Resource, Sub: c.r.Sub,
		Namespace: c.r.Namespace, Name: c.r.Name, Object: object,
		Options: c.r.Options, DryRun: c.options.dryRun, Warn: c.warn, Annotate: c.record.annotate, Parent: c.parent,
	}
	if old != nil {
		a.Old = deepCopy(old)
	}
	if object != nil && a.Name == "" {
		a.Name = object.GetName()
	}
	return a
}

func (c *call) admittedKind() schema.GroupVersionKind {
	if c.sub != nil && c.sub.Kind.Kind != "" {
		return c.sub.Kind
	}
	return c.v.gvk
}

// mutate asks all that mutate; once more if one of them wants that.
func (c *call) mutate(ctx context.Context, a *apimachinery.Admission) error {
	ctx, end := c.s.step(ctx, "Admit")
	defer end()
	if err := c.mutateOnce(ctx, a); err != nil || !a.Again {
		return err
	}
	a.Again, a.Round = false, 1
	return c.mutateOnce(ctx, a)
}

func (c *call) mutateOnce(ctx context.Context, a *apimachinery.Admission) error {
	return c.ask(a, "admit", func(p *apimachinery.Plugin) (bool, error) {
		if p.Mutate == nil {
			return false, nil
		}
		return true, p.Mutate.Mutate(ctx, a)
	})
}

func (c *call) validateAdmission(ctx context.Context, a *apimachinery.Admission) error {
	ctx, end := c.s.step(ctx, "Validate")
	defer end()
	return c.ask(a, "validate", func(p *apimachinery.Plugin) (bool, error) {
		if p.Validate == nil {
			return false, nil
		}
		return true, p.Validate.Validate(ctx, a)
	})
}

// ask asks all plugins in a step, which Kubernetes names admit or validate, until one refuses.
func (c *call) ask(a *apimachinery.Admission, step string, one func(*apimachinery.Plugin) (asked bool, err error)) (err error) {
	m := c.s.metrics
	var start, at time.Time
	if m != nil {
		start = time.Now()
		at = start
	}
	for i := range c.s.c.Admission {
		p := &c.s.c.Admission[i]
		asked, perr := one(p)
		if !asked {
			continue
		}
		err = c.judged(a, perr)
		if m != nil {
			at = m.admitted(admissionKey{p.Name, step, a.Operation, err != nil}, at)
		}
		if err != nil {
			break
		}
	}
	if m != nil {
		m.admitted(admissionKey{"", step, a.Operation, err != nil}, start)
	}
	return err
}

// judged is a plugin's error as the client gets it.
func (c *call) judged(a *apimachinery.Admission, err error) error {
	var status apierrors.APIStatus
	if err == nil || errors.As(err, &status) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return apierrors.NewForbidden(c.v.gr, a.Name, err)
}

// mutators says whether anything can change an object on its way.
func (s *Server) mutators() bool {
	for _, p := range s.c.Admission {
		if p.Mutate != nil {
			return true
		}
	}
	return false
}
