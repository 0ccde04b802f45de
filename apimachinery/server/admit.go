package server

import (
	"context"
	"errors"

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
		Options: c.r.Options, DryRun: c.options.dryRun, Warn: c.warn, Parent: c.parent,
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
	if err := c.mutateOnce(ctx, a); err != nil || !a.Again {
		return err
	}
	a.Again, a.Round = false, 1
	return c.mutateOnce(ctx, a)
}

func (c *call) mutateOnce(ctx context.Context, a *apimachinery.Admission) error {
	for _, p := range c.s.c.Admission {
		if p.Mutate == nil {
			continue
		}
		if err := c.judged(a, p.Mutate.Mutate(ctx, a)); err != nil {
			c.s.metrics.refused(p.Name, a.Operation)
			return err
		}
	}
	return nil
}

func (c *call) validateAdmission(ctx context.Context, a *apimachinery.Admission) error {
	for _, p := range c.s.c.Admission {
		if p.Validate == nil {
			continue
		}
		if err := c.judged(a, p.Validate.Validate(ctx, a)); err != nil {
			c.s.metrics.refused(p.Name, a.Operation)
			return err
		}
	}
	return nil
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
