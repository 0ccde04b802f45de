package apitest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sync/errgroup"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bedplate/bedplate/admission/lifecycle"
	"github.com/bedplate/bedplate/admission/webhook"
	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/cel"
	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/apimachinery/kinds"
	"github.com/bedplate/bedplate/apimachinery/kinds/apiextensions"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/crd"
	"github.com/bedplate/bedplate/apimachinery/server/eviction"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
	"github.com/bedplate/bedplate/apimachinery/server/serviceip"
	"github.com/bedplate/bedplate/rbac"
	"github.com/bedplate/bedplate/rbac/authn"
	"github.com/bedplate/bedplate/reconcile"
	"github.com/bedplate/bedplate/reconcile/controllers/garbagecollector"
	"github.com/bedplate/bedplate/reconcile/controllers/namespace"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/memory"
)

// start brings the parts up, each on the one before.
func (a *API) start(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		a.startStore, a.startServer, a.startRoles, a.startCustom, a.bootstrap, a.startControllers, a.install, a.startWebhooks,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (a *API) startStore(ctx context.Context) (err error) {
	backend := a.c.Backend
	if backend == nil {
		if backend, err = memory.New(memory.Config{}); err != nil {
			return err
		}
	}
	if a.db, err = storage.New(backend, storage.Config{Log: a.c.Log}); err != nil {
		return err
	}
	return a.parts.run(ctx, "storage", a.db.Run, a.db.Ready())
}

// serviceRange is where services get their addresses.
var serviceRange = netip.MustParsePrefix("10.96.0.0/16")

func (a *API) startServer(ctx context.Context) (err error) {
	if a.ca, err = pki.Open(pki.Config{}); err != nil {
		return err
	}
	if a.admin, err = a.As("admin", rbac.MastersGroup); err != nil {
		return err
	}
	issuer, err := authn.NewIssuer(authn.IssuerConfig{Key: a.ca.SigningKey(), Getter: authn.GetterFunc(a.bound)})
	if err != nil {
		return err
	}
	a.index = &rbac.Index{}
	authorizer := a.authorizer()
	if a.registry, err = a.kinds(issuer, authorizer); err != nil {
		return err
	}
	services, err := serviceip.New(serviceip.Config{Ranges: []netip.Prefix{serviceRange}})
	if err != nil {
		return err
	}
	a.custom, err = crd.New(crd.Config{Registry: a.registry, Services: server.ServiceResolverFunc(a.resolve), Convert: a.c.Convert, Log: a.c.Log})
	if err != nil {
		return err
	}
	tls, err := a.ca.ServerTLS("localhost", "127.0.0.1", "kubernetes.default.svc")
	if err != nil {
		return err
	}
	admission, err := a.admission(authorizer)
	if err != nil {
		return err
	}
	a.server, err = server.New(server.Config{
		Registry: a.registry, DB: a.db, TLS: tls, Allocator: services, Await: a.custom.Await, Authorizer: authorizer,
		Authenticator: authn.Union(authn.Certificates(a.ca.Pool(), nil), authn.Bearer(issuer)),
		Admission:     admission, Log: a.c.Log,
	})
	if err != nil {
		return err
	}
	return a.parts.run(ctx, "API server", a.server.Run, a.server.Ready())
}

// authorizer decides on requests; nil allows everything.
func (a *API) authorizer() apimachinery.Authorizer {
	if !a.c.RBAC {
		return nil
	}
	return rbac.Union(rbac.Masters(), rbac.New(a.index))
}

func (a *API) admission(authorizer apimachinery.Authorizer) ([]apimachinery.Plugin, error) {
	plugins := []apimachinery.Plugin{lifecycle.New(lifecycle.NamespacesFunc(a.namespace))}
	if authorizer != nil {
		plugins = append(plugins, rbac.NoEscalation(a.index, authorizer))
	}
	of := func(plural string) func(context.Context) ([]apimachinery.Object, error) {
		gvr := admissionregistrationv1.SchemeGroupVersion.WithResource(plural)
		return func(ctx context.Context) ([]apimachinery.Object, error) {
			return a.server.Fresh(ctx, gvr, storage.Filter{})
		}
	}
	if authorizer == nil {
		authorizer = apimachinery.AuthorizerFunc(func(context.Context, *apimachinery.Attributes) (apimachinery.Decision, string, error) {
			return apimachinery.Allow, "", nil
		})
	}
	mutating, validating, err := webhook.New(webhook.Config{
		Registry: a.registry, Namespace: a.namespace, Language: cel.New(), Authorizer: authorizer,
		Mutating: of("mutatingwebhookconfigurations"), Validating: of("validatingwebhookconfigurations"),
		Services: server.ServiceResolverFunc(a.resolve), Log: a.c.Log,
	})
	return slices.Concat(plugins, []apimachinery.Plugin{mutating, validating}, a.c.Admission), err
}

// kinds are all that is served.
func (a *API) kinds(issuer *authn.Issuer, authorizer apimachinery.Authorizer) (*apimachinery.Registry, error) {
	all := kinds.All()
	for i := range all {
		switch {
		case all[i].Name.Group != "":
		case all[i].Name.Resource == "serviceaccounts":
			issuer.Serve(&all[i])
		case all[i].Name.Resource == "pods":
			if err := eviction.Serve(&all[i], eviction.Config{Doer: door{a}}); err != nil {
				return nil, err
			}
		}
	}
	all = append(all, core.Bindings(door{a}))
	all = slices.Concat(all, apiextensions.Resources(), server.ReviewResources(issuer, authorizer), a.c.Kinds)
	return apimachinery.NewRegistry(all...)
}

func (a *API) startCustom(ctx context.Context) error {
	return a.parts.run(ctx, "custom resources", func(ctx context.Context) error { return a.custom.Run(ctx, a.server) }, a.custom.Synced())
}

// bootstrap makes what every cluster has.
func (a *API) bootstrap(ctx context.Context) error {
	c := a.Client()
	var g errgroup.Group
	g.SetLimit(bootstrapAtOnce)
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		g.Go(func() error {
			_, err := client.For[*corev1.Namespace](c).Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
			return present(err)
		})
	}
	g.Go(func() error {
		cidr := &networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{serviceRange.String()}},
		}
		_, err := client.For[*networkingv1.ServiceCIDR](c).Create(ctx, cidr)
		return present(err)
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("make the first objects: %w", err)
	}
	if !a.c.RBAC {
		return nil
	}
	rev := ""
	for _, o := range rbac.Bootstrap() {
		made, err := a.createPolicy(ctx, c, o)
		if err := present(err); err != nil {
			return fmt.Errorf("make the first roles: %w", err)
		}
		if err == nil {
			rev = made
		}
	}
	return a.roles.wait(ctx, rev)
}

const bootstrapAtOnce = 8

func (a *API) startControllers(ctx context.Context) error {
	if !a.c.Controllers {
		return nil
	}
	m, err := reconcile.New(reconcile.Config{Client: a.Client(), Tables: a.server, Name: "apitest", Log: a.c.Log})
	if err != nil {
		return err
	}
	garbagecollector.Add(m)
	if err := namespace.Add(m); err != nil {
		return err
	}
	return a.parts.run(ctx, "controllers", m.Run, nil)
}
