package bedplate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/admission/certificates"
	"github.com/bedplate/bedplate/admission/defaultclass"
	"github.com/bedplate/bedplate/admission/lifecycle"
	"github.com/bedplate/bedplate/admission/noderestriction"
	"github.com/bedplate/bedplate/admission/priority"
	"github.com/bedplate/bedplate/admission/runtimeclass"
	"github.com/bedplate/bedplate/admission/serviceaccount"
	"github.com/bedplate/bedplate/admission/tolerations"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/kinds/flowcontrol"
	"github.com/bedplate/bedplate/apimachinery/server/serviceip"
	"github.com/bedplate/bedplate/rbac"
	"github.com/bedplate/bedplate/rbac/authn"
	"github.com/bedplate/bedplate/rbac/node"
	"github.com/bedplate/bedplate/reconcile/informer"
)

// security is the chain that every request passes.
type security struct {
	lookup        *lookup
	index         *rbac.Index
	issuer        *authn.Issuer
	tokens        apimachinery.TokenAuthenticator
	authenticator apimachinery.Authenticator
	authorizer    apimachinery.Authorizer
	admission     []apimachinery.Plugin
}

func (p *ControlPlane) newSecurity() (*security, error) {
	s := &security{lookup: &lookup{}, index: &rbac.Index{}}
	var err error
	if s.issuer, err = authn.NewIssuer(authn.IssuerConfig{Key: p.ca.SigningKey(), Getter: s.lookup}); err != nil {
		return nil, err
	}
	s.tokens = authn.UnionTokens(authn.Static(p.c.Tokens), s.issuer)
	s.authenticator = authn.Union(authn.Certificates(p.ca.Pool(), nil), authn.Bearer(s.tokens))
	if p.c.FrontProxy != nil {
		front, err := authn.RequestHeader(*p.c.FrontProxy)
		if err != nil {
			return nil, err
		}
		s.authenticator = authn.Union(front, s.authenticator)
	}
	s.authorizer = rbac.Union(rbac.Masters(), node.New(s.lookup), rbac.New(s.index))
	restriction, err := noderestriction.New(noderestriction.Config{NodeOf: node.NameOf, Lookup: s.lookup})
	if err != nil {
		return nil, err
	}
	s.admission = slices.Concat([]apimachinery.Plugin{
		lifecycle.New(s.lookup), serviceaccount.New(s.lookup), restriction, priority.New(s.lookup), tolerations.New(tolerations.Config{}),
		defaultclass.ForClaims(s.lookup), runtimeclass.New(s.lookup), defaultclass.ForIngresses(s.lookup), serviceip.DenyExternalIPs(),
		rbac.NoEscalation(s.index, s.authorizer),
	}, certificates.Plugins(s.authorizer))
	return s, nil
}

// follow keeps the index of roles and bindings current. synced is closed when it holds those that there were.
func (s *security) follow(p *ControlPlane) (f *followers, run func(context.Context) error, synced <-chan struct{}, err error) {
	c := p.Client()
	f = &followers{index: s.index, fail: func(err error) { p.c.Log.Error("a role or binding is not heeded", "err", err) }}
	err = errors.Join(
		follow[*rbacv1.ClusterRole](f, p, c), follow[*rbacv1.ClusterRoleBinding](f, p, c),
		follow[*rbacv1.Role](f, p, c), follow[*rbacv1.RoleBinding](f, p, c),
	)
	ready := make(chan struct{})
	return f, func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		for _, run := range f.run {
			g.Go(func() error { return run(ctx) })
		}
		g.Go(func() error {
			for _, synced := range f.synced {
				select {
				case <-synced:
				case <-ctx.Done():
					return nil
				}
			}
			close(ready)
			return nil
		})
		return g.Wait()
	}, ready, err
}

type followers struct {
	index  *rbac.Index
	fail   func(error)
	run    []func(context.Context) error
	synced []<-chan struct{}
	reach  []func(context.Context, int64) error
}

// wait returns when the index holds what was written up to a revision.
func (f *followers) wait(ctx context.Context, rev int64) error {
	for _, reach := range f.reach {
		if err := reach(ctx, rev); err != nil {
			return err
		}
	}
	return nil
}

func follow[T apimachinery.Object](f *followers, p *ControlPlane, c *client.Client) error {
	i, err := informer.Of(p.server, client.For[T](c), p.c.Log)
	if err != nil {
		return err
	}
	i.Handle(informer.Handler[T]{Change: func(ch informer.Change[T]) {
		var err error
		if ch.Deleted {
			err = f.index.Delete(ch.Old)
		} else {
			err = f.index.Set(ch.New)
		}
		if err != nil {
			f.fail(err)
		}
	}})
	f.run, f.synced, f.reach = append(f.run, i.Run), append(f.synced, i.Synced()), append(f.reach, i.WaitFor)
	return nil
}

// The namespaces that every cluster has.
var namespaces = []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}

// bootstrap brings in what every cluster has: its namespaces, and the policy by which its parts may do their work.
// What is there already stays, but for roles of ours that lost rules.
func (p *ControlPlane) bootstrap(ctx context.Context) error {
	c, l := p.Client(), p.security.lookup
	var g errgroup.Group
	const atOnce = 32
	g.SetLimit(atOnce)
	for _, name := range namespaces {
		g.Go(func() error {
			return ensure(ctx, l, client.For[*corev1.Namespace](c), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, nil)
		})
	}
	for _, o := range flowcontrol.Bootstrap() {
		g.Go(func() error { return ensureFlow(ctx, l, c, o) })
	}
	var inside []apimachinery.Object // these need their namespaces
	for _, o := range rbac.Bootstrap() {
		if o.GetNamespace() != "" {
			inside = append(inside, o)
			continue
		}
		g.Go(func() error { return ensurePolicy(ctx, l, c, o) })
	}
	p.bootstrapPriorities(ctx, g.Go)
	if err := g.Wait(); err != nil {
		return fmt.Errorf("make the first namespaces, roles, priorities and flow schemas: %w", err)
	}
	for _, o := range inside {
		g.Go(func() error { return ensurePolicy(ctx, l, c, o) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("make the first roles: %w", err)
	}
	return nil
}

// ensure creates an object unless it is there; changed, where given, says whether what is there must be put right.
func ensure[T apimachinery.Object](ctx context.Context, l *lookup, r client.Resource[T], o T, changed func(have T) bool) error {
	have, err := get[T](ctx, l, r.GroupVersionResource(), o.GetNamespace(), o.GetName())
	switch {
	case apierrors.IsNotFound(err):
		_, err = r.Create(ctx, o)
		if apierrors.IsAlreadyExists(err) {
			return nil // another API server was faster
		}
		return err
	case err != nil || changed == nil || !changed(have):
		return err
	}
	o.SetResourceVersion(have.GetResourceVersion())
	_, err = r.Update(ctx, o)
	if apierrors.IsConflict(err) {
		return nil // another API server was faster
	}
	return err
}

func ensurePolicy(ctx context.Context, l *lookup, c *client.Client, o apimachinery.Object) error {
	switch o := o.(type) {
	case *rbacv1.ClusterRole:
		return ensure(ctx, l, client.For[*rbacv1.ClusterRole](c), o, func(have *rbacv1.ClusterRole) bool {
			return o.AggregationRule == nil && !covered(have.Rules, o.Rules)
		})
	case *rbacv1.Role:
		return ensure(ctx, l, client.For[*rbacv1.Role](c), o, func(have *rbacv1.Role) bool { return !covered(have.Rules, o.Rules) })
	case *rbacv1.ClusterRoleBinding:
		return ensure(ctx, l, client.For[*rbacv1.ClusterRoleBinding](c), o, nil)
	case *rbacv1.RoleBinding:
		return ensure(ctx, l, client.For[*rbacv1.RoleBinding](c), o, nil)
	}
	return fmt.Errorf("bootstrap policy has a %T", o)
}

func covered(have, want []rbacv1.PolicyRule) bool {
	if equality.Semantic.DeepEqual(have, want) {
		return true
	}
	ok, _ := rbac.Covers(have, want)
	return ok
}
