package bedplate

import (
	"context"
	"net"
	"time"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/kinds/coordination"
	"github.com/bedplate/bedplate/apimachinery/kinds/core"
	"github.com/bedplate/bedplate/apimachinery/server"
	"github.com/bedplate/bedplate/apimachinery/server/pki"
	"github.com/bedplate/bedplate/storage"
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
	if p.db, err = storage.New(backend, storage.Config{Log: p.c.Log}); err != nil {
		return err
	}
	return p.layers.start(ctx, "storage", p.db.Run, p.db.Ready())
}

func (p *ControlPlane) backend(ctx context.Context) (storage.Backend, error) {
	switch {
	case p.c.Backend != nil:
		return p.c.Backend, nil
	case p.c.Dir == "":
		return memory.New(memory.Config{})
	}
	etcd, err := embedded.New(embedded.Config{Dir: p.c.dir("etcd"), Log: p.c.Log})
	if err != nil {
		return nil, err
	}
	return etcd.Backend(), p.layers.start(ctx, "etcd", etcd.Run, etcd.Ready())
}

func (p *ControlPlane) startCA(context.Context) (err error) {
	p.ca, err = pki.Open(pki.Config{Dir: p.c.dir("pki")})
	return err
}

// kinds are all that this control plane serves.
func (p *ControlPlane) kinds() (*apimachinery.Registry, error) {
	r, err := apimachinery.NewRegistry(core.Resources()...)
	if err != nil {
		return nil, err
	}
	for _, more := range [][]apimachinery.Resource{coordination.Resources(), p.c.Resources} {
		if err := r.Add(more...); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (p *ControlPlane) startServer(ctx context.Context) (err error) {
	if p.registry, err = p.kinds(); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(p.c.Listen)
	if err != nil {
		return err
	}
	tls, err := p.ca.ServerTLS(append([]string{host, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "127.0.0.1"}, p.c.Hosts...)...)
	if err != nil {
		return err
	}
	p.server, err = server.New(server.Config{
		Registry: p.registry, DB: p.db, Listen: p.c.Listen, TLS: tls, Connectors: p.c.Connectors,
		Log: p.c.Log, Registerer: p.c.Registerer, Gatherer: p.c.Gatherer,
	})
	if err != nil {
		return err
	}
	return p.layers.start(ctx, "API server", p.server.Run, p.server.Ready())
}
