package apitest

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// roles keeps the index of roles and bindings current.
type roles struct {
	reach []func(context.Context, int64) error
}

// wait returns when what was written up to a revision is heeded.
func (r *roles) wait(ctx context.Context, rev string) error {
	if r == nil || rev == "" {
		return nil
	}
	at, err := strconv.ParseInt(rev, 10, 64)
	if err != nil {
		return fmt.Errorf("wait for roles: %w", err)
	}
	for _, reach := range r.reach {
		if err := reach(ctx, at); err != nil {
			return err
		}
	}
	return nil
}

func (a *API) startRoles(ctx context.Context) error {
	if !a.c.RBAC {
		return nil
	}
	a.roles = &roles{}
	return errors.Join(
		follow[*rbacv1.ClusterRole](ctx, a), follow[*rbacv1.ClusterRoleBinding](ctx, a),
		follow[*rbacv1.Role](ctx, a), follow[*rbacv1.RoleBinding](ctx, a),
	)
}

func follow[T apimachinery.Object](ctx context.Context, a *API) error {
	i, err := informer.Of(a.server, client.For[T](a.Client()), a.c.Log)
	if err != nil {
		return err
	}
	i.Handle(informer.Handler[T]{Change: func(ch informer.Change[T]) {
		var err error
		if ch.Deleted {
			err = a.index.Delete(ch.Old)
		} else {
			err = a.index.Set(ch.New)
		}
		if err != nil {
			a.c.Log.Error("a role or binding is not heeded", "err", err)
		}
	}})
	a.roles.reach = append(a.roles.reach, i.WaitFor)
	return a.parts.run(ctx, "roles", i.Run, i.Synced())
}

// createPolicy makes a role or binding, and returns its revision.
func (a *API) createPolicy(ctx context.Context, c *client.Client, o apimachinery.Object) (string, error) {
	switch o := o.(type) {
	case *rbacv1.ClusterRole:
		return create(ctx, c, o)
	case *rbacv1.ClusterRoleBinding:
		return create(ctx, c, o)
	case *rbacv1.Role:
		return create(ctx, c, o)
	case *rbacv1.RoleBinding:
		return create(ctx, c, o)
	}
	return "", fmt.Errorf("the first policy has a %T", o)
}

func create[T apimachinery.Object](ctx context.Context, c *client.Client, o T) (string, error) {
	made, err := client.For[T](c).Create(ctx, o)
	if err != nil {
		return "", err
	}
	return made.GetResourceVersion(), nil
}

// present is err unless it says that something is there already.
func present(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
