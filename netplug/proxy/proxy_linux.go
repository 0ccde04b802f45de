package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bedplate/bedplate/apimachinery/client"
	"github.com/bedplate/bedplate/reconcile/informer"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Pauses between tries to write to a kernel that refuses.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 30 * time.Second
)

// Proxy keeps the service rules of one node. Its methods may be called concurrently.
type Proxy struct {
	c      Config
	own    []func(context.Context) error // informers that nobody else runs
	todo   todo
	synced chan struct{}
	ran    atomic.Bool
}

// New returns a proxy that does nothing until Run.
func New(c Config) (*Proxy, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.setDefaults()
	p := &Proxy{c: c, synced: make(chan struct{})}
	p.todo.init()
	if err := p.informers(); err != nil {
		return nil, fmt.Errorf("service proxy: %w", err)
	}
	return p, nil
}

// informers makes those that weren't handed in.
func (p *Proxy) informers() (err error) {
	if p.c.Services == nil {
		if p.c.Services, err = informer.New(client.For[*corev1.Service](p.c.Client), informer.Config[*corev1.Service]{Log: p.c.Log}); err != nil {
			return err
		}
		p.own = append(p.own, p.c.Services.Run)
	}
	if p.c.Slices == nil {
		if p.c.Slices, err = informer.New(client.For[*discoveryv1.EndpointSlice](p.c.Client), informer.Config[*discoveryv1.EndpointSlice]{Log: p.c.Log}); err != nil {
			return err
		}
		p.own = append(p.own, p.c.Slices.Run)
	}
	return p.c.Slices.EnsureIndex(sliceIndex, func(s *discoveryv1.EndpointSlice) []string { return servicesOf(s) })
}

// Run keeps the rules current until ctx ends, and returns when everything that it started has ended. Nothing is
// written before all services and slices are known, so what an earlier run left serves until then. A kernel that
// refuses is asked again, ever more slowly. A second Run is an error, and so is a namespace that can't be opened.
func (p *Proxy) Run(ctx context.Context) error {
	if p.ran.Swap(true) {
		return errors.New("service proxy: Run was called before")
	}
	h, err := openHost(p.c.Namespace, p.c.Table, p.c.layout())
	if err != nil {
		return fmt.Errorf("service proxy: %w", err)
	}
	sweep := newSweeper(h, p.c.Log)
	e := &engine{host: h, rules: newRuleSet(), ranges: p.c.ServiceRanges, source: p.c.Node.Addresses, cut: sweep.add}
	parts := append([]func(context.Context) error{func(ctx context.Context) error { return p.follow(ctx, e) }, sweep.run}, p.own...)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(parts))
	for _, run := range parts {
		go func() { ended <- run(ctx) }()
	}
	var errs []error
	for range parts {
		errs = append(errs, <-ended)
		cancel() // one that ends, ends all
	}
	if p.c.RemoveOnStop {
		errs = append(errs, e.remove())
	}
	return errors.Join(append(errs, h.close())...)
}

// Remove deletes the table and the routes; that there are none is fine. It may be called whenever Run does not run.
func (p *Proxy) Remove(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h, err := openHost(p.c.Namespace, p.c.Table, p.c.layout())
	if err != nil {
		return fmt.Errorf("service proxy: %w", err)
	}
	e := &engine{host: h, ranges: p.c.ServiceRanges}
	return errors.Join(e.remove(), h.close())
}

// Synced is closed once everything that there was at the start is in the kernel.
func (p *Proxy) Synced() <-chan struct{} { return p.synced }

// Wait returns once everything is in the kernel that the informers have told of until now, or with ctx's error.
func (p *Proxy) Wait(ctx context.Context) error {
	select {
	case <-p.synced:
	case <-ctx.Done():
		return ctx.Err()
	}
	return p.todo.wait(ctx)
}

// follow writes what changes. What comes in while a transaction is under way goes into the next one.
func (p *Proxy) follow(ctx context.Context, e *engine) error {
	stopServices := p.c.Services.Handle(informer.Handler[*corev1.Service]{Change: func(c informer.Change[*corev1.Service]) { p.todo.add(c.Key) }})
	defer stopServices()
	stopSlices := p.c.Slices.Handle(informer.Handler[*discoveryv1.EndpointSlice]{Change: p.sliceChanged})
	defer stopSlices()
	for _, known := range []<-chan struct{}{p.c.Services.Synced(), p.c.Slices.Synced()} {
		select {
		case <-known:
		case <-ctx.Done():
			return nil
		}
	}
	resync := time.NewTicker(p.c.Resync)
	defer resync.Stop()
	again := time.NewTimer(0) // the first time there may be nothing to do but to set up the table
	defer again.Stop()
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.todo.ready:
			if e.doubt && pause > firstPause {
				continue // the next try is due soon, and takes it along
			}
		case <-resync.C:
			e.doubt = true
		case <-again.C:
		}
		if err := p.write(e); err != nil {
			p.c.Log.Error("service rules are not current", "retry", pause, "err", err)
			again.Reset(pause)
			pause = min(2*pause, lastPause)
			continue
		}
		pause = firstPause
	}
}

// write brings the changes until now into the kernel.
func (p *Proxy) write(e *engine) error {
	keys, number := p.todo.take()
	begin := time.Now()
	changes := make(map[string][]ServicePort, len(keys))
	for key := range keys {
		changes[key] = p.compile(key)
	}
	n, err := e.apply(changes)
	if err != nil {
		return err
	}
	since, services := p.todo.finish(number)
	select {
	case <-p.synced:
	default:
		close(p.synced)
	}
	if services > 0 {
		p.c.Programmed(Programming{Services: services, Elements: n, Waited: time.Since(since), Took: time.Since(begin)})
	}
	return nil
}

func (p *Proxy) compile(key string) []ServicePort {
	s, ok := p.c.Services.View(key)
	if !ok {
		return nil
	}
	var all []*discoveryv1.EndpointSlice
	for slice := range p.c.Slices.ByIndex(sliceIndex, key) {
		all = append(all, slice)
	}
	return Compile(p.c.Node, s, all)
}

func (p *Proxy) sliceChanged(c informer.Change[*discoveryv1.EndpointSlice]) {
	for _, s := range []*discoveryv1.EndpointSlice{c.Old, c.New} {
		if s != nil {
			for _, key := range servicesOf(s) {
				p.todo.add(key)
			}
		}
	}
}

const sliceIndex = "netplug/proxy: service"

// servicesOf is the key of the service that a slice belongs to.
func servicesOf(s *discoveryv1.EndpointSlice) []string {
	if name := s.Labels[discoveryv1.LabelServiceName]; name != "" {
		return []string{s.Namespace + "/" + name}
	}
	return nil
}
