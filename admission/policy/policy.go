// Package policy judges and changes writes by the rules in CEL that ValidatingAdmissionPolicies and
// MutatingAdmissionPolicies have, with their bindings and parameters, as Kubernetes does. apimachinery/cel evaluates
// them.
//
// Policies are asked in the order of their names, and the bindings of one in the order of theirs. Each is in force for
// every request that begins after its write was answered by the same server, and so are parameters; other servers of
// the same store follow once they hear of it. What configures admission is never judged by policies.
package policy

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bedplate/bedplate/admission/internal/hook"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
)

// The plugins' names.
const (
	MutatingName   = "MutatingAdmissionPolicy"
	ValidatingName = "ValidatingAdmissionPolicy"
)

// Config configures the plugins. All but Authorizer and Registerer is needed.
type Config struct {
	// Registry has the kinds that are served.
	Registry *apimachinery.Registry
	// Namespace reads a namespace; an apierrors NotFound if there is none.
	Namespace func(ctx context.Context, name string) (*corev1.Namespace, error)
	// Mutating and Validating return the policies as they are now, sorted by name, and MutatingBindings and
	// ValidatingBindings their bindings. What they return is only read.
	Mutating, MutatingBindings, Validating, ValidatingBindings func(ctx context.Context) ([]apimachinery.Object, error)
	// Params returns the objects of a resource in a namespace, "" for resources that are in none; if a name is given,
	// that one, or nothing. What it returns is only read.
	Params func(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) ([]apimachinery.Object, error)
	// Language compiles expressions, and Authorizer answers what they ask.
	Language   *cel.Environment
	Authorizer apimachinery.Authorizer
	// Registerer takes the metrics, under Kubernetes' names. Nil: off.
	Registerer prometheus.Registerer
}

func (c *Config) validate() error {
	for _, f := range []func(context.Context) ([]apimachinery.Object, error){c.Mutating, c.MutatingBindings, c.Validating, c.ValidatingBindings} {
		if f == nil {
			return errors.New("the policies and bindings of both kinds must be given")
		}
	}
	if c.Registry == nil || c.Namespace == nil || c.Params == nil || c.Language == nil {
		return errors.New("Registry, Namespace, Params and Language must be set")
	}
	return nil
}

// New returns the plugin that changes requests, and the one that judges them. They may be used concurrently.
func New(c Config) (mutating, validating apimachinery.Plugin, err error) {
	if err := c.validate(); err != nil {
		return mutating, validating, fmt.Errorf("configure admission policies: %w", err)
	}
	e := &evaluator{c: c, cluster: hook.Cluster{Registry: c.Registry, Namespace: c.Namespace}}
	m := &mutator{evaluator: e, policies: hook.NewCompiled(c.Mutating, e.mutating, nil), bindings: hook.NewCompiled(c.MutatingBindings, bindingOf, nil)}
	v := &validator{evaluator: e, policies: hook.NewCompiled(c.Validating, e.validating, nil), bindings: hook.NewCompiled(c.ValidatingBindings, bindingOf, nil)}
	if m.metrics, err = newMetrics(c.Registerer, "mutating", "policy", "policy_binding", "error_type"); err == nil {
		v.metrics, err = newMetrics(c.Registerer, "validating", "policy", "policy_binding", "error_type", "enforcement_action")
	}
	if err != nil {
		return mutating, validating, fmt.Errorf("configure admission policies: %w", err)
	}
	return apimachinery.Plugin{Name: MutatingName, Mutate: m}, apimachinery.Plugin{Name: ValidatingName, Validate: v}, nil
}

// evaluator is what both plugins have in common.
type evaluator struct {
	c       Config
	cluster hook.Cluster
}

// policy is what policies of both kinds have, compiled.
type policy[T any] struct {
	name     string
	criteria *hook.Criteria
	params   *admissionregistrationv1.ParamKind
	ignores  bool // failures
	of       T
}

// binding is a binding of either kind.
type binding struct {
	name, policy string
	criteria     *hook.Criteria
	ref          *admissionregistrationv1.ParamRef
	actions      []admissionregistrationv1.ValidationAction
}

func bindingOf(o apimachinery.Object) *binding {
	switch o := o.(type) {
	case *admissionregistrationv1.ValidatingAdmissionPolicyBinding:
		return &binding{o.Name, o.Spec.PolicyName, hook.ForPolicy(o.Spec.MatchResources), o.Spec.ParamRef, o.Spec.ValidationActions}
	case *admissionregistrationv1.MutatingAdmissionPolicyBinding:
		return &binding{o.Name, o.Spec.PolicyName, hook.ForPolicy(o.Spec.MatchResources), o.Spec.ParamRef, nil}
	}
	return &binding{}
}

func ignores(p *admissionregistrationv1.FailurePolicyType) bool {
	return p != nil && *p == admissionregistrationv1.Ignore
}

// misconfigured says that a policy or, if one is named, a binding of it can't be used for a request.
type misconfigured struct {
	binding string
	err     error
}

func (e *misconfigured) Error() string {
	if e.binding == "" {
		return "failed to configure policy: " + e.err.Error()
	}
	return "failed to configure binding: " + e.err.Error()
}

func (e *misconfigured) Unwrap() error { return e.err }

// invocation is one policy with one binding and one parameter, about one request.
type invocation struct {
	binding *binding
	as      hook.Target
	param   apimachinery.Object // nil: none
}

// invocations are all of a policy about a request.
func invocations[T any](ctx context.Context, e *evaluator, p *policy[T], bindings []*binding, r *hook.Request) (all []invocation, wrong []*misconfigured) {
	as, ok, err := p.criteria.Match(ctx, r)
	if err != nil {
		return nil, []*misconfigured{{"", err}}
	}
	if !ok {
		return nil, nil
	}
	for _, b := range bindings {
		if b.policy != p.name {
			continue
		}
		_, ok, err := b.criteria.Match(ctx, r)
		if err == nil && !ok {
			continue
		}
		var params []apimachinery.Object
		if err == nil {
			params, err = e.paramsOf(ctx, p.params, b.ref, r)
		}
		if err != nil {
			wrong = append(wrong, &misconfigured{b.name, err})
			continue
		}
		for _, param := range params {
			all = append(all, invocation{b, as, param})
		}
	}
	return all, wrong
}

// input is what the expressions of an invocation see.
func (e *evaluator) input(ctx context.Context, r *hook.Request, i *invocation) (*cel.Input, error) {
	in := &cel.Input{Admission: r.Admission, Kind: i.as.Kind, Resource: i.as.Resource, Authorizer: e.c.Authorizer}
	var err error
	if in.Object, in.Old, err = r.Seen(i.as); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if in.Namespace, err = r.InNamespace(ctx); err != nil {
		return nil, err
	}
	if i.param != nil {
		in.Params = i.param
	}
	return in, nil
}
