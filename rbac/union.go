package rbac

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/bedplate/bedplate/apimachinery"
)

// MastersGroup is the group whose members may do everything.
const MastersGroup = "system:masters"

// Masters allows everything to members of [MastersGroup] and has no opinion on others.
func Masters() apimachinery.Authorizer { return masters{} }

type masters struct{}

func (masters) Authorize(_ context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
	if slices.Contains(a.User.Groups, MastersGroup) {
		return apimachinery.Allow, "", nil
	}
	return apimachinery.NoOpinion, "", nil
}

func (masters) RulesFor(_ context.Context, u apimachinery.User, _ string) ([]apimachinery.ResourceRule, []apimachinery.PathRule, error) {
	if !slices.Contains(u.Groups, MastersGroup) {
		return nil, nil, nil
	}
	all := []string{"*"}
	return []apimachinery.ResourceRule{{Verbs: all, Groups: all, Resources: all}}, []apimachinery.PathRule{{Verbs: all, Paths: all}}, nil
}

// Union asks authorizers in order; the first Allow or Deny counts. Reasons and errors of those without an
// opinion are joined. Its rules are those of all that can list them.
func Union(authorizers ...apimachinery.Authorizer) apimachinery.Authorizer { return union(authorizers) }

type union []apimachinery.Authorizer

func (u union) Authorize(ctx context.Context, a *apimachinery.Attributes) (apimachinery.Decision, string, error) {
	var reasons []string
	var errs []error
	for _, z := range u {
		decision, reason, err := z.Authorize(ctx, a)
		if err == nil && decision != apimachinery.NoOpinion {
			return decision, reason, nil
		}
		errs = append(errs, err)
		if reason != "" {
			reasons = append(reasons, reason)
		}
	}
	return apimachinery.NoOpinion, strings.Join(reasons, "\n"), errors.Join(errs...)
}

func (u union) RulesFor(ctx context.Context, user apimachinery.User, namespace string) (resource []apimachinery.ResourceRule, path []apimachinery.PathRule, err error) {
	var errs []error
	for _, z := range u {
		lister, ok := z.(apimachinery.Rules)
		if !ok {
			continue
		}
		r, p, err := lister.RulesFor(ctx, user, namespace)
		resource, path, errs = append(resource, r...), append(path, p...), append(errs, err)
	}
	return resource, path, errors.Join(errs...)
}
