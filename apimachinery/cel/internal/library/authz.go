package library

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apimachinery/pkg/api/validation"

	"github.com/bedplate/bedplate/apimachinery"
)

// The types of what an expression asks the authorizer.
var (
	AuthorizerType    = cel.ObjectType("kubernetes.authorization.Authorizer")
	PathCheckType     = cel.ObjectType("kubernetes.authorization.PathCheck")
	GroupCheckType    = cel.ObjectType("kubernetes.authorization.GroupCheck")
	ResourceCheckType = cel.ObjectType("kubernetes.authorization.ResourceCheck")
	DecisionType      = cel.ObjectType("kubernetes.authorization.Decision")
)

// receiver is a value that only has methods.
type receiver struct{ typ *cel.Type }

func (r receiver) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("type conversion error from '%s' to '%v'", r.typ, t)
}
func (r receiver) ConvertToType(t ref.Type) ref.Val { return toType(r, r.typ, t) }
func (r receiver) Equal(other ref.Val) ref.Val      { return types.MaybeNoSuchOverloadErr(other) }
func (r receiver) Type() ref.Type                   { return r.typ }
func (r receiver) Value() any                       { return types.NoSuchOverloadErr() }

type authorizer struct {
	receiver
	// ctx is that of the evaluation, as a value of CEL gets none.
	ctx  context.Context
	user apimachinery.User
	asks apimachinery.Authorizer
}

type pathCheck struct {
	receiver
	authorizer authorizer
	path       string
}

type groupCheck struct {
	receiver
	authorizer authorizer
	group      string
}

type resourceCheck struct {
	receiver
	authorizer authorizer
	about      apimachinery.Attributes
}

type decision struct {
	receiver
	allowed bool
	reason  string
	err     error
}

// NewAuthorizer is the variable authorizer: it asks a about user, under ctx.
func NewAuthorizer(ctx context.Context, a apimachinery.Authorizer, user apimachinery.User) ref.Val {
	return authorizer{receiver{AuthorizerType}, ctx, user, a}
}

// NewResourceCheck is the variable authorizer.requestResource: a question about what the request is about.
func NewResourceCheck(ctx context.Context, a apimachinery.Authorizer, about apimachinery.Attributes) ref.Val {
	about.Version = "*"
	return resourceCheck{receiver{ResourceCheckType}, authorizer{receiver{AuthorizerType}, ctx, about.User, a}, about}
}

func (a authorizer) check(about apimachinery.Attributes, verb string) ref.Val {
	about.User, about.Verb = a.user, verb
	said, reason, err := a.asks.Authorize(a.ctx, &about)
	return decision{receiver{DecisionType}, said == apimachinery.Allow, reason, err}
}

func authorization() *lib {
	a, p, g, r, d := AuthorizerType, PathCheckType, GroupCheckType, ResourceCheckType, DecisionType
	return &lib{name: "kubernetes.authz", options: []cel.EnvOption{
		cel.Function("path", member2("authorizer_path", a, cel.StringType, p, on(func(a authorizer, path string) ref.Val {
			if strings.TrimSpace(path) == "" {
				return types.NewErr("path must not be empty")
			}
			return pathCheck{receiver{p}, a, path}
		}))),
		cel.Function("group", member2("authorizer_group", a, cel.StringType, g, on(func(a authorizer, group string) ref.Val {
			return groupCheck{receiver{g}, a, group}
		}))),
		cel.Function("serviceAccount", cel.MemberOverload("authorizer_serviceaccount",
			[]*cel.Type{a, cel.StringType, cel.StringType}, a, cel.FunctionBinding(serviceAccount))),
		cel.Function("resource", member2("groupcheck_resource", g, cel.StringType, r, on(func(g groupCheck, resource string) ref.Val {
			if strings.TrimSpace(resource) == "" {
				return types.NewErr("resource must not be empty")
			}
			about := apimachinery.Attributes{Group: g.group, Version: "*", Resource: resource}
			return resourceCheck{receiver{r}, g.authorizer, about}
		}))),
		cel.Function("subresource", with("resourcecheck_subresource", func(a *apimachinery.Attributes, s string) { a.Sub = s })),
		cel.Function("namespace", with("resourcecheck_namespace", func(a *apimachinery.Attributes, s string) { a.Namespace = s })),
		cel.Function("name", with("resourcecheck_name", func(a *apimachinery.Attributes, s string) { a.Name = s })),
		cel.Function("check",
			member2("pathcheck_check", p, cel.StringType, d, on(func(p pathCheck, verb string) ref.Val {
				return p.authorizer.check(apimachinery.Attributes{Path: p.path}, verb)
			})),
			member2("resourcecheck_check", r, cel.StringType, d, on(func(r resourceCheck, verb string) ref.Val {
				return r.authorizer.check(r.about, verb)
			}))),
		cel.Function("allowed", member("decision_allowed", d, cel.BoolType, said(func(d decision) ref.Val { return types.Bool(d.allowed) }))),
		cel.Function("reason", member("decision_reason", d, cel.StringType, said(func(d decision) ref.Val { return types.String(d.reason) }))),
		cel.Function("errored", member("decision_errored", d, cel.BoolType, said(func(d decision) ref.Val { return types.Bool(d.err != nil) }))),
		cel.Function("error", member("decision_error", d, cel.StringType, said(func(d decision) ref.Val {
			if d.err == nil {
				return types.String("")
			}
			return types.String(d.err.Error())
		}))),
	}}
}

func selectors() *lib {
	return &lib{name: "kubernetes.authzSelectors", options: []cel.EnvOption{
		cel.Function("fieldSelector", with("authorizer_fieldselector", func(a *apimachinery.Attributes, s string) { a.FieldSelector = s })),
		cel.Function("labelSelector", with("authorizer_labelselector", func(a *apimachinery.Attributes, s string) { a.LabelSelector = s })),
	}}
}

// on makes a method of a receiver with a string.
func on[R any](f func(R, string) ref.Val) func(ref.Val, ref.Val) ref.Val {
	return func(v, arg ref.Val) ref.Val {
		r, ok := v.(R)
		if !ok {
			return types.MaybeNoSuchOverloadErr(v)
		}
		s, ok := arg.Value().(string)
		if !ok {
			return types.MaybeNoSuchOverloadErr(arg)
		}
		return f(r, s)
	}
}

// with makes a method that gives a question one more detail.
func with(id string, set func(*apimachinery.Attributes, string)) cel.FunctionOpt {
	return member2(id, ResourceCheckType, cel.StringType, ResourceCheckType, on(func(r resourceCheck, s string) ref.Val {
		set(&r.about, s)
		return r
	}))
}

func said(f func(decision) ref.Val) func(ref.Val) ref.Val {
	return func(v ref.Val) ref.Val {
		d, ok := v.(decision)
		if !ok {
			return types.MaybeNoSuchOverloadErr(v)
		}
		return f(d)
	}
}

// serviceAccount asks for a service account in place of the request's user.
func serviceAccount(args ...ref.Val) ref.Val {
	if len(args) != 3 {
		return types.NoSuchOverloadErr()
	}
	a, ok := args[0].(authorizer)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	return native2(func(namespace, name string) ref.Val {
		if len(validation.ValidateServiceAccountName(name, false)) > 0 {
			return types.NewErr("Invalid service account name")
		}
		if len(validation.ValidateNamespaceName(namespace, false)) > 0 {
			return types.NewErr("Invalid service account namespace")
		}
		a.user = apimachinery.User{
			Name:   "system:serviceaccount:" + namespace + ":" + name,
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace},
		}
		return a
	})(args[1], args[2])
}
