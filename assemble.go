package bedplate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds"
	"github.com/bedplate/bedplate/apimachinery/kinds/admissionregistration"
	"github.com/bedplate/bedplate/apimachinery/kinds/apiextensions"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/kinds/resource"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/crd"
	"github.com/bedplate/bedplate/apimachinery/server/eviction"
	"github.com/bedplate/bedplate/apimachinery/server/nodeproxy"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
	"github.com/bedplate/bedplate/apimachinery/server/serviceip"
	"github.com/bedplate/bedplate/storage"
	"github.com/bedplate/bedplate/storage/etcd/care"
	"github.com/bedplate/bedplate/storage/etcd/embedded"
	"github.com/bedplate/bedplate/storage/memory"
)

// start brings the layers up, each on the one before.
func (p *ControlPlane) start(ctx context.Context) error {
	for _, stage := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"store", p.startStore},
		{"certificates", p.startCA},
		{"API server", p.startServer},
		{"policy", p.startPolicy},
		{"controllers", p.startControllers},
		{"scheduler", p.startScheduler},
	} {
		begin := time.Now()
		if err := stage.do(ctx); err != nil {
			return err
		}
		p.c.Stage(stage.name, time.Since(begin))
	}
	return nil
}

func (p *ControlPlane) startStore(ctx context.Context) error {
	backend, err := p.backend(ctx)
	if err != nil {
		return err
	}
	if backend, err = care.Measure(backend, p.c.Registerer); err != nil {
		return err
	}
	if backend, err = p.seal(ctx, backend); err != nil {
		return err
	}
	if p.db, err = storage.New(backend, storage.Config{Log: p.c.Log}); err != nil {
		return err
	}
	return p.layers.start(ctx, "storage", p.db.Run, p.db.Ready())
}

// A store of one member elects itself when its election timeout is over, and nobody's heartbeats can be late: the
// shorter the timeout, the sooner it is ready.
const tickMs, electionMs = 10, 50

func (p *ControlPlane) backend(ctx context.Context) (storage.Backend, error) {
	switch {
	case p.c.Backend != nil:
		return p.c.Backend, nil
	case p.c.Dir == "":
		return memory.New(memory.Config{})
	}
	etcd, err := embedded.New(embedded.Config{
		Dir: p.c.dir("etcd"), TickMs: tickMs, ElectionMs: electionMs, Log: p.c.Log, History: -1, // the keeper compacts
	})
	if err != nil {
		return nil, err
	}
	keeper, err := care.New(care.Config{Backend: etcd.Backend(), Maintenance: etcd.Maintenance(), Log: p.c.Log, Registerer: p.c.Registerer})
	if err != nil {
		return nil, err
	}
	if err := p.layers.start(ctx, "etcd", etcd.Run, etcd.Ready()); err != nil {
		return nil, err
	}
	return etcd.Backend(), p.layers.start(ctx, "care of etcd", keeper.Run, nil)
}

func (p *ControlPlane) startCA(context.Context) (err error) {
	if p.ca, err = pki.Open(pki.Config{Dir: p.c.dir("pki")}); err != nil {
		return err
	}
	return p.openFront()
}

// kinds are all that this control plane serves.
func (p *ControlPlane) kinds() (*apimachinery.Registry, error) {
	expressions := p.language.Checker()
	all := kinds.With(kinds.Config{
		Admission: admissionregistration.Config{Expressions: expressions},
		Devices:   resource.Config{Expressions: expressions, AdminAccess: p.security.lookup.adminAccess},
	})
	for i := range all {
		switch all[i].Name {
		case resourceV1("serviceaccounts").GroupResource():
			p.security.issuer.Serve(&all[i])
		case resourceV1("pods").GroupResource():
			if err := eviction.Serve(&all[i], eviction.Config{Doer: p.security.lookup}); err != nil {
				return nil, err
			}
		}
	}
	all = append(all, core.Bindings(p.security.lookup), core.ComponentStatuses(p.components()))
	all = slices.Concat(all, apiextensions.Resources(), server.ReviewResources(p.security.tokens, p.security.authorizer), p.c.Resources)
	return apimachinery.NewRegistry(all...)
}

// components are the checks of what Kubernetes calls the components of a control plane.
func (p *ControlPlane) components() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"controller-manager": func(context.Context) error { return p.layers.alive("controllers") },
		"scheduler":          func(context.Context) error { return p.layers.alive("scheduler") },
		"etcd-0": func(ctx context.Context) error {
			_, err := p.db.Revision(ctx)
			return err
		},
	}
}

func (p *ControlPlane) startServer(ctx context.Context) (err error) {
	if p.security, err = p.newSecurity(); err != nil {
		return err
	}
	if p.registry, err = p.kinds(); err != nil {
		return err
	}
	if p.services, err = serviceip.New(serviceip.Config{Ranges: p.c.Services}); err != nil {
		return err
	}
	tls, err := p.ca.ServerTLS(p.hosts()...)
	if err != nil {
		return err
	}
	connectors, err := p.connectors()
	if err != nil {
		return err
	}
	custom, err := crd.New(crd.Config{Registry: p.registry, Services: server.ServiceResolverFunc(p.security.lookup.resolve), Dial: p.c.Dial, Convert: p.c.Convert, Log: p.c.Log})
	if err != nil {
		return err
	}
	others, err := p.newAggregator()
	if err != nil {
		return err
	}
	admission, err := p.hooks()
	if err != nil {
		return err
	}
	at, err := p.listen()
	if err != nil {
		return err
	}
	told, err := p.audit(ctx)
	if err != nil {
		return errors.Join(err, closeAll(at))
	}
	p.server, err = server.New(server.Config{
		Registry: p.registry, DB: p.db, Listener: at[0], Also: at[1:], TLS: tls, Connectors: connectors, Allocator: p.services,
		Authenticator: p.security.authenticator, Authorizer: p.security.authorizer, Admission: admission,
		Log: p.c.Log, Registerer: p.c.Registerer, Gatherer: p.c.Gatherer, Await: custom.Await, Proxy: others, Extensions: extensions{others},
		Audit: told, Checks: p.checks(custom.Synced()), Tracer: p.c.Tracer, Profiling: p.c.Profiling,
	})
	if err != nil {
		return errors.Join(err, closeAll(at))
	}
	p.security.lookup.server = p.server
	if p.c.Registerer != nil {
		if err := p.c.Registerer.Register(&care.Objects{Tables: p.tables}); err != nil {
			return errors.Join(fmt.Errorf("register metrics: %w", err), closeAll(at))
		}
	}
	if err := p.layers.start(ctx, "API server", p.server.Run, p.server.Ready()); err != nil {
		return err
	}
	if err := p.layers.start(ctx, "custom resources", func(ctx context.Context) error { return custom.Run(ctx, p.server) }, custom.Synced()); err != nil {
		return err
	}
	return p.layers.start(ctx, "aggregation", func(ctx context.Context) error { return others.Run(ctx, p.server) }, others.Synced())
}

// tables are those of all kinds that are stored.
func (p *ControlPlane) tables() map[care.Resource]*storage.Table {
	all := map[care.Resource]*storage.Table{}
	for _, r := range p.registry.All() {
		if t, ok := p.server.Table(r.Name); ok {
			all[care.Resource{Group: r.Name.Group, Name: r.Name.Resource}] = t
		}
	}
	return all
}

// hosts are the names and addresses under which clients reach the API.
func (p *ControlPlane) hosts() []string {
	hosts := []string{
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		"127.0.0.1", p.services.First().String(),
	}
	if host, _, err := net.SplitHostPort(p.c.Listen); err == nil && host != "" {
		hosts = append(hosts, host)
	}
	if p.c.Advertise.IsValid() {
		hosts = append(hosts, p.c.Advertise.String())
	}
	hosts = append(hosts, p.c.Hosts...)
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// listen binds where the API is served: at Listen, and at the advertised address where that does not cover it.
func (p *ControlPlane) listen() ([]net.Listener, error) {
	first, err := net.Listen("tcp", p.c.Listen)
	if err != nil {
		return nil, fmt.Errorf("serve the API: %w", err)
	}
	bound := first.Addr().(*net.TCPAddr).AddrPort()
	if !p.c.Advertise.IsValid() || bound.Addr().Unmap() == p.c.Advertise || bound.Addr().IsUnspecified() {
		return []net.Listener{first}, nil
	}
	second, err := net.Listen("tcp", netip.AddrPortFrom(p.c.Advertise, bound.Port()).String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("serve the API at the advertised address: %w", err), first.Close())
	}
	return []net.Listener{first, second}, nil
}

func closeAll(all []net.Listener) error {
	var errs []error
	for _, l := range all {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// apiServerUser is the identity under which the API server speaks to nodes.
const apiServerUser = "kube-apiserver-kubelet-client"

// connectors lead into nodes, unless the caller's own do.
func (p *ControlPlane) connectors() (map[string]server.Connector, error) {
	tls, err := p.ca.ClientTLS(apiServerUser)
	if err != nil {
		return nil, err
	}
	all, err := nodeproxy.Connectors(nodeproxy.Config{Node: p.security.lookup.Node, TLS: tls})
	maps.Copy(all, p.c.Connectors)
	return all, err
}

// startPolicy brings in what every cluster has, and waits until the authorizer knows it.
func (p *ControlPlane) startPolicy(ctx context.Context) error {
	roles, run, synced, err := p.security.follow(p)
	if err != nil {
		return err
	}
	if err := p.layers.start(ctx, "policy", run, synced); err != nil {
		return err
	}
	if err := p.bootstrap(ctx); err != nil {
		return err
	}
	var g errgroup.Group
	g.Go(func() error { return p.bootstrapServices(ctx) })
	g.Go(func() error { return p.publishFront(ctx) })
	if err := g.Wait(); err != nil {
		return err
	}
	rev, err := p.db.Revision(ctx)
	if err != nil {
		return err
	}
	if err := roles.wait(ctx, rev); err != nil {
		return err
	}
	close(p.policy)
	return nil
}
